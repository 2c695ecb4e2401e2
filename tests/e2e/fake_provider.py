"""A provider to test against: OpenAI's chat completions, text completions, responses, embeddings and moderations, Anthropic's
messages and its count of tokens, below the paths that they have there, with faults on demand.

In a test: `FakeProvider().start()`; by itself: `python fake_provider.py --port 8000`. Base URL: `http://HOST:PORT/v1`, or
`http://HOST:PORT/p/NAME/v1` where one server plays several providers; NAME is noted with each call.

Faults are chosen by the model's name (`fault-KIND`, as in `fault-429`) or set through `POST /_fault` with
`{"fault": KIND, "model": …, "name": …, "key": …, "times": N, "retry_after": SECONDS, "location": URL}`; without `times` a fault
stays. Those in the bytes of an answer are in `fake_faults.py`; the others are

    429, 500, 302, … any status  an error document of that status, with the fault's location if it has one; with retry-after: that
                                 of the fault, or 1 of a 429
    hang                         no answer at all
    hang-stream                  a stream that stops after its first content
    gate, gate-stream            the same, until `POST /_gate` with {"model": …} opens it
    gate-tail                    a stream that stops in front of its last events, until the gate is opened
    reset                        the connection is reset before an answer
    reset-stream, truncate       a stream whose connection breaks after its first content (by RST, by FIN)
    no-end                       a stream that ends in order but without its last events
    stream-error                 an error event after the first content
    failed                       of `/v1/responses`: one that failed, with status 200 (in a stream before any content)
    malformed                    JSON that breaks off (in a stream: a first event that does)
    html, html-200               an HTML page, with status 502 or 200
    too-long, policy             400: longer than the model takes; against the provider's policy
    refuse                       200, and no more than that the model will not speak of it, in each API's words

Control: `GET /_calls` (each call: kind, name, model, headers, body as text, whether its caller went away), `POST /_reset`.
Nothing here sleeps for a time that a test could depend on: what waits, waits for a gate, a reset or its caller's leaving.
"""

import argparse
import json
import os
import select
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fake_faults
import fake_refusals
import fake_responses
import fake_wire as wire

TAIL_EVENTS = 16
WAIT_MAX_SECONDS = 120  # a thread that nobody releases ends all the same


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024
    provider = None

    def handle_error(self, request, client_address):
        """A caller that went away is no error of this server."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/_calls":
            return self.send_json(200, self.provider.calls)
        self.send_json(404, wire.error(wire.OPENAI, 404, "no such path"))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path.startswith("/_"):
            return self.control(json.loads(body or b"{}"))
        path, name = self.path, ""
        if path.startswith("/p/"):
            _, _, name, rest = path.split("/", 3)
            path = "/" + rest
        kinds = {
            "/v1/chat/completions": wire.OPENAI,
            "/v1/responses": wire.RESPONSES,
            "/v1/messages": wire.ANTHROPIC,
            "/v1/messages/count_tokens": wire.COUNT,
            "/v1/embeddings": wire.EMBEDDINGS,
            "/v1/completions": wire.COMPLETIONS,
            "/v1/moderations": wire.MODERATIONS,
        }
        kind = kinds.get(path)
        if kind is None:
            return self.send_json(404, wire.error(wire.OPENAI, 404, f"no such path: {path}"))
        try:
            request = json.loads(body)
            model = request["model"]
        except (ValueError, KeyError, TypeError):
            return self.send_json(400, wire.error(kind, 400, "not a JSON object with a model"))
        call = self.provider.note(kind, name, model, dict(self.headers.items()), body.decode("utf-8", "replace"))
        self.answer(kind, request, call, self.provider.take_fault(call))

    @property
    def provider(self):
        return self.server.provider

    def control(self, wanted):
        provider = self.provider
        actions = {
            "/_reset": lambda: provider.reset(),
            "/_fault": lambda: provider.fault(wanted.pop("fault"), **wanted),
            "/_gate": lambda: provider.open_gate(wanted["model"]),
        }
        action = actions.get(self.path)
        if action is None:
            return self.send_json(404, {"error": "no such control"})
        action()
        self.send_json(200, {})

    def answer(self, kind, request, call, fault):
        what = fault["fault"] if fault else None
        stream = request.get("stream") is True
        if what in fake_faults.FAULTS:
            return fake_faults.FAULTS[what](self, kind, request, call)
        if what in ("hang", "gate"):
            if not self.wait(call, gate=what == "gate"):
                return self.drop()
        elif what == "reset":
            return self.drop(reset=True)
        elif what in ("html", "html-200"):
            page = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
            return self.send_body(502 if what == "html" else 200, "text/html", page)
        elif what == "malformed" and not stream:
            return self.send_body(200, "application/json", b'{"id":"chatcmpl-fake","choices":[{"ind')
        elif what in ("too-long", "policy"):
            code = "context_length_exceeded" if what == "too-long" else "content_policy_violation"
            return self.send_json(400, wire.error(kind, 400, f"this is a fault: {what}", code))
        elif what and what.isdigit():
            after = fault.get("retry_after", 1 if what == "429" else None)
            headers = {"retry-after": after, "location": fault.get("location")}
            headers = {name: str(value) for name, value in headers.items() if value is not None}
            return self.send_json(int(what), wire.error(kind, int(what), f"this is a fault: {what}"), headers)
        try:
            wire.validate(kind, request)
        except wire.Invalid as invalid:
            return self.send_json(400, wire.error(kind, 400, str(invalid)))
        if what == "refuse":
            return self.refuse(kind, request, stream)
        if what == "failed" and not stream:
            return self.send_json(200, fake_responses.failed(request))
        if stream:
            return self.stream(kind, wire.events(kind, request), call, what)
        self.send_json(200, wire.whole(kind, request))

    def stream(self, kind, events, call, what):
        self.begin_chunks(kind, "text/event-stream")
        if what == "malformed":
            self.chunk('data: {"id":"chatcmpl-fake","choices":[{"ind\n\n')
            return self.end_chunks()
        # The first content is the second event of OpenAI's chat, the first of its text completions, the fourth of Anthropic's and
        # the fifth of a response.
        head = {wire.OPENAI: 2, wire.COMPLETIONS: 1, wire.RESPONSES: 5}.get(kind, 4)
        if what == "gate-tail":
            head = max(head, len(events) - TAIL_EVENTS)
        if what == "failed":
            events, head = [events[0], wire.failed_event("server_error")], 2
        for text in events[:head]:
            self.chunk(text)
        if what in ("hang-stream", "gate-stream", "gate-tail"):
            if not self.wait(call, gate=what != "hang-stream"):
                return self.drop()
        elif what in ("reset-stream", "truncate"):
            return self.drop(reset=what == "reset-stream")
        elif what == "stream-error":
            self.chunk(wire.error_event(kind))
            return self.end_chunks()
        elif what == "no-end":
            return self.end_chunks()
        for text in events[head:]:
            self.chunk(text)
        self.end_chunks()

    def refuse(self, kind, request, stream):
        document, events = fake_refusals.REFUSALS[kind](request)
        if not stream:
            return self.send_json(200, document)
        self.begin_chunks(kind, "text/event-stream")
        for text in events:
            self.chunk(text)
        self.end_chunks()

    def wait(self, call, gate):
        """Waits for the gate (or, without one, for ever); false once the caller has gone or everything was reset."""
        opened, reset = self.provider.gate(call["model"]) if gate else threading.Event(), self.provider.reset_event
        for _ in range(WAIT_MAX_SECONDS * 20):
            if opened.is_set():
                return True
            if reset.is_set():
                return False
            if select.select([self.connection], [], [], 0)[0]:
                try:
                    gone = self.connection.recv(1, socket.MSG_PEEK) == b""
                except OSError:
                    gone = True
                if gone:
                    call["caller_gone"] = True
                    return False
            opened.wait(0.05)
        return False

    def drop(self, reset=False):
        self.close_connection = True
        self.wfile.flush()
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            # Closed here, because the server would say FIN before, and the file objects hold the socket open.
            os.close(self.connection.detach())
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def begin_chunks(self, kind, content_type):
        self.send_response(200)
        self.request_id_header(kind)
        self.send_header("content-type", content_type)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()

    def chunk(self, text):
        data = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()

    def end_chunks(self):
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def request_id_header(self, kind):
        self.send_header("request-id" if kind == wire.ANTHROPIC else "x-request-id", "req_fake")

    def send_json(self, status, document, headers=None):
        self.send_body(status, "application/json", json.dumps(document).encode(), headers)

    def send_body(self, status, content_type, body, headers=None):
        self.send_response(status)
        for name, value in {"x-request-id": "req_fake", "request-id": "req_fake", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class FakeProvider:
    """The server and what it remembers. All methods may be called while it serves."""

    def __init__(self, port=0, handler=Handler):
        self.server = Server(("127.0.0.1", port), handler)
        self.server.provider = self
        self.port = self.server.server_address[1]
        self.lock = threading.Lock()
        self.reset_event = threading.Event()
        self.calls, self.faults, self.gates = [], [], {}

    def start(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        self.reset()
        self.server.shutdown()
        self.server.server_close()

    def url(self, name=""):
        """The base URL of the provider called `name`."""
        return f"http://127.0.0.1:{self.port}" + (f"/p/{name}/v1" if name else "/v1")

    def reset(self):
        """Forgets calls, faults and gates; whoever hangs is let go."""
        with self.lock:
            self.reset_event.set()
            self.reset_event = threading.Event()
            self.calls, self.faults, self.gates = [], [], {}

    def fault(self, fault, model=None, name=None, key=None, times=None, **more):
        who = {"model": model, "name": name, "key": key}
        with self.lock:
            self.faults.append({"fault": str(fault), "who": who, "times": times, **more})

    def open_gate(self, model):
        self.gate(model).set()

    def gate(self, model):
        with self.lock:
            return self.gates.setdefault(model, threading.Event())

    def note(self, kind, name, model, headers, body):
        headers = {key.lower(): value for key, value in headers.items()}
        key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        call = {"kind": kind, "name": name, "model": model, "key": key, "headers": headers, "body": body, "caller_gone": False}
        with self.lock:
            self.calls.append(call)
        return call

    def calls_of(self, name=None, model=None):
        """The calls to one provider, of one model, or both."""
        with self.lock:
            calls = list(self.calls)
        return [c for c in calls if name in (None, c["name"]) and model in (None, c["model"])]

    def take_fault(self, call):
        with self.lock:
            for fault in self.faults:
                if fault["times"] != 0 and all(wanted in (None, call[what]) for what, wanted in fault["who"].items()):
                    if fault["times"] is not None:
                        fault["times"] -= 1
                    return fault
        prefix, _, what = call["model"].partition("fault-")
        return {"fault": what} if what and not prefix else None


def main():
    parser = argparse.ArgumentParser(description="A fake provider; see the top of this file.")
    parser.add_argument("--port", type=int, default=0)
    provider = FakeProvider(parser.parse_args().port)
    print(provider.url(), flush=True)
    try:
        provider.server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
