"""The kinds of `fake_kinds.py` that have a language of their own: Anthropic, Cohere, Google's two and Amazon Bedrock.

Each is a namespace with what every wire has: see `fake_kinds_openai.py`. Bedrock's stream is a list of binary messages. What is
particular to Google (signatures, tokens, blocked prompts) and to Amazon (signed calls, exceptions) is in `fake_google.py` and
`fake_bedrock.py`.
"""

import json

import fake_bedrock
import fake_google
from botocore.validate import ParamValidator
from fake_kinds_openai import data_of, parts_of, results_of
from fake_model import Wanted
from fake_wire import ANTHROPIC_USAGE, pieces, text_of

COHERE_USAGE = {
    "billed_units": {"input_tokens": 1000, "output_tokens": 200},
    "tokens": {"input_tokens": 1400, "output_tokens": 230},
    "cached_tokens": 300,
}
SIGNATURE = "c2ln"


def joined(blocks):
    """The text of blocks that have theirs in `text`, whatever they are."""
    return "".join(block.get("text", "") for block in blocks)


class Anthropic:
    FIELDS = (
        "model max_tokens messages system stop_sequences stream temperature top_p top_k tools tool_choice metadata service_tier"
        " thinking output_config"
    ).split()
    ENDS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}

    @classmethod
    def unknown(cls, _kind, request):
        return sorted(request.keys() - set(cls.FIELDS)) + [name for name in ("max_tokens",) if name not in request]

    @staticmethod
    def read(_kind, request):
        last = parts_of(request["messages"][-1])
        config = request.get("output_config") or {}
        return Wanted(
            said=text_of(request["messages"][-1]["content"]),
            system=text_of(request.get("system") or ""),
            images=[block["source"]["data"] for block in last if block["type"] == "image"],
            tools=[tool["name"] for tool in request.get("tools") or []],
            results=[text_of(block["content"]) for block in last if block["type"] == "tool_result"],
            schema=(config.get("format") or {}).get("schema"),
            effort=config.get("effort"),
            most=request["max_tokens"],
            temperature=request.get("temperature"),
            stop=request.get("stop_sequences") or [],
            marks=sum("cache_control" in block for block in last),
        )

    @staticmethod
    def blocks(said):
        out = []
        if said.thought:
            out.append({"type": "thinking", "thinking": said.thought, "signature": SIGNATURE})
        if said.text:
            out.append({"type": "text", "text": said.text})
        return out + [{"type": "tool_use", "id": id, "name": name, "input": given} for id, name, given in said.calls]

    @classmethod
    def end(cls, said):
        details = {"type": "refusal", "category": None, "explanation": said.refusal} if said.refusal else None
        return {"stop_reason": cls.ENDS[said.finish], "stop_sequence": None, "stop_details": details}

    @classmethod
    def whole(cls, _kind, request, all_said):
        (said,) = all_said
        head = {"id": "msg_fake", "type": "message", "role": "assistant", "model": request["model"]}
        return {**head, "content": cls.blocks(said), **cls.end(said), "usage": ANTHROPIC_USAGE}

    @classmethod
    def events(cls, kind, request, all_said):
        (said,) = all_said
        start = {**cls.whole(kind, request, all_said), "content": [], "stop_reason": None}
        out = [{"type": "message_start", "message": {**start, "usage": {**ANTHROPIC_USAGE, "output_tokens": 1}}}]
        for index, block in enumerate(cls.blocks(said)):
            of = {"index": index}
            if block["type"] == "tool_use":
                empty, name, text = {**block, "input": {}}, "partial_json", json.dumps(block["input"])
            else:
                name = block["type"] if block["type"] == "text" else "thinking"
                empty, text = {**block, name: ""}, block[name]
            if "signature" in block:
                empty["signature"] = ""
            kind_of = {"text": "text_delta", "thinking": "thinking_delta", "partial_json": "input_json_delta"}[name]
            out.append({"type": "content_block_start", **of, "content_block": empty})
            out += [{"type": "content_block_delta", **of, "delta": {"type": kind_of, name: piece}} for piece in pieces(text)]
            if "signature" in block:
                delta = {"type": "signature_delta", "signature": block["signature"]}
                out.append({"type": "content_block_delta", **of, "delta": delta})
            out.append({"type": "content_block_stop", **of})
        out.append({"type": "message_delta", "delta": cls.end(said), "usage": {"output_tokens": 200}})
        return [*out, {"type": "message_stop"}]


class Cohere:
    FIELDS = (
        "model messages stream tools tool_choice strict_tools response_format max_tokens stop_sequences temperature seed p k"
        " frequency_penalty presence_penalty thinking logprobs"
    ).split()
    # It has no word for what is filtered: a refusal is a text like any other.
    ENDS = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL", "content_filter": "COMPLETE"}

    @classmethod
    def unknown(cls, _kind, request):
        return sorted(request.keys() - set(cls.FIELDS))

    @staticmethod
    def read(_kind, request):
        messages = request["messages"]
        last = [message for message in messages if message["role"] == "user"][-1]
        thinks = (request.get("thinking") or {}).get("type") == "enabled"
        return Wanted(
            said=text_of(last["content"]),
            system="".join(text_of(m["content"]) for m in messages if m["role"] == "system"),
            images=[data_of(part["image_url"]["url"]) for part in parts_of(last) if part["type"] == "image_url"],
            tools=[tool["function"]["name"] for tool in request.get("tools") or []],
            results=results_of(messages),
            schema=(request.get("response_format") or {}).get("json_schema"),
            effort="high" if thinks else None,
            most=request.get("max_tokens"),
            seed=request.get("seed"),
            temperature=request.get("temperature"),
            stop=request.get("stop_sequences") or [],
            logprobs=request.get("logprobs") or False,
            marks=sum("cache_control" in part for part in parts_of(last)),
        )

    @staticmethod
    def logprobs(piece, logprob):
        """Of a piece of the text, which is two tokens."""
        return {"text": piece, "token_ids": [1, 2], "logprobs": [logprob, logprob]}

    @classmethod
    def whole(cls, _kind, _request, all_said):
        (said,) = all_said
        content = [{"type": "thinking", "thinking": said.thought}] if said.thought else []
        text = said.refusal or said.text
        content += [{"type": "text", "text": text}] if text else []
        message = {"role": "assistant", "content": content}
        if said.calls:
            message["tool_calls"] = [cls.call(each, json.dumps(each[2])) for each in said.calls]
        told = {} if said.logprobs is None else {"logprobs": [cls.logprobs(*each) for each in said.logprobs]}
        return {"id": "c-1", "finish_reason": cls.ENDS[said.finish], "message": message, "usage": COHERE_USAGE, **told}

    @staticmethod
    def call(call, arguments):
        id, name, _ = call
        return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}

    @classmethod
    def events(cls, kind, request, all_said):
        (said,) = all_said
        answer = cls.whole(kind, request, all_said)
        out = [{"type": "message-start", "id": answer["id"], "delta": {"message": {"role": "assistant"}}}]
        for index, part in enumerate(answer["message"]["content"]):
            name = part["type"]

            def of(what, content, index=index):
                return {"type": f"content-{what}", "index": index, "delta": {"message": {"content": content}}}

            out.append(of("start", {"type": name, name: ""}))
            told = answer.get("logprobs") if name == "text" else None
            for at, piece in enumerate(pieces(part[name])):
                out.append({**of("delta", {name: piece}), **({"logprobs": told[at]} if told else {})})
            out.append({"type": "content-end", "index": index})
        for index, each in enumerate(said.calls):

            def more(what, call, index=index):
                return {"type": f"tool-call-{what}", "index": index, "delta": {"message": {"tool_calls": call}}}

            out.append(more("start", cls.call(each, "")))
            out += [more("delta", {"function": {"arguments": piece}}) for piece in pieces(json.dumps(each[2]))]
            out.append({"type": "tool-call-end", "index": index})
        end = {"finish_reason": answer["finish_reason"], "usage": COHERE_USAGE}
        return [*out, {"type": "message-end", "delta": end}]


class Google:
    FIELDS = ("contents", "systemInstruction", "tools", "toolConfig", "generationConfig")
    ENDS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "content_filter": "SAFETY"}

    @classmethod
    def unknown(cls, _kind, request):
        return sorted(request.keys() - set(cls.FIELDS))

    @staticmethod
    def read(_kind, request):
        last, config = request["contents"][-1]["parts"], request.get("generationConfig") or {}
        tools = request.get("tools") or [{"functionDeclarations": []}]
        return Wanted(
            said=joined(last),
            system=joined((request.get("systemInstruction") or {"parts": []})["parts"]),
            images=[part["inlineData"]["data"] for part in last if "inlineData" in part],
            tools=[function["name"] for function in tools[0]["functionDeclarations"]],
            results=[part["functionResponse"]["response"]["output"] for part in last if "functionResponse" in part],
            schema=config.get("responseJsonSchema"),
            effort=(config.get("thinkingConfig") or {}).get("thinkingLevel", "").lower() or None,
            most=config.get("maxOutputTokens"),
            choices=config.get("candidateCount", 1),
            seed=config.get("seed"),
            temperature=config.get("temperature"),
            stop=config.get("stopSequences") or [],
            logprobs=config.get("responseLogprobs") or False,
        )

    @classmethod
    def parts(cls, said):
        """In the pieces that a stream has; a call comes whole."""
        thoughts = [{"text": said.thought, "thought": True}] if said.thought else []
        calls = [{"functionCall": {"name": name, "args": given}} for _, name, given in said.calls]
        return thoughts + [{"text": piece} for piece in pieces(said.text)] + calls

    @classmethod
    def candidate(cls, index, said, parts):
        return {"index": index, "content": {"role": "model", "parts": parts}}

    @classmethod
    def end(cls, said):
        out = {"finishReason": cls.ENDS[said.finish]}
        if said.refusal:
            out["finishMessage"] = said.refusal
        if said.logprobs is not None:
            tokens = [{"token": token, "logProbability": logprob} for token, logprob in said.logprobs]
            out["logprobsResult"] = {
                "chosenCandidates": tokens,
                "topCandidates": [{"candidates": [token]} for token in tokens],
            }
        return out

    @staticmethod
    def response(candidates):
        head = {"modelVersion": "fake", "responseId": "resp-fake"}
        return {"candidates": candidates, "usageMetadata": fake_google.USAGE, **head}

    @classmethod
    def whole(cls, _kind, _request, all_said):
        each = enumerate(all_said)
        return cls.response([{**cls.candidate(at, said, cls.parts(said)), **cls.end(said)} for at, said in each])

    @classmethod
    def events(cls, _kind, _request, all_said):
        out = []
        for at, said in enumerate(all_said):
            out += [cls.response([cls.candidate(at, said, [part])]) for part in cls.parts(said)]
            out.append(cls.response([{**cls.candidate(at, said, [{"text": ""}]), **cls.end(said)}]))
        return out


class Bedrock:
    ENDS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "content_filtered"}

    @staticmethod
    def unknown(_kind, request):
        shape = fake_bedrock.MODEL.operation_model("Converse").input_shape
        report = ParamValidator().validate({"modelId": "fake", **request}, shape)
        return [report.generate_report()] if report.has_errors() else []

    @staticmethod
    def read(_kind, request):
        last, output = request["messages"][-1]["content"], request.get("outputConfig") or {}
        inference, tools = request.get("inferenceConfig") or {}, (request.get("toolConfig") or {"tools": []})["tools"]
        form = output.get("textFormat")
        return Wanted(
            said=joined(last),
            system=joined(request.get("system") or []),
            images=[block["image"]["source"]["bytes"] for block in last if "image" in block],
            tools=[tool["toolSpec"]["name"] for tool in tools if "toolSpec" in tool],
            results=[joined(block["toolResult"]["content"]) for block in last if "toolResult" in block],
            schema=json.loads(form["structure"]["jsonSchema"]["schema"]) if form else None,
            effort=output.get("effort"),
            most=inference.get("maxTokens"),
            temperature=inference.get("temperature"),
            stop=inference.get("stopSequences") or [],
            marks=sum("cachePoint" in block for block in last),
        )

    @staticmethod
    def blocks(said):
        out, text = [], said.refusal or said.text
        if said.thought:
            out.append({"reasoningContent": {"reasoningText": {"text": said.thought, "signature": SIGNATURE}}})
        if text:
            out.append({"text": text})
        return out + [{"toolUse": {"toolUseId": id, "name": name, "input": given}} for id, name, given in said.calls]

    @classmethod
    def whole(cls, _kind, _request, all_said):
        (said,) = all_said
        message = {"role": "assistant", "content": cls.blocks(said)}
        end = {"stopReason": cls.ENDS[said.finish], "usage": fake_bedrock.USAGE, "metrics": {"latencyMs": 7}}
        return {"output": {"message": message}, **end}

    @classmethod
    def events(cls, _kind, _request, all_said):
        (said,) = all_said
        out = [fake_bedrock.event("messageStart", role="assistant")]
        for index, block in enumerate(cls.blocks(said)):

            def delta(what, index=index):
                return fake_bedrock.event("contentBlockDelta", contentBlockIndex=index, delta=what)

            if "toolUse" in block:
                start = {"toolUse": {name: block["toolUse"][name] for name in ("toolUseId", "name")}}
                out.append(fake_bedrock.event("contentBlockStart", contentBlockIndex=index, start=start))
                out += [delta({"toolUse": {"input": piece}}) for piece in pieces(json.dumps(block["toolUse"]["input"]))]
            elif "text" in block:
                out += [delta({"text": piece}) for piece in pieces(block["text"])]
            else:
                reasoning = block["reasoningContent"]["reasoningText"]
                out += [delta({"reasoningContent": {name: reasoning[name]}}) for name in ("text", "signature")]
            out.append(fake_bedrock.event("contentBlockStop", contentBlockIndex=index))
        out.append(fake_bedrock.event("messageStop", stopReason=cls.ENDS[said.finish]))
        return [*out, fake_bedrock.event("metadata", usage=fake_bedrock.USAGE, metrics={"latencyMs": 7})]
