"""OpenAI's Responses API with its SDK for Python: passed on to a provider that speaks it, and translated for others."""

import json

import openai
import pytest
import requests
from kafka_tools import produce_all, read
from ledger import ledger_of
from pydantic import BaseModel
from support import SEARCH_KEY, endpoint, eventually, sha256, user

TOOL = {
    "type": "function",
    "name": "look_up",
    "description": "Looks up",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}
MASKED = {"input": {"pii": {"action": "mask"}}, "output": {"pii": {"action": "mask"}}}
# `native` speaks Responses itself; `translated` speaks chat completions, `claude` Messages.
MODELS = ["native", "translated", "claude"]


@pytest.fixture(scope="module")
def running(gateway, _provider):
    own = {"kind": "openai", "preset": "openai", "base_url": _provider.url("own"), "api_key": "${E2E_BETA_KEY}"}
    price = {"provider": "own", "model": "fake-large", "input": 2, "output": 8, "cache_read": 0.5}
    endpoints = [
        endpoint("native", ["main own fake-large"]),
        endpoint("storing", ["main own fake-large"], allow_store=True),
        endpoint("translated", ["main alpha fake-large"]),
        endpoint("claude", ["main claude fake-claude"]),
        endpoint("either", ["main own fault-503"], fallbacks=["second alpha fake-large"]),
        endpoint("failing", ["main own fault-failed"], fallbacks=["second own fake-large"]),
        endpoint("native-checked", ["main own fake-large"], guardrails=MASKED),
        endpoint("translated-checked", ["main alpha fake-large"], guardrails=MASKED),
        endpoint("broken-native", ["main own fault-stream-error"]),
        endpoint("broken-translated", ["main alpha fault-truncate"]),
        endpoint("throttled", ["main own fault-429"]),
        endpoint("demo", ["main demo mock-1"]),
        endpoint("lenient", ["main alpha fake-large"], on_unsupported="drop"),
        endpoint("vectors", ["main alpha fake-embed"], task="embeddings"),
    ]
    names = [each["name"] for each in endpoints]
    kafka = {"requests": "in.search", "replies": "out.search"}
    budget = {"usd": 1, "per": "month", "action": "block"}
    return gateway(
        endpoints,
        providers={"own": own},
        prices=[price, {**price, "provider": "alpha"}],
        teams=[
            {"name": "search", "endpoints": names, "kafka": kafka},
            {"name": "poor", "endpoints": names, "budgets": [budget]},
        ],
        keys=[
            {"name": "search-web", "team": "search", "sha256": sha256(SEARCH_KEY)},
            {"name": "poor", "team": "poor", "sha256": sha256("tg-poor")},
        ],
    )


@pytest.fixture
def client(running):
    return running.openai()


def sent(fake_provider):
    return json.loads(fake_provider.calls[-1]["body"])


@pytest.mark.parametrize("model", [*MODELS, "either", "failing"])
def test_a_response(client, model):
    raw = client.responses.with_raw_response.create(
        model=model, input="hello", instructions="be brief", max_output_tokens=100, metadata={"a": "b"}
    )
    answer = raw.parse()
    assert (answer.output_text, answer.model, answer.status) == ("echo: hello", model, "completed")
    assert (answer.object, answer.error, answer.incomplete_details) == ("response", None, None)
    assert answer.id.startswith("resp_") and answer.metadata == {"a": "b"}
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens) == (1000, 200, 1200)
    assert answer.usage.input_tokens_details.cached_tokens == 300
    (message,) = answer.output
    assert (message.type, message.role, message.content[0].annotations) == ("message", "assistant", [])
    served = "second" if model in ("either", "failing") else "main"
    assert raw.headers["x-request-id"] and raw.headers["x-tollgate-destination"] == served


@pytest.mark.parametrize("model", [*MODELS, "either", "failing", "native-checked", "translated-checked", "demo"])
def test_a_stream(client, model):
    with client.responses.stream(model=model, input="hello you") as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = [event.type for event in events]
    assert kinds[:4] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    ]
    assert kinds[-4:] == [
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    text = "mock: hello you" if model == "demo" else "echo: hello you"
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == text
    assert (final.output_text, final.model, final.status) == (text, model, "completed")
    assert events[0].response.model == model and final.usage.output_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_tools_there_and_back(client, model):
    with client.responses.stream(model=model, input="weather", tools=[TOOL]) as stream:
        arguments = "".join(event.delta for event in stream if event.type == "response.function_call_arguments.delta")
        first = stream.get_final_response()
    (call,) = first.output
    assert (call.type, call.name, json.loads(call.arguments)) == ("function_call", "look_up", {"said": "weather"})
    assert arguments == call.arguments and call.call_id
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    turns = [*user("weather"), *first.output, result]
    second = client.responses.create(model=model, input=turns, tools=[TOOL])
    assert second.output_text == "tool said: sunny"


class Weather(BaseModel):
    city: str


@pytest.mark.parametrize("model", MODELS)
def test_json_by_schema(client, fake_provider, model):
    answer = client.responses.parse(model=model, input='say: {"city": "Oslo"}', text_format=Weather)
    assert answer.output_parsed == Weather(city="Oslo")
    body = sent(fake_provider)
    if model == "native":
        assert body["text"]["format"]["name"] == "Weather"
    elif model == "translated":
        assert body["response_format"]["json_schema"]["name"] == "Weather" and body["response_format"]["json_schema"]["strict"]
    else:
        assert body["output_config"]["format"]["schema"]["required"] == ["city"]


@pytest.mark.parametrize("model", MODELS)
def test_images(client, fake_provider, model):
    url = "data:image/png;base64,iVBORw0KGgo="
    parts = [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": url, "detail": "auto"}]
    assert client.responses.create(model=model, input=user(parts)).output_text == "echo: look"
    body = sent(fake_provider)
    if model == "native":
        assert body["input"] == user(parts)
    elif model == "translated":
        assert body["messages"][0]["content"][1] == {"type": "image_url", "image_url": {"url": url}}
    else:
        assert body["messages"][0]["content"][1]["source"]["data"] == "iVBORw0KGgo="


def test_marks_of_caches_are_claudes_too(client, running, fake_provider):
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    said = user([{"type": "input_text", "text": "look", **mark}])
    for model in MODELS:
        assert client.responses.create(model=model, input=said).output_text == "echo: look"
        body = sent(fake_provider)
        if model == "native":
            assert body["input"] == said
        elif model == "translated":
            assert "cache" not in json.dumps(body)
        else:
            assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}
    parts = user([{"type": "text", "text": "look", **mark}])
    running.openai().chat.completions.create(model="claude", messages=parts)
    assert sent(fake_provider)["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral"}


CODEX = {
    "instructions": "You are a coding agent.",
    "tools": [
        {"type": "local_shell"},
        {**TOOL, "name": "update_plan"},
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "d",
            "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
        },
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "reasoning": {"effort": "high", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "0199-a-session",
    "client_metadata": {"x-codex-installation-id": "0199-a-machine"},
    "text": {"verbosity": "low"},
}


def codex_input(turns):
    """A session of Codex: what was said, then so many calls of tools with their results and reasoning."""
    said = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "<permissions>"}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "list the files"}]},
    ]
    for at in range(turns):
        said += [
            {"type": "reasoning", "summary": [], "content": None, "encrypted_content": f"gAAAA{at}"},
            {
                "type": "local_shell_call",
                "call_id": f"call_{at}",
                "status": "completed",
                "action": {"type": "exec", "command": ["ls"], "env": {}},
            },
            {"type": "function_call_output", "call_id": f"call_{at}", "output": "a.txt\n" * 100},
        ]
    return said


def events_of(running, body):
    headers = {"authorization": f"Bearer {SEARCH_KEY}", "accept": "text/event-stream", "originator": "codex_cli_rs"}
    answer = requests.post(running.url + "/v1/responses", json=body, headers=headers, timeout=60)
    assert answer.status_code == 200, answer.text
    blocks = [block.split("\n") for block in answer.text.split("\n\n") if block.startswith("event: ")]
    return [(block[0].removeprefix("event: "), json.loads(block[1].removeprefix("data: "))) for block in blocks]


def test_a_session_of_codex_passes_unchanged(running, fake_provider):
    for turns in (0, 500):
        body = {"model": "native", **CODEX, "input": codex_input(turns)}
        events = events_of(running, body)
        assert sent(fake_provider) == {**body, "model": "fake-large"}
        kinds = [kind for kind, _ in events]
        assert kinds[0] == "response.created" and kinds[-1] == "response.completed" and "response.yet.unknown" in kinds
        done = [event["item"] for kind, event in events if kind == "response.output_item.done"]
        assert done[0] == {"id": "rs_fake", "type": "reasoning", "summary": [], "encrypted_content": "gAAAAABfake"}
        if turns:
            assert done[1]["content"][0]["text"].startswith("tool said: a.txt")
        else:
            assert (done[1]["type"], done[1]["action"]["command"]) == ("local_shell_call", ["ls"])
        final = events[-1][1]["response"]
        assert final["yet_unknown"] == {"a": [1.5, None]} and (final["model"], final["store"]) == ("native", False)


@pytest.mark.parametrize("model", ["translated", "claude"])
def test_a_session_of_codex_with_functions_goes_to_any_model(running, fake_provider, model):
    functions = {**CODEX, "tools": [{**TOOL, "name": "shell"}], "text": {}}
    events = events_of(running, {"model": model, **functions, "input": codex_input(0)})
    (call,) = [event["item"] for kind, event in events if kind == "response.output_item.done"]
    assert (call["type"], call["name"], call["status"]) == ("function_call", "shell", "completed")
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "a.txt"}
    history = [*codex_input(0), {"type": "reasoning", "summary": [], "encrypted_content": None}, call, result]
    events = events_of(running, {"model": model, **functions, "input": history})
    assert events[-1][1]["response"]["output"][0]["content"][0]["text"] == "tool said: a.txt"


def test_what_is_stored_stays_with_an_endpoint_that_allows_it(running, client, fake_provider):
    raw = client.responses.with_raw_response.create(model="storing", input="hi", previous_response_id="resp_1", store=True)
    assert (sent(fake_provider)["previous_response_id"], sent(fake_provider)["store"]) == ("resp_1", True)
    assert "x-tollgate-dropped" not in raw.headers
    client.responses.create(model="storing", input="hi")
    assert "store" not in sent(fake_provider)
    # What OpenAI has stored may be all there is to go on with.
    for stands_for in ({"previous_response_id": "resp_1"}, {"conversation": "conv_1"}, {"prompt": {"id": "pmpt_1"}}):
        client.responses.create(model="storing", **stands_for)
        assert sent(fake_provider).items() >= stands_for.items() and "input" not in sent(fake_provider)
    client.responses.create(model="native", prompt={"id": "pmpt_1", "variables": {"name": "Ada"}})
    assert sent(fake_provider)["prompt"] == {"id": "pmpt_1", "variables": {"name": "Ada"}}
    for model in ("native", "failing", "translated"):
        for asked, told in ({"store": True}, "store"), ({"store": False}, None), ({}, None):
            raw = client.responses.with_raw_response.create(model=model, input="hi", **asked)
            assert (raw.headers.get("x-tollgate-dropped"), raw.http_response.json()["store"]) == (told, False)
            assert sent(fake_provider).get("store") is (None if model == "translated" else False)
    streamed = requests.post(
        running.url + "/v1/responses",
        json={"model": "native", "input": "hi", "store": True, "stream": True},
        headers={"authorization": f"Bearer {SEARCH_KEY}"},
        timeout=60,
    )
    assert (streamed.status_code, streamed.headers["x-tollgate-dropped"]) == (200, "store")
    before = len(fake_provider.calls)
    for model, field in (
        ("native", {"previous_response_id": "resp_1"}),
        ("native", {"conversation": "conv_1"}),
        ("failing", {"previous_response_id": "resp_1"}),
        ("failing", {"conversation": "conv_1"}),
        ("translated", {"previous_response_id": "resp_1"}),
        ("lenient", {"conversation": "conv_1"}),
        ("failing", {"background": True}),
        ("translated", {"background": True}),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model=model, input="hi", **field)
        (name,) = field
        assert refused.value.param == name and f"`{name}`" in refused.value.body["message"], model
    assert len(fake_provider.calls) == before


def test_bad_fields_are_named(running, client, fake_provider):
    custom = {"type": "custom", "name": "apply_patch"}
    for model, more, name in (
        ("translated", {"input": "hi", "tools": [custom]}, "tools[0].type"),
        ("translated", {"input": "hi", "truncation": "auto"}, "truncation"),
        ("translated", {"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
        ("claude", {"input": "hi", "text": {"verbosity": "low"}}, "text.verbosity"),
        ("native", {"input": []}, "input"),
        ("native", {"input": {"role": "user"}}, "input"),
        ("native", {}, "input"),
        ("native", {"input": [], "prompt": {"id": "pmpt_1"}}, "input"),
        ("translated", {"prompt": {"id": "pmpt_1"}}, "prompt"),
        ("lenient", {"prompt": {"id": "pmpt_1"}}, "prompt"),
        ("translated", {"previous_response_id": "resp_1"}, "previous_response_id"),
        ("vectors", {"input": "hi"}, "model"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.post("/responses", body={"model": model, **more}, cast_to=object)
        assert refused.value.param == name, (model, more)
    assert fake_provider.calls == []
    answer = client.responses.with_raw_response.create(model="lenient", input="hi", truncation="auto")
    assert answer.headers["x-tollgate-dropped"] == "truncation"


def test_errors_have_the_shape_of_the_api(running, client):
    with pytest.raises(openai.NotFoundError) as absent:
        client.responses.create(model="absent", input="hi")
    assert (absent.value.code, absent.value.param) == ("model_not_found", "model")
    stranger = openai.OpenAI(base_url=running.url + "/v1", api_key="tg-nobody", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.responses.create(model="native", input="hi")
    with pytest.raises(openai.RateLimitError) as throttled:
        client.responses.create(model="throttled", input="hi")
    assert throttled.value.response.headers["retry-after"]


@pytest.mark.parametrize(("model", "field"), [("native", "max_output_tokens"), ("translated", "max_completion_tokens")])
def test_a_strict_budget_caps_what_the_provider_may_produce(running, fake_provider, model, field):
    client = running.openai("tg-poor")
    for asked, capped in (({}, 4096), ({"max_output_tokens": 200}, 200)):
        client.responses.create(model=model, input="hi", **asked)
        assert sent(fake_provider)[field] == capped
    with pytest.raises(openai.RateLimitError) as refused:
        client.responses.create(model=model, input="hi", max_output_tokens=1_000_000)
    assert refused.value.code == "insufficient_quota"


def test_large_instructions_break_no_stream(client):
    # The first two events repeat them.
    with client.responses.stream(model="native", instructions="x" * 700_000, input="hello you") as stream:
        assert stream.get_final_response().output_text == "echo: hello you"


@pytest.mark.parametrize("model", ["broken-native", "broken-translated"])
def test_a_stream_that_breaks_ends_with_an_error_event(running, client, model):
    with pytest.raises(openai.APIError) as broken, client.responses.stream(model=model, input="hello you") as stream:
        stream.until_done()
    assert broken.value.code == "provider_error"
    (*before, (kind, event)) = events_of(running, {"model": model, "input": "hello you", "stream": True})
    assert (kind, event["type"], event["code"]) == ("error", "error", "provider_error") and event["message"]
    assert event["sequence_number"] == before[-1][1]["sequence_number"] + 1
    assert all(not kind.startswith("response.completed") and kind != "response.failed" for kind, _ in before)


@pytest.mark.parametrize("model", ["native-checked", "translated-checked"])
def test_input_and_answers_are_checked(client, fake_provider, model):
    mail = "ada@example.com"
    result = {"type": "function_call_output", "call_id": "c", "output": f"mail {mail}"}
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": json.dumps({"to": mail})}
    history = [*user(f"mail {mail}"), call, result]
    answer = client.responses.create(model=model, input=history, instructions=f"Write to {mail}")
    assert mail not in fake_provider.calls[-1]["body"] and answer.output_text.startswith("tool said: mail ")
    # What the model makes up itself is checked too.
    spelled = "say: ada@" + "example.com"
    with client.responses.stream(model=model, input=spelled) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        assert mail not in text and stream.get_final_response().output_text == text


def test_other_paths_and_stored_answers(running, client):
    azure = openai.OpenAI(base_url=running.url + "/openai/v1", api_key=SEARCH_KEY, max_retries=0)
    raw = azure.responses.with_raw_response.create(model="translated", input="hi")
    assert raw.parse().output_text == "echo: hi"
    headers = {"authorization": f"Bearer {SEARCH_KEY}"}
    url = f"{running.url}/v1/requests/{raw.headers['x-request-id']}"

    def stored():
        answer = requests.get(url, headers=headers, timeout=30)
        return answer.status_code == 200 and answer.json()

    kept = eventually(stored, "the answer is stored")
    assert "echo: hi" in json.dumps(kept)


def test_a_repeated_stream_is_made_of_the_stored_answer(running, client):
    for model in ("native", "translated"):
        extra = {"idempotency-key": f"responses-{model}"}
        texts = []
        for _ in range(2):
            with client.responses.stream(model=model, input="hello you", tools=[TOOL], extra_headers=extra) as stream:
                texts.append("".join(e.delta for e in stream if e.type == "response.function_call_arguments.delta"))
                final = stream.get_final_response()
            assert final.output[0].arguments == texts[0]
        assert texts[0] == texts[1] == '{"said": "hello you"}'


def test_a_job_and_the_rows(running, client):
    body = {"model": "native", "input": "a job", "stream": True, "stream_options": {"include_obfuscation": False}}
    job = {"custom_id": "response", "method": "POST", "url": "/v1/responses", "body": body}
    produce_all(running, running.topic("in.search"), [(job, None, None)])

    def answered():
        lines = [json.loads(record.value()) for record in read(running, [running.topic("out.search")])]
        return next((line["response"] for line in lines if line["custom_id"] == "response"), None)

    answer = eventually(answered, "the job is answered", 60)
    assert answer["body"]["output"][0]["content"][0]["text"] == "echo: a job"
    raw = client.responses.with_raw_response.create(
        model="translated", input="hi", tools=[TOOL], user="u-1", extra_headers={"x-tollgate-tags": "run=7"}
    )
    with client.responses.stream(model="native", input="hi", metadata={"run": "8"}, safety_identifier="u-2") as stream:
        stream.until_done()
        streamed = stream._response.headers["x-request-id"]
    ids = [answer["request_id"], raw.headers["x-request-id"], streamed]
    listed = ", ".join(f"'{request_id}'" for request_id in ids)
    sql = (
        "SELECT request_id, api_type, input_tokens, output_tokens, token_details.cache_read_input_tokens AS cache_read_tokens, finish_reason, end_user, cost_usd"
        f" FROM usage WHERE request_id IN ({listed})"
    )
    rows = eventually(lambda: len(rows := ledger_of(running).query(sql)) == 3 and rows, "all rows", 60)
    told = {row["request_id"]: row for row in rows}
    for request_id, finish, end_user in zip(ids, ("stop", "tool_calls", "stop"), (None, "u-1", "u-2"), strict=True):
        row = told[request_id]
        assert (row["api_type"], row["input_tokens"], row["output_tokens"]) == ("openai/v1/responses", 1000, 200)
        assert (row["cache_read_tokens"], row["finish_reason"], row["end_user"]) == (300, finish, end_user)
    # 700 at 2, 300 at 0.5 and 200 at 8 dollars a million.
    assert float(told[streamed]["cost_usd"]) == pytest.approx(0.00315)
