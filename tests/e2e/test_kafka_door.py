"""The Kafka door with confluent-kafka as a direct producer and consumer: three shapes of jobs, and records that are none."""

import json
import uuid

import pytest
from kafka_tools import collect, headers_of, produce, produce_all, read
from support import endpoint, eventually, user


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(
        [
            endpoint("chat", ["main alpha fake-large"]),
            endpoint("failing", ["main alpha fault-500"]),
            endpoint("guarded", ["main alpha fake-large"], guardrails={"input": {"keywords": keywords()}}),
        ]
    )


def keywords():
    return {"action": "block", "words": ["project orion"]}


class Door:
    """A team's own view: its two topics and nothing else."""

    def __init__(self, running):
        self.running = running
        self.jobs, self.answers = running.topic("in.search"), running.topic("out.search")

    def answers_to(self, wanted, seconds=60):
        """Answers by custom id, once there is one for each of `wanted`; none may come twice."""

        def found():
            lines = [json.loads(record.value()) for record in read(self.running, [self.answers])]
            mine = [line for line in lines if line["custom_id"] in wanted]
            return mine if {line["custom_id"] for line in mine} == set(wanted) else None

        lines = eventually(found, f"answers to {wanted}", seconds)
        assert len(lines) == len(wanted), "a job was answered twice"
        return {line["custom_id"]: line for line in lines}

    def dead(self, value):
        """The dead letter with this value, waiting for it."""

        def found():
            return [r for r in read(self.running, [self.running.topic("dead-letters")]) if r.value() == value]

        return eventually(found, "the dead letter")[0]


@pytest.fixture
def door(running, fake_provider):
    return Door(running)


def content_of(line):
    return line["response"]["body"]["choices"][0]["message"]["content"]


def job(text, model="chat", custom_id=None, **more):
    custom_id = custom_id or uuid.uuid4().hex
    body = {"model": model, "messages": user(text)}
    return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body, **more}


def test_openai_batch_lines(running, door):
    sent = job("a batch line", metadata={"order": 7, "nested": {"a": [1]}})
    produce(running, door.jobs, sent, key=b"customer-1")
    line = door.answers_to([sent["custom_id"]])[sent["custom_id"]]
    assert content_of(line) == "echo: a batch line"
    assert line["response"]["status_code"] == 200 and line["error"] is None
    assert line["id"] == "batch_req_" + line["response"]["request_id"]
    assert line["metadata"] == {"order": 7, "nested": {"a": [1]}}
    uuid.UUID(line["response"]["request_id"])
    record = next(r for r in read(running, [door.answers]) if sent["custom_id"].encode() in r.value())
    assert record.key() == b"customer-1"
    headers = headers_of(record)
    assert headers["ce_specversion"] == "1.0" and headers["content-type"].startswith("application/json")
    assert all(headers[name] for name in ("ce_id", "ce_source", "ce_type", "ce_time", "traceparent"))


def test_kubeai_messages(running, door, fake_provider):
    label = uuid.uuid4().hex
    body = {"model": "chat", "messages": user("from kubeai")}
    produce(running, door.jobs, {"metadata": {"label": label}, "path": "/v1/chat/completions", "body": body})

    def found():
        lines = [json.loads(record.value()) for record in read(running, [door.answers])]
        return [line for line in lines if (line["metadata"] or {}).get("label") == label]

    (line,) = eventually(found, "the answer")
    assert content_of(line) == "echo: from kubeai"


def test_bare_bodies_with_cloudevents_headers(running, door):
    event_id = uuid.uuid4().hex
    headers = {
        "ce_specversion": "1.0",
        "ce_id": event_id,
        "ce_source": "e2e",
        "ce_type": "chat",
        "ce_subject": "/v1/chat/completions",
        "content-type": "application/json",
        "traceparent": "00-" + "4b" * 16 + "-" + "a1" * 8 + "-01",
    }
    produce(running, door.jobs, {"model": "chat", "messages": user("bare")}, headers=headers)
    assert content_of(door.answers_to([event_id])[event_id]) == "echo: bare"
    record = next(r for r in read(running, [door.answers]) if event_id.encode() in r.value())
    assert headers_of(record)["traceparent"].split("-")[1] == "4b" * 16, "the answer belongs to the job's trace"


def test_a_job_that_asks_for_a_stream_gets_a_whole_answer(running, door):
    sent = job("streamed?")
    sent["body"]["stream"] = True
    produce(running, door.jobs, sent)
    assert content_of(door.answers_to([sent["custom_id"]])[sent["custom_id"]]) == "echo: streamed?"


def test_many_jobs_are_each_answered_once(running, door, fake_provider):
    sent = {job_["custom_id"]: job_ for job_ in (job(f"number {n}") for n in range(300))}
    produce_all(running, door.jobs, [(job_, None, None) for job_ in sent.values()])
    lines = door.answers_to(list(sent), seconds=120)
    for custom_id, line in lines.items():
        assert content_of(line) == "echo: " + sent[custom_id]["body"]["messages"][0]["content"]
    assert len(fake_provider.calls) == 300


@pytest.mark.parametrize(
    ("model", "text", "code"),
    [
        ("no-such-model", "hi", "model_not_found"),
        ("failing", "hi", "provider_error"),
        ("guarded", "about project orion", "guardrail_blocked"),
    ],
)
def test_jobs_that_fail_are_answered_with_a_typed_error(running, door, model, text, code):
    sent = job(text, model, metadata={"m": 1})
    produce(running, door.jobs, sent)
    line = door.answers_to([sent["custom_id"]])[sent["custom_id"]]
    assert line["error"]["code"] == code and line["error"]["message"]
    assert line["response"] is None and line["metadata"] == {"m": 1}
    assert "orion" not in json.dumps(line)


@pytest.mark.parametrize(
    "broken",
    [
        lambda i: (b'{"custom_id":"%b","body":' % i.encode(), {"ce_id": i}),
        lambda i: (json.dumps({"custom_id": i, "url": "/v1/chat/completions"}).encode(), {}),
        lambda i: (json.dumps({"custom_id": i, "url": "/v1/nothing", "body": {"model": "chat"}}).encode(), {}),
        lambda i: (json.dumps({"custom_id": i, "method": "GET", "body": {"model": "chat"}}).encode(), {}),
        lambda i: (b"\xff\xfe not utf-8 " + i.encode(), {"ce_id": i}),
    ],
    ids=["cut-off", "no-body", "unknown-url", "wrong-method", "not-utf-8"],
)
def test_a_malformed_record_is_answered_where_it_names_an_id_and_dead_lettered(running, door, broken):
    custom_id = uuid.uuid4().hex
    value, headers = broken(custom_id)
    produce(running, door.jobs, value, key=b"k", headers=headers)
    line = door.answers_to([custom_id])[custom_id]
    assert line["error"]["code"] == "invalid_request_error" and line["response"] is None
    check_dead_letter(door, value)


@pytest.mark.parametrize("value", [b"", b"no json at all %d", b"[1,2,3]", b'"text"', b"{}"])
def test_a_record_that_names_nobody_is_dead_lettered_and_nothing_else(running, door, value):
    value = value.replace(b"%d", uuid.uuid4().hex.encode())
    before = len(read(running, [door.answers]))
    produce(running, door.jobs, value)
    check_dead_letter(door, value)
    sent = job("still alive")
    produce(running, door.jobs, sent)
    assert content_of(door.answers_to([sent["custom_id"]])[sent["custom_id"]]) == "echo: still alive"
    assert len(read(running, [door.answers])) == before + 1


def check_dead_letter(door, value):
    headers = headers_of(door.dead(value))
    assert headers["__connect.errors.topic"] == door.jobs
    assert headers["kafka_dlt-original-topic"] == door.jobs
    assert headers["__connect.errors.exception.message"]
    assert {"__connect.errors.partition", "__connect.errors.offset", "kafka_dlt-original-offset"} <= set(headers)


MIB = 1 << 20


@pytest.mark.parametrize(
    ("more", "key", "headers"),
    [
        ({"metadata": {"m": "x" * (2 * MIB)}}, b"k", {}),
        ({}, b"k" * 900_000, {}),
        ({"body": {"model": "chat", "messages": user("hi"), "user": "u" * 900_000}}, b"k", {}),
        ({}, b"k", {"h": b"h" * 900_000}),
        ({"body": {"model": "m" * 900_000, "messages": user("hi")}}, b"k", {}),
    ],
    ids=["metadata", "key", "user", "header", "model"],
)
def test_what_is_large_beyond_reason_is_answered_and_disturbs_nobody(running, door, more, key, headers):
    sent = {**job("hostile"), **more}
    produce(running, door.jobs, sent, key=key, headers=headers)
    assert door.answers_to([sent["custom_id"]])
    after = job("still alive")
    produce(running, door.jobs, after)
    assert content_of(door.answers_to([after["custom_id"]])[after["custom_id"]]) == "echo: still alive"


def test_a_tombstone_harms_nobody(running, door):
    from confluent_kafka import Producer

    producer = Producer(running.anybody())
    producer.produce(door.jobs, None, b"key")
    assert producer.flush(30) == 0
    sent = job("after a tombstone")
    produce(running, door.jobs, sent)
    assert door.answers_to([sent["custom_id"]])


def test_a_consumer_group_of_the_team_sees_every_answer_once(running, door):
    sent = [job(f"group {n}") for n in range(10)]
    already = len(read(running, [door.answers]))
    produce_all(running, door.jobs, [(job_, None, None) for job_ in sent])
    lines = [json.loads(record.value()) for record in collect(running, door.answers, already + 10)]
    ids = [line["custom_id"] for line in lines]
    assert all(ids.count(job_["custom_id"]) == 1 for job_ in sent)
