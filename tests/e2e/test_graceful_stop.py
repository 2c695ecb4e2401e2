"""Stopping services while they work: what SIGTERM finishes, what it hands back, and what SIGKILL repeats."""

import contextlib
import json
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_tools import consumer, produce, produce_all, read
from ledger import ledger_of
from support import SEARCH_KEY, endpoint, eventually, user

ENDPOINTS = [
    endpoint("chat", ["main alpha fake-large"]),
    endpoint("slow", ["main alpha fault-gate"]),
    endpoint("slow-stream", ["main alpha fault-gate-stream"]),
]
CHECKS = {"input": {"keywords": {"action": "block", "words": ["never said"]}}, "output": {"pii": {"action": "mask"}}}
SLOW = "fault-gate"
DRAIN_SECONDS = 1
PAUSE_SECONDS = 0.02  # leaves the machine to the services that start
FAST_JOBS = 10_000  # as many as were promised, and more than may be in flight on a partition


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


def test_a_door_that_stops_answers_whoever_comes_and_waits(own_gateway, fake_provider):
    """New callers for as long as a load balancer may send them, those that wait until the drain ends, and then no more jobs."""
    running = own_gateway(ENDPOINTS, separate=True, shutdown={"unready": "5s", "drain": "3s"})
    (door,) = running.doors
    body = {"model": "slow-stream", "messages": user("hello"), "stream": True}
    with ThreadPoolExecutor() as pool, running.http() as http:
        whole = pool.submit(ask, door.url, "slow")
        streamed = pool.submit(lambda: http.post("/v1/chat/completions", json=body, timeout=120))
        eventually(lambda: len(fake_provider.calls) == 2, "both are at work")
        before = ask(door.url)
        terminate(door)
        assert "connection" not in before.headers
        assert httpx.get(door.url + "/health/ready").status_code == 503
        late = ask(door.url)
        assert (late.status_code, late.headers["connection"]) == (200, "close")
        admin = AdminClient(running.operator())
        group = running.topic("ingress")
        members = lambda: admin.describe_consumer_groups([group])[group].result().members  # noqa: E731
        eventually(lambda: not members(), "it leaves the jobs to others")
        assert door.child.poll() is None, "while it still answers callers"
        assert door.wait() == 0, door.tail()
        cut, event = whole.result(), streamed.result()
    assert (cut.status_code, cut.json()["error"]["code"]) == (504, "still_running")
    assert cut.headers["x-request-id"] in cut.json()["error"]["message"]
    events = [line for line in event.text.splitlines() if line.startswith("data: ")]
    assert json.loads(events[-1].removeprefix("data: "))["error"]["code"] == "still_running"
    start(door)
    fake_provider.open_gate(SLOW)
    fake_provider.open_gate("fault-gate-stream")
    with running.http() as http:
        for request_id in (cut.headers["x-request-id"], event.headers["x-request-id"]):
            path = f"/v1/requests/{request_id}"
            found = eventually(lambda path=path: (got := http.get(path)).status_code == 200 and got.json(), "it ends")
            assert found["status"] == "completed"


class Balancer:
    """Callers with pooled connections, by a load balancer that asks each door whether it is ready."""

    def __init__(self, gateway):
        self.doors, self.ready = gateway.doors, {}
        self.stop, self.answers, self.errors = threading.Event(), [], []
        threading.Thread(target=self.probe, daemon=True).start()
        eventually(lambda: all(self.ready.get(door.name) for door in self.doors), "all doors are ready")

    def probe(self):
        while not self.stop.wait(0.1):
            for door in self.doors:
                try:
                    self.ready[door.name] = httpx.get(door.url + "/health/ready", timeout=5).status_code == 200
                except httpx.TransportError:
                    self.ready[door.name] = False

    def call(self, number):
        with contextlib.ExitStack() as stack:
            headers = {"authorization": f"Bearer {SEARCH_KEY}"}
            clients = {
                door.name: stack.enter_context(httpx.Client(base_url=door.url, headers=headers, timeout=120))
                for door in self.doors
            }
            for count in range(1_000_000):
                if self.stop.wait(PAUSE_SECONDS):
                    return
                ready = [name for name, is_ready in self.ready.items() if is_ready]
                name = ready[(number + count) % len(ready)]
                body = {"model": ("chat", "checked")[count % 2], "messages": user("hello"), "stream": count % 4 > 1}
                try:
                    response = clients[name].post("/v1/chat/completions", json=body)
                except httpx.TransportError as error:
                    self.errors.append(f"{name}: {error!r}")
                    continue
                if response.status_code != 200 or (body["stream"] and "[DONE]" not in response.text):
                    self.errors.append(f"{name}: {response.status_code} {response.text}")
                self.answers.append(response.headers["x-request-id"])


@pytest.mark.timeout(600)
def test_a_rolling_restart_shows_callers_no_error(own_gateway, fake_provider):
    """Two of each service, one after the other; whole answers, streams and jobs, checked and not. Nothing is done twice."""
    endpoints = [*ENDPOINTS, endpoint("checked", ["main alpha fake-large"], guardrails=CHECKS)]
    shutdown = {"unready": "3s", "drain": "10m"}
    running = own_gateway(endpoints, separate=True, ingress=2, shutdown=shutdown)
    for name in ("guardrail-1", "router-worker-1", "usage-aggregator-1"):
        running.add(name)
    running.wait_until_ready()
    balancer, jobs = Balancer(running), []

    def answered():
        custom_id = uuid.uuid4().hex
        body = {"model": ("chat", "checked")[len(jobs) % 2], "messages": user("hello")}
        line = {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body}
        produce(running, running.topic("in.search"), line)
        jobs.append(custom_id)
        before = len(balancer.answers)
        eventually(lambda: len(balancer.answers) > before + 8, "callers are answered")

    with ThreadPoolExecutor() as pool:
        callers = [pool.submit(balancer.call, number) for number in range(4)]
        try:
            answered()
            for process in running.processes:
                process.signal(signal.SIGTERM)
                answered()
                assert process.wait() == 0, process.tail()
                start(process)
                eventually(lambda: all(balancer.ready.values()), "all doors are ready")
                answered()
        finally:
            balancer.stop.set()
        for one in callers:
            one.result()
    assert not balancer.errors

    def done():
        lines = [json.loads(record.value()) for record in read(running, [running.topic("out.search")])]
        return lines if len(lines) >= len(jobs) else None

    lines = eventually(done, "all jobs are answered", 60)
    assert sorted(line["custom_id"] for line in lines) == sorted(jobs)
    assert all(line["response"]["status_code"] == 200 for line in lines)
    asked = sorted([*balancer.answers, *(line["response"]["request_id"] for line in lines)])
    ledger = ledger_of(running)
    eventually(lambda: ledger.count() >= len(asked), "all rows are there", 60)
    assert sorted(row["request_id"] for row in ledger.query("SELECT request_id FROM usage")) == asked
    assert ledger.superseded().count() == 0
    assert len(fake_provider.calls) == len(asked)


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


@pytest.mark.timeout(900)
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

    reader = consumer(hasty.operator())
    end = lambda: reader.get_watermark_offsets(TopicPartition(answers, 0), timeout=10)[1]  # noqa: E731
    before = end()
    produce_all(hasty, jobs, [job("slow", "slow")])
    called(fake_provider, 1)
    produce_all(hasty, jobs, [job(str(number), "chat") for number in range(FAST_JOBS)])
    eventually(lambda: end() >= before + FAST_JOBS, "the fast ones are answered while the slow one is not", 600)
    reader.close()
    assert len(answered()) == FAST_JOBS
    group, topic = "router-batch", "approved.batch"
    # More than so many, if some found no place at the provider, were parked and came again.
    eventually(lambda: completed_above_the_commit(hasty, group, topic) >= FAST_JOBS, "their completion is committed", 60)

    router.child.kill()
    router.child.wait()
    start(router)
    called(fake_provider, 2)
    fake_provider.open_gate(SLOW)
    eventually(lambda: len(answered()) == FAST_JOBS + 1, "the slow one is answered", 60)
    assert len(set(answered())) == FAST_JOBS + 1
    assert len(fake_provider.calls_of(model="fake-large")) == FAST_JOBS
    eventually(lambda: completed_above_the_commit(hasty, group, topic) == 0, "everything is committed", 60)
