"""A fake Amazon Bedrock: Converse and ConverseStream in Amazon's binary framing, with every call's signature and shape checked.

InvokeModel makes embeddings, by Titan and by Cohere; ApplyGuardrail finds violence where a text says `bomb`. The server and its
memory are those of `fake_provider.py`. botocore is the referee: its `SigV4Auth` makes the signature that a call must have, and its
model of the API says which bodies are good. Base URL: `http://127.0.0.1:PORT/p/NAME`. What is answered, and the counts, are as in
`fake_wire.py`; a stream thinks first. Faults are chosen by the model's name, or the guardrail's, `fault-KIND`:

    429, 500, … any status    an error document of that status, its name in the header only
    early, late               a stream with a throttling exception before its first content, or after it and once the gate is open
    corrupt                   a stream whose second message has a wrong byte
    hang, malformed           of a guardrail: no answer at all, JSON that breaks off
"""

import json
import re
import struct
import urllib.parse
import zlib

import botocore.session
import fake_provider
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.validate import ParamValidator
from fake_wire import pieces, vector

REGION = "eu-west-1"
KEY, TEMPORARY = ("AKIDE2E", "canary/Secret+1"), ("ASIAE2E", "canary/Secret+2", "canary/Token==")
API_KEY = "ABSK-canary-bedrock"
SECRETS = [KEY[1], *TEMPORARY[1:], API_KEY]
# 1000 tokens in, of which 300 were read from a cache and 100 written to one, and 200 out.
USAGE = {
    "inputTokens": 600,
    "outputTokens": 200,
    "totalTokens": 1200,
    "cacheReadInputTokens": 300,
    "cacheWriteInputTokens": 100,
}
ERRORS = {400: "ValidationException", 403: "AccessDeniedException", 429: "ThrottlingException", 503: "ServiceUnavailableException"}
MODEL = botocore.session.get_session().get_service_model("bedrock-runtime")


def is_allowed(path, headers, body):
    """Whether a call shows the API key, or is signed with one of the key pairs as botocore would."""
    shown = headers.get("authorization", "")
    if shown == f"Bearer {API_KEY}":
        return True
    found = re.fullmatch(r"AWS4-HMAC-SHA256 Credential=(\w+)/[^,]*, SignedHeaders=([^,]*), Signature=(\w{64})", shown)
    pairs = {pair[0]: pair for pair in (KEY, TEMPORARY)}
    if not found or found[1] not in pairs or "host" not in found[2].split(";"):
        return False
    signed = {name: headers[name] for name in found[2].split(";") if name != "host"}
    request = AWSRequest("POST", f"http://{headers['host']}{path}", signed, body)
    request.context["timestamp"] = headers["x-amz-date"]
    credentials = Credentials(*pairs[found[1]])
    auth = SigV4Auth(credentials, "bedrock", REGION)
    good = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    return found[3] == good and headers.get("x-amz-security-token") == credentials.token


def answer_of(request):
    """The answer's last block and the reason for its end."""
    content = request["messages"][-1]["content"]
    results = [block["toolResult"] for block in content if "toolResult" in block]
    said = "".join(block.get("text", "") for block in content)
    if results:
        return {"text": "tool said: " + results[0]["content"][0]["text"]}, "end_turn"
    if "toolConfig" in request:
        name = request["toolConfig"]["tools"][0]["toolSpec"]["name"]
        return {"toolUse": {"toolUseId": "tooluse_1", "name": name, "input": {"said": said}}}, "tool_use"
    return {"text": "echo: " + said}, "end_turn"


def whole(request):
    block, stop = answer_of(request)
    message = {"role": "assistant", "content": [block]}
    return {"output": {"message": message}, "stopReason": stop, "usage": USAGE, "metrics": {"latencyMs": 7}}


def message(payload, **headers):
    """One message of the binary stream; underscores stand for dashes."""
    head = b""
    for name, value in headers.items():
        name = ":" + name.replace("_", "-")
        head += struct.pack(f"!B{len(name)}sBH{len(value)}s", len(name), name.encode(), 7, len(value), value.encode())
    body = json.dumps(payload).encode()
    prelude = struct.pack("!II", 16 + len(head) + len(body), len(head))
    message = prelude + struct.pack("!I", zlib.crc32(prelude)) + head + body
    return message + struct.pack("!I", zlib.crc32(message))


def event(name, **payload):
    return message(payload, event_type=name, content_type="application/json", message_type="event")


def events(request):
    block, stop = answer_of(request)

    def delta(index, **what):
        return event("contentBlockDelta", contentBlockIndex=index, delta=what)

    if "text" in block:
        deltas = [delta(1, text=piece) for piece in pieces(block["text"])]
    else:
        call = block["toolUse"]
        deltas = [event("contentBlockStart", contentBlockIndex=1, start={"toolUse": {k: call[k] for k in ("toolUseId", "name")}})]
        deltas += [delta(1, toolUse={"input": piece}) for piece in pieces(json.dumps(call["input"]))]
    return [
        event("messageStart", role="assistant"),
        delta(0, reasoningContent={"text": "Hm."}),
        delta(0, reasoningContent={"signature": "c2ln"}),
        event("contentBlockStop", contentBlockIndex=0),
        *deltas,
        event("contentBlockStop", contentBlockIndex=1),
        event("messageStop", stopReason=stop),
        event("metadata", usage=USAGE, metrics={"latencyMs": 7}),
    ]


def embed(model, request):
    """Vectors as in `fake_wire.py`; Cohere's counts are in a header of the real one only."""
    if "titan" in model:
        return {"embedding": vector(request["inputText"]), "inputTextTokenCount": 8}
    assert request["embedding_types"] == ["float"] and request["input_type"]
    return {"embeddings": {"float": [vector(text) for text in request["texts"]]}, "response_type": "embeddings_by_type"}


def judge(request):
    is_bad = any("bomb" in part["text"]["text"] for part in request["content"])
    filters = [{"type": "VIOLENCE", "confidence": "HIGH", "action": "BLOCKED"}] if is_bad else []
    policies = ("topic", "content", "word", "sensitiveInformation", "contextualGrounding")
    return {
        "usage": {f"{policy}PolicyUnits": 1 for policy in policies},
        "action": "GUARDRAIL_INTERVENED" if is_bad else "NONE",
        "outputs": [{"text": "Sorry, not that."}] if is_bad else [],
        "assessments": [{"contentPolicy": {"filters": filters}}] if is_bad else [],
    }


def wrongs(operation, request):
    """What botocore finds wrong with a call's parameters; `None`: nothing."""
    report = ParamValidator().validate(request, MODEL.operation_model(operation).input_shape)
    return report.generate_report() if report.has_errors() else None


class Handler(fake_provider.Handler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        called = r"/p/(\w+)/(?:model/([^/]+)/(converse|converse-stream|invoke)|guardrail/([^/]+/version/[^/]+)/apply)"
        name, model, operation, guardrail = re.fullmatch(called, self.path).groups()
        model = urllib.parse.unquote(model or guardrail)
        call = self.provider.note("bedrock", name, model, headers, body.decode())
        fault = model.partition("fault-")[2].partition("/")[0]
        if not is_allowed(self.path, headers, body):
            return self.fail(403, "The request signature we calculated does not match the signature you provided.")
        if fault.isdigit():
            return self.fail(int(fault), f"this is a fault: {fault}")
        if fault == "hang":
            self.wait(call, gate=False)
            return self.drop()
        request = json.loads(body)
        if operation == "invoke":
            return self.answer(200, "application/json", json.dumps(embed(model, request)).encode())
        if guardrail:
            id, _, version = model.split("/")
            wrong = wrongs("ApplyGuardrail", {"guardrailIdentifier": id, "guardrailVersion": version, **request})
        else:
            wrong = wrongs("Converse", {"modelId": model, **request})
        if wrong:
            return self.fail(400, wrong)
        if guardrail:
            answer = json.dumps(judge(request)).encode()
            return self.answer(200, "application/json", answer[:-9] if fault == "malformed" else answer)
        if operation == "converse":
            return self.answer(200, "application/json", json.dumps(whole(request)).encode())
        stream = events(request)
        if fault in ("early", "late"):
            exception = message({"message": "slow"}, exception_type="throttlingException", message_type="exception")
            stream[1 if fault == "early" else 5 :] = [exception]
        elif fault == "corrupt":
            stream[1] = stream[1][:-5] + b"?" + stream[1][-4:]
        body = b"".join(stream)
        begun = len(body) - len(stream[-1])
        gate = self.provider.gate(model) if fault == "late" else None
        self.answer(200, "application/vnd.amazon.eventstream", body, begun=begun, gate=gate)

    def fail(self, status, text):
        name = ERRORS.get(status, "InternalServerException")
        self.answer(status, "application/json", json.dumps({"message": text}).encode(), {"x-amzn-errortype": name})

    def answer(self, status, content_type, body, headers=None, begun=0, gate=None):
        """Sends an answer; with a gate, what comes behind its first `begun` bytes waits for it."""
        self.send_response(status)
        for name, value in {"x-amzn-requestid": "req_bedrock", "content-type": content_type, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:begun])
        if gate:
            gate.wait(fake_provider.WAIT_MAX_SECONDS)
        self.wfile.write(body[begun:])
