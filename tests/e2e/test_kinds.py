"""Kinds of providers with paths, credentials or a language of their own: Azure OpenAI, Databricks, Mistral, Cohere."""

import base64

import openai
import pytest
from fake_kinds import FakeKinds
from support import endpoint, user

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


@pytest.fixture(scope="module")
def fake():
    fake = FakeKinds().start()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def running(gateway, fake):
    def provider(kind, name, below="", key=KEY, **more):
        return {"kind": kind, "base_url": fake.url(name, below), "api_key": key, **more}

    endpoints = {name: endpoint(name, [f"main {name} fake-large"]) for name in [*KINDS, "principal"]}
    # A deployment's name may hold what a path may not.
    endpoints["dated"]["destinations"][0]["model"] = "fake large"
    return gateway(
        list(endpoints.values()),
        providers={
            "azure": provider("azure", "azure"),
            "dated": provider("azure", "dated", api_version="2024-10-21"),
            "databricks": provider("databricks", "databricks"),
            "principal": provider("databricks", "principal", key="app-1:s3cret-canary"),
            "mistral": provider("mistral", "mistral", "/v1"),
            "cohere": provider("cohere", "cohere", "/v2"),
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
