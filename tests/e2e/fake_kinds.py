"""A provider of every kind behind one server, each at its own paths and in its own wire format.

In a test: `FakeKinds().start()`, then `url(KIND)` as a provider's base URL, or `url(KIND, NAME)` where several are of one kind.
`fake_model.py` says what is answered to a chat, `fake_kinds_beside.py` what to anything else; a request with fields that the real API would refuse gets 422. `calls` holds each call: kind,
name, path with its query, headers, the body as a document, and as `answer` the document that was answered or those of the stream.
Databricks' token endpoint and Google's give a new token each time; who is allowed what is checked in `fake_google.py` and, by the
signature, here for Bedrock.
"""

import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler

import fake_bedrock
import fake_kinds_beside
import fake_kinds_openai as openai_chat
from fake_kinds_own import Anthropic, Bedrock, Cohere, Google
from fake_model import answers
from fake_provider import Server

GOOGLE_METHOD = r"/models/[^/]+:(generateContent|streamGenerateContent\?alt=sse)"
# Kind: its wire, and the paths of its chats below the base URL.
KINDS = {
    "openai": (openai_chat, r"/v1/chat/completions"),
    "azure": (openai_chat, r"/openai/(v1|deployments/[^/]+)/chat/completions(\?api-version=[\d-]+)?"),
    "databricks": (openai_chat, r"/serving-endpoints/[^/]+/invocations"),
    "mistral": (openai_chat, r"/v1/chat/completions"),
    "anthropic": (Anthropic, r"/v1/messages"),
    "cohere": (Cohere, r"/v2/chat"),
    "gemini": (Google, r"/v1beta" + GOOGLE_METHOD),
    "vertex": (Google, r"/v1/projects/[^/]+/locations/[^/]+/publishers/google" + GOOGLE_METHOD),
    "bedrock": (Bedrock, r"/model/[^/]+/converse(-stream)?"),
}
TOKENS = ("/oidc/v1/token", "/token")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_POST(self):
        provider = self.server.provider
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        _, _, kind, name, path = self.path.split("/", 4)
        path = "/" + path
        headers = {key.lower(): value for key, value in self.headers.items()}
        if path in TOKENS:
            return self.send_json(200, provider.token(name, headers, dict(urllib.parse.parse_qsl(body.decode()))))
        request = json.loads(body)
        call = {"kind": kind, "name": name, "path": path, "headers": headers, "body": request, "answer": None}
        provider.calls.append(call)
        if kind == "bedrock" and not fake_bedrock.is_allowed(self.path, headers, body):
            return self.send_json(403, {"message": "The request signature we calculated does not match"})
        beside = fake_kinds_beside.answer(kind, path, request)
        if beside:
            status, call["answer"] = beside
            return self.send_json(status, call["answer"])
        wire, pattern = KINDS[kind]
        if not re.fullmatch(pattern, path):
            return self.send_json(404, {"message": f"no such path: {path}"})
        unknown = wire.unknown(kind, request)
        if unknown:
            return self.send_json(422, {"message": f"{path}: {unknown}"})
        is_stream = request.get("stream") or "stream" in path.lower()
        write = wire.events if is_stream else wire.whole
        call["answer"] = write(kind, request, answers(wire.read(kind, request)))
        if is_stream:
            return self.send_stream(kind, call["answer"])
        self.send_json(200, call["answer"])

    def send_stream(self, kind, events):
        if kind == "bedrock":
            return self.send(200, "application/vnd.amazon.eventstream", b"".join(events))
        named = "event: {type}\n" if kind in ("anthropic", "cohere") else ""
        text = "".join(named.format(**event) + f"data: {json.dumps(event)}\n\n" for event in events)
        if kind in ("openai", "azure", "databricks", "mistral", "cohere"):
            text += "data: [DONE]\n\n"
        self.send(200, "text/event-stream", text.encode())

    def send_json(self, status, document):
        self.send(status, "application/json", json.dumps(document).encode())

    def send(self, status, content_type, body):
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class FakeKinds:
    """The server and what it remembers."""

    def __init__(self):
        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.provider = self
        self.calls, self.tokens = [], []

    def start(self):
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def url(self, kind, name=None, below=""):
        return f"http://127.0.0.1:{self.server.server_address[1]}/p/{kind}/{name or kind}{below}"

    def token(self, name, headers, form):
        value = f"token-canary-{len(self.tokens)}"
        self.tokens.append({"name": name, "headers": headers, "form": form, "token": value})
        return {"access_token": value, "token_type": "Bearer", "expires_in": 3600}
