"""Judges of an operator's own: a webhook that checks its signature, and a server that answers as Presidio's analyzer does.

The webhook blocks what says `shout`, flags what says `mutter`, and answers nonsense to what says `nonsense`. The analyzer knows
one person, and takes the words of a placeholder of mail addresses for another, as models of language do. Both note what they are
asked. Below `/fault/KIND` there are faults for either: a status, `malformed` (JSON that breaks off), `hang` (no answer, until the
caller hangs up).
"""

import base64
import contextlib
import hashlib
import hmac
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support import answer_json

SECRET = "whsec_" + base64.b64encode(b"e2e-judges-secret").decode()
PERSON = "Jörg Müller"
PERSONS = re.compile(rf"{PERSON}|EMAIL_ADDRESS_[0-9a-f]+")


def is_signed(headers, body):
    """As Standard Webhooks says."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return hmac.compare_digest(expected, headers["webhook-signature"])


def verdict(asked):
    said = " ".join(asked["texts"])
    if "nonsense" in said:
        return {"verdict": "perhaps"}
    if "shout" in said:
        return {"verdict": "block", "category": "tone"}
    return {"verdict": "flag" if "mutter" in said else "pass"}


def analyzed(asked):
    def found(text):
        places = (match.span() for match in PERSONS.finditer(text))
        return [{"entity_type": "PERSON", "start": start, "end": end, "score": 0.85} for start, end in places]

    return [found(text) for text in asked["text"]]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        asked = json.loads(body)
        if self.path.startswith("/fault/"):
            return self.fail(self.path.split("/")[2])
        if self.path == "/analyze":
            status, answer = 200, analyzed(asked)
        elif not is_signed(self.headers, body):
            status, answer = 401, {}
        else:
            status, answer = 200, verdict(asked)
        self.server.asked.append((self.path, dict(self.headers.items()), asked))
        answer_json(self, status, answer)

    def fail(self, fault):
        if fault == "hang":
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.recv(1)
        elif fault == "malformed":
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", "12")
            self.end_headers()
            self.wfile.write(b'{"verdict":"')
        else:
            answer_json(self, int(fault), {"error": f"this is a fault: {fault}"})


class Judges(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def start(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self
