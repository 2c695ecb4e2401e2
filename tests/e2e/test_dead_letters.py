"""`tollgate dead-letters`: what nobody could process is listed, shown, and put back byte for byte, with the real command."""

import json
import subprocess
import uuid

import pytest
from confluent_kafka import Producer
from kafka_tools import headers_of, produce, read
from support import PROVIDER_KEYS, clean_environment, endpoint, eventually, user

CONNECT, SPRING = "__connect.errors.", "kafka_dlt-"


@pytest.fixture(scope="module")
def running(gateway):
    return gateway([endpoint("chat", ["main demo mock-1"])])


@pytest.fixture
def dead_letters(running, binary, tmp_path):
    def call(*arguments, ok=True):
        command = [binary, "dead-letters", *map(str, arguments), "--config", str(running.processes[0].config_file)]
        environment = {**clean_environment(), **PROVIDER_KEYS}
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, timeout=120)
        out, err = done.stdout, done.stderr.decode()
        assert (done.returncode == 0) == ok, f"{arguments}: {done.returncode}\n{out}\n{err}"
        return (out if "--raw" in arguments else out.decode()), err

    return call


def as_operator(running, topic, value, key=None, headers=None):
    """A record on a topic that only the services write."""
    failed = []
    producer = Producer({**running.operator(), "acks": "all", "partitioner": "murmur2_random"})
    producer.produce(running.topic(topic), value, key, headers=headers or [], on_delivery=lambda e, _: e and failed.append(e))
    assert not producer.flush(30) and not failed


def dead(running, value):
    """The dead letters with this value."""
    return [r for r in read(running, [running.topic("dead-letters")]) if r.value() == value]


def died(running, value, times=1):
    """The newest of so many, waiting for it."""

    def found():
        records = dead(running, value)
        return records if len(records) >= times else None

    return max(eventually(found, f"dead letter {times}", 60), key=lambda record: record.timestamp()[1])


def place_of(record):
    return f"{record.partition()}/{record.offset()}"


def ours(headers):
    """A record's headers but for those that dead letters and the trace add."""
    return [h for h in headers or [] if not h[0].startswith((CONNECT, SPRING)) and h[0] not in ("traceparent", "tollgate-redrives")]


def test_a_job_that_is_none_is_listed_shown_and_put_back(running, dead_letters):
    value = b"\x1b[2J\xff not a job " + uuid.uuid4().bytes
    key, headers = b"\x01key", {"mine": b"\xfe\xff", "ce_source": b"e2e"}
    produce(running, running.topic("in.search"), value, key, headers)
    first = died(running, value)
    (original,) = [r for r in read(running, [running.topic("in.search")]) if r.value() == value]

    known = dict(first.headers())
    assert known[CONNECT + "topic"].decode() == known[SPRING + "original-topic"].decode() == running.topic("in.search")
    assert int(known[CONNECT + "offset"]) == original.offset() == int.from_bytes(known[SPRING + "original-offset"], "big")
    assert len(known[SPRING + "original-partition"]) == 4 and len(known[SPRING + "original-timestamp"]) == 8
    assert known[CONNECT + "connector.name"].decode() == running.topic("ingress")

    lines = json.loads(dead_letters("list", "--json", "--topic", "in.search", "--since", "1h")[0])
    (line,) = [line for line in lines if line["place"] == place_of(first)]
    assert (line["topic"], line["partition"], line["offset"]) == (original.topic(), original.partition(), original.offset())
    assert (line["stage"], line["bytes"], line["request_id"], line["redrives"]) == ("job", len(value), None, 0)
    table = dead_letters("list")[0]
    assert place_of(first) in table and "not a job" not in table, "the list shows no content"
    assert json.loads(dead_letters("list", "--json", "--topic", "in.other")[0]) == []

    shown = dead_letters("show", place_of(first))[0]
    assert "\x1b" not in shown and "1b 5b 32 4a" in shown and "mine: 0xfeff" in shown
    assert dead_letters("show", place_of(first), "--raw")[0] == value

    said = dead_letters("redrive", place_of(first), "--dry-run")
    assert running.topic("in.search") in said[0] and "1 would be put back" in said[1]
    assert dead_letters("redrive", place_of(first))[1].strip().endswith("1 put back, 0 refused")
    again = died(running, value, 2)
    there = [r for r in read(running, [running.topic("in.search")]) if r.value() == value]
    assert len(there) == 2, "a dry run puts nothing back, a redrive one record"
    back = next(r for r in there if place_of(r) != place_of(original))
    assert (back.key(), back.value(), ours(back.headers())) == (key, value, ours(original.headers()))
    assert dict(back.headers())["tollgate-redrives"] == b"1"
    assert not [name for name, _ in back.headers() if name.startswith((CONNECT, SPRING))]
    assert headers_of(again)["tollgate-redrives"] == "1" and headers_of(again)[CONNECT + "offset"] == str(back.offset())


def test_a_job_whose_time_came_is_answered_after_its_redrive(running, dead_letters):
    """What made it fail is mended: here, by an operator who moved a good job to the dead letters by hand."""
    custom_id = uuid.uuid4().hex
    job = json.dumps({"custom_id": custom_id, "body": {"model": "chat", "messages": user("at last")}}).encode()
    spring = [(SPRING + "original-topic", running.topic("in.search").encode())]
    spring += [(SPRING + "original-partition", (0).to_bytes(4, "big")), (SPRING + "original-offset", (7).to_bytes(8, "big"))]
    as_operator(running, "dead-letters", job, b"customer-7", spring)
    dead_letters("redrive", place_of(died(running, job)))

    def answered():
        return [r for r in read(running, [running.topic("out.search")]) if json.loads(r.value())["custom_id"] == custom_id]

    (answer,) = eventually(answered, "the answer", 60)
    assert answer.key() == b"customer-7" and json.loads(answer.value())["error"] is None


def test_a_poisoned_request_comes_back_as_often_as_is_allowed(running, dead_letters):
    value, request_id = b"{garbage " + uuid.uuid4().hex.encode(), str(uuid.uuid4())
    as_operator(running, "approved.batch", value, request_id.encode(), [("ce_id", request_id.encode()), ("tollgate-redrives", b"9")])
    first = died(running, value)
    lines = json.loads(dead_letters("list", "--json", "--topic", running.topic("approved.batch"))[0])
    (line,) = [line for line in lines if line["place"] == place_of(first)]
    assert (line["stage"], line["request_id"], line["redrives"]) == ("parse", request_id, 9)
    dead_letters("redrive", place_of(first))
    tenth = died(running, value, 2)
    assert headers_of(tenth)["tollgate-redrives"] == "10" and tenth.key() == request_id.encode()
    said = dead_letters("redrive", place_of(tenth), ok=False)[1]
    assert "--force" in said and "0 put back, 1 refused" in said and len(dead(running, value)) == 2
    dead_letters("redrive", place_of(tenth), "--force")
    assert headers_of(died(running, value, 3))["tollgate-redrives"] == "11"


def test_all_of_a_topic_are_put_back_and_what_is_no_work_is_refused(running, dead_letters):
    values = [f"{{poison {n} {uuid.uuid4().hex}".encode() for n in range(3)]
    for value in values:
        as_operator(running, "requests.judge", value)
    for value in values:
        died(running, value)
    assert "3 put back, 0 refused" in dead_letters("redrive", "--all", "--topic", "requests.judge", "--since", "1h")[1]
    for value in values:
        died(running, value, 2)

    for topic in ("replies", "elsewhere"):
        foreign = uuid.uuid4().bytes
        at = [(CONNECT + "topic", running.topic(topic).encode()), (CONNECT + "partition", b"0"), (CONNECT + "offset", b"0")]
        as_operator(running, "dead-letters", foreign, None, at)
        said = dead_letters("redrive", place_of(died(running, foreign)), ok=False)[1]
        assert "neither work of the services nor a team's in topic" in said
    nameless = uuid.uuid4().bytes
    as_operator(running, "dead-letters", nameless)
    assert "do not say where" in dead_letters("redrive", place_of(died(running, nameless)), ok=False)[1]


def test_what_is_not_there_is_said(dead_letters):
    for place in ("0/999999", "99/0"):
        assert f"no dead letter at {place}" in dead_letters("show", place, ok=False)[1]
        assert f"no dead letter at {place}" in dead_letters("redrive", place, ok=False)[1]
    assert "not a place" in dead_letters("show", "7", ok=False)[1]
    assert "PLACES" in dead_letters("redrive", ok=False)[1], "nothing is put back by leaving a word out"
    assert "cannot be used with" in dead_letters("redrive", "0/0", "--all", ok=False)[1]
