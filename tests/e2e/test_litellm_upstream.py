"""An upstream that nobody here wrote: LiteLLM's proxy, with the answers and the failures that it mocks.

What it counts in a stream is what it has read, so counts are compared with those that it gives when it is asked without a gateway.
"""

import json

import anthropic
import openai
import pytest
from ledger import ledger_of
from litellm_server import CALLS, COLOUR, TEXT, LiteLlm
from support import PROVIDER_KEYS, SEARCH_KEY, endpoint, text_of_stream, user

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
PARAMETERS = {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]}
TOOL = {"type": "function", "function": {"name": "look_up", "description": "Looks it up.", "parameters": PARAMETERS}}
TURNS = [
    *user("weather"),
    {"role": "assistant", "content": None, "tool_calls": CALLS[:1]},
    {"role": "tool", "tool_call_id": CALLS[0]["id"], "content": "sunny and warm"},
]
SCHEMA = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    server = LiteLlm(tmp_path_factory.mktemp("litellm"), PROVIDER_KEYS["E2E_ALPHA_KEY"])
    yield server
    server.kill()


@pytest.fixture(scope="module")
def running(gateway, proxy):
    def at(kind="openai", key="E2E_ALPHA_KEY"):
        return {"kind": kind, "base_url": proxy.url, **({"api_key": "${%s}" % key} if key else {})}

    spare, longer = "second litellm plain", {"name": "longer", "provider": "litellm", "model": "plain", "on": ["context_window"]}
    names = ["plain", "claude", "tooled", "coloured", "throttled", "broken", "small", "overloaded", "nothing"]
    started = gateway(
        [
            *[endpoint(name, [f"main litellm {name}"]) for name in names],
            endpoint("vectors", ["main litellm vectors"], task="embeddings"),
            endpoint("messages", ["main litellm-messages claude"]),
            # One for each, because a destination that throttles is left alone for a second.
            *[endpoint(f"spared-{stream}", ["main litellm throttled"], fallbacks=[spare]) for stream in (False, True)],
            endpoint("longer", ["main litellm small"], fallbacks=[longer]),
            endpoint("keyless", ["main litellm-keyless plain"]),
            endpoint("stranger", ["main litellm-stranger plain"]),
        ],
        providers={
            "litellm": at(),
            "litellm-messages": at("anthropic"),
            "litellm-keyless": at(key=None),
            "litellm-stranger": at(key="E2E_BETA_KEY"),
        },
    )
    proxy.wait_until_ready(120)
    return started


@pytest.fixture
def claude(running):
    return anthropic.Anthropic(base_url=running.url, api_key=SEARCH_KEY, max_retries=0)


@pytest.fixture(scope="module")
def direct(proxy):
    """A client without a gateway."""
    return openai.OpenAI(base_url=proxy.url, api_key=proxy.key, max_retries=0)


def counted(client, messages):
    """The text of a stream, and what LiteLLM counts of it."""
    chunks = list(client.chat.completions.create(model="plain", messages=messages, **USAGE))
    usage = chunks[-1].usage
    return text_of_stream(chunks), (usage.prompt_tokens, usage.completion_tokens)


def with_picture(text):
    return [{"role": "user", "content": [{"type": "text", "text": text}, PICTURE]}]


def test_a_completion(running):
    raw = running.openai().chat.completions.with_raw_response.create(model="plain", messages=user("hello"), n=2)
    answer = raw.parse()
    assert [(choice.message.content, choice.finish_reason) for choice in answer.choices] == [(TEXT, "stop")] * 2
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 20)
    row = ledger_of(running).row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"], row["token_source"]) == (10, 20, "provider")


def test_what_it_reads_of_a_request_is_what_was_sent(running, direct):
    counts = {}
    for name, messages in {"text": user("hello"), "picture": with_picture("hello"), "turns": TURNS, "start": TURNS[:2]}.items():
        ours = counted(running.openai(), messages)
        assert ours == counted(direct, messages), name
        text, counts[name] = ours
        assert text == TEXT
    assert counts["picture"][0] > counts["text"][0] + 80, "a picture counts"
    assert counts["turns"][0] > counts["start"][0] > counts["text"][0], "a call and its result count"


def test_a_stream(running):
    raw = running.openai().chat.completions.with_raw_response.create(model="plain", messages=user("hello"), **USAGE)
    chunks = list(raw.parse())
    assert text_of_stream(chunks) == TEXT and len(chunks) > len(TEXT) / 4, "it comes in pieces"
    usage = chunks[-1].usage
    row = ledger_of(running).row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"]) == (usage.prompt_tokens, usage.completion_tokens)
    assert (row["token_source"], row["finish_reason"], row["destination_model"]) == ("provider", "stop", "plain")


def test_tool_calls(running):
    raw = running.openai().chat.completions.with_raw_response.create(model="tooled", messages=user("weather"), tools=[TOOL])
    (choice,) = raw.parse().choices
    assert (choice.message.content, choice.finish_reason) == (None, "tool_calls")
    assert [call.model_dump(exclude_none=True) for call in choice.message.tool_calls] == CALLS
    row = ledger_of(running).row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["output_tokens"], row["token_details"]["cache_read_input_tokens"]) == (31, 17, 11)


def test_tools_come_to_it(running):
    # For Claude it translates them before it mocks.
    chats = running.openai().chat.completions
    assert chats.create(model="claude", messages=user("hello"), tools=[TOOL]).choices[0].message.content == TEXT
    with pytest.raises(openai.InternalServerError):
        chats.create(model="claude", messages=user("hello"), tools=[{"type": "no-tool"}])


def test_an_answer_by_schema(running):
    wanted = {"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA, "strict": True}}
    chats = running.openai().chat.completions
    answer = chats.create(model="coloured", messages=user("?"), response_format=wanted)
    assert json.loads(answer.choices[0].message.content) == COLOUR
    # A text is no answer by the schema, says LiteLLM.
    with pytest.raises(openai.InternalServerError):
        chats.create(model="plain", messages=user("?"), response_format=wanted)


def test_vectors(running):
    raw = running.openai().embeddings.with_raw_response.create(model="vectors", input="one")
    answer = raw.parse()
    assert ([one.embedding for one in answer.data], answer.usage.prompt_tokens) == ([[0.25, -0.5, 0.125]], 10)


def test_a_caller_of_anthropics(claude, running, direct):
    asked = {"model": "plain", "max_tokens": 50}
    message = claude.messages.create(messages=user("hello"), **asked)
    (block,) = message.content
    assert (block.text, message.stop_reason, message.usage.output_tokens) == (TEXT, "end_turn", 20)
    source = {"type": "base64", "media_type": "image/png", "data": PIXEL}
    content = [{"type": "text", "text": "hello"}, {"type": "image", "source": source}]
    with claude.messages.stream(messages=[{"role": "user", "content": content}], **asked) as events:
        message = events.get_final_message()
    expected = counted(direct, with_picture("hello"))
    assert (message.content[0].text, (message.usage.input_tokens, message.usage.output_tokens)) == expected
    tool = {"name": "look_up", "description": "Looks it up.", "input_schema": PARAMETERS}
    message = claude.messages.create(model="tooled", messages=user("weather"), max_tokens=50, tools=[tool])
    assert [(block.id, block.name, json.dumps(block.input)) for block in message.content] == [
        (call["id"], call["function"]["name"], call["function"]["arguments"]) for call in CALLS
    ]
    assert (message.stop_reason, message.usage.cache_read_input_tokens) == ("tool_use", 11)


def test_its_own_messages_api(claude):
    asked = {"model": "messages", "max_tokens": 50, "messages": user("hello")}
    message = claude.messages.create(**asked)
    assert ([block.text for block in message.content], message.model, message.stop_reason) == ([TEXT], "messages", "end_turn")
    # Its mock answers with a document where a stream was asked for.
    with pytest.raises(anthropic.InternalServerError) as refused:
        claude.messages.create(**asked, stream=True)
    assert refused.value.body["error"]["code"] == "provider_error"


# What it says → what the caller gets: status, code and type; a piece of its own message, or none of it.
ERRORS = {
    "throttled": (429, "rate_limit_exceeded", "rate_limit_error", None),
    "broken": (502, "provider_error", "server_error", None),
    "overloaded": (503, "overloaded", "server_error", None),
    "small": (400, "context_length_exceeded", "invalid_request_error", "ContextWindowExceededError"),
    "nothing": (400, "provider_rejected", "invalid_request_error", "Invalid model name"),
    # Without any key it says 401; of a wrong one, without a database, that it has none, as if the request was wrong.
    "keyless": (502, "provider_error", "server_error", None),
    "stranger": (400, "provider_rejected", "invalid_request_error", "No connected db"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ERRORS)
def test_errors(running, model, stream):
    status, code, kind, words = ERRORS[model]
    response = running.chat({"model": model, "messages": user("hello"), "stream": stream})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["type"]) == (status, code, kind)
    assert words in error["message"] if words else "itellm" not in error["message"].lower()
    assert ("retry-after" in response.headers) == (status in (429, 503))


def test_what_it_does_not_take_is_said_to_the_caller(running):
    with pytest.raises(openai.BadRequestError, match="does not support parameters: .'logprobs'") as refused:
        running.openai().chat.completions.create(model="claude", messages=user("hello"), logprobs=True)
    assert refused.value.code == "provider_rejected"


@pytest.mark.parametrize("stream", [False, True])
def test_another_destination_answers(running, stream):
    for model, destination in ((f"spared-{stream}", "second"), ("longer", "longer")):
        response = running.chat({"model": model, "messages": user("hello"), "stream": stream})
        assert (response.status_code, response.headers["x-tollgate-destination"]) == (200, destination)
        assert response.headers["x-tollgate-attempts"] == "2"


def test_its_refusals_are_in_the_table(running):
    ids = {model: running.chat({"model": model, "messages": user("hello")}).headers["x-request-id"] for model in ("keyless", "broken")}
    attempts = {model: ledger_of(running).row(request_id)["attempts"][0] for model, request_id in ids.items()}
    assert {model: attempt["status_code"] for model, attempt in attempts.items()} == {"keyless": 401, "broken": 500}
