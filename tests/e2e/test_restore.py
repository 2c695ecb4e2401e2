"""What masking takes comes back into the answer (`mask_and_restore`), or becomes the same pseudonym everywhere (`hash`)."""

import asyncio
import json
import re
import uuid

import anthropic
import openai
import pytest
from kafka_tools import all_topics, collect, everything, produce, read
from support import SEARCH_KEY, endpoint, eventually, text_of_stream, user

CALLERS = 200
EMAIL, FRIEND = "jane.roe@example.com", 'my "friend" Bob'
HASH_KEY = "canary-hash-key-0f4b7a92c1d6e835"
TOOLS = [{"type": "function", "function": {"name": "send", "parameters": {"type": "object", "properties": {}}}}]
# The request's own records, the way of an answer to its caller, and what the caller has sent or got by topic.
OWN = re.compile(r"(requests|approved|parked|in|out)\.|(completions|replies)$")


def guarded(name, action, where="input", model="fake-large", output=None, **more):
    checks = {"pii": {"action": action, "entities": ["EMAIL_ADDRESS"]}}
    if where == "input":
        checks["keywords"] = {"action": action, "words": [FRIEND]}
    guardrails = {where: checks, **({"output": output} if output else {})}
    return endpoint(name, [f"main alpha {model}"], guardrails=guardrails, **more)


@pytest.fixture(scope="module")
def running(gateway):
    no_email = {"pii": {"action": "block", "entities": ["EMAIL_ADDRESS"]}}
    return gateway(
        [
            guarded("restored", "mask_and_restore"),
            guarded("checked", "mask_and_restore", output=no_email),
            guarded("cached", "mask_and_restore", cache={"ttl": "1h"}),
            guarded("crowd", "mask_and_restore", model="fault-gate"),
            guarded("hashed", "hash"),
            guarded("out-hashed", "hash", where="output"),
        ],
        guardrails={"hash_key": "${E2E_HASH_KEY}"},
        env={"E2E_HASH_KEY": HASH_KEY},
    )


@pytest.fixture
def client(running, fake_provider):
    return running.openai()


def no_provider_saw(fake_provider, *values):
    assert fake_provider.calls, "or this would prove nothing"
    for call in fake_provider.calls:
        assert not [value for value in values if json.dumps(value)[1:-1] in call["body"]]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["restored", "checked"])
def test_an_answer_has_its_callers_values_and_no_provider_has(client, fake_provider, model, stream):
    text = f"write to {EMAIL} and to {EMAIL}, not to [EMAIL_ADDRESS_1]"
    asked = {"model": model, "messages": user(text)}
    if stream:
        with client.chat.completions.create(**asked, stream=True) as chunks:
            answer = text_of_stream(chunks)
    else:
        answer = client.chat.completions.create(**asked).choices[0].message.content
    assert answer == "echo: " + text
    no_provider_saw(fake_provider, EMAIL)
    sent = json.loads(fake_provider.calls[0]["body"])["messages"][0]["content"]
    assert sent == "write to [EMAIL_ADDRESS_2] and to [EMAIL_ADDRESS_2], not to [EMAIL_ADDRESS_1]"


@pytest.mark.parametrize("stream", [False, True])
def test_tool_arguments_are_json_with_the_values_in_it(client, fake_provider, stream):
    said = f"tell {FRIEND} at {EMAIL}"
    asked = {"model": "restored", "messages": user(said), "tools": TOOLS}
    if stream:
        with client.chat.completions.create(**asked, stream=True) as chunks:
            calls = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls or []]
        arguments = "".join(call.function.arguments or "" for call in calls)
    else:
        (call,) = client.chat.completions.create(**asked).choices[0].message.tool_calls
        arguments = call.function.arguments
    assert json.loads(arguments) == {"said": said}
    no_provider_saw(fake_provider, EMAIL, FRIEND)


@pytest.mark.parametrize("stream", [False, True])
def test_a_message_of_anthropics_api(running, fake_provider, stream):
    claude = anthropic.Anthropic(base_url=running.url, api_key=SEARCH_KEY, max_retries=0)
    asked = {"model": "restored", "max_tokens": 100, "messages": user(f"write to {EMAIL}")}
    if stream:
        with claude.messages.stream(**asked) as events:
            text = events.get_final_text()
    else:
        text = claude.messages.create(**asked).content[0].text
    assert text == f"echo: write to {EMAIL}"
    no_provider_saw(fake_provider, EMAIL)


def test_a_job_by_topic(running, fake_provider):
    body = {"model": "restored", "messages": user(f"write to {EMAIL}")}
    job = {"custom_id": uuid.uuid4().hex, "method": "POST", "url": "/v1/chat/completions", "body": body}
    produce(running, running.topic("in.search"), job)
    (answer,) = collect(running, running.topic("out.search"), 1)
    answer = json.loads(answer.value())
    assert answer["custom_id"] == job["custom_id"]
    assert answer["response"]["body"]["choices"][0]["message"]["content"] == f"echo: write to {EMAIL}"
    no_provider_saw(fake_provider, EMAIL)


def test_a_kept_answer_gets_the_values_of_whoever_gets_it(running, fake_provider):
    for name, outcome in (("ann", "miss"), ("bob", "hit")):
        text = f"write to {name}@example.com"
        response = running.chat({"model": "cached", "messages": user(text)})
        assert response.headers["x-tollgate-cache"] == outcome
        assert response.json()["choices"][0]["message"]["content"] == "echo: " + text
    assert len(fake_provider.calls) == 1


async def crowd(running, fake_provider):
    client = running.openai(SEARCH_KEY, 0, openai.AsyncOpenAI, timeout=120)

    async def ask(n):
        asked = {"model": "crowd", "messages": user(f"I am user{n}@example.com")}
        if n % 2:
            opened = await client.chat.completions.create(**asked, stream=True)
            return text_of_stream([chunk async for chunk in opened])
        return (await client.chat.completions.create(**asked)).choices[0].message.content

    asked = [asyncio.create_task(ask(n)) for n in range(CALLERS)]

    def are_all_there():
        return len(fake_provider.calls_of("alpha", "fault-gate")) == CALLERS

    try:
        await asyncio.to_thread(eventually, are_all_there, "all requests are at the provider", 90)
    finally:
        fake_provider.open_gate("fault-gate")
    answers = await asyncio.gather(*asked)
    await client.close()
    return answers


def test_two_hundred_at_once_get_each_their_own_values(running, fake_provider):
    """All are at the provider at the same time, where they look the same."""
    answers = asyncio.run(crowd(running, fake_provider))
    assert answers == [f"echo: I am user{n}@example.com" for n in range(CALLERS)]
    no_provider_saw(fake_provider, "@example.com")


def test_values_stand_in_the_requests_own_records_alone(running, client, fake_provider):
    value = f"{uuid.uuid4().hex}@example.com"
    asked = client.chat.completions.with_raw_response.create(model="restored", messages=user(f"write to {value}"))
    request_id = asked.headers["x-request-id"].encode()

    def holding(what, topics):
        return {record.topic() for record in read(running, topics) if what in (record.value() or b"")}

    eventually(lambda: holding(request_id, [running.topic("usage")]), "the row is written")
    others = [name for name in all_topics(running) if not OWN.match(name.removeprefix(running.prefix))]
    assert running.topic("usage") in others
    assert holding(value.encode(), others) == set()
    own = [running.topic(name) for name in ("approved.interactive", "completions")]
    assert holding(value.encode(), own) == set(own), "it goes with the request, or this would prove nothing"
    assert value not in running.log()


def test_a_hash_is_the_same_for_a_value_everywhere_and_its_key_is_nowhere(running, client, fake_provider):
    def sent(text):
        client.chat.completions.create(model="hashed", messages=user(text))
        return json.loads(fake_provider.calls[-1]["body"])["messages"][0]["content"]

    first = sent(EMAIL)
    assert re.fullmatch(r"\[EMAIL_ADDRESS_[0-9a-f]{16}\]", first)
    assert sent(f"write to {EMAIL.upper()} or ann@example.com").startswith(f"write to {first} or [EMAIL_ADDRESS_")
    assert sent("ann@example.com") != first
    answer = client.chat.completions.create(model="out-hashed", messages=user(f"say: write to {EMAIL}"))
    assert answer.choices[0].message.content == f"write to {first}"
    assert not [call for call in fake_provider.calls if HASH_KEY in json.dumps(call)]
    assert HASH_KEY.encode() not in everything(running) + running.log().encode()
