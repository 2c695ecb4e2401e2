"""Each service in a process of its own, two ingress replicas: every caller gets its own answer, whoever else is waiting."""

import asyncio
import signal
import time
import uuid

import openai
import pytest
from support import SEARCH_KEY, endpoint, eventually, text_of_stream, user

CALLERS = 200


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(
        [
            endpoint("chat", ["main alpha fake-large"]),
            endpoint("checked", ["main alpha fake-large"], guardrails={"output": {"keywords": keywords()}}),
            endpoint("brief", ["main alpha fake-large"], timeout={"total": "2s"}),
            endpoint("kept", ["main alpha fault-gate-stream"], on_disconnect="finish"),
        ],
        separate=True,
        ingress=2,
    )


def keywords():
    return {"action": "block", "words": ["a phrase that nobody says"]}


async def ask(client, model, stream):
    """One caller: its text, what it got, and its request id."""
    text = uuid.uuid4().hex
    body = {"model": model, "messages": user(text)}
    if not stream:
        raw = await client.chat.completions.with_raw_response.create(**body)
        return text, raw.parse().choices[0].message.content, raw.headers["x-request-id"]
    opened = await client.chat.completions.create(**body, stream=True)
    chunks = [chunk async for chunk in opened]
    return text, text_of_stream(chunks), opened.response.headers["x-request-id"]


async def crowd(running, model):
    clients = [running.openai(SEARCH_KEY, door, openai.AsyncOpenAI, timeout=120) for door in (0, 1)]
    calls = [ask(clients[n % 2], model, stream=n % 4 >= 2) for n in range(CALLERS)]
    answers = await asyncio.gather(*calls)
    for client in clients:
        await client.close()
    return answers


@pytest.mark.parametrize("model", ["chat", "checked"])
def test_every_caller_gets_its_own_answer(running, fake_provider, model):
    answers = asyncio.run(crowd(running, model))
    assert len(answers) == CALLERS
    for text, answer, _ in answers:
        assert answer == "echo: " + text
    assert len({request_id for _, _, request_id in answers}) == CALLERS
    assert len(fake_provider.calls) == CALLERS, "each was sent to the provider once"


def test_either_replica_knows_an_answer_that_the_other_gave(running, fake_provider):
    raw = running.openai(door=0).chat.completions.with_raw_response.create(model="chat", messages=user("shared"))
    with running.http(door=1) as http:
        path = "/v1/requests/" + raw.headers["x-request-id"]
        found = eventually(lambda: (got := http.get(path)).status_code == 200 and got, "the other replica stored it")
    assert found.json()["response"]["body"]["choices"][0]["message"]["content"] == "echo: shared"


def test_either_replica_ends_a_request_that_the_other_took(running, fake_provider, measured):
    stream = running.openai(door=0).chat.completions.create(model="kept", messages=user("hello"), stream=True)
    next(chunk for chunk in stream if chunk.choices[0].delta.content)
    begun = time.monotonic()
    with running.http(door=1) as http:
        asked = http.delete("/v1/requests/" + stream.response.headers["x-request-id"])
    assert asked.status_code in (200, 202)
    eventually(lambda: fake_provider.calls[0]["caller_gone"], "the provider sees its caller leave")
    measured(f"a provider's call is over {(time.monotonic() - begun) * 1000:.0f} ms after DELETE at another replica")
    with pytest.raises(openai.APIError):
        list(stream)


def test_a_wait_that_runs_out_says_that_the_work_goes_on(running, fake_provider):
    """The router is stopped in its tracks, so nobody can end the request; its owner does once it runs again."""
    router = running.process("router-worker")
    router.signal(signal.SIGSTOP)
    try:
        response = running.chat({"model": "brief", "messages": user("hello")})
    finally:
        router.signal(signal.SIGCONT)
    assert (response.status_code, response.json()["error"]["code"]) == (504, "still_running")
    request_id = response.headers["x-request-id"]
    with running.http() as http:
        path = "/v1/requests/" + request_id
        ended = eventually(lambda: (got := http.get(path)).status_code == 200 and got.json(), "its owner ended it")
    assert ended["status"] == "failed" and ended["error"]["code"] == "deadline_exceeded"


def test_each_service_answers_on_its_health_port(running):
    import httpx

    for process in running.processes:
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert httpx.get(process.url + path, timeout=10).status_code == 200, (process.name, path)
