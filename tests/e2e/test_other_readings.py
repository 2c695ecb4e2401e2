"""Providers' wire formats as somebody else reads them: every kind that aimock plays, asked, streamed, with tools, and refusing."""

import json

import pytest
from aimock_server import CALL, GEMINI, TEXT
from ledger import ledger_of
from support import endpoint, text_of_stream, user

KEY = "sk-canary-aimock-2e6b"
# Kind → what a provider of it has beside its key; `{}` is the server.
KINDS = {
    "openai": {"kind": "openai", "base_url": "{}/v1"},
    "azure": {"kind": "azure", "base_url": "{}"},
    "anthropic": {"kind": "anthropic", "base_url": "{}/v1"},
    "gemini": {"kind": "gemini", "base_url": "{}/v1beta"},
    "bedrock": {"kind": "bedrock", "base_url": "{}", "region": "eu-west-1"},
    "cohere": {"kind": "cohere", "base_url": "{}/v2"},
}
MODELS = {"anthropic": "claude-sonnet-4-5", "gemini": GEMINI, "bedrock": "anthropic.claude-3-haiku-20240307-v1:0"}
PATHS = {"anthropic": "/v1/messages", "gemini": "/v1beta/models/", "bedrock": "/model/", "cohere": "/v2/chat"}
PARAMETERS = {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]}
TOOL = {"type": "function", "function": {"name": CALL["name"], "description": "Looks it up.", "parameters": PARAMETERS}}


@pytest.fixture(scope="module")
def running(gateway, aimock):
    def provider(kind):
        fields = {**KINDS[kind], "api_key": KEY}
        return {**fields, "base_url": fields["base_url"].format(aimock.url)}

    def model(kind):
        return MODELS.get(kind, "a-model")

    once = {"attempts": 1, "max_attempts": 2}
    return gateway(
        [
            *[endpoint(kind, [f"main {kind} {model(kind)}"]) for kind in KINDS],
            *[endpoint(f"{kind}-full", [f"main {kind} {model(kind)}"], fallbacks=["spare demo mock-1"], retry=once) for kind in KINDS],
            endpoint("responses", ["main responses a-model"]),
        ],
        providers={
            **{kind: provider(kind) for kind in KINDS},
            "responses": {**provider("openai"), "preset": "openai"},
        },
    )


def asked(running, stream, **body):
    """A message as the SDK puts it together, why it ended, its usage, and the request's id."""
    chats = running.openai().chat.completions
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    raw = chats.with_raw_response.create(**body)
    request_id = raw.headers["x-request-id"]
    if not stream:
        answer = raw.parse()
        (choice,) = answer.choices
        calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or []]
        return choice.message.content, calls, choice.finish_reason, answer.usage, request_id
    chunks = list(raw.parse())
    calls = {}
    for piece in [piece for c in chunks if c.choices for piece in c.choices[0].delta.tool_calls or []]:
        id, name, arguments = calls.get(piece.index, (None, None, ""))
        arguments += piece.function.arguments or ""
        calls[piece.index] = (piece.id or id, piece.function.name or name, arguments)
    (reason,) = {c.choices[0].finish_reason for c in chunks if c.choices} - {None}
    (usage,) = [c.usage for c in chunks if c.usage]
    return text_of_stream(chunks), list(calls.values()), reason, usage, request_id


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_chat(running, aimock, kind, stream):
    messages = [{"role": "system", "content": "be kind"}, *user("hello “you”")]
    text, calls, reason, usage, _ = asked(running, stream, model=kind, messages=messages, max_tokens=50)
    assert (text, calls, reason) == (TEXT, [], "stop")
    assert (usage.prompt_tokens, usage.completion_tokens) == (31, 17)
    path, heard = aimock.heard()
    assert path.startswith(PATHS.get(kind, "")) and heard["messages"] == messages


def test_the_table_has_what_it_counts(running):
    ids = [asked(running, stream, model=kind, messages=user("hello"), max_tokens=50)[-1] for kind in KINDS for stream in (False, True)]
    rows = [ledger_of(running).row(request_id) for request_id in ids]
    assert {(row["input_tokens"], row["output_tokens"], row["token_source"]) for row in rows} == {(31, 17, "provider")}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_tools_there_and_back(running, aimock, kind, stream):
    question = user("weather")
    _, calls, reason, _, _ = asked(running, stream, model=kind, messages=question, tools=[TOOL], max_tokens=50)
    ((id, name, arguments),) = calls
    assert (name, json.loads(arguments), reason) == (CALL["name"], json.loads(CALL["arguments"]), "tool_calls")
    (tool,) = aimock.heard()[1]["tools"]
    assert tool["function"]["name"] == CALL["name"]
    # It does not know Google's `parametersJsonSchema`.
    assert kind == "gemini" or tool["function"]["parameters"]["required"] == ["said"]
    call = {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
    result = {"role": "tool", "tool_call_id": id, "content": "sunny"}
    turns = [*question, {"role": "assistant", "content": None, "tool_calls": [call]}, result]
    text, calls, reason, _, _ = asked(running, stream, model=kind, messages=turns, tools=[TOOL], max_tokens=50)
    assert (text, calls, reason) == ("It is sunny.", [], "stop")
    before, last = aimock.heard()[1]["messages"][-2:]
    (heard,) = before["tool_calls"]
    assert (heard["function"]["name"], json.loads(heard["function"]["arguments"])) == (name, json.loads(arguments))
    assert last["role"] == "tool" and "sunny" in last["content"] and last["tool_call_id"] == heard["id"]


def test_one_that_throttles_is_passed_over(running):
    answers = {kind: running.chat({"model": f"{kind}-full", "messages": user("too much"), "max_tokens": 50}) for kind in KINDS}
    for kind, response in answers.items():
        assert (response.status_code, response.headers["x-tollgate-destination"]) == (200, "spare"), kind
        first, _ = ledger_of(running).row(response.headers["x-request-id"])["attempts"]
        assert first["status_code"] == 429, kind


@pytest.mark.parametrize("model", ["responses", "anthropic"])
def test_responses(running, aimock, model):
    client = running.openai()
    answer = client.responses.create(model=model, input="hello", instructions="be kind")
    assert (answer.output_text, answer.status, answer.usage.output_tokens) == (TEXT, "completed", 17)
    with client.responses.stream(model=model, input="hello", instructions="be kind") as events:
        kinds = [event.type for event in events]
        streamed = events.get_final_response()
    assert (streamed.output_text, streamed.usage.input_tokens) == (TEXT, 31)
    assert kinds.count("response.output_text.delta") > 2
    assert aimock.heard()[0].startswith("/v1/responses" if model == "responses" else "/v1/messages")
