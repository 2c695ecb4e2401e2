"""Kinds of providers with paths, credentials or a language of their own: Azure OpenAI, Databricks, Mistral, Cohere; and the
embeddings of every kind."""

import base64
import json

import fake_bedrock
import openai
import pytest
from fake_google import API_KEY, FakeGoogle
from fake_kinds import FakeKinds
from fake_provider import FakeProvider
from fake_wire import vector
from ledger import ledger_of
from support import endpoint, eventually, user

KEY = "sk-canary-kinds-4d1f"
BEARER = ("authorization", f"Bearer {KEY}")
# Provider: path, header that shows the key, cached tokens that the caller is told.
KINDS = {
    "azure": ("/openai/v1/chat/completions", ("api-key", KEY), 300),
    "dated": ("/openai/deployments/fake%20large/chat/completions?api-version=2024-10-21", ("api-key", KEY), 300),
    "databricks": ("/serving-endpoints/fake-large/invocations", BEARER, 300),
    "mistral": ("/v1/chat/completions", BEARER, None),
    "cohere": ("/v2/chat", BEARER, None),
}
# Where embeddings are made: provider and model, texts per call, and the tokens that are counted for them.
VECTORS = {
    "azure": ("azure small", 2, 16),
    "dated": ("dated small", 2, 16),
    "databricks": ("databricks small", 2, 16),
    "mistral": ("mistral small", 2, 16),
    "cohere": ("cohere small", 2, 16),
    "gemini": ("gemini gemini-embedding-001", 2, 16),
    "vertex": ("vertex text-embedding-005", 2, 16),
    "vertex-content": ("vertex gemini-embedding-2", 1, 8),
    "titan": ("bedrock amazon.titan-embed-text-v2:0", 1, 8),
    # Bedrock tells no counts of Cohere's in the answer: five characters are estimated.
    "bedrock-cohere": ("bedrock cohere.embed-v4:0", 2, 1),
}


@pytest.fixture(scope="module")
def fake():
    fake = FakeKinds().start()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """Providers whose fakes have tests of their own."""
    google, bedrock = FakeGoogle().start(), FakeProvider(handler=fake_bedrock.Handler).start()
    key_file = tmp_path_factory.mktemp("secrets") / "vertex.json"
    key_file.write_text(json.dumps(google.key_file()))
    place = {"project": "a-project", "location": "europe-west4", "api_key": "${file:%s}" % key_file}
    address = f"http://127.0.0.1:{bedrock.port}/p/bedrock"
    yield {
        "gemini": {"kind": "gemini", "base_url": google.url + "/v1beta", "api_key": API_KEY},
        "vertex": {"kind": "vertex", "base_url": google.url + "/v1", **place},
        "bedrock": {"kind": "bedrock", "region": fake_bedrock.REGION, "base_url": address, "api_key": ":".join(fake_bedrock.KEY)},
    }
    google.stop()
    bedrock.stop()


@pytest.fixture(scope="module")
def running(gateway, fake, elsewhere):
    def provider(kind, name, below="", key=KEY, **more):
        return {"kind": kind, "base_url": fake.url(name, below), "api_key": key, **more}

    endpoints = {name: endpoint(name, [f"main {name} fake-large"]) for name in [*KINDS, "principal"]}
    # A deployment's name may hold what a path may not.
    endpoints["dated"]["destinations"][0]["model"] = "fake large"
    for name, (destination, *_) in VECTORS.items():
        endpoints[f"vectors-{name}"] = endpoint(f"vectors-{name}", [f"main {destination}"], task="embeddings")
    return gateway(
        list(endpoints.values()),
        providers={
            "azure": provider("azure", "azure"),
            "dated": provider("azure", "dated", api_version="2024-10-21"),
            "databricks": provider("databricks", "databricks"),
            "principal": provider("databricks", "principal", key="app-1:s3cret-canary"),
            "mistral": provider("mistral", "mistral", "/v1"),
            "cohere": provider("cohere", "cohere", "/v2"),
            **elsewhere,
        },
    )


@pytest.mark.parametrize("name", KINDS)
def test_a_call_goes_where_the_kind_has_it_and_its_answer_is_openais(running, fake, name):
    path, (header, value), cached = KINDS[name]
    client = running.openai()
    more = {"max_completion_tokens": 64, "seed": 7, "user": "u-1"} if name == "mistral" else {}
    answer = client.chat.completions.create(model=name, messages=user("hello"), **more)
    assert (answer.model, answer.choices[0].message.content) == (name, "echo: hello")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1000, 200)
    assert getattr(answer.usage.prompt_tokens_details, "cached_tokens", None) == cached
    call = fake.calls[-1]
    assert (call["name"], call["path"], call["headers"][header]) == (name, path, value)
    assert ("authorization" in call["headers"]) == (header == "authorization")
    if name in ("mistral", "databricks"):
        assert answer.choices[0].message.reasoning_content == "hm"


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("wants_usage", [True, False])
def test_a_stream_is_openais_too(running, name, wants_usage):
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    stream = running.openai().chat.completions.create(model=name, messages=user("hello"), stream=True, **options)
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "echo: hello"
    assert {(c.model, c.object, c.id) for c in chunks} == {(name, "chat.completion.chunk", "c-1")}
    counted = [c.usage.completion_tokens for c in chunks if c.usage]
    assert counted == ([200] if wants_usage else [])
    # Without usage a caller need not expect a chunk that has no choice, whatever Azure's filters say.
    assert sum(not c.choices for c in chunks) == len(counted)


def test_a_service_principal_shows_a_token_that_is_asked_for_once(running, fake):
    for _ in range(3):
        assert running.chat({"model": "principal", "messages": user("hello")}).status_code == 200
    [asked] = fake.tokens
    basic = base64.b64encode(b"app-1:s3cret-canary").decode()
    assert asked["headers"]["authorization"] == f"Basic {basic}"
    assert asked["form"] == {"grant_type": "client_credentials", "scope": "all-apis"}
    shown = {call["headers"]["authorization"] for call in fake.calls if call["name"] == "principal"}
    assert shown == {f"Bearer {asked['token']}"}
    assert "canary" not in running.log()


@pytest.mark.parametrize(("name", "field"), [("mistral", {"logprobs": True}), ("cohere", {"n": 2})])
def test_what_a_kind_cannot_express_is_refused_by_name_and_without_a_call(running, fake, name, field):
    before = len(fake.calls)
    with pytest.raises(openai.BadRequestError) as caught:
        running.openai().chat.completions.create(model=name, messages=user("hello"), **field)
    assert caught.value.param == next(iter(field))
    assert len(fake.calls) == before


@pytest.mark.parametrize("name", VECTORS)
def test_embeddings_are_openais_whoever_makes_them(running, name):
    _, texts, tokens = VECTORS[name]
    create = running.openai().embeddings.with_raw_response.create
    wanted = {"model": f"vectors-{name}", "input": ["a", "four"][:texts], "dimensions": 2, "user": "u-1"}
    if name == "databricks":  # whose reference knows neither
        wanted = {key: wanted[key] for key in ("model", "input")}
    # The SDK asks for base64 unless it is told otherwise, and makes numbers of it.
    for told, kind in (({}, str), ({"encoding_format": "float"}, list)):
        raw = create(**wanted, **told)
        assert {type(item["embedding"]) for item in raw.http_response.json()["data"]} == {kind}
        answer = raw.parse()
        assert [item.embedding for item in answer.data] == [vector(text) for text in wanted["input"]]
        assert [item.index for item in answer.data] == list(range(texts))
        assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == (wanted["model"], tokens, tokens)


def test_embeddings_of_every_kind_are_counted(running):
    create, ids = running.openai().embeddings.with_raw_response.create, {}
    for name, (_, texts, tokens) in VECTORS.items():
        raw = create(model=f"vectors-{name}", input=["a", "four"][:texts])
        ids[raw.headers["x-request-id"]] = (tokens, 0, "estimated" if name == "bedrock-cohere" else "provider")
    listed = ", ".join(f"'{request_id}'" for request_id in ids)
    sql = f"SELECT request_id, input_tokens, output_tokens, token_source FROM usage WHERE request_id IN ({listed})"
    rows = eventually(lambda: len(rows := ledger_of(running).query(sql)) == len(ids) and rows, "every row", 60)
    assert {row["request_id"]: (row["input_tokens"], row["output_tokens"], row["token_source"]) for row in rows} == ids


@pytest.mark.parametrize(("name", "texts"), [("cohere", [1, 2]), ("titan", ["a", "b"])])
def test_an_input_that_a_kind_does_not_take_is_refused_by_name(running, name, texts):
    with pytest.raises(openai.BadRequestError) as caught:
        running.openai().embeddings.create(model=f"vectors-{name}", input=texts)
    assert caught.value.param == "input"
