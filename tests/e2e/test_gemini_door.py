"""Google's API as a door, with its official SDK for Python, and the counting of tokens with Anthropic's: native and translated."""

import json

import anthropic
import httpx
import pytest
from fake_google import API_KEY, SIGNATURE
from fake_wire import COUNTED
from google import genai
from google.genai import errors, types
from kafka_tools import produce_all, read
from ledger import ledger_of
from support import SEARCH_KEY, endpoint, eventually, user

# Native: the destination speaks Google's API itself. Translated: it speaks chat completions.
CHATS = ["native", "translated"]
LOOK_UP = {"name": "look_up", "description": "Looks up", "parameters": {"type": "OBJECT", "properties": {"said": {"type": "STRING"}}}}
TOOLS = [{"function_declarations": [LOOK_UP]}]
PNG = b"\xff\xef\x00png"
MASKED = {"pii": {"action": "mask"}}


@pytest.fixture(scope="module")
def running(gateway, google, tmp_path_factory):
    secret = tmp_path_factory.mktemp("secrets") / "gemini"
    secret.write_text(API_KEY)
    gemini = {"kind": "gemini", "base_url": google.url + "/v1beta", "api_key": "${file:%s}" % secret}
    return gateway(
        [
            endpoint("native", ["main gemini gemini-3.5-flash"]),
            endpoint("translated", ["main alpha fake-large"], aliases=["openai/gpt"]),
            endpoint("masked", ["main alpha fake-large"], guardrails={"input": MASKED, "output": MASKED}),
            endpoint("masked-native", ["main gemini gemini-3.5-flash"], guardrails={"input": MASKED, "output": MASKED}),
            endpoint("back", ["main gemini fault-503"], fallbacks=["second alpha fake-large"]),
            endpoint("cut", ["main alpha fault-truncate"]),
            endpoint("throttled", ["main gemini fault-429"], retry={"attempts": 1, "max_attempts": 1}),
            endpoint("claude", ["main claude fake-claude"], guardrails={"output": MASKED}),
        ],
        providers={"gemini": gemini},
    )


def client_of(running, key=SEARCH_KEY):
    once = types.HttpRetryOptions(attempts=1)
    return genai.Client(api_key=key, http_options=types.HttpOptions(base_url=running.url, retry_options=once))


@pytest.fixture
def client(running, google, fake_provider):
    google.forget()
    return client_of(running)


def sent(model, google, fake_provider):
    """What the provider got last."""
    return google.calls[-1]["body"] if model == "native" else json.loads(fake_provider.calls[-1]["body"])


def text_of(chunks):
    return "".join(chunk.text or "" for chunk in chunks)


@pytest.mark.parametrize("model", [*CHATS, "openai/gpt", "back"])
def test_an_answer(client, google, fake_provider, model):
    config = {"system_instruction": "be kind", "temperature": 0.5, "max_output_tokens": 100, "stop_sequences": ["END"]}
    answer = client.models.generate_content(model=model, contents="hello", config=config)
    assert (answer.text, answer.candidates[0].finish_reason) == ("echo: hello", types.FinishReason.STOP)
    assert answer.model_version == model and answer.response_id
    used = answer.usage_metadata
    assert (used.total_token_count, used.cached_content_token_count, used.thoughts_token_count) == (1200, 300, 50)
    if model == "native":
        generation = {"temperature": 0.5, "maxOutputTokens": 100, "stopSequences": ["END"]}
        body = sent(model, google, fake_provider)
        assert body["systemInstruction"]["parts"] == [{"text": "be kind"}] and body["generationConfig"] == generation
    else:
        body = sent("translated", google, fake_provider)
        assert body["messages"] == [{"role": "system", "content": "be kind"}, *user("hello")]
        assert (body["temperature"], body["max_completion_tokens"], body["stop"]) == (0.5, 100, ["END"])


@pytest.mark.parametrize("model", [*CHATS, "openai/gpt", "masked", "masked-native", "back"])
def test_a_stream(client, model):
    chunks = list(client.models.generate_content_stream(model=model, contents="hello you"))
    assert text_of(chunks) == "echo: hello you"
    assert {chunk.model_version for chunk in chunks} == {model}
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert chunks[-1].usage_metadata.total_token_count == 1200


@pytest.mark.parametrize("model", CHATS)
@pytest.mark.parametrize("stream", [False, True])
def test_functions_there_and_back(client, model, stream):
    config = types.GenerateContentConfig(tools=TOOLS)
    ask = {"model": model, "contents": "weather", "config": config}
    if stream:
        chunks = list(client.models.generate_content_stream(**ask))
        parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    else:
        parts = client.models.generate_content(**ask).candidates[0].content.parts
    calls = [part.function_call for part in parts if part.function_call]
    assert (calls[0].name, calls[0].args) == ("look_up", {"said": "weather"})
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "sunny"}))
        for call in calls
    ]
    turns = [
        types.UserContent("weather"),
        types.ModelContent([part for part in parts if part.function_call]),
        types.UserContent(results),
    ]
    answer = client.models.generate_content(model=model, contents=turns, config=config)
    assert answer.text == ("tools said: sunny, sunny" if model == "native" else "tool said: sunny")


@pytest.mark.parametrize("model", CHATS)
def test_an_image_and_a_schema(client, google, fake_provider, model):
    schema = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}
    client.models.generate_content(
        model=model,
        contents=[types.Part.from_bytes(data=PNG, mime_type="image/png"), "what is it?"],
        config={"response_mime_type": "application/json", "response_schema": schema},
    )
    body = sent(model, google, fake_provider)
    if model == "native":
        # Google's SDK mixes both spellings.
        assert body["contents"][0]["parts"][0]["inlineData"]["mime_type"] == "image/png"
        assert body["generationConfig"]["responseSchema"]["type"] == "OBJECT"
    else:
        # Google's SDK writes the URL's alphabet.
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,/+8AcG5n"}}
        assert body["messages"][0]["content"] == [image, {"type": "text", "text": "what is it?"}]
        schema = body["response_format"]["json_schema"]["schema"]
        assert (schema["type"], schema["properties"]["a"]["type"]) == ("object", "string")


def test_errors_have_googles_shape(running, client, google, fake_provider):
    def refused(client, model, **config):
        with pytest.raises(errors.APIError) as caught:
            client.models.generate_content(model=model, contents="hello", config=config)
        return caught.value.code, caught.value.status, caught.value.details["error"]["details"]

    def info(details):
        return details[0]["reason"], details[0]["metadata"].get("param")

    code, status, details = refused(client, "absent")
    assert (code, status, info(details)) == (404, "NOT_FOUND", ("MODEL_NOT_FOUND", "model"))
    code, status, _ = refused(client_of(running, "tg-nobody"), "native")
    assert (code, status) == (401, "UNAUTHENTICATED")
    code, status, details = refused(client, "translated", top_k=5)
    expected = (400, "INVALID_ARGUMENT", ("INVALID_REQUEST_ERROR", "generationConfig.topK"))
    assert (code, status, info(details)) == expected and not fake_provider.calls
    code, status, details = refused(client, "throttled")
    assert (code, status) == (429, "RESOURCE_EXHAUSTED") and details[1]["retryDelay"].endswith("s")
    with pytest.raises(errors.ServerError) as broken:
        list(client.models.generate_content_stream(model="cut", contents="hello"))
    assert broken.value.code == 502
    with running.http() as http:
        other = http.post("/v1beta/models/native:embedContent", json={"contents": [{"parts": [{"text": "hello"}]}]})
        assert (other.status_code, other.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_a_stream_without_events_is_an_array_that_grows(running, google, fake_provider):
    def texts(responses):
        return "".join(part["text"] for each in responses for part in each["candidates"][0]["content"]["parts"])

    body = {"contents": [{"role": "user", "parts": [{"text": "hello there you"}]}]}
    with running.http() as http:
        for model in ("native", "translated", "masked"):
            answer = http.post(f"/v1beta/models/{model}:streamGenerateContent", json=body)
            assert answer.headers["content-type"].startswith("application/json")
            responses = answer.json()
            assert texts(responses) == "echo: hello there you" and responses[-1]["usageMetadata"], model
        assert len(responses) > 1
        *begun, last = http.post("/v1/models/cut:streamGenerateContent?alt=json", json=body).json()
        assert "echo: hello there you".startswith(texts(begun)) and last["error"]["code"] == 502
        absent = http.post("/v1beta/models/absent:streamGenerateContent", json=body)
        assert (absent.status_code, absent.json()["error"]["status"]) == (404, "NOT_FOUND")


def test_models_have_googles_shape(client):
    names = [model.name for model in client.models.list()]
    assert {"models/native", "models/translated"} <= set(names)
    assert client.models.get(model="openai/gpt").supported_actions == ["generateContent", "streamGenerateContent"]
    with pytest.raises(errors.ClientError) as absent:
        client.models.get(model="absent")
    assert absent.value.status == "NOT_FOUND"


def test_a_key_in_the_address_is_kept_nowhere(running, client):
    path = "/v1beta/models/openai%2Fgpt:generateContent"
    body = {"contents": [{"parts": [{"text": "hello"}]}]}
    answer = httpx.post(f"{running.url}{path}?key={SEARCH_KEY}", json=body, timeout=60)
    assert answer.json()["candidates"][0]["content"]["parts"] == [{"text": "echo: hello"}]
    row = ledger_of(running).row(answer.headers["x-request-id"])
    assert (row["url"], row["endpoint_name"], row["api_type"]) == (path, "translated", "gemini/v1beta/generateContent")
    assert SEARCH_KEY not in running.log() and SIGNATURE not in running.log()


@pytest.mark.parametrize("model", ["masked", "masked-native"])
def test_texts_are_checked(client, google, fake_provider, model):
    answer = client.models.generate_content(model=model, contents="mail ada@example.com please")
    assert "ada@example.com" not in answer.text and answer.text.startswith("echo: mail")
    calls = google.calls if model == "masked-native" else fake_provider.calls
    assert calls and "ada@example.com" not in json.dumps(calls)


def test_a_job_names_its_model_in_its_url(running, client):
    body = {"contents": [{"role": "user", "parts": [{"text": "a job"}]}]}
    jobs = [{"custom_id": model, "url": f"/v1beta/models/{model}:generateContent", "body": body} for model in CHATS]
    produce_all(running, running.topic("in.search"), [(job, None, None) for job in jobs])

    def answers():
        lines = [json.loads(record.value()) for record in read(running, [running.topic("out.search")])]
        return {line["custom_id"]: line for line in lines}

    found = eventually(lambda: len(found := answers()) == 2 and found, "both are answered", 60)
    for model in CHATS:
        parts = found[model]["response"]["body"]["candidates"][0]["content"]["parts"]
        assert "".join(part["text"] for part in parts) == "echo: a job"


@pytest.mark.parametrize("beta", [False, True])
def test_tokens_are_counted_by_the_model_or_estimated(running, fake_provider, beta):
    claude = anthropic.Anthropic(base_url=running.url, api_key=SEARCH_KEY, max_retries=0)
    # The beta of the SDK, like Claude Code, asks with `?beta=true`.
    messages = claude.beta.messages if beta else claude.messages
    tool = {"name": "look_up", "description": "Looks up", "input_schema": {"type": "object", "properties": {}}}
    ask = {"messages": user("hello"), "system": "be brief", "tools": [tool]}
    native = messages.with_raw_response.count_tokens(model="claude", **ask)
    assert native.parse().input_tokens == COUNTED
    (call,) = fake_provider.calls
    assert json.loads(call["body"]) == {"model": "fake-claude", **ask}
    row = ledger_of(running).row(native.headers["x-request-id"])
    told = [row[name] for name in ("api_type", "price_status", "cost_usd", "input_tokens", "output_tokens")]
    assert told == ["anthropic/v1/messages/count_tokens", "free", 0, 0, 0] and len(row["attempts"]) == 1
    estimated = messages.with_raw_response.count_tokens(model="translated", **ask)
    assert 20 < estimated.parse().input_tokens < 60 and len(fake_provider.calls) == 1
    row = ledger_of(running).row(estimated.headers["x-request-id"])
    assert (row["price_status"], row["cost_usd"], row["input_tokens"], row["attempts"]) == ("free", 0, None, [])
    with pytest.raises(anthropic.NotFoundError) as absent:
        messages.count_tokens(model="absent", **ask)
    assert absent.value.body["type"] == "error"
