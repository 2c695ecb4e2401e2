"""A key used twice is one request: one call, one row, one answer; whoever repeats it, wherever, whatever died."""

import json
import signal
import threading
import uuid

import openai
import pytest
from kafka_tools import produce, read
from ledger import ledger_of
from support import OTHER_KEY, endpoint, eventually, text_of_stream, user


def endpoints():
    return [
        endpoint("chat", ["main alpha fake-large"]),
        endpoint("gated", ["main alpha fault-gate"]),
        endpoint("failing", ["main alpha fault-500"]),
    ]


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(endpoints())


@pytest.fixture(scope="module")
def replicas(gateway):
    return gateway(endpoints(), separate=True, ingress=2)


def ask(running, key, text="hello", door=0, model="chat", **more):
    client = running.openai(door=door)
    raw = client.chat.completions.with_raw_response.create(
        model=model, messages=user(text), extra_headers={"Idempotency-Key": key}, **more
    )
    return raw.parse(), raw.headers


def is_repeat(headers):
    return headers.get("x-tollgate-idempotent-replay") == "true"


def rows_of(running, first, last):
    """How many rows the requests `first` have, once the later request `last` has its row."""
    ledger = ledger_of(running)
    ledger.row(last)
    return ledger.query(f"SELECT count(*) AS n FROM usage WHERE request_id = '{first}'")[0]["n"]


def test_a_repeat_gets_the_first_answer_and_is_not_billed(running, fake_provider):
    key = uuid.uuid4().hex
    first, first_headers = ask(running, key)
    again, headers = ask(running, key)
    assert not is_repeat(first_headers) and is_repeat(headers)
    assert again == first and headers["x-request-id"] == first_headers["x-request-id"]
    assert len(fake_provider.calls) == 1
    _, other = ask(running, uuid.uuid4().hex)
    assert rows_of(running, headers["x-request-id"], other["x-request-id"]) == 1
    total = ledger_of(running).query("SELECT count(*) AS n, count(DISTINCT request_id) AS d FROM usage")[0]
    assert total == {"n": 2, "d": 2}


def test_a_key_belongs_to_its_team_and_body(running, fake_provider):
    key = uuid.uuid4().hex
    ask(running, key, "one")
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        ask(running, key, "two")
    assert refused.value.code == "idempotency_key_reused"
    body = {"model": "chat", "messages": user("two")}
    with running.http(OTHER_KEY) as others:
        assert others.post("/v1/chat/completions", json=body, headers={"idempotency-key": key}).status_code == 200
    assert len(fake_provider.calls) == 2


def test_a_request_that_is_refused_leaves_its_key_free(running, fake_provider):
    key = uuid.uuid4().hex
    refused = running.chat({"model": "nothing", "messages": user("hi")}, idempotency_key=key)
    assert refused.json()["error"]["code"] == "model_not_found"
    _, headers = ask(running, key)
    assert not is_repeat(headers)


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_could_be_mistaken_is_refused(running, fake_provider, key):
    refused = running.chat({"model": "chat", "messages": user("hi")}, idempotency_key=key)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "Idempotency-Key")


def test_a_failure_is_repeated_too(running, fake_provider):
    key = uuid.uuid4().hex
    body = {"model": "failing", "messages": user("hi")}
    first = running.chat(body, idempotency_key=key)
    calls = len(fake_provider.calls)
    again = running.chat(body, idempotency_key=key)
    assert again.status_code == first.status_code >= 500 and again.json() == first.json()
    assert again.headers["x-should-retry"] == "false" and is_repeat(again.headers)
    assert len(fake_provider.calls) == calls


@pytest.mark.parametrize("repeat_streams", [True, False])
def test_a_stream_is_repeated_whole(running, fake_provider, repeat_streams):
    """The body says whether it is a stream, so both are asked for by the same body."""
    key = uuid.uuid4().hex
    client = running.openai()
    more = {"messages": user("one two three"), "extra_headers": {"Idempotency-Key": key}, "stream": True}
    with client.chat.completions.create(model="chat", **more) as stream:
        assert text_of_stream(stream) == "echo: one two three"
        first = stream.response.headers["x-request-id"]
    if repeat_streams:
        with client.chat.completions.create(model="chat", **more) as stream:
            chunks = list(stream)
        assert text_of_stream(chunks) == "echo: one two three" and chunks[-1].choices[0].finish_reason == "stop"
        assert stream.response.headers["x-request-id"] == first and is_repeat(stream.response.headers)
    else:
        whole = running.chat({"model": "chat", "messages": user("one two three")}, idempotency_key=key)
        assert whole.status_code == 422
    assert len(fake_provider.calls) == 1


def crowd(running, key, doors, count=20):
    """Asks many times at once, and lets the provider answer once one call has come; every answer with its headers."""
    answers = []

    def one(n):
        answers.append(ask(running, key, model="gated", door=n % doors))

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def test_many_at_once_are_one_request(replicas, fake_provider):
    key = uuid.uuid4().hex
    threads, answers = crowd(replicas, key, doors=2)
    eventually(lambda: fake_provider.calls, "the provider is called")
    fake_provider.open_gate("fault-gate")
    for thread in threads:
        thread.join(120)
    assert len(answers) == 20
    assert len({headers["x-request-id"] for _, headers in answers}) == 1
    assert {answer.choices[0].message.content for answer, _ in answers} == {"echo: hello"}
    assert sorted(is_repeat(headers) for _, headers in answers) == [False] + [True] * 19
    assert len(fake_provider.calls) == 1


def test_a_repeat_at_the_other_replica_after_a_kill(replicas, fake_provider):
    key = uuid.uuid4().hex
    first, first_headers = ask(replicas, key, door=0)
    killed = replicas.process("ingress-0")
    killed.signal(signal.SIGKILL)
    killed.child.wait()
    again, headers = ask(replicas, key, door=1)
    killed.start()
    eventually(killed.is_ready, "the killed replica is back", 60)
    restarted, restarted_headers = ask(replicas, key, door=0)
    assert again == first == restarted
    assert {h["x-request-id"] for h in (headers, restarted_headers)} == {first_headers["x-request-id"]}
    assert len(fake_provider.calls) == 1


def test_a_claim_that_a_crash_left_behind_is_published_by_the_repeat(gateway, fake_provider):
    running = gateway(endpoints(), env={"TOLLGATE_FAULT": "idempotency.claimed:1"}, separate=True)
    key = uuid.uuid4().hex
    with pytest.raises(openai.APIConnectionError):
        ask(running, key)
    crashed = running.process("ingress-0")
    assert crashed.child.wait(30) != 0
    crashed.env = {name: value for name, value in crashed.env.items() if name != "TOLLGATE_FAULT"}
    crashed.start()
    eventually(crashed.is_ready, "ingress is back", 60)
    (claim,) = (json.loads(r.value()) for r in read(running, [running.topic("idempotency")]))
    answer, headers = ask(running, key)
    assert answer.choices[0].message.content == "echo: hello"
    assert headers["x-request-id"] == claim["request_id"] and not is_repeat(headers)
    again, headers = ask(running, key)
    assert again == answer and is_repeat(headers)
    assert len(fake_provider.calls) == 1


def answers_of(running, custom_ids):
    def found():
        lines = [json.loads(r.value()) for r in read(running, [running.topic("out.search")])]
        mine = {line["custom_id"]: line for line in lines if line["custom_id"] in custom_ids}
        return mine if len(mine) == len(custom_ids) else None

    return eventually(found, f"answers to {custom_ids}", 60)


def test_a_job_is_known_by_its_ce_id(running, fake_provider):
    event_id = uuid.uuid4().hex
    ids = [uuid.uuid4().hex for _ in range(4)]

    def job(custom_id, text, key):
        body = {"model": "chat", "messages": user(text)}
        value = {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body, "metadata": {"is": custom_id}}
        produce(running, running.topic("in.search"), value, headers={"ce_id": key} if key else None)

    job(ids[0], "named", event_id)
    first = answers_of(running, ids[:1])[ids[0]]
    job(ids[1], "named", event_id)
    job(ids[2], "another body", event_id)
    job(ids[3], "named", None)
    lines = answers_of(running, ids)
    assert lines[ids[1]]["response"] == first["response"] and lines[ids[1]]["metadata"] == {"is": ids[1]}
    assert lines[ids[2]]["error"]["code"] == "idempotency_key_reused"
    assert lines[ids[3]]["response"]["request_id"] != first["response"]["request_id"]
    assert len(fake_provider.calls) == 2, "a custom id is no key"
