"""What the fake provider answers: OpenAI's APIs and Anthropic's Messages, as JSON and as server-sent events.

Pure functions from a request document to an answer document or to a list of event texts; `fake_provider.py` does the I/O.
The answer to a chat or a prompt is `echo: ` and the last user text, or what follows `say:` in it; a request that offers tools is
answered by a call of the first tool; a tool's result is answered by `tool said: ` and the result. With vLLM's
`continue_final_message` the answer goes on behind what the assistant's last message has of it. The models `fake-guard` and `fake-judge`
judge: what speaks of a bomb is unsafe, in Llama Guard's words; what speaks of politics violates, in the words of the schema that they are asked by.
A picture shows what stands in its bytes.
"""

import base64
import json

import fake_responses

# Cached and reasoning tokens are part of the totals in OpenAI's convention and beside them in Anthropic's, so both stand
# for 1000 tokens in (300 read from a cache; Anthropic: 100 written to one) and 200 out.
OPENAI_USAGE = {
    "prompt_tokens": 1000,
    "completion_tokens": 200,
    "total_tokens": 1200,
    "prompt_tokens_details": {"cached_tokens": 300, "audio_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 50, "audio_tokens": 0},
}
ANTHROPIC_USAGE = {
    "input_tokens": 600,
    "cache_read_input_tokens": 300,
    "cache_creation_input_tokens": 100,
    "output_tokens": 200,
    "service_tier": "standard",
}
PIECE_CHARS = 7  # small and odd, so that words, e-mail addresses and keywords are cut between chunks
TOOL_CALL_ID = "call_1"
OPENAI, ANTHROPIC, EMBEDDINGS, RESPONSES = "openai", "anthropic", "embeddings", "responses"
COMPLETIONS, MODERATIONS = "completions", "moderations"
CATEGORIES = [
    *("harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm"),
    *("self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic"),
]
COUNT, COUNTED = "count", 4711


class Invalid(Exception):
    """The provider would refuse this request with a 400."""


def text_of(content):
    """The text of a message's content, a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [] if part.get("type") == "text")


def shown(content):
    """What the pictures of a message's content show: what stands in their bytes."""
    pictures = [part["image_url"]["url"] for part in content if part.get("type") == "image_url"] if isinstance(content, list) else []
    return "".join(base64.b64decode(url.partition(";base64,")[2]).decode("latin-1") for url in pictures)


def pieces(text):
    return [text[at : at + PIECE_CHARS] for at in range(0, len(text), PIECE_CHARS)]


def validate(kind, request):
    """Raises Invalid where the real API would answer 400."""
    if kind in (EMBEDDINGS, MODERATIONS):
        if not request.get("input"):
            raise Invalid("input: this field is required")
        return
    if kind == COMPLETIONS:
        if not request.get("prompt"):
            raise Invalid("prompt: this field is required")
        return
    if kind == RESPONSES:
        if why := fake_responses.invalid(request):
            raise Invalid(why)
        return
    if kind == COUNT:
        if unknown := set(request) - {"model", "messages", "system", "tools", "tool_choice", "thinking"}:
            raise Invalid(f"{min(unknown)}: Extra inputs are not permitted")
        return
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Invalid("messages: at least one message is required")
    if kind == OPENAI:
        if request.get("continue_final_message") and request.get("add_generation_prompt", True):
            raise Invalid("cannot set both `continue_final_message` and `add_generation_prompt`")
        return
    if not isinstance(request.get("max_tokens"), int):
        raise Invalid("max_tokens: Field required")
    if any(m.get("role") not in ("user", "assistant") for m in messages):
        raise Invalid("messages: roles are user and assistant; system is a top-level parameter")
    open_calls = set()
    for message in messages:
        parts = message["content"] if isinstance(message["content"], list) else []
        results = {part["tool_use_id"] for part in parts if part.get("type") == "tool_result"}
        if results != open_calls:
            raise Invalid("messages: each tool_use must be followed by its tool_result in the next message")
        open_calls = {part["id"] for part in parts if part.get("type") == "tool_use"}


def answer_of(kind, request):
    """The answer as ("text", text) or ("tool", name, arguments)."""
    last = request["messages"][-1]
    if last["role"] == "tool":
        return ("text", "tool said: " + text_of(last["content"]))
    if kind == ANTHROPIC and isinstance(last["content"], list):
        results = [part for part in last["content"] if part.get("type") == "tool_result"]
        if results:
            return ("text", "tool said: " + text_of(results[0].get("content", "")))
    users = [m for m in request["messages"] if m["role"] == "user"]
    said = text_of(users[-1]["content"]) if users else ""
    if request.get("tools"):
        tool = request["tools"][0]
        name = tool["function"]["name"] if kind == OPENAI else tool["name"]
        return ("tool", name, json.dumps({"said": said}))
    if request["model"] in JUDGES:
        return ("text", JUDGES[request["model"]](request))
    text = reply_to(said)
    return ("text", text.removeprefix(text_of(last["content"])) if request.get("continue_final_message") else text)


def guard(request):
    return "unsafe\nS1" if any("bomb" in text_of(message["content"]) for message in request["messages"]) else "safe"


def judge(request):
    content = request["messages"][-1]["content"]
    texts = json.loads(text_of(content))["texts"]
    known = request["response_format"]["json_schema"]["schema"]["properties"]["category"]["enum"]
    violates = any("politics" in said for said in [*(turn["text"] for turn in texts), shown(content)])
    return json.dumps({"violates": violates, "category": known[0] if violates else "none"})


JUDGES = {"fake-guard": guard, "fake-judge": judge}


def reply_to(said):
    return said[len("say:") :].strip() if said.startswith("say:") else "echo: " + said


def error(kind, status, message, code=None):
    """An error document in the provider's shape."""
    types = {400: "invalid_request_error", 401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    name = types.get(status, "api_error" if status != 529 else "overloaded_error")
    if kind in (ANTHROPIC, COUNT):
        return {"type": "error", "error": {"type": name, "message": message}, "request_id": "req_fake"}
    return {"error": {"message": message, "type": name, "param": None, "code": code}}


def error_event(kind):
    """An error inside a stream."""
    if kind == RESPONSES:
        return failed_event("server_is_overloaded")
    name = "event: error\n" if kind == ANTHROPIC else ""
    return f"{name}data: {json.dumps(error(kind, 529, 'overloaded'))}\n\n"


def failed_event(code):
    response = {"id": "resp_fake", "object": "response", "status": "failed", "error": {"code": code, "message": "a fault"}}
    document = {"type": "response.failed", "sequence_number": 9, "response": response}
    return f"event: response.failed\ndata: {json.dumps(document)}\n\n"


def whole(kind, request):
    """The answer document."""
    if kind == COUNT:
        return {"input_tokens": COUNTED}
    if kind == EMBEDDINGS:
        return embeddings(request)
    if kind == COMPLETIONS:
        return completions_whole(request)
    if kind == MODERATIONS:
        return moderations(request)
    if kind == RESPONSES:
        return fake_responses.whole(request)
    answer = answer_of(kind, request)
    return openai_whole(request, answer) if kind == OPENAI else anthropic_whole(request, answer)


def events(kind, request):
    """The answer as the texts of server-sent events, in order."""
    if kind == RESPONSES:
        return fake_responses.events(request, pieces)
    if kind == COMPLETIONS:
        return completions_events(request)
    answer = answer_of(kind, request)
    return openai_events(request, answer) if kind == OPENAI else anthropic_events(request, answer)


def vector(text):
    """Numbers that a 32-bit float holds exactly."""
    return [len(text) / 8, 0.25]


def embeddings(request):
    texts = request["input"] if isinstance(request["input"], list) else [request["input"]]
    data = [{"object": "embedding", "index": at, "embedding": vector(t)} for at, t in enumerate(texts)]
    usage = {"prompt_tokens": 8 * len(texts), "total_tokens": 8 * len(texts)}
    return {"object": "list", "data": data, "model": request["model"], "usage": usage}


def completions_texts(request):
    """The answers: as many as are wanted to each prompt."""
    prompts = request["prompt"] if isinstance(request["prompt"], list) else [request["prompt"]]
    return [reply_to(prompt) for prompt in prompts for _ in range(request.get("n") or 1)]


def completions_document(request, choices):
    return {
        "id": "cmpl-fake",
        "object": "text_completion",
        "created": 1700000000,
        "model": request["model"] + "-2026-01-01",
        "choices": choices,
    }


def completions_choice(index, text, finish):
    return {"text": text, "index": index, "logprobs": None, "finish_reason": finish}


def completions_whole(request):
    choices = [completions_choice(index, text, "stop") for index, text in enumerate(completions_texts(request))]
    return {**completions_document(request, choices), "usage": OPENAI_USAGE}


def completions_events(request):
    wants_usage = bool((request.get("stream_options") or {}).get("include_usage"))
    documents = []
    for index, text in enumerate(completions_texts(request)):
        documents += [completions_document(request, [completions_choice(index, piece, None)]) for piece in pieces(text)]
        documents.append(completions_document(request, [completions_choice(index, "", "stop")]))
    if wants_usage:
        documents = [{**document, "usage": None} for document in documents]
        documents.append({**completions_document(request, []), "usage": OPENAI_USAGE})
    return [f"data: {json.dumps(document)}\n\n" for document in documents] + ["data: [DONE]\n\n"]


def moderations(request):
    """What speaks of a bomb, or shows one, is flagged. Parts are one input together."""
    given = request["input"] if isinstance(request["input"], list) else [request["input"]]
    texts = given if all(isinstance(each, str) for each in given) else [text_of(given) + shown(given)]

    def result(text):
        found = {name: "bomb" in text and name == "violence" for name in CATEGORIES}
        return {
            "flagged": any(found.values()),
            "categories": found,
            "category_scores": {name: 0.9 if is_found else 1.5e-07 for name, is_found in found.items()},
            "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
        }

    return {"id": "modr-fake", "model": request["model"] + "-2026", "results": [result(text) for text in texts]}


def openai_whole(request, answer):
    if answer[0] == "text":
        message, finish = {"role": "assistant", "content": answer[1], "refusal": None, "annotations": []}, "stop"
    else:
        function = {"name": answer[1], "arguments": answer[2]}
        call = {"id": TOOL_CALL_ID, "type": "function", "function": function}
        message, finish = {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None}, "tool_calls"
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 1700000000,
        "model": request["model"] + "-2026-01-01",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": OPENAI_USAGE,
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }


def openai_events(request, answer):
    wants_usage = bool((request.get("stream_options") or {}).get("include_usage"))

    def chunk(choices, usage=None):
        document = {
            "id": "chatcmpl-fake",
            "object": "chat.completion.chunk",
            "created": 1700000000,
            "model": request["model"] + "-2026-01-01",
            "service_tier": "default",
            "system_fingerprint": "fp_fake",
            "choices": choices,
        }
        if wants_usage:
            document["usage"] = usage
        return "data: " + json.dumps(document) + "\n\n"

    def delta(content, finish=None):
        return chunk([{"index": 0, "delta": content, "logprobs": None, "finish_reason": finish}])

    out = [delta({"role": "assistant", "content": "", "refusal": None})]
    if answer[0] == "text":
        out += [delta({"content": piece}) for piece in pieces(answer[1])]
        out.append(delta({}, "stop"))
    else:
        function = {"name": answer[1], "arguments": ""}
        out.append(delta({"tool_calls": [{"index": 0, "id": TOOL_CALL_ID, "type": "function", "function": function}]}))
        out += [delta({"tool_calls": [{"index": 0, "function": {"arguments": p}}]}) for p in pieces(answer[2])]
        out.append(delta({}, "tool_calls"))
    if wants_usage:
        out.append(chunk([], OPENAI_USAGE))
    return out + ["data: [DONE]\n\n"]


def anthropic_block(answer):
    if answer[0] == "text":
        return {"type": "text", "text": answer[1]}, "end_turn"
    return {"type": "tool_use", "id": "toolu_1", "name": answer[1], "input": json.loads(answer[2])}, "tool_use"


def anthropic_whole(request, answer):
    block, stop = anthropic_block(answer)
    return {
        "id": "msg_fake",
        "type": "message",
        "role": "assistant",
        "model": request["model"],
        "content": [block],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": ANTHROPIC_USAGE,
    }


def anthropic_events(request, answer):
    def event(name, **fields):
        return f"event: {name}\ndata: " + json.dumps({"type": name, **fields}) + "\n\n"

    block, stop = anthropic_block(answer)
    start = {**anthropic_whole(request, answer), "content": [], "stop_reason": None}
    start["usage"] = {**ANTHROPIC_USAGE, "output_tokens": 1}
    if answer[0] == "text":
        empty = {"type": "text", "text": ""}
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(answer[1])]
    else:
        empty = {**block, "input": {}}
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(answer[2])]]
    return [
        event("message_start", message=start),
        event("content_block_start", index=0, content_block=empty),
        event("ping"),
        *[event("content_block_delta", index=0, delta=delta) for delta in deltas],
        event("content_block_stop", index=0),
        event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 200}),
        event("message_stop"),
    ]
