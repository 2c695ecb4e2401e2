"""The listener's bounds, its TLS, and requests that two readers would read in two ways, over raw sockets."""

import json
import re
import socket
import ssl
import subprocess
import time

import httpx
import pytest
from gateway import Gateway
from support import OTHER_KEY, SEARCH_KEY, config, endpoint, eventually, user

pytestmark = pytest.mark.only_embedded(reason="the listener knows nothing of Kafka")

ANSWER_SECONDS = 30


class Raw:
    """A connection that sends exactly the bytes it is given."""

    def __init__(self, running):
        self.socket = socket.create_connection(("127.0.0.1", running.doors[0].port), timeout=ANSWER_SECONDS)

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def rest(self):
        """Everything until the other side closes."""
        received = b""
        while True:
            try:
                part = self.socket.recv(65536)
            except ConnectionResetError:
                return received.decode("latin-1")
            if not part:
                return received.decode("latin-1")
            received += part


def statuses(received):
    return [int(code) for code in re.findall(r"HTTP/1\.1 (\d{3})", received)]


def request(path="/v1/models", *headers, method="GET", body=""):
    lines = [f"{method} {path} HTTP/1.1", "host: gateway", f"authorization: Bearer {SEARCH_KEY}", *headers]
    return "\r\n".join(lines) + "\r\n\r\n" + body


BOUNDS = {"connections_max": 12, "header_timeout": "1s", "body_timeout": "1s", "header_max_bytes": 8192}


@pytest.fixture(scope="module")
def bounded(gateway):
    return gateway([endpoint("chat", ["main alpha fake-large"])], http=BOUNDS)


SMUGGLED = request("/v1/models/smuggled")
POST = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n"
AMBIGUOUS = {
    "both-lengths": POST + "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "both-lengths-turned": POST + "transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two-lengths": POST + "content-length: 0\r\ncontent-length: 50\r\n\r\n",
    "same-length-twice": POST + "content-length: 0\r\ncontent-length: 0\r\n\r\n",
    "list-of-lengths": POST + "content-length: 0, 0\r\n\r\n",
    "signed-length": POST + "content-length: +0\r\n\r\n",
    "obs-fold": POST + "x-a: b\r\n content-length: 50\r\n\r\n",
    "bare-lf": POST.replace("\r\n", "\n") + "content-length: 0\n\n",
    "bare-lf-at-the-end": POST + "content-length: 0\r\n\n",
    "bare-cr": POST + "x-a: b\rcontent-length: 50\r\n\r\n",
    "space-before-colon": POST + "content-length : 0\r\n\r\n",
    "gzip-chunked": POST + "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "xchunked": POST + "transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te-twice": POST + "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    "te-http10": POST.replace("HTTP/1.1", "HTTP/1.0") + "transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "two-hosts": POST + "host: other\r\ncontent-length: 0\r\n\r\n",
    "bad-chunk-size": POST + "transfer-encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
    "bare-lf-chunk": POST + "transfer-encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n",
    "long-chunk": POST + "transfer-encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    "lf-in-extension": POST + "transfer-encoding: chunked\r\n\r\n1;a\nb\r\nx\r\n0\r\n\r\n",
    "connect": "CONNECT gateway:1 HTTP/1.1\r\nhost: gateway\r\n\r\n",
    "absolute-form": request("http://gateway/v1/models/first"),
}


@pytest.mark.parametrize("how", AMBIGUOUS)
def test_one_request_gets_at_most_one_answer_and_the_connection_ends(bounded, how):
    received = Raw(bounded).send(AMBIGUOUS[how] + SMUGGLED).rest()
    assert len(statuses(received)) <= 1, received
    assert statuses(received) in ([], [400], [401], [404], [405]), received
    assert "smuggled" not in received
    # Also after an answer to a request that is beyond doubt.
    received = Raw(bounded).send(request() + AMBIGUOUS[how] + SMUGGLED).rest()
    assert len(statuses(received)) <= 2 and "smuggled" not in received, received


def test_what_is_refused_is_refused_in_the_apis_shape(bounded):
    received = Raw(bounded).send(AMBIGUOUS["both-lengths"] + SMUGGLED).rest()
    head, body = received.split("\r\n\r\n", 1)
    assert "connection: close" in head.lower()
    assert json.loads(body)["error"]["code"] == "invalid_request_error"


def test_requests_beyond_doubt_go_one_after_the_other(bounded):
    chunked = request("/v1/models", "transfer-encoding: chunked", method="POST", body="1;x=y\r\na\r\n0\r\n\r\n")
    last = request("/v1/models", "connection: close")
    received = Raw(bounded).send(request() + "\r\n" + chunked + request("/v1/models/absent") + last).rest()
    assert statuses(received) == [200, 405, 404, 200]


def test_a_slow_head_ends_the_connection(bounded):
    silent, slow = Raw(bounded), Raw(bounded).send("GET /v1/models HTTP/1.1\r\nhost: ")
    assert silent.rest() == ""
    received = slow.rest()
    assert statuses(received) == [408] and "request_timeout" in received
    # Also on a connection that was used before.
    again = Raw(bounded).send(request() + "GET /v1/mod")
    assert statuses(again.rest()) == [200, 408]


def test_a_slow_body_ends_the_request(bounded):
    head = request("/v1/chat/completions", "content-length: 100", method="POST")
    received = Raw(bounded).send(head + '{"model"').rest()
    assert statuses(received) == [408] and "request_timeout" in received


def test_a_body_that_nobody_wanted_does_not_break_off_the_next_request(bounded):
    """An answer made before the body came carries the next request, or says that the connection is over."""
    refused = "POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n"
    last = request("/v1/models", "connection: close")
    raw = Raw(bounded).send(refused + "content-length: 20000\r\n\r\n")
    for _ in range(20):
        time.sleep(0.01)
        raw.send("x" * 1000)
    received = raw.send(last).rest()
    closed = "connection: close" in received.split("\r\n\r\n")[0].lower()
    assert statuses(received) == ([401] if closed else [401, 200])
    for head in ("content-length: 1000000\r\n\r\n", "content-length: 2\r\nexpect: 100-continue\r\n\r\n"):
        received = Raw(bounded).send(refused + head).rest()
        assert statuses(received) == [401] and "connection: close" in received.lower(), head


def test_large_headers_are_refused(bounded):
    for size in (9_000, 100_000):
        received = Raw(bounded).send(request("/v1/models", "x-large: " + "a" * size)).rest()
        assert statuses(received) == [431] and "headers_too_large" in received, size
    large = request("/v1/models", "x-large: " + "a" * 7000, "connection: close")
    assert statuses(Raw(bounded).send(large).rest()) == [200]


def test_connections_are_bounded_and_room_is_given_back(bounded):
    def used(raw):
        raw.send(request())
        assert b" 200 " in raw.socket.recv(65536)
        return raw

    def room():
        with bounded.http() as http:
            return http.get("/v1/models").status_code == 200

    eventually(room, "earlier connections are over")
    held = []
    refused = None
    for _ in range(BOUNDS["connections_max"] + 5):
        raw = Raw(bounded).send(request())
        begin = raw.socket.recv(65536).decode()
        if statuses(begin) == [503]:
            refused = begin + raw.rest()
            break
        held.append(raw)
    assert refused and "overloaded" in refused and len(held) <= BOUNDS["connections_max"]
    for raw in held:
        raw.socket.close()
    eventually(room, "places are given back")


def test_http2_by_prior_knowledge(bounded):
    shown = ["-w", "\n%{http_version} %{http_code}", "-H", f"x-api-key: {SEARCH_KEY}"]
    command = ["curl", "-sS", "--http2-prior-knowledge", *shown, bounded.url + "/v1/models"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True)
    assert answer.stdout.splitlines()[-1] == "2 200", answer
    body = json.dumps({"model": "chat", "messages": user("hello"), "stream": True})
    command = [*command[:-1], "-N", "-H", "content-type: application/json", "-d", body, bounded.url + "/v1/chat/completions"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_SECONDS, check=True)
    lines = [line for line in answer.stdout.splitlines() if line]
    assert lines[-2:] == ["data: [DONE]", "2 200"], answer


def certificate(folder, name):
    """A self-signed certificate made by OpenSSL, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}-key.pem"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*new, "-out", cert, "-keyout", key], check=True, capture_output=True)
    return cert.read_bytes(), key.read_bytes()


class Encrypted(Gateway):
    """A gateway whose doors speak TLS."""

    def __init__(self, *given, tls, **more):
        self.tls = tls
        super().__init__(*given, **more)

    def wait_until_ready(self):
        for process in self.processes:
            eventually(lambda process=process: self.is_ready(process), f"{process.name} is ready", 60)

    def is_ready(self, process):
        assert process.child.poll() is None, process.tail()
        try:
            return self.get(process, "/health/ready").status_code == 200
        except httpx.TransportError:
            return False

    def get(self, process, path):
        trust = ssl.create_default_context(cafile=str(self.tls))
        return httpx.get(f"https://127.0.0.1:{process.port}{path}", verify=trust, headers={"x-api-key": SEARCH_KEY})


def test_tls_and_a_certificate_that_changes(binary, fake_provider, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def write(pair):
        cert.write_bytes(pair[0])
        key.write_bytes(pair[1])

    first, second = certificate(tmp_path, "first"), certificate(tmp_path, "second")
    write(first)
    http = {"tls": {"cert": str(cert), "key": str(key)}}
    running = Encrypted(binary, None, tmp_path, config(fake_provider, http=http), tls=cert)
    (process,) = running.processes
    try:
        assert running.get(process, "/v1/models").status_code == 200
        context = ssl.create_default_context(cafile=str(cert))
        context.set_alpn_protocols(["h2", "http/1.1"])
        with socket.create_connection(("127.0.0.1", process.port)) as plain:
            # Closed here: at the end it would be waited for, until those that do not answer are given up.
            with context.wrap_socket(plain, server_hostname="127.0.0.1") as encrypted:
                assert encrypted.selected_alpn_protocol() == "h2"
        with pytest.raises(httpx.TransportError):
            httpx.get(process.url + "/v1/models")

        def served():
            return ssl.get_server_certificate(("127.0.0.1", process.port)).encode().strip()

        # One file before the other: what does not go together is not used.
        cert.write_bytes(second[0])
        eventually(lambda: "do not go together" in process.log(), "the halfway pair is seen")
        assert served() == first[0].strip()
        key.write_bytes(second[1])
        eventually(lambda: served() == second[0].strip(), "the new certificate is served")
        assert running.get(process, "/v1/models").status_code == 200
    finally:
        running.end()


def test_stop_closes_what_is_idle_and_finishes_what_has_begun(gateway, fake_provider):
    running = gateway([endpoint("chat", ["main alpha fake-large"])])
    fresh, idle = Raw(running), Raw(running).send(request())
    assert statuses(idle.socket.recv(65536).decode()) == [200]
    running.restart()
    assert fresh.rest() == ""
    idle.rest()
    with running.http(OTHER_KEY) as http:
        body = {"model": "chat", "messages": user("after the stop")}
        assert http.post("/v1/chat/completions", json=body).status_code == 200
