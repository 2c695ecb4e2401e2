"""Providers that are told apart by their paths: Azure OpenAI, Databricks, Mistral and Cohere, each in its own wire format: chat and
embeddings.

In a test: `FakeKinds().start()`, then `url(NAME)` as a provider's base URL: the path below it says which kind is meant. Every
answer is `echo: ` and the last user text; vectors are as in `fake_wire.py`, always as numbers. `calls` holds each call: name, path
with its query, headers, body as a document. Databricks' token endpoint gives a new token each time.
"""

import json
import re
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler

from fake_provider import Server
from fake_wire import OPENAI_USAGE, embeddings, pieces, text_of, vector

KINDS = {
    "azure": r"/openai/(v1|deployments/[^/]+)/chat/completions(\?api-version=[\d-]+)?",
    "databricks": r"/serving-endpoints/[^/]+/invocations",
    "mistral": r"/v1/chat/completions",
    "cohere": r"/v2/chat",
}
# Databricks asks for embeddings at the path of chats.
EMBEDDINGS = {
    "azure": r"/openai/(v1|deployments/[^/]+)/embeddings(\?api-version=[\d-]+)?",
    "mistral": r"/v1/embeddings",
    "cohere": r"/v2/embed",
}
# The fields that a kind knows; those of Azure are OpenAI's.
KNOWN = {
    "databricks": {"input", "instruction"},
    "mistral": {"model", "input", "output_dimension", "output_dtype", "encoding_format"},
    "cohere": {"model", "texts", "input_type", "embedding_types", "output_dimension", "truncate", "max_tokens"},
}
FILTER = {"hate": {"filtered": False, "severity": "safe"}}
COHERE_USAGE = {
    "billed_units": {"input_tokens": 1000, "output_tokens": 200},
    "tokens": {"input_tokens": 1400, "output_tokens": 230},
}
MISTRAL_USAGE = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200, "num_cached_tokens": 300}


def unknown_fields(kind, request):
    """What the real API would refuse."""
    if kind == "mistral":
        return sorted(request.keys() & {"stream_options", "max_completion_tokens", "seed", "user"})
    return sorted(request.keys() & {"model"}) if kind == "databricks" else []


def vectors(kind, request):
    """The answer to a request for embeddings; `None` if the real API would refuse it."""
    if request.keys() - KNOWN.get(kind, request.keys()):
        return None
    if kind != "cohere":
        return embeddings({"model": "fake", **request})
    if request["embedding_types"] != ["float"] or request["input_type"] not in ("search_document", "search_query"):
        return None
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 8 * len(request["texts"])}}
    return {"id": "e-1", "embeddings": {"float": [vector(t) for t in request["texts"]]}, "texts": request["texts"], "meta": meta}


def whole(kind, text):
    if kind == "cohere":
        content = [{"type": "text", "text": text}]
        message = {"role": "assistant", "content": content}
        return {"id": "c-1", "finish_reason": "COMPLETE", "message": message, "usage": COHERE_USAGE}
    message = {"role": "assistant", "content": text}
    if kind in ("databricks", "mistral"):
        said = [{"type": "text", "text": "hm"}]
        thought = {"type": "thinking", "thinking": said}
        if kind == "databricks":
            thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
        message["content"] = [thought, {"type": "text", "text": text}]
    return {
        "id": "c-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "fake",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": MISTRAL_USAGE if kind == "mistral" else OPENAI_USAGE,
    }


def events(kind, text):
    """The documents of a stream, in order."""
    if kind == "cohere":
        delta = [{"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": p}}}} for p in pieces(text)]
        end = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": COHERE_USAGE}}
        return [{"type": "message-start", "id": "c-1"}, *delta, end]

    def chunk(choices, **more):
        head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "fake"}
        return {**head, "choices": choices, **more}

    def delta(content, finish=None):
        return [{"index": 0, "delta": content, "finish_reason": finish}]

    out = [chunk(delta({"role": "assistant", "content": ""}))]
    out += [chunk(delta({"content": piece})) for piece in pieces(text)]
    if kind == "mistral":
        return [*out, chunk(delta({}, "stop"), usage=MISTRAL_USAGE)]
    if kind == "azure":
        about = [{"prompt_index": 0, "content_filter_results": FILTER}]
        first = {"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": about}
        out.insert(0, first)
    return [*out, chunk(delta({}, "stop")), chunk([], usage=OPENAI_USAGE)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        provider = self.server.provider
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name, path = self.path.removeprefix("/p/").split("/", 1)
        path = "/" + path
        headers = {key.lower(): value for key, value in self.headers.items()}
        if path == "/oidc/v1/token":
            document = provider.token(name, headers, dict(urllib.parse.parse_qsl(body.decode())))
            return self.send(200, "application/json", json.dumps(document))
        kind = next((kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, path)), None)
        request = json.loads(body)
        provider.calls.append({"name": name, "path": path, "headers": headers, "body": request})
        embeds = next((kind for kind, pattern in EMBEDDINGS.items() if re.fullmatch(pattern, path)), None)
        if embeds or (kind == "databricks" and "input" in request):
            document = vectors(embeds or kind, request)
            return self.send(200 if document else 422, "application/json", json.dumps(document or {"message": "unknown fields"}))
        if kind is None or unknown_fields(kind, request):
            return self.send(422, "application/json", json.dumps({"message": f"{path}: {unknown_fields(kind, request)}"}))
        text = "echo: " + text_of([m for m in request["messages"] if m["role"] == "user"][-1]["content"])
        if not request.get("stream"):
            return self.send(200, "application/json", json.dumps(whole(kind, text)))
        named = "event: {type}\n" if kind == "cohere" else ""
        stream = "".join(named.format(**e) + f"data: {json.dumps(e)}\n\n" for e in events(kind, text))
        self.send(200, "text/event-stream", stream + "data: [DONE]\n\n")

    def send(self, status, content_type, text):
        body = text.encode()
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

    def url(self, name, below=""):
        return f"http://127.0.0.1:{self.server.server_address[1]}/p/{name}{below}"

    def token(self, name, headers, form):
        value = f"token-canary-{len(self.tokens)}"
        self.tokens.append({"name": name, "headers": headers, "form": form, "token": value})
        return {"access_token": value, "token_type": "Bearer", "expires_in": 3600}
