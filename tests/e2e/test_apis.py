"""Other APIs than chat completions: Anthropic's Messages with its SDK for Python, OpenAI's embeddings, native and translated."""

import json
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest
import requests
from kafka_tools import produce_all, read
from ledger import ledger_of
from support import SEARCH_KEY, endpoint, eventually, user

TOOL = {"name": "look_up", "description": "Looks up", "input_schema": {"type": "object", "properties": {}}}
MASKED = {"output": {"pii": {"action": "mask"}}}
# Native: the destination speaks Messages itself. Translated: it speaks chat completions.
CHATS = ["native", "translated"]

# A model that takes less than its provider's API has.
PLAIN = {"name": "main", "provider": "alpha", "model": "fake-large", "unsupported": ["reasoning_effort"]}


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(
        [
            endpoint("native", ["main claude fake-claude"]),
            endpoint("translated", ["main alpha fake-large"]),
            endpoint("native-checked", ["main claude fake-claude"], guardrails=MASKED),
            endpoint("translated-checked", ["main alpha fake-large"], guardrails=MASKED),
            endpoint("either", ["main claude fault-503"], fallbacks=["second alpha fake-large"]),
            endpoint("throttled", ["main claude fault-429"]),
            endpoint("cut-native", ["main claude fault-truncate"]),
            endpoint("cut-translated", ["main alpha fault-truncate"]),
            endpoint("demo", ["main demo mock-1"]),
            endpoint("silent", ["main alpha fault-gate"]),
            endpoint("lenient", ["main alpha fake-large"], on_unsupported="drop"),
            endpoint("plain", [PLAIN]),
            endpoint("plain-lenient", [PLAIN], on_unsupported="drop"),
            endpoint("plain-either", [PLAIN], fallbacks=["second claude fake-claude"]),
            endpoint("vectors", ["main alpha fake-embed"], task="embeddings"),
            endpoint("demo-vectors", ["main demo mock-embed"], task="embeddings"),
            endpoint("no-vectors", ["main claude fake-claude"], task="embeddings"),
        ]
    )


@pytest.fixture
def claude(running):
    return anthropic.Anthropic(base_url=running.url, api_key=SEARCH_KEY, max_retries=0)


def ask(client, model, text="hello", **more):
    return client.messages.create(model=model, max_tokens=100, messages=user(text), **more)


@pytest.mark.parametrize("model", [*CHATS, "either"])
def test_a_message(running, claude, fake_provider, model):
    raw = claude.messages.with_raw_response.create(
        model=model,
        max_tokens=100,
        messages=user("hello"),
        system="be brief",
        stop_sequences=["END"],
        extra_body={"temperature": 0.5},
    )
    message = raw.parse()
    assert [block.text for block in message.content] == ["echo: hello"]
    assert (message.model, message.role, message.stop_reason) == (model, "assistant", "end_turn")
    used = message.usage
    read_and_written = used.cache_read_input_tokens + used.cache_creation_input_tokens
    assert (used.input_tokens + read_and_written, used.output_tokens) == (1000, 200)
    assert model == "native" or used.output_tokens_details.thinking_tokens == 50
    assert raw.headers["request-id"] == raw.headers["x-request-id"] and uuid.UUID(raw.headers["request-id"])
    sent = json.loads(fake_provider.calls[-1]["body"])
    if model == "native":
        assert (sent["system"], sent["stop_sequences"], sent["max_tokens"]) == ("be brief", ["END"], 100)
        assert sent["temperature"] == 0.5
    else:
        assert sent["messages"][0] == {"role": "system", "content": "be brief"}
        assert (sent["stop"], sent["max_completion_tokens"], sent["temperature"]) == (["END"], 100, 0.5)


@pytest.mark.parametrize("model", [*CHATS, "native-checked", "translated-checked", "demo"])
def test_a_stream(claude, model):
    with claude.messages.stream(model=model, max_tokens=100, messages=user("hello you")) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == ("mock: hello you" if model == "demo" else "echo: hello you")
    assert ("".join(block.text for block in message.content), message.model) == (text, model)
    assert message.stop_reason == "end_turn" and message.usage.output_tokens > 0


@pytest.mark.parametrize("model", CHATS)
def test_tools_there_and_back(claude, fake_provider, model):
    with claude.messages.stream(model=model, max_tokens=100, messages=user("weather"), tools=[TOOL]) as stream:
        first = stream.get_final_message()
    (call,) = first.content
    assert (first.stop_reason, call.type, call.name, call.input) == ("tool_use", "tool_use", "look_up", {"said": "weather"})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns = [*user("weather"), {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = claude.messages.create(model=model, max_tokens=100, messages=turns, tools=[TOOL])
    assert second.content[0].text == "tool said: sunny"


@pytest.mark.parametrize("model", CHATS)
def test_an_image_and_a_schema(claude, fake_provider, model):
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    said = user([picture, {"type": "text", "text": "what is it?"}])
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}
    config = {"format": {"type": "json_schema", "schema": schema}}
    claude.messages.create(model=model, max_tokens=100, messages=said, extra_body={"output_config": config})
    sent = json.loads(fake_provider.calls[-1]["body"])
    if model == "native":
        assert (sent["messages"], sent["output_config"]) == (said, config)
    else:
        shown, text = sent["messages"][0]["content"]
        assert shown == {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
        assert text == {"type": "text", "text": "what is it?"} and sent["response_format"]["json_schema"]["schema"] == schema


def test_what_a_native_destination_knows_passes_unchanged(claude, fake_provider):
    long = [{"type": "text", "text": "a long prompt", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    foreign = {"type": "thinking", "thinking": "of another model", "signature": ""}
    history = [*user("hi"), {"role": "assistant", "content": [thinking, foreign, {"type": "text", "text": "ho"}]}]
    claude.beta.messages.create(
        model="native",
        max_tokens=2000,
        system=long,
        messages=[*history, *user("go on")],
        thinking={"type": "enabled", "budget_tokens": 1024},
        betas=["context-management-2025-06-27", "interleaved-thinking-2025-05-14"],
        extra_body={"yet_unknown": {"a": [1.50, None]}},
    )
    (call,) = fake_provider.calls
    sent = json.loads(call["body"])
    assert sent["system"] == long and sent["thinking"]["budget_tokens"] == 1024
    assert sent["messages"][1]["content"] == [thinking, {"type": "text", "text": "ho"}]
    assert sent["yet_unknown"] == {"a": [1.5, None]} and sent["model"] == "fake-claude"
    assert call["headers"]["anthropic-beta"] == "context-management-2025-06-27,interleaved-thinking-2025-05-14"
    assert call["headers"]["x-api-key"] != SEARCH_KEY


CLAUDE_CODE = {
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "You are a coding agent.", "cache_control": {"type": "ephemeral"}},
        {"type": "text", "text": "<env>", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ],
    "tools": [
        {
            "name": name,
            "description": f"{name}: what it does",
            "input_schema": {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "type": "object",
                "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}},
                "required": ["command"],
                "additionalProperties": False,
            },
        }
        for name in ("Bash", "Read", "Edit", "Grep", "Task", "TodoWrite")
    ],
    "thinking": {"type": "enabled", "budget_tokens": 31999},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "metadata": {"user_id": "user_0199_account__session_0199"},
    "stream": True,
}


def claude_code_messages(turns):
    """A session of Claude Code: what was said, then so many calls of tools with their results and signed thoughts."""
    reminder = {"type": "text", "text": "<system-reminder>"}
    said = [{"role": "user", "content": [reminder, {"type": "text", "text": "list the files"}]}]
    for at in range(turns):
        call = {"type": "tool_use", "id": f"toolu_{at}", "name": "Bash", "input": {"command": "ls", "timeout": 1.50}}
        thought = {"type": "thinking", "thinking": "hm", "signature": f"c2ln{at}"}
        said.append({"role": "assistant", "content": [thought, {"type": "text", "text": "I look."}, call]})
        result = {"type": "tool_result", "tool_use_id": f"toolu_{at}", "content": "a.txt\n" * 100, "is_error": False}
        said.append({"role": "user", "content": [result]})
    said[-1]["content"][-1]["cache_control"] = {"type": "ephemeral"}
    return said


@pytest.mark.parametrize("model", CHATS)
def test_a_session_of_claude_code(running, fake_provider, model):
    betas = "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27"
    headers = {"x-api-key": SEARCH_KEY, "anthropic-version": "2023-06-01", "anthropic-beta": betas, "x-app": "cli"}
    for turns in (0, 500):
        body = {"model": model, **CLAUDE_CODE, "messages": claude_code_messages(turns)}
        given = {**body, "messages": claude_code_messages(turns)}
        for message in given["messages"][1::2]:
            message["content"].insert(0, {"type": "thinking", "thinking": "of another model", "signature": ""})
        answer = requests.post(running.url + "/v1/messages?beta=true", json=given, headers=headers, timeout=60)
        assert answer.status_code == 200, answer.text
        events = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
        assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
        parts = [event["delta"] for event in events if event["type"] == "content_block_delta"]
        said = "".join(part.get("text", "") + part.get("partial_json", "") for part in parts)
        assert said == ("tool said: " + "a.txt\n" * 100 if turns else json.dumps({"said": "<system-reminder>list the files"}))
        call = fake_provider.calls[-1]
        sent = json.loads(call["body"])
        if model == "native":
            assert sent == {**body, "model": "fake-claude"} and call["headers"]["anthropic-beta"] == betas
        else:
            roles = [message["role"] for message in sent["messages"]]
            assert roles == ["system", "user", *["assistant", "tool"] * turns]
            assert [tool["function"]["name"] for tool in sent["tools"]] == [tool["name"] for tool in CLAUDE_CODE["tools"]]
            assert "anthropic-beta" not in call["headers"] and "cache_control" not in call["body"]


def test_silence_is_filled_as_each_api_has_it(running, fake_provider):
    apis = {
        b": keep-alive\n\n": ("/v1/chat/completions", {"model": "silent", "messages": user("hi"), "stream": True}),
        b'event: ping\ndata: {"type": "ping"}\n\n': (
            "/v1/messages",
            {"model": "silent", "messages": user("hi"), "max_tokens": 9, "stream": True},
        ),
        b"\n": ("/v1beta/models/silent:streamGenerateContent?alt=sse", {"contents": [{"parts": [{"text": "hi"}]}]}),
    }
    all_wait = threading.Barrier(len(apis))

    def ask_and_wait(filler, path, body):
        headers = {"authorization": f"Bearer {SEARCH_KEY}"}
        with requests.post(running.url + path, json=body, headers=headers, stream=True, timeout=60) as answer:
            pieces = answer.iter_content(chunk_size=None)
            assert next(pieces) == filler
            all_wait.wait(60)
            fake_provider.open_gate("fault-gate")
            return b"".join(pieces)

    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(ask_and_wait, filler, *call) for filler, call in apis.items()]
        assert all(b"echo: h" in each.result() for each in waiting)


def test_a_reader_that_is_slower_than_the_provider_gets_all_of_it(running):
    """More than queues and sockets hold: what did not fit comes from the whole answer."""
    text = "word " * 40_000
    stream = running.openai().chat.completions.create(model="translated", messages=user("say: " + text), stream=True)
    said = [next(iter(stream)).choices[0].delta.content or ""]
    row = ledger_of(running).row(stream.response.headers["x-request-id"])  # so it has ended
    assert row["status_code"] == 200
    said += [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(said) == text.strip()


def test_what_cannot_be_said_elsewhere_is_refused_by_name(claude, fake_provider):
    search = {"type": "web_search_20250305", "name": "web_search"}
    for more, name in (({"extra_body": {"top_k": 5}}, "top_k"), ({"tools": [search]}, "tools[0].type")):
        with pytest.raises(anthropic.BadRequestError) as refused:
            ask(claude, "translated", **more)
        error = refused.value.body["error"]
        assert (error["type"], error["param"]) == ("invalid_request_error", name) and name in error["message"]
    assert fake_provider.calls == []


def test_what_cannot_be_said_elsewhere_is_left_out_if_the_endpoint_says_so(running, claude, fake_provider):
    raw = claude.messages.with_raw_response.create(
        model="lenient", max_tokens=9, messages=user("hi"), extra_body={"top_k": 5, "container": "c"}
    )
    assert raw.parse().content[0].text == "echo: hi"
    assert sorted(raw.headers["x-tollgate-dropped"].split(", ")) == ["container", "top_k"]
    search = {"type": "web_search_20250305", "name": "web_search"}
    with pytest.raises(anthropic.BadRequestError):
        ask(claude, "lenient", tools=[search])
    assert len(fake_provider.calls) == 1
    hints = {"input_examples": [{"said": "x"}], "defer_loading": False}
    tools = [{"name": f"look_{n}", "input_schema": {"type": "object"}, **hints} for n in range(200)]
    budget = {"output_config": {"task_budget": {"type": "tokens", "total": 9}}}
    raw = claude.messages.with_raw_response.create(
        model="lenient", max_tokens=9, messages=user("hi"), tools=tools, extra_body=budget
    )
    assert sorted(raw.headers["x-tollgate-dropped"].split(", ")) == ["output_config.task_budget", "tools[].input_examples"]
    sent = json.loads(fake_provider.calls[-1]["body"])["tools"]
    assert [tool["function"]["name"] for tool in sent] == [tool["name"] for tool in tools]
    assert all(set(tool["function"]) == {"name", "parameters"} for tool in sent)
    with running.http() as http:
        url = f"/v1/requests/{raw.headers['x-request-id']}"
        kept = eventually(lambda: (found := http.get(url)).status_code == 200 and found.json(), "the answer is stored")
    assert sorted(kept["response"]["dropped"]) == ["output_config.task_budget", "tools[].input_examples"]
    too_many = {f"wish_{n}": n for n in range(101)}
    with pytest.raises(anthropic.BadRequestError):
        ask(claude, "lenient", extra_body=too_many)
    with running.http() as http:
        body = {"model": "lenient", "max_tokens": 9, "messages": user("hi"), "top_k": 5, "stream": True}
        streamed = http.post("/v1/messages", json=body)
    assert streamed.headers["x-tollgate-dropped"] == "top_k" and "event: message_stop" in streamed.text


def test_what_a_model_does_not_take_is_refused_or_left_out(running, claude, fake_provider):
    thinking = {"type": "enabled", "budget_tokens": 2000}
    with pytest.raises(anthropic.BadRequestError) as refused:
        ask(claude, "plain", thinking=thinking)
    assert refused.value.body["error"]["param"] == "thinking" and fake_provider.calls == []
    with pytest.raises(openai.BadRequestError) as refused:
        running.openai().chat.completions.create(model="plain", messages=user("hi"), reasoning_effort="low")
    assert refused.value.param == "reasoning_effort" and fake_provider.calls == []
    both = {"thinking": thinking, "output_config": {"effort": "low"}}
    raw = claude.messages.with_raw_response.create(model="plain-lenient", max_tokens=9, messages=user("hi"), extra_body=both)
    assert raw.headers["x-tollgate-dropped"] == "output_config.effort, thinking"
    raw = running.openai().chat.completions.with_raw_response.create(
        model="plain-lenient", messages=user("hi"), reasoning_effort="low"
    )
    assert raw.headers["x-tollgate-dropped"] == "reasoning_effort"
    raw = running.openai().responses.with_raw_response.create(model="plain-lenient", input="hi", reasoning={"effort": "low"})
    assert raw.headers["x-tollgate-dropped"] == "reasoning.effort"
    google = {"contents": [{"parts": [{"text": "hi"}]}], "generation_config": {"thinking_config": {"thinking_budget": 9}}}
    with running.http() as http:
        answer = http.post("/v1beta/models/plain-lenient:generateContent", json=google)
    assert (answer.status_code, answer.headers["x-tollgate-dropped"]) == (200, "generationConfig.thinkingConfig")
    assert all("reasoning_effort" not in call["body"] for call in fake_provider.calls)
    raw = claude.messages.with_raw_response.create(
        model="plain-either", max_tokens=4096, messages=user("hi"), thinking=thinking
    )
    assert raw.headers["x-tollgate-destination"] == "second"


def test_errors_have_the_shape_of_the_door(running, claude):
    for model, expected in (("absent", anthropic.NotFoundError), ("vectors", anthropic.BadRequestError)):
        with pytest.raises(expected) as refused:
            ask(claude, model)
        body = refused.value.body
        assert body["type"] == "error" and body["request_id"] == refused.value.response.headers["request-id"]
    stranger = anthropic.Anthropic(base_url=running.url, api_key="tg-nobody", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError) as refused:
        ask(stranger, "native")
    assert refused.value.body["error"]["type"] == "authentication_error"
    with pytest.raises(anthropic.RateLimitError) as refused:
        ask(claude, "throttled")
    assert refused.value.body["error"]["type"] == "rate_limit_error" and refused.value.response.headers["retry-after"]


@pytest.mark.parametrize("model", ["cut-native", "cut-translated"])
def test_a_stream_that_breaks_ends_with_an_error_event(claude, model):
    with pytest.raises(anthropic.APIStatusError) as broken, claude.messages.stream(
        model=model, max_tokens=100, messages=user("hello")
    ) as stream:
        stream.get_final_message()
    assert broken.value.body["error"]["code"] == "provider_error"


def test_models_have_the_shape_of_the_client(running, claude):
    ids = [model.id for model in claude.models.list()]
    assert {"native", "translated", "vectors"} <= set(ids)
    assert claude.models.retrieve("native").display_name == "native"
    assert {model.id for model in running.openai().models.list()} == set(ids)
    with pytest.raises(anthropic.NotFoundError) as absent:
        claude.models.retrieve("absent")
    assert absent.value.body["type"] == "error"


@pytest.mark.parametrize("text", ["mail ada@example.com please"])
@pytest.mark.parametrize("model", ["native-checked", "translated-checked"])
def test_answers_are_checked_whatever_the_api(claude, model, text):
    assert "ada@example.com" not in ask(claude, model, text).content[0].text
    with claude.messages.stream(model=model, max_tokens=100, messages=user(text)) as stream:
        assert "ada@example.com" not in "".join(stream.text_stream)


def test_embeddings(running, fake_provider):
    client = running.openai()
    answer = client.embeddings.create(model="vectors", input=["a", "four"], encoding_format="float", dimensions=2)
    assert [item.embedding for item in answer.data] == [[0.125, 0.25], [0.5, 0.25]]
    assert (answer.model, answer.usage.prompt_tokens) == ("vectors", 16)
    sent = json.loads(fake_provider.calls[-1]["body"])
    assert (sent["model"], sent["dimensions"]) == ("fake-embed", 2)
    first, second = client.embeddings.create(model="demo-vectors", input=["same", "same"]).data
    assert first.embedding == second.embedding and len(first.embedding) == 8
    for call in (
        lambda: client.embeddings.create(model="no-vectors", input="a"),
        lambda: client.embeddings.create(model="native", input="a"),
        lambda: client.chat.completions.create(model="vectors", messages=user("a")),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            call()
        assert refused.value.body["param"] == "model"


def test_jobs_and_rows_of_every_api(running, fake_provider):
    body = {"model": "native", "max_tokens": 9, "messages": user("a job")}
    jobs = [
        {"custom_id": "message", "url": "/v1/messages", "body": body},
        {"custom_id": "vector", "url": "/v1/embeddings", "body": {"model": "vectors", "input": "a"}},
        {"custom_id": "count", "url": "/v1/messages/count_tokens", "body": {"model": "translated", "messages": user("a job")}},
        {"custom_id": "lenient", "url": "/v1/messages", "body": {**body, "model": "lenient", "top_k": 5}},
    ]
    headers = {"anthropic-beta": "context-management-2025-06-27"}
    produce_all(running, running.topic("in.search"), [(job, None, headers) for job in jobs])

    def answers():
        lines = [json.loads(record.value()) for record in read(running, [running.topic("out.search")])]
        return {line["custom_id"]: line for line in lines}

    found = eventually(lambda: len(found := answers()) == len(jobs) and found, "all are answered", 60)
    message, vector = found["message"]["response"], found["vector"]["response"]
    betas = {call["model"]: call["headers"].get("anthropic-beta") for call in fake_provider.calls}
    assert betas == {"fake-claude": headers["anthropic-beta"], "fake-embed": None, "fake-large": None}
    assert found["count"]["response"]["body"]["input_tokens"] > 0
    assert found["lenient"]["response"]["dropped"] == ["top_k"] and "dropped" not in message
    assert message["body"]["content"][0]["text"] == "echo: a job"
    assert vector["body"]["data"][0]["embedding"] == [0.125, 0.25]
    ids = [message["request_id"], vector["request_id"]]
    listed = ", ".join(f"'{request_id}'" for request_id in ids)
    sql = f"SELECT request_id, api_type, input_tokens, output_tokens, finish_reason FROM usage WHERE request_id IN ({listed})"
    rows = eventually(lambda: len(rows := ledger_of(running).query(sql)) == 2 and rows, "both rows", 60)
    told = {row["request_id"]: (row["api_type"], row["input_tokens"], row["output_tokens"], row["finish_reason"]) for row in rows}
    assert told == {
        ids[0]: ("anthropic/v1/messages", 1000, 200, "stop"),
        ids[1]: ("openai/v1/embeddings", 8, 0, None),
    }
