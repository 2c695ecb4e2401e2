"""Gemini models on the Gemini API and on Vertex AI: chat translated both ways, tool loops with signatures, service accounts."""

import json

import openai
import pytest
from fake_google import API_KEY, RETRY_SECONDS, SIGNATURE, TOKEN, FakeGoogle
from support import endpoint, user
from test_http_door import TOOLS

KINDS = ["gemini", "vertex"]


@pytest.fixture(scope="module")
def running(gateway, google, tmp_path_factory):
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "gemini").write_text(API_KEY)
    (folder / "vertex.json").write_text(json.dumps(google.key_file()))
    (folder / "other.json").write_text(json.dumps({**FakeGoogle().key_file(), "token_uri": google.url + "/token"}))

    def vertex(file):
        place = {"project": "a-project", "location": "europe-west4"}
        return {"kind": "vertex", **place, "base_url": google.url + "/v1", "api_key": "${file:%s}" % (folder / file)}

    providers = {
        "gemini": {"kind": "gemini", "base_url": google.url + "/v1beta", "api_key": "${file:%s}" % (folder / "gemini")},
        "vertex": vertex("vertex.json"),
        "stranger": vertex("other.json"),
    }
    once = {"attempts": 1, "max_attempts": 1}
    return gateway(
        [
            *[endpoint(kind, [f"main {kind} gemini-3.5-flash"]) for kind in KINDS],
            *[endpoint(f"{kind}-blocked", [f"main {kind} blocked"]) for kind in KINDS],
            endpoint("throttled", ["main gemini fault-429"], retry=once),
            endpoint("back", ["main gemini fault-503"], fallbacks=["second alpha fake-large"]),
            endpoint("forth", ["main alpha fault-503"], fallbacks=["second gemini gemini-3.5-flash"]),
            endpoint("stranger", ["main stranger gemini-3.5-flash"], fallbacks=["second vertex gemini-3.5-flash"]),
        ],
        providers=providers,
    )


@pytest.fixture
def client(running, google, fake_provider):
    google.forget()
    return running.openai()


@pytest.mark.parametrize("kind", KINDS)
def test_chat(client, google, kind):
    messages = [{"role": "system", "content": "be kind"}, *user("hello"), {"role": "assistant", "content": "hi"}]
    answer = client.chat.completions.create(
        model=kind, messages=[*messages, *user("and now?")], temperature=0.5, stop=["END"], reasoning_effort="low"
    )
    choice = answer.choices[0]
    assert (choice.message.content, choice.finish_reason, answer.model) == ("echo: and now?", "stop", kind)
    assert choice.message.reasoning_content == "Let me think."
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1000, 200, 1200)
    assert usage.prompt_tokens_details.cached_tokens == 300
    assert usage.completion_tokens_details.reasoning_tokens == 50
    sent = google.calls[-1]["body"]
    assert sent["systemInstruction"] == {"parts": [{"text": "be kind"}]}
    assert [content["role"] for content in sent["contents"]] == ["user", "model", "user"]
    thinking = {"includeThoughts": True, "thinkingLevel": "LOW"}
    assert sent["generationConfig"] == {"temperature": 0.5, "stopSequences": ["END"], "thinkingConfig": thinking}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_loop_of_tools_brings_the_signature_back(client, google, kind, stream):
    asked = user("the weather")
    if stream:
        with client.chat.completions.stream(model=kind, messages=asked, tools=TOOLS) as chunks:
            choice = chunks.get_final_completion().choices[0]
    else:
        choice = client.chat.completions.create(model=kind, messages=asked, tools=TOOLS).choices[0]
    first, second = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and first.id != second.id
    assert (first.function.name, json.loads(first.function.arguments)) == ("look_up", {"said": "the weather"})
    assert first.extra_content == {"google": {"thought_signature": SIGNATURE}}
    said = {first.id: "rain", second.id: "wind"}
    asked += [choice.message.to_dict()]
    for call in asked[-1]["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
    asked[-1].pop("parsed", None)
    asked += [{"role": "tool", "tool_call_id": id, "content": text} for id, text in said.items()]
    answer = client.chat.completions.create(model=kind, messages=asked, tools=TOOLS)
    assert answer.choices[0].message.content == "tools said: rain, wind"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_that_is_blocked(running, client, kind, stream):
    response = running.chat({"model": f"{kind}-blocked", "messages": user("hello"), "stream": stream})
    assert response.status_code == 200
    assert "content_filter" in response.text and "the provider blocked the prompt: SAFETY" in response.text


def test_the_provider_says_how_long_to_wait(client):
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model="throttled", messages=user("hello"))
    assert RETRY_SECONDS - 2 <= int(caught.value.response.headers["retry-after"]) <= RETRY_SECONDS


@pytest.mark.parametrize("kind", KINDS)
def test_what_cannot_be_said_is_refused_by_name(client, google, kind):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=kind, messages=user("hello"), logit_bias={"1": 1})
    assert caught.value.param == "logit_bias" and not google.calls


@pytest.mark.parametrize("model", ["back", "forth"])
@pytest.mark.parametrize("stream", [False, True])
def test_falls_back_between_wire_formats(running, client, model, stream):
    response = running.chat({"model": model, "messages": user("hello"), "stream": stream})
    assert response.status_code == 200 and "echo" in response.text, response.text


def test_one_token_serves_many_calls_and_a_refused_one_is_replaced(running, client, google):
    google.revoke()
    chat = {"model": "vertex", "messages": user("hello")}
    # The token of the tests before this one is refused once.
    running.chat(chat)
    google.forget()
    for _ in range(3):
        assert running.chat(chat).status_code == 200
    assert len(google.calls) == 3 and len(google.assertions) <= 1
    assert all(call["headers"]["authorization"].startswith(f"Bearer {TOKEN}") for call in google.calls)
    assert all("x-goog-api-key" not in call["headers"] for call in google.calls)


def test_a_key_that_the_token_server_refuses(running, client, google):
    response = running.chat({"model": "stranger", "messages": user("hello")})
    assert response.status_code == 200 and response.headers["x-tollgate-destination"] == "second"


def test_no_secret_is_in_a_log(running, google):
    log, body = running.log(), google.key_file()["private_key"].split("\n")[5]
    assert all(secret not in log for secret in (API_KEY, TOKEN, "PRIVATE KEY", body, SIGNATURE))
