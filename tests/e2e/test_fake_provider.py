"""The fake provider itself: what it says must be what the official SDK takes, or the other tests prove nothing."""

import json

import httpx
import openai
import pytest
from support import eventually

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(fake_provider):
    return openai.OpenAI(base_url=fake_provider.url(), api_key="x", max_retries=0, timeout=10)


def test_answers_and_streams_like_openai(fake_provider, client):
    answer = client.chat.completions.create(model="m", messages=HELLO)
    assert answer.choices[0].message.content == "echo: hello"
    assert answer.usage.prompt_tokens_details.cached_tokens == 300
    with client.chat.completions.create(
        model="m", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "echo: hello"
    assert chunks[-1].usage.completion_tokens_details.reasoning_tokens == 50
    assert [c["model"] for c in fake_provider.calls] == ["m", "m"]
    assert fake_provider.calls[0]["headers"]["authorization"] == "Bearer x"


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("429", openai.RateLimitError),
        ("503", openai.InternalServerError),
        ("html", openai.InternalServerError),
        ("reset", openai.APIConnectionError),
    ],
)
def test_faults_before_an_answer(client, fault, error):
    with pytest.raises(error):
        client.chat.completions.create(model=f"fault-{fault}", messages=HELLO)


@pytest.mark.parametrize("fault", ["truncate", "reset-stream"])
def test_broken_streams(fake_provider, fault):
    body = {"model": f"fault-{fault}", "messages": HELLO, "stream": True}
    seen = b""
    with pytest.raises(httpx.TransportError):
        with httpx.stream("POST", fake_provider.url() + "/chat/completions", json=body, timeout=10) as response:
            for piece in response.iter_bytes():
                seen += piece
    assert b"assistant" in seen or fault == "reset-stream"
    assert b"[DONE]" not in seen


def test_gates_and_callers_that_leave(fake_provider):
    body = {"model": "fault-gate-stream", "messages": HELLO, "stream": True}
    with httpx.stream("POST", fake_provider.url() + "/chat/completions", json=body, timeout=10) as response:
        lines = response.iter_lines()
        assert "assistant" in next(lines)
        fake_provider.open_gate("fault-gate-stream")
        assert list(lines)[-2] == "data: [DONE]"
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(fake_provider.url() + "/chat/completions", json={**body, "model": "fault-hang"}, timeout=0.2)
    calls_url = f"http://127.0.0.1:{fake_provider.port}/_calls"
    eventually(lambda: httpx.get(calls_url).json()[-1]["caller_gone"], "the provider saw its caller leave")


def test_set_faults_run_out(fake_provider, client):
    fake_provider.fault("500", model="m", times=1)
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="m", messages=HELLO)
    assert client.chat.completions.create(model="m", messages=HELLO).choices[0].message.content == "echo: hello"


def test_anthropic_events(fake_provider):
    body = {"model": "claude", "messages": HELLO, "stream": True}
    url = fake_provider.url("claude") + "/messages"
    assert httpx.post(url, json=body).json()["error"]["type"] == "invalid_request_error"
    lines = httpx.post(url, json={**body, "max_tokens": 10}).text.splitlines()
    names = [line[len("event: ") :] for line in lines if line.startswith("event: ")]
    assert names[:3] == ["message_start", "content_block_start", "ping"] and names[-1] == "message_stop"
    deltas = [json.loads(line[len("data: ") :]) for line in lines if "text_delta" in line]
    assert "".join(d["delta"]["text"] for d in deltas) == "echo: hello"
    assert {c["name"] for c in fake_provider.calls} == {"claude"}
