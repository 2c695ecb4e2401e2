"""Stopping services while they work: what SIGTERM finishes, what it hands back, and what SIGKILL repeats."""

import json
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from confluent_kafka import TopicPartition
from kafka_tools import consumer, produce_all, read
from ledger import ledger_of
from support import SEARCH_KEY, endpoint, eventually, user

ENDPOINTS = [
    endpoint("chat", ["main alpha fake-large"]),
    endpoint("slow", ["main alpha fault-gate"]),
    endpoint("slow-stream", ["main alpha fault-gate-stream"]),
]
SLOW = "fault-gate"
DRAIN_SECONDS = 1
FAST_JOBS = 1000


@pytest.fixture(scope="module")
def patient(gateway):
    """Waits for work in flight longer than any test does."""
    return gateway(ENDPOINTS, separate=True, ingress=2, shutdown={"drain": "10m"})


@pytest.fixture(scope="module")
def hasty(gateway):
    """Hands back what is not done after a second; everything goes through one partition."""
    kafka = {"partitions": {"default": 1, "usage": 1}}
    return gateway(ENDPOINTS, separate=True, kafka=kafka, shutdown={"drain": f"{DRAIN_SECONDS}s"})


def ask(url, model="chat"):
    """One request on a connection of its own."""
    body = {"model": model, "messages": user("hello")}
    headers = {"authorization": f"Bearer {SEARCH_KEY}"}
    return httpx.post(url + "/v1/chat/completions", json=body, headers=headers, timeout=120)


def terminate(process):
    """SIGTERM, and the wait for the service to know."""
    before = process.log().count("stopping:")
    process.signal(signal.SIGTERM)
    eventually(lambda: process.log().count("stopping:") > before, f"{process.name} stops")


def start(process):
    process.start()
    eventually(process.is_ready, f"{process.name} is ready again", 60)


def called(provider, times):
    eventually(lambda: len(provider.calls_of(model=SLOW)) == times, f"{times} calls of the slow model", 60)


def test_a_call_in_flight_is_finished_and_not_repeated(patient, fake_provider):
    router = patient.process("router-worker")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, patient.url, "slow")
        called(fake_provider, 1)
        terminate(router)
        fake_provider.open_gate(SLOW)
        assert router.wait() == 0, router.tail()
        assert answer.result().status_code == 200
    start(router)
    assert ask(patient.url).status_code == 200
    assert len(fake_provider.calls_of(model=SLOW)) == 1


def test_a_caller_in_flight_is_answered_before_ingress_ends(patient, fake_provider):
    door = patient.doors[1]
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, door.url, "slow")
        called(fake_provider, 1)
        terminate(door)
        fake_provider.open_gate(SLOW)
        assert answer.result().status_code == 200
        assert door.wait() == 0, door.tail()
    start(door)


def test_a_call_longer_than_the_drain_is_handed_back(hasty, fake_provider):
    router = hasty.process("router-worker")
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(ask, hasty.url, "slow")
        called(fake_provider, 1)
        terminate(router)
        assert router.wait() == 0, router.tail()
        assert not answer.done()
        start(router)
        called(fake_provider, 2)
        fake_provider.open_gate(SLOW)
        response = answer.result()
        assert response.status_code == 200 and response.headers["x-tollgate-attempts"] == "2"
    row = ledger_of(hasty).row(response.headers["x-request-id"])
    calls = [(attempt["status_code"], attempt["error_code"]) for attempt in row["attempts"]]
    assert calls == [(None, "worker_stopped"), (200, None)], "the row knows each call that the provider saw"
    # The first one's prompt is billed too: 5 characters, (n + 1) / 4.
    assert (row["input_tokens"], row["output_tokens"], row["token_source"]) == (1000 + 1, 200, "estimated")


def test_a_stream_longer_than_the_drain_ends_with_its_row(hasty, fake_provider):
    router = hasty.process("router-worker")
    body = {"model": "slow-stream", "messages": user("hello there")}
    stream = hasty.openai().chat.completions.create(**body, stream=True)
    next(chunk for chunk in stream if chunk.choices[0].delta.content)
    terminate(router)
    assert router.wait() == 0, router.tail()
    with pytest.raises(openai.APIError, match="stopped"):
        list(stream)
    start(router)
    row = ledger_of(hasty).row(stream.response.headers["x-request-id"])
    assert (row["status_code"], row["error_code"]) == (502, "stream_interrupted")
    assert [attempt["error_code"] for attempt in row["attempts"]] == ["worker_stopped"]
    assert row["output_tokens"] > 0 and len(fake_provider.calls) == 1


def test_a_rolling_restart_shows_callers_no_error(patient, fake_provider):
    """Callers come by a load balancer, which sends nobody to a door that is about to stop."""
    doors, stop, answers = list(patient.doors), threading.Event(), []

    def caller(number):
        for count in range(1_000_000):
            if stop.is_set():
                return
            live = list(doors)
            answers.append(ask(live[(number + count) % len(live)].url).status_code)

    def answered():
        before = len(answers)
        eventually(lambda: len(answers) > before + 8, "callers are answered")

    with ThreadPoolExecutor() as pool:
        callers = [pool.submit(caller, number) for number in range(4)]
        try:
            answered()
            for process in patient.processes:
                is_door = process in doors
                if is_door:
                    doors.remove(process)
                    answered()
                process.signal(signal.SIGTERM)
                assert process.wait() == 0, process.tail()
                start(process)
                if is_door:
                    doors.append(process)
                answered()
        finally:
            stop.set()
        for one in callers:
            one.result()
    assert set(answers) == {200}


def completed_above_the_commit(running, group, topic):
    """The number of completed offsets that the commit's metadata tells of; see crates/bus/src/commit_metadata.rs."""
    reader = consumer(running.operator(), running.topic(group))
    (found,) = reader.committed([TopicPartition(running.topic(topic), 0)], timeout=10)
    reader.close()
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    lengths, length, shift = [], 0, 0
    for letter in (found.metadata or "1:0:").split(":")[2]:
        six = letters.index(letter)
        length, shift = length | (six & 31) << shift, shift + 5
        if six < 32:
            lengths.append(length)
            length, shift = 0, 0
    return sum(lengths[1::2])


def test_a_slow_call_delays_no_other_and_a_crash_repeats_it_alone(hasty, fake_provider):
    router, jobs, answers = hasty.process("router-worker"), hasty.topic("in.search"), hasty.topic("out.search")
    run = uuid.uuid4().hex

    def job(name, model):
        body = {"model": model, "messages": user(name)}
        line = {"custom_id": f"{run}-{name}", "method": "POST", "url": "/v1/chat/completions", "body": body}
        return json.dumps(line).encode(), None, None

    def answered():
        lines = [json.loads(record.value()) for record in read(hasty, [answers])]
        return [line["custom_id"] for line in lines if line["custom_id"].startswith(run)]

    produce_all(hasty, jobs, [job("slow", "slow")])
    called(fake_provider, 1)
    produce_all(hasty, jobs, [job(str(number), "chat") for number in range(FAST_JOBS)])
    eventually(lambda: len(answered()) == FAST_JOBS, "the fast ones are answered while the slow one is not", 150)
    group, topic = "router-batch", "approved.batch"
    eventually(lambda: completed_above_the_commit(hasty, group, topic) == FAST_JOBS, "their completion is committed", 60)

    router.child.kill()
    router.child.wait()
    start(router)
    called(fake_provider, 2)
    fake_provider.open_gate(SLOW)
    eventually(lambda: len(answered()) == FAST_JOBS + 1, "the slow one is answered", 60)
    assert len(set(answered())) == FAST_JOBS + 1
    assert len(fake_provider.calls_of(model="fake-large")) == FAST_JOBS
    eventually(lambda: completed_above_the_commit(hasty, group, topic) == 0, "everything is committed", 60)
