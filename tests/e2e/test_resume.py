"""A stream that breaks in the middle: it goes on at a destination that can, where the endpoint says so."""

import json

import openai
import pytest
from ledger import ledger_of
from support import endpoint, eventually, user

TEXT = "one two three four five six seven"
MESSAGES = user("say: " + TEXT)


@pytest.fixture(scope="module")
def running(gateway, _provider):
    local = {"kind": "openai", "preset": "vllm", "base_url": _provider.url("local")}
    resume = {"on_midstream_failure": "resume"}
    quick = {"timeout": {"between_chunks": "500ms"}}
    return gateway(
        [
            endpoint("cut", ["first alpha fault-truncate"], fallbacks=["second local fake-vllm"], **resume),
            endpoint("silent", ["first alpha fault-hang-stream"], fallbacks=["second local fake-vllm"], **resume, **quick),
            endpoint("same", ["only local fake-vllm"], **resume),
            endpoint("ends", ["first alpha fault-truncate"], fallbacks=["second local fake-vllm"]),
            endpoint("nobody", ["first alpha fault-truncate"], fallbacks=["second beta fake-small"], **resume),
        ],
        providers={"local": local},
    )


@pytest.fixture
def client(running, fake_provider):
    return running.openai()


def stream(client, model):
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    return raw.headers["x-request-id"], raw.parse()


@pytest.mark.parametrize("model", ["cut", "silent", "same"])
def test_a_broken_stream_goes_on_as_one_answer(running, client, fake_provider, model):
    if model == "same":
        fake_provider.fault("truncate", name="local", times=1)
    request_id, answer = stream(client, model)
    chunks = list(answer)
    choices = [choice for chunk in chunks for choice in chunk.choices]
    assert "".join(choice.delta.content or "" for choice in choices) == TEXT
    assert [choice.delta.role for choice in choices if choice.delta.role] == ["assistant"]
    assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
    assert {(chunk.id, chunk.model) for chunk in chunks} == {("chatcmpl-fake", model)}
    first, second = fake_provider.calls
    begun = json.loads(second["body"])["messages"][-1]
    assert begun["role"] == "assistant" and 0 < len(begun["content"]) < len(TEXT) and TEXT.startswith(begun["content"])
    row = ledger_of(running).row(request_id)
    assert (row["status_code"], row["error_code"], row["finish_reason"]) == (200, None, "stop")
    names = ["only", "only"] if model == "same" else ["first", "second"]
    told = [(a["action"], a["destination"], a["error_code"] is None) for a in row["attempts"]]
    assert told == [("INITIAL_ATTEMPT", names[0], False), ("RESUME", names[1], True)]
    [usage] = [chunk.usage for chunk in chunks if chunk.usage]
    for column, shown in [("input_tokens", usage.prompt_tokens), ("output_tokens", usage.completion_tokens)]:
        assert row[column] == shown == sum(attempt[column] for attempt in row["attempts"])
    assert usage.total_tokens == row["total_tokens"] > 1200, "more than the second call alone"
    with running.http() as http:
        eventually(lambda: TEXT in http.get(f"/v1/requests/{request_id}").text, "the whole answer is stored")


@pytest.mark.parametrize("model", ["ends", "nobody"])
def test_elsewhere_it_ends_with_an_error_and_what_came(running, client, fake_provider, model):
    request_id, answer = stream(client, model)
    said = ""
    with pytest.raises(openai.APIError) as broken:
        for chunk in answer:
            said += (chunk.choices[0].delta.content or "") if chunk.choices else ""
    assert broken.value.code == "provider_error" and said and TEXT.startswith(said) and said != TEXT
    row = ledger_of(running).row(request_id)
    assert (row["error_code"], [a["action"] for a in row["attempts"]]) == ("provider_error", ["INITIAL_ATTEMPT"])
    assert row["output_tokens"] > 0 and len(fake_provider.calls) == 1
