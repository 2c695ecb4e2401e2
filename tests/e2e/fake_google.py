"""A provider in Google's wire format to test against: the Gemini API, and Vertex AI with the token server before it.

In a test: `FakeGoogle().start()`. Paths are Google's own, `/v1beta/models/MODEL:METHOD` with an API key and
`/v1/projects/P/locations/L/publishers/google/models/MODEL:METHOD` with a token that `/token` gave for a signed assertion
(RFC 7523), which it verifies as Google does. The answer to a chat is `echo: ` and the last user text; a request that declares
functions is answered by two calls at once, whose signature must come back with them; their responses by `tools said: ` and the
outputs. Vectors are as in `fake_wire.py`, of 8 tokens each. A model's name may be a fault:

    fault-429   429, with the time to wait in the document's details
    fault-503   503
    blocked     a prompt that is blocked
"""

import base64
import http.server
import json
import threading
import time
import urllib.parse

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from fake_wire import vector
from support import free_port

API_KEY = "AIza-canary-gemini-20c4"
TOKEN = "ya29.canary-vertex-"
SIGNATURE = "c2lnbmVkLXRob3VnaHQ="
RETRY_SECONDS = 7
# Google counts thoughts and what tools brought beside the rest: 1000 tokens in, 300 of them cached, and 200 out.
USAGE = {
    "promptTokenCount": 950,
    "toolUsePromptTokenCount": 50,
    "cachedContentTokenCount": 300,
    "candidatesTokenCount": 150,
    "thoughtsTokenCount": 50,
    "totalTokenCount": 1200,
}
PIECE_CHARS = 7  # small and odd, so that words are cut between events


def error(code, status, message, details=()):
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def unpadded(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class FakeGoogle:
    """The server, the service account it knows, and what it remembers."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.calls, self.assertions, self.tokens, self.server = [], [], [], None

    def key_file(self):
        """What an administrator downloads for a service account."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "a-project",
            "private_key_id": "key-1",
            "private_key": pem.decode(),
            "client_email": "gate@a-project.iam.gserviceaccount.com",
            "token_uri": self.url + "/token",
        }

    def start(self):
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_):
                pass

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
                status, kind, text = fake.answer(self.path, self.headers, body)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            allow_reuse_address = True

        self.server = Server(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def forget(self):
        """Forgets calls; tokens stay good."""
        self.calls, self.assertions = [], []

    def revoke(self):
        """No token is good any longer."""
        self.tokens = []

    def answer(self, path, headers, body):
        """Status, content type and text."""
        if path == "/token":
            status, document = self.token(body)
            return status, "application/json", json.dumps(document)
        resource, _, method = path.rpartition(":")
        place, _, model = resource.rpartition("/models/")
        places = {"/v1beta": self.is_key, "/v1/projects/a-project/locations/europe-west4/publishers/google": self.is_token}
        chats = ("generateContent", "streamGenerateContent?alt=sse")
        embeds = ("batchEmbedContents",) if place == "/v1beta" else ("predict", "embedContent")
        if place not in places or method not in chats + embeds:
            return 404, "application/json", json.dumps(error(404, "NOT_FOUND", f"no such path: {path}"))
        request = json.loads(body)
        self.calls.append({"model": model, "method": method, "headers": dict(headers.items()), "body": request})
        if not places[place](headers):
            return 401, "application/json", json.dumps(error(401, "UNAUTHENTICATED", "who are you?"))
        if method in embeds:
            return 200, "application/json", json.dumps(embed(model, method, request))
        status, responses = respond(model, request)
        if status != 200 or method == "generateContent":
            return status, "application/json", json.dumps(responses if status != 200 else joined(responses))
        events = "".join(f"data: {json.dumps(response)}\r\n\r\n" for response in responses)
        return 200, "text/event-stream", events

    @staticmethod
    def is_key(headers):
        return headers.get("x-goog-api-key") == API_KEY and "authorization" not in headers

    def is_token(self, headers):
        return headers.get("authorization", "").removeprefix("Bearer ") in self.tokens

    def token(self, body):
        form = dict(urllib.parse.parse_qsl(body))
        try:
            claims = self.verified(form["assertion"])
            now = time.time()
            assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
            assert claims["iss"] == "gate@a-project.iam.gserviceaccount.com" and claims["aud"] == self.url + "/token"
            assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
            assert now - 60 < claims["iat"] <= now + 60 and claims["exp"] - claims["iat"] <= 3600
        except (AssertionError, InvalidSignature, KeyError, ValueError):
            return 400, {"error": "invalid_grant", "error_description": "Invalid JWT"}
        self.assertions.append(claims)
        self.tokens.append(f"{TOKEN}{len(self.assertions)}-{time.monotonic_ns()}")
        return 200, {"access_token": self.tokens[-1], "expires_in": 3599, "token_type": "Bearer"}

    def verified(self, assertion):
        message, _, signature = assertion.rpartition(".")
        header, claims = (json.loads(unpadded(part)) for part in message.split("."))
        assert header == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
        self.key.public_key().verify(unpadded(signature), message.encode(), padding.PKCS1v15(), hashes.SHA256())
        return claims


def embed(model, method, request):
    """Vectors, in the shape of each method; a request in the shape of another fails here."""

    def text(content):
        return content["content"]["parts"][0]["text"]

    if method == "batchEmbedContents":
        assert {one["model"] for one in request["requests"]} == {f"models/{model}"}
        values = [{"values": vector(text(one))} for one in request["requests"]]
        return {"embeddings": values, "usageMetadata": {"promptTokenCount": 8 * len(values)}}
    if method == "embedContent":
        return {"embedding": {"values": vector(text(request))}, "usageMetadata": {"promptTokenCount": 8}}
    counts = {"truncated": False, "token_count": 8}
    of = [{"values": vector(one["content"]), "statistics": counts} for one in request["instances"]]
    return {"predictions": [{"embeddings": one} for one in of]}


def respond(model, request):
    """A status, and an error document or the responses of a stream."""
    head = {"modelVersion": model, "responseId": "resp-fake"}
    if model == "fault-429":
        wait = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{RETRY_SECONDS}s"}
        return 429, error(429, "RESOURCE_EXHAUSTED", "this is a fault: 429", [wait])
    if model == "fault-503":
        return 503, error(503, "UNAVAILABLE", "this is a fault: 503")
    if model == "blocked":
        usage = {"promptTokenCount": 10, "totalTokenCount": 10}
        return 200, [{"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": usage, **head}]
    contents = request["contents"]
    if any(content["role"] not in ("user", "model") for content in contents):
        return 400, error(400, "INVALID_ARGUMENT", "Please use a valid role: user, model.")
    calls = [part for content in contents for part in content["parts"] if "functionCall" in part]
    if calls and calls[0].get("thoughtSignature") != SIGNATURE:
        return 400, error(400, "INVALID_ARGUMENT", "Function call is missing a thought_signature")
    last = contents[-1]["parts"]
    outputs = [part["functionResponse"] for part in last if "functionResponse" in part]
    said = "".join(part.get("text", "") for part in last)
    if outputs:
        # Each answers the call at its place, by the id that the call was given, if any.
        if [(o["name"], o.get("id")) for o in outputs] != [(c["functionCall"]["name"], c["functionCall"].get("id")) for c in calls]:
            return 400, error(400, "INVALID_ARGUMENT", "function responses and function calls differ")
        text = "tools said: " + ", ".join(output["response"]["output"] for output in outputs)
    elif request.get("tools"):
        function = request["tools"][0]["functionDeclarations"][0]["name"]
        first = {"functionCall": {"name": function, "args": {"said": said}}, "thoughtSignature": SIGNATURE}
        second = {"functionCall": {"name": function, "args": {"said": "more"}, "id": "google-2"}}
        return 200, [of(head, [first]), of(head, [second], "STOP")]
    else:
        text = "echo: " + said
    thinks = request.get("generationConfig", {}).get("thinkingConfig", {}).get("includeThoughts")
    thoughts = [of(head, [{"text": "Let me think.", "thought": True}])] if thinks else []
    pieces = [text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS)]
    return 200, [*thoughts, *[of(head, [{"text": piece}]) for piece in pieces], of(head, [{"text": ""}], "STOP")]


def of(head, parts, finish=None):
    candidate = {"content": {"role": "model", "parts": parts}, "index": 0}
    if finish:
        return {"candidates": [{**candidate, "finishReason": finish}], "usageMetadata": USAGE, **head}
    early = {"promptTokenCount": 950, "totalTokenCount": 950}
    return {"candidates": [candidate], "usageMetadata": early, **head}


def joined(responses):
    """The one response that the responses of a stream amount to."""
    if "candidates" not in responses[0]:
        return responses[0]
    parts = [part for response in responses for part in response["candidates"][0]["content"]["parts"]]
    whole = json.loads(json.dumps(responses[-1]))
    whole["candidates"][0]["content"]["parts"] = parts
    return whole
