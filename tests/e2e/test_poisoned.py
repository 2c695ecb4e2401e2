"""Records on internal topics that nobody can process: a dead letter, and an end for the request they stood for."""

import json
import time
import uuid

import pytest
from confluent_kafka import Producer
from kafka_tools import read
from ledger import ledger_of
from support import endpoint, eventually


@pytest.fixture(scope="module")
def running(gateway):
    return gateway([endpoint("chat", ["main alpha fake-large"])])


def put(running, topic, value):
    producer = Producer(running.operator())
    producer.produce(running.topic(topic), value)
    assert producer.flush(30) == 0


def values(running, topic):
    return [record.value() for record in read(running, [running.topic(topic)])]


@pytest.mark.parametrize("topic", ["requests.interactive", "approved.interactive", "parked.10s", "completions"])
def test_garbage_is_a_dead_letter(running, topic):
    garbage = f"garbage {uuid.uuid4()}".encode()
    put(running, topic, garbage)
    eventually(lambda: garbage in values(running, "dead-letters"), "the dead letter")


@pytest.mark.parametrize("topic", ["requests.batch", "approved.batch", "parked.1m"])
def test_a_broken_request_ends(running, topic):
    request_id = str(uuid.UUID(int=(int(time.time() * 1000) << 80) | (7 << 76) | (2 << 62) | uuid.uuid4().int % 2**62))
    reply_to = {"topic": running.topic("out.search"), "key": None, "custom_id": request_id, "metadata": None}
    broken = {
        "request_id": request_id,
        "lane": "batch",
        "endpoint": "chat",
        "model": "chat",
        "api_type": "openai/v1/chat/completions",
        "body": {"inline": {"secret": "content"}},
        "caller": {"team": "search"},
        "reply": {"partition": None, "boot_id": None, "topic": reply_to},
        "accepted_us": int(time.time() * 1e6),
        "deadline_ms": "tomorrow",
    }
    put(running, topic, json.dumps(broken).encode())
    row = ledger_of(running).row(request_id)
    assert (row["status_code"], row["error_code"], row["team"]) == (500, "internal_error", "search")
    lines = [json.loads(value) for value in values(running, "out.search")]
    (line,) = [line for line in lines if line["custom_id"] == request_id]
    assert line["error"]["code"] == "internal_error" and line["response"] is None
    terminals = [json.loads(value) for value in values(running, "replies") if request_id.encode() in value]
    assert len(terminals) == 1
    assert any(request_id.encode() in value for value in values(running, "dead-letters"))
