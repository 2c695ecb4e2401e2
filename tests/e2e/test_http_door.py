"""The HTTP door with the official OpenAI SDK for Python, and with bare HTTP where the bytes matter."""

import gzip
import json
import uuid

import openai
import pytest
from support import CANARIES, OTHER_KEY, PROVIDER_KEYS, SEARCH_KEY, endpoint, eventually, text_of_stream, user

BIG_MODEL = "team/large:v1"
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look_up",
            "description": "Looks something up",
            "parameters": {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]},
        },
    }
]


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(
        [
            endpoint("chat", ["main alpha fake-large"], aliases=["gpt-4o"]),
            endpoint(BIG_MODEL, ["big alpha fake-large"]),
            endpoint("gated", ["main alpha fault-gate-stream"]),
        ]
    )


@pytest.fixture
def client(running, fake_provider):
    return running.openai()


def test_json_answer(running, client, fake_provider):
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=user("hello"))
    answer = raw.parse()
    assert answer.choices[0].message.content == "echo: hello"
    assert answer.model == "chat", "the answer shows the name that the caller used"
    assert answer.usage.total_tokens == 1200
    assert answer.usage.completion_tokens_details.reasoning_tokens == 50
    uuid.UUID(raw.headers["x-request-id"])
    assert raw.headers["x-tollgate-destination"] == "main"
    assert raw.headers["x-tollgate-attempts"] == "1"
    assert [json.loads(call["body"])["model"] for call in fake_provider.calls] == ["fake-large"]


def test_an_alias_is_the_endpoint_under_another_name(client):
    answer = client.chat.completions.create(model="gpt-4o", messages=user("hello"))
    assert (answer.model, answer.choices[0].message.content) == ("gpt-4o", "echo: hello")


def test_stream(client, fake_provider):
    with client.chat.completions.create(model="chat", messages=user("one two three"), stream=True) as stream:
        chunks = list(stream)
    assert text_of_stream(chunks) == "echo: one two three"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert {chunk.model for chunk in chunks} == {"chat"}
    assert all(not chunk.usage and chunk.choices for chunk in chunks), "the usage chunk was not asked for"
    assert json.loads(fake_provider.calls[0]["body"])["stream_options"]["include_usage"] is True


def test_a_stream_ends_with_usage_if_asked(client):
    options = {"include_usage": True}
    with client.chat.completions.create(
        model="chat", messages=user("hi"), stream=True, stream_options=options
    ) as stream:
        chunks = list(stream)
    assert [bool(chunk.usage) for chunk in chunks].count(True) == 1
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 300 and chunks[-1].choices == []


def test_a_stream_comes_piece_by_piece(client, fake_provider):
    with client.chat.completions.create(model="gated", messages=user("hello there"), stream=True) as stream:
        first = next(chunk for chunk in stream if chunk.choices[0].delta.content)
        assert first.choices[0].delta.content, "the first piece is here although the provider has not sent the rest"
        fake_provider.open_gate("fault-gate-stream")
        assert first.choices[0].delta.content + text_of_stream(stream) == "echo: hello there"


def test_a_stream_on_the_wire(running, fake_provider):
    response = running.chat({"model": "chat", "messages": user("hi"), "stream": True}, accept_encoding="gzip, br")
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "content-encoding" not in response.headers
    assert response.text.rstrip().endswith("data: [DONE]")
    uuid.UUID(response.headers["x-request-id"])
    assert response.headers["x-tollgate-destination"] == "main"


def test_tools(client):
    asked = user("the weather")
    message = client.chat.completions.create(model="chat", messages=asked, tools=TOOLS).choices[0].message
    call = message.tool_calls[0]
    assert (call.function.name, json.loads(call.function.arguments)) == ("look_up", {"said": "the weather"})
    asked += [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    answer = client.chat.completions.create(model="chat", messages=asked, tools=TOOLS)
    assert answer.choices[0].message.content == "tool said: rain"
    with client.chat.completions.stream(model="chat", messages=user("the sea"), tools=TOOLS) as stream:
        message = stream.get_final_completion().choices[0].message
    assert json.loads(message.tool_calls[0].function.arguments) == {"said": "the sea"}


def test_models(running, client):
    listed = client.models.list().data
    assert {model.id for model in listed} >= {"chat", BIG_MODEL}
    assert all(model.object == "model" and model.owned_by and isinstance(model.created, int) for model in listed)
    assert client.models.retrieve(BIG_MODEL).id == BIG_MODEL
    with running.http() as http:
        for spelling in (BIG_MODEL, BIG_MODEL.replace("/", "%2F")):
            assert http.get("/v1/models/" + spelling).json()["id"] == BIG_MODEL
    others = running.openai(OTHER_KEY)
    assert {model.id for model in others.models.list().data} & {"chat", BIG_MODEL} == {"chat"}
    for model in (BIG_MODEL, "nothing/here"):
        with pytest.raises(openai.NotFoundError) as refused:
            others.models.retrieve(model)
        assert refused.value.code == "model_not_found"


def test_what_the_gateway_need_not_understand_passes_byte_for_byte(running, fake_provider):
    unknown = r'"x_vendor":{"b":1.0,"a":[1e2, 12345678901234567890],"s":"\u00e9\/","t":  true}'
    temperature = '"temperature":0.70'
    body = '{"model":"chat","messages":[{"role":"user","content":"hi"}],%s,%s}' % (unknown, temperature)
    with running.http() as http:
        sent = http.post("/v1/chat/completions", content=body, headers={"content-type": "application/json"})
    assert sent.status_code == 200
    upstream = fake_provider.calls[0]["body"]
    assert unknown in upstream and temperature in upstream
    assert '"messages":[{"role":"user","content":"hi"}]' in upstream


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_keys_are_taken_from_three_headers_and_stay_here(running, fake_provider, header):
    value = f"Bearer {SEARCH_KEY}" if header == "authorization" else SEARCH_KEY
    with running.http(key=None) as http:
        body = {"model": "chat", "messages": user("hi")}
        assert http.post("/v1/chat/completions", json=body, headers={header: value}).status_code == 200
    (call,) = fake_provider.calls
    assert SEARCH_KEY not in json.dumps(call)
    assert call["headers"]["authorization"] == "Bearer " + PROVIDER_KEYS["E2E_ALPHA_KEY"]


def test_gzip_bodies_are_taken_within_bounds(running, fake_provider):
    body = json.dumps({"model": "chat", "messages": user("zipped")}).encode()

    def send(content, encoding="gzip"):
        headers = {"content-type": "application/json", "content-encoding": encoding}
        with running.http() as http:
            response = http.post("/v1/chat/completions", content=content, headers=headers)
        return response.status_code, response.json()

    status, answer = send(gzip.compress(body))
    assert status == 200 and answer["choices"][0]["message"]["content"] == "echo: zipped"
    bomb = gzip.compress(b'{"model":"chat","padding":"' + b" " * (256 << 20) + b'"}', compresslevel=9)
    assert len(bomb) < 1 << 20
    for content, encoding, expected in (
        (bomb, "gzip", (413, "request_too_large")),
        (gzip.compress(body)[:-10], "gzip", (400, "invalid_request_error")),
        (body, "gzip", (400, "invalid_request_error")),
        (body, "compress", (415, "unsupported_content_encoding")),
    ):
        status, answer = send(content, encoding)
        assert (status, answer["error"]["code"]) == expected
    assert len(fake_provider.calls) == 1


def test_an_answer_can_be_fetched_later_by_its_team_only(running, client):
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=user("keep this"))
    request_id = raw.headers["x-request-id"]
    with running.http() as http, running.http(OTHER_KEY) as others:
        stored = eventually(
            lambda: (found := http.get(f"/v1/requests/{request_id}")).status_code == 200 and found, "it is stored"
        )
        document = stored.json()
        assert (document["id"], document["object"], document["status"]) == (request_id, "request", "completed")
        assert document["response"]["body"] == raw.http_response.json() and document["error"] is None
        for client_of, unknown in ((others, request_id), (http, uuid.uuid4()), (http, "no-id")):
            refused = client_of.get(f"/v1/requests/{unknown}")
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "request_not_found")


def test_a_disconnect_ends_the_call_to_the_provider(client, fake_provider):
    stream = client.chat.completions.create(model="gated", messages=user("hello there"), stream=True)
    next(chunk for chunk in stream if chunk.choices[0].delta.content)
    stream.close()
    eventually(lambda: fake_provider.calls[0]["caller_gone"], "the provider sees its caller leave")


def test_with_an_idempotency_key_the_work_goes_on_after_a_disconnect(running, client, fake_provider):
    stream = client.chat.completions.create(
        model="gated", messages=user("hello there"), stream=True, extra_headers={"Idempotency-Key": uuid.uuid4().hex}
    )
    next(chunk for chunk in stream if chunk.choices[0].delta.content)
    request_id = stream.response.headers["x-request-id"]
    with running.http() as http:
        assert http.get(f"/v1/requests/{request_id}").json()["status"] == "in_progress"
        stream.close()
        fake_provider.open_gate("fault-gate-stream")
        stored = eventually(
            lambda: (found := http.get(f"/v1/requests/{request_id}")).status_code == 200 and found, "it is stored"
        )
    assert stored.json()["response"]["body"]["choices"][0]["message"]["content"] == "echo: hello there"
    assert not fake_provider.calls[0]["caller_gone"]


def test_health_and_metrics(running):
    with running.http(key=None) as http:
        assert http.get("/health/live").status_code == 200
        assert http.get("/health/ready").status_code == 200
        metrics = http.get("/metrics")
    assert "# TYPE" in metrics.text and "tollgate" in metrics.text
    assert not [canary for canary in CANARIES if canary in metrics.text + running.log()]
