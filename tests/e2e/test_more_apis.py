"""OpenAI's text completions, native and over another provider's chat, and its moderations, with its SDK for Python."""

import json
from decimal import Decimal

import openai
import pytest
from fake_wire import text_of
from kafka_tools import produce_all, read
from ledger import ledger_of
from support import SEARCH_KEY, endpoint, eventually, user

EMAIL = "ada@example.com"
CHECKS = {
    "input": {"keywords": {"action": "block", "words": ["orion"]}},
    "output": {"pii": {"action": "mask", "entities": ["EMAIL_ADDRESS"]}},
}
# Native: the destination speaks the API itself. Translated: it only chats.
TEXTS = ["native", "translated"]
NATIVE = ["main alpha fake-large"]
TRANSLATED = ["main claude fake-claude"]


@pytest.fixture(scope="module")
def running(gateway):
    def texts(name, destinations, **more):
        return endpoint(name, destinations, task="completions", **more)

    def moderations(name, destinations):
        return endpoint(name, destinations, task="moderations")

    return gateway(
        [
            endpoint("chat", NATIVE),
            texts("native", NATIVE),
            texts("translated", TRANSLATED),
            texts("either", ["main alpha fault-503"], fallbacks=["second claude fake-claude"]),
            texts("native-checked", NATIVE, guardrails=CHECKS),
            texts("translated-checked", TRANSLATED, guardrails=CHECKS),
            texts("lenient", TRANSLATED, on_unsupported="drop"),
            texts("refused", ["main alpha fault-404"]),
            texts("cut-native", ["main alpha fault-truncate"]),
            texts("cut-translated", ["main claude fault-truncate"]),
            texts("demo", ["main demo mock-1"]),
            moderations("omni-moderation-latest", ["main alpha omni-moderation-latest"]),
            moderations("demo-moderation", ["main demo mock-1"]),
            moderations("no-moderation", TRANSLATED),
        ]
    )


@pytest.fixture
def client(running, fake_provider):
    return running.openai()


def sent(fake_provider):
    return json.loads(fake_provider.calls[-1]["body"])


@pytest.mark.parametrize("model", [*TEXTS, "either"])
def test_a_text(client, fake_provider, model):
    answer = client.completions.create(
        model=model, prompt="hello", max_tokens=100, stop=["END"], temperature=0.5, user="u-1"
    )
    (choice,) = answer.choices
    assert (choice.text, choice.index, choice.finish_reason, choice.logprobs) == ("echo: hello", 0, "stop", None)
    assert (answer.object, answer.model) == ("text_completion", model)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (1000, 200)
    body = sent(fake_provider)
    if model == "native":
        assert (body["prompt"], body["max_tokens"], body["stop"], body["user"]) == ("hello", 100, ["END"], "u-1")
    else:
        (message,) = body["messages"]
        assert (message["role"], text_of(message["content"])) == ("user", "hello")
        assert (body["max_tokens"], body["stop_sequences"], body["temperature"]) == (100, ["END"], 0.5)


@pytest.mark.parametrize("wants_usage", [False, True])
@pytest.mark.parametrize("model", [*TEXTS, "native-checked", "translated-checked", "demo"])
def test_a_stream(client, model, wants_usage):
    options = {"stream_options": {"include_usage": True}} if wants_usage else {}
    chunks = list(client.completions.create(model=model, prompt="hello you", max_tokens=100, stream=True, **options))
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == ("mock: hello you" if model == "demo" else "echo: hello you")
    assert {(chunk.object, chunk.model) for chunk in chunks} == {("text_completion", model)}
    reasons = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert reasons == ["stop"]
    counted = [chunk for chunk in chunks if chunk.usage]
    assert [not chunk.choices for chunk in counted] == ([True] if wants_usage else [])
    assert "checked" in model or len(chunks) > 2


def test_a_stream_ends_with_the_mark_of_the_api(running, fake_provider):
    with running.http() as http:
        for model in TEXTS:
            response = http.post("/v1/completions", json={"model": model, "prompt": "hi", "stream": True})
            assert response.headers["content-type"].startswith("text/event-stream")
            assert response.text.endswith("data: [DONE]\n\n")


def test_what_a_native_destination_knows_passes_unchanged(client, fake_provider):
    asked = {"prompt": ["a", "b"], "n": 2, "best_of": 3, "suffix": "s", "logprobs": 2, "echo": True}
    answer = client.completions.create(model="native", **asked, extra_body={"yet_unknown": {"a": [1.50, None]}})
    assert [choice.text for choice in answer.choices] == ["echo: a", "echo: a", "echo: b", "echo: b"]
    assert sent(fake_provider) == {"model": "fake-large", **asked, "yet_unknown": {"a": [1.5, None]}}
    texts = {}
    for chunk in client.completions.create(model="native", prompt=["a", "longer"], stream=True):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    assert texts == {0: "echo: a", 1: "echo: longer"}


@pytest.mark.parametrize(
    ("name", "value"),
    [("suffix", "s"), ("echo", True), ("best_of", 2), ("logprobs", 1), ("prompt", ["a", "b"]), ("prompt", [1, 2])],
)
def test_what_a_chat_cannot_say_is_refused_by_name(client, fake_provider, name, value):
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="translated", **{"prompt": "hi", name: value})
    assert refused.value.param == name and f"`{name}`" in refused.value.message
    assert fake_provider.calls == []


def test_what_a_chat_cannot_say_is_left_out_if_the_endpoint_says_so_but_for_the_prompt(client, fake_provider):
    create = client.completions.with_raw_response.create
    raw = create(model="lenient", prompt="hi", suffix="s", logprobs=1)
    assert raw.parse().choices[0].text == "echo: hi"
    assert sorted(raw.headers["x-tollgate-dropped"].split(", ")) == ["logprobs", "suffix"]
    with pytest.raises(openai.BadRequestError) as refused:
        create(model="lenient", prompt=["a", "b"])
    assert refused.value.param == "prompt" and len(fake_provider.calls) == 1


def test_each_endpoint_takes_the_api_of_its_task(client, fake_provider):
    for call in (
        lambda: client.completions.create(model="chat", prompt="hi"),
        lambda: client.chat.completions.create(model="native", messages=user("hi")),
        lambda: client.moderations.create(model="native", input="hi"),
        lambda: client.completions.create(model="omni-moderation-latest", prompt="hi"),
        # Of that task, but nobody behind it has the API.
        lambda: client.moderations.create(model="no-moderation", input="hi"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            call()
        assert refused.value.param == "model"
    assert fake_provider.calls == []


def test_the_refusal_of_a_provider_passes_on(client):
    """As OpenAI's of a model that only chats."""
    with pytest.raises(openai.NotFoundError) as refused:
        client.completions.create(model="refused", prompt="hi")
    assert "this is a fault: 404" in refused.value.message


@pytest.mark.parametrize("model", ["cut-native", "cut-translated"])
def test_a_stream_that_breaks_ends_with_an_error(client, model):
    seen = []
    with pytest.raises(openai.APIError) as broken:
        for chunk in client.completions.create(model=model, prompt="hello", stream=True):
            seen += [choice.text for choice in chunk.choices]
    assert broken.value.code == "provider_error" and "".join(seen) == "echo: h"


@pytest.mark.parametrize("model", ["native-checked", "translated-checked"])
def test_prompts_and_texts_are_checked(client, fake_provider, model):
    for prompt in ("about Orion", ["about Orion"]):
        with pytest.raises(openai.BadRequestError) as blocked:
            client.completions.create(model=model, prompt=prompt)
        assert blocked.value.code == "guardrail_blocked"
    # Nobody can read these, but a model.
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model=model, prompt=[1212, 318])
    assert refused.value.param == "prompt"
    assert fake_provider.calls == []
    prompt = f"say: write to {EMAIL} please"
    whole = client.completions.create(model=model, prompt=prompt).choices[0].text
    stream = client.completions.create(model=model, prompt=prompt, stream=True)
    for text in (whole, "".join(choice.text for chunk in stream for choice in chunk.choices)):
        assert text.startswith("write to ") and EMAIL not in text


def test_the_paths_of_azure_and_databricks(running, fake_provider):
    azure = openai.AzureOpenAI(azure_endpoint=running.url, api_key=SEARCH_KEY, api_version="2024-10-21", max_retries=0)
    assert azure.completions.create(model="native", prompt="hi").choices[0].text == "echo: hi"
    plain = openai.OpenAI(base_url=running.url + "/openai/v1", api_key=SEARCH_KEY, max_retries=0)
    assert plain.completions.create(model="translated", prompt="hi").choices[0].text == "echo: hi"
    with running.http() as http:
        response = http.post("/serving-endpoints/translated/invocations", json={"prompt": "hi"})
    assert response.json()["choices"][0]["text"] == "echo: hi"


def test_moderations(client, fake_provider):
    answer = client.moderations.create(model="omni-moderation-latest", input=["fine", "a bomb"])
    assert [result.flagged for result in answer.results] == [False, True]
    assert answer.results[1].categories.violence and not answer.results[1].categories.hate
    assert answer.results[0].category_scores.hate == 1.5e-07
    assert (answer.model, sent(fake_provider)) == (
        "omni-moderation-latest",
        {"model": "omni-moderation-latest", "input": ["fine", "a bomb"]},
    )
    # Its name need not be said, as at OpenAI.
    parts = [{"type": "text", "text": "a bomb"}, {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}]
    (result,) = client.moderations.create(input=parts).results
    assert result.flagged and sent(fake_provider)["input"] == parts
    mocked = client.moderations.create(model="demo-moderation", input=["a bomb", "b"])
    assert [result.flagged for result in mocked.results] == [False, False]
    with pytest.raises(openai.BadRequestError) as refused:
        client.moderations.create(model="omni-moderation-latest", input=None)
    assert refused.value.param == "input"


def test_jobs_and_rows(running, fake_provider):
    def job(name, path, body):
        return {"custom_id": name, "method": "POST", "url": path, "body": body}

    jobs = [job(model, "/v1/completions", {"model": model, "prompt": "a job", "max_tokens": 9}) for model in TEXTS]
    jobs.append(job("moderation", "/v1/moderations", {"model": "omni-moderation-latest", "input": ["fine", "a bomb"]}))
    produce_all(running, running.topic("in.search"), [(each, None, None) for each in jobs])

    def answers():
        lines = [json.loads(record.value()) for record in read(running, [running.topic("out.search")])]
        return {line["custom_id"]: line["response"] for line in lines}

    found = eventually(lambda: len(found := answers()) == 3 and found, "all are answered", 60)
    assert [found[model]["body"]["choices"][0]["text"] for model in TEXTS] == ["echo: a job"] * 2
    assert [result["flagged"] for result in found["moderation"]["body"]["results"]] == [False, True]
    rows = {name: ledger_of(running).row(response["request_id"]) for name, response in found.items()}

    def told(row):
        names = ("api_type", "input_tokens", "output_tokens", "token_source", "price_status", "cost_usd", "finish_reason")
        return tuple(row[name] for name in names)

    texts = ("openai/v1/completions", 1000, 200, "provider", "priced")
    assert told(rows["native"]) == (*texts, Decimal("0.00315"), "stop")
    assert told(rows["translated"]) == (*texts, Decimal("0.005265"), "stop")
    # Nobody counts a moderation: ten characters, (n + 1) / 4.
    assert told(rows["moderation"]) == ("openai/v1/moderations", 2, 0, "estimated", "free", Decimal(0), None)
