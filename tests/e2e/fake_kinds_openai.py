"""OpenAI's chat completions as four kinds of `fake_kinds.py` have them: OpenAI, Azure OpenAI, Databricks and Mistral.

`unknown`, `read`, `whole` and `events` are what every wire has: fields that the real API would refuse, a request as `Wanted`, the
answer as a document, and as the documents of a stream, in order.
"""

import json

from fake_model import REFUSAL, Wanted
from fake_wire import OPENAI_USAGE, pieces, text_of

FILTER = {"hate": {"filtered": False, "severity": "safe"}}
MISTRAL_USAGE = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200, "num_cached_tokens": 300}
# Of these kinds a refusal is a text like any other, and nothing is filtered.
PLAIN = ("mistral",)


def unknown(kind, request):
    if kind == "mistral":
        known_elsewhere = {"stream_options", "max_completion_tokens", "seed", "user", "logprobs", "top_logprobs", "store"}
        return sorted(request.keys() & known_elsewhere)
    return sorted(request.keys() & {"model"}) if kind == "databricks" else []


def parts_of(message):
    return message["content"] if isinstance(message["content"], list) else []


def data_of(url):
    return url.partition(";base64,")[2]


def results_of(messages):
    """Texts of the messages of tools at the end."""
    results = []
    for message in reversed(messages):
        if message["role"] != "tool":
            break
        results.insert(0, text_of(message["content"]))
    return results


def read(kind, request):
    messages = request["messages"]
    last = [message for message in messages if message["role"] == "user"][-1]
    form = request.get("response_format") or {}
    return Wanted(
        said=text_of(last["content"]),
        system="".join(text_of(m["content"]) for m in messages if m["role"] in ("system", "developer")),
        images=[data_of(part["image_url"]["url"]) for part in parts_of(last) if part["type"] == "image_url"],
        tools=[tool["function"]["name"] for tool in request.get("tools") or []],
        results=results_of(messages),
        schema=form["json_schema"]["schema"] if form.get("type") == "json_schema" else None,
        effort=request.get("reasoning_effort"),
        most=request.get("max_completion_tokens", request.get("max_tokens")),
        choices=request.get("n", 1),
        seed=request.get("random_seed" if kind == "mistral" else "seed"),
        temperature=request.get("temperature"),
        stop=request.get("stop") or [],
        logprobs=request.get("logprobs") or False,
        key=request.get("prompt_cache_key"),
        marks=sum("cache_control" in part for part in parts_of(last)),
    )


def finish(kind, said):
    if said.refusal or kind in PLAIN and said.finish == "content_filter":
        return "stop"
    return said.finish


def logprobs(said):
    if said.logprobs is None:
        return None

    def token(text, logprob):
        return {"token": text, "logprob": logprob, "bytes": list(text.encode())}

    return {"content": [{**token(*each), "top_logprobs": [token(*each)]} for each in said.logprobs], "refusal": None}


def thought(kind, text):
    """A thought as the message's field or, where `content` is a list then, as its first part."""
    if kind == "mistral":
        return {"type": "thinking", "thinking": [{"type": "text", "text": text}]}
    if kind == "databricks":
        return {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}]}
    return None


def call(index, call, arguments, is_streamed=False):
    id, name, _ = call
    out = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"index": index, **out} if is_streamed else out


def message(kind, said):
    text = said.refusal if said.refusal and kind in PLAIN else said.text
    out = {"role": "assistant", "content": text}
    if said.calls:
        # Mistral has an empty text there.
        out["content"] = "" if kind == "mistral" else None
        out["tool_calls"] = [call(at, each, json.dumps(each[2])) for at, each in enumerate(said.calls)]
    if said.refusal and kind not in PLAIN:
        out |= {"content": None, "refusal": REFUSAL}
    if said.thought:
        part = thought(kind, said.thought)
        if part:
            out["content"] = [part, {"type": "text", "text": text}]
        else:
            out["reasoning_content"] = said.thought
    return out


def usage(kind):
    return MISTRAL_USAGE if kind == "mistral" else OPENAI_USAGE


def whole(kind, _request, all_said):
    choices = [
        {"index": at, "message": message(kind, said), "logprobs": logprobs(said), "finish_reason": finish(kind, said)}
        for at, said in enumerate(all_said)
    ]
    if kind == "azure":
        choices = [{**choice, "content_filter_results": FILTER} for choice in choices]
    head = {"id": "c-1", "object": "chat.completion", "created": 1700000000, "model": "fake"}
    return {**head, "choices": choices, "usage": usage(kind)}


def deltas(kind, said):
    """What the deltas of one choice are, in order, but for its end."""
    yield {"role": "assistant", "content": ""}
    if said.thought:
        part = thought(kind, said.thought)
        yield {"content": [part]} if part else {"reasoning_content": said.thought}
    for piece in pieces(said.text):
        yield {"content": piece}
    for at, each in enumerate(said.calls):
        yield {"tool_calls": [call(at, each, "", is_streamed=True)]}
        for piece in pieces(json.dumps(each[2])):
            yield {"tool_calls": [{"index": at, "function": {"arguments": piece}}]}


def events(kind, request, all_said):
    def chunk(choices, **more):
        head = {"id": "c-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "fake"}
        return {**head, "choices": choices, **more}

    out = []
    if kind == "azure":
        about = [{"prompt_index": 0, "content_filter_results": FILTER}]
        out.append({"id": "", "object": "", "created": 0, "model": "", "choices": [], "prompt_filter_results": about})
    for at, said in enumerate(all_said):
        out += [chunk([{"index": at, "delta": delta, "finish_reason": None}]) for delta in deltas(kind, said)]
        out.append(chunk([{"index": at, "delta": {}, "finish_reason": finish(kind, said)}]))
    if kind == "mistral":
        out[-1]["usage"] = MISTRAL_USAGE
    elif (request.get("stream_options") or {}).get("include_usage"):
        out.append(chunk([], usage=OPENAI_USAGE))
    return out
