"""What the fake provider answers under OpenAI's `/v1/responses`, as JSON and as server-sent events.

Pure functions; `fake_wire.py` says what is answered. Answers and streams have fields and events that no gateway can know.
"""

import json

USAGE = {
    "input_tokens": 1000,
    "input_tokens_details": {"cached_tokens": 300, "cache_write_tokens": 0},
    "output_tokens": 200,
    "output_tokens_details": {"reasoning_tokens": 50},
    "total_tokens": 1200,
}
CALL_ID = "call_1"


def text_of(content):
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content or [])


def invalid(request):
    """Why the real API would answer 400, or None."""
    items = request.get("input")
    if not items and not any(request.get(name) for name in ("prompt", "previous_response_id", "conversation")):
        return "input: this field is required"
    for item in items if isinstance(items, list) else []:
        if request.get("store") is False and item.get("type") == "reasoning" and not item.get("encrypted_content"):
            return "input: reasoning is not persisted when `store` is set to false"
    return None


def answer_of(request):
    """The answer as ("text", text) or ("tool", tool, arguments)."""
    items = request.get("input", "")
    if isinstance(items, str):
        items = [{"role": "user", "content": items}]
    if items[-1].get("type", "").endswith("_output"):
        return ("text", "tool said: " + text_of(items[-1]["output"]))
    users = [item for item in items if item.get("role") == "user"]
    said = text_of(users[-1]["content"]) if users else ""
    if request.get("tools"):
        return ("tool", request["tools"][0], json.dumps({"said": said}))
    return ("text", said[len("say:") :].strip() if said.startswith("say:") else "echo: " + said)


def item_of(answer):
    if answer[0] == "text":
        content = [{"type": "output_text", "text": answer[1], "annotations": [], "logprobs": []}]
        return {"id": "msg_fake", "type": "message", "status": "completed", "role": "assistant", "content": content}
    tool = answer[1]
    if tool["type"] == "local_shell":
        action = {"type": "exec", "command": ["ls"], "env": {}}
        return {"id": "ls_fake", "type": "local_shell_call", "call_id": CALL_ID, "action": action, "status": "completed"}
    if tool["type"] == "custom":
        call = {"id": "ctc_fake", "type": "custom_tool_call", "call_id": CALL_ID, "name": tool["name"]}
        return {**call, "input": answer[2], "status": "completed"}
    call = {"id": "fc_fake", "type": "function_call", "status": "completed", "call_id": CALL_ID, "name": tool["name"]}
    return {**call, "arguments": answer[2]}


def whole(request):
    output = [item_of(answer_of(request))]
    if "reasoning.encrypted_content" in (request.get("include") or []):
        output.insert(0, {"id": "rs_fake", "type": "reasoning", "summary": [], "encrypted_content": "gAAAAABfake"})
    return {
        "id": "resp_fake",
        "object": "response",
        "created_at": 1700000000,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": request.get("instructions"),
        "model": request["model"] + "-2026-01-01",
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": request.get("previous_response_id"),
        "service_tier": "default",
        "store": request.get("store", True),
        "text": request.get("text") or {"format": {"type": "text"}},
        "tool_choice": request.get("tool_choice", "auto"),
        "tools": request.get("tools") or [],
        "usage": USAGE,
        "metadata": request.get("metadata") or {},
        "yet_unknown": {"a": [1.5, None]},
    }


def failed(request):
    """A response that failed in the provider."""
    error = {"code": "server_error", "message": "this is a fault: failed"}
    return {**whole(request), "status": "failed", "output": [], "usage": None, "error": error}


def begun(request):
    return {**whole(request), "status": "in_progress", "output": [], "usage": None}


def events(request, pieces):
    """The answer as the texts of server-sent events, in order; the first content is the fifth of a text without reasoning."""
    out = []

    def tell(kind, **fields):
        document = {"type": kind, "sequence_number": len(out), **fields}
        out.append(f"event: {kind}\ndata: {json.dumps(document)}\n\n")

    response = whole(request)
    for kind in ("response.created", "response.in_progress"):
        tell(kind, response=begun(request))
    for index, item in enumerate(response["output"]):
        of = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            (part,) = item["content"]
            tell("response.output_item.added", output_index=index, item={**item, "status": "in_progress", "content": []})
            tell("response.content_part.added", **of, content_index=0, part={**part, "text": ""})
            for piece in pieces(part["text"]):
                tell("response.output_text.delta", **of, content_index=0, delta=piece, logprobs=[], obfuscation="xx")
            tell("response.output_text.done", **of, content_index=0, text=part["text"], logprobs=[])
            tell("response.content_part.done", **of, content_index=0, part=part)
        elif item["type"] == "function_call":
            tell("response.output_item.added", output_index=index, item={**item, "status": "in_progress", "arguments": ""})
            for piece in pieces(item["arguments"]):
                tell("response.function_call_arguments.delta", **of, delta=piece)
            tell("response.function_call_arguments.done", **of, name=item["name"], arguments=item["arguments"])
        else:
            tell("response.output_item.added", output_index=index, item=item)
            tell("response.yet.unknown", **of, a=1.5)
        tell("response.output_item.done", output_index=index, item=item)
    tell("response.completed", response=response)
    return out
