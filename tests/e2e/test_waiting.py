"""Waiting instead of failing: jobs wait for a provider that throttles or is down, callers hear when to come back."""

import json
import signal
import time
import uuid

import openai
import pytest
from confluent_kafka import Producer, TopicPartition
from kafka_tools import consumer, produce, produce_all, read
from ledger import ledger_of
from support import endpoint, eventually, user
from test_kafka_door import Door, content_of, job


# Where a job may be that waits for seconds, and the group that reads it there.
PLACES = {"approved.batch": "router-batch", "parked.10s": "router-parked-10s"}
STALLED_JOBS = 3000
STALLED_PLACES = 4
# Nearly as large as a body inside a record may be, and together more than the 64 MiB that a lane's consumer takes in.
LARGE_JOBS, LARGE_BYTES = 300, 240 << 10
# Of these, one provider's calls hold this (docs/api.md, "Bounds").
CALLED_BYTES = 24 << 20


@pytest.fixture(scope="module")
def running(gateway, _provider):
    # A few places, so that nearly all who come for them have to wait.
    narrow = {"kind": "openai", "base_url": _provider.url("narrow"), "concurrency": STALLED_PLACES}
    return gateway(
        [
            endpoint("chat", ["main alpha fake-large"]),
            endpoint("short", ["main alpha waits-short"]),
            endpoint("silent", ["main alpha waits-silent"]),
            endpoint("long", ["main alpha waits-long"]),
            endpoint("late", ["main alpha waits-late"]),
            endpoint("unwanted", ["main alpha waits-unwanted"]),
            endpoint("both", ["main alpha waits-both"], fallbacks=["second claude waits-too"]),
            endpoint("overloaded", ["main alpha waits-over"]),
            endpoint("down", ["main dead nothing"]),
            endpoint("stalled", ["main narrow stalls"]),
            endpoint("large", ["main wide stalls-large"]),
        ],
        providers={"narrow": narrow, "wide": {"kind": "openai", "base_url": _provider.url("wide")}},
        # One partition, so that whoever waits and whoever does not stand in the same queue.
        kafka={"partitions": {"default": 1, "usage": 1}},
    )


@pytest.fixture
def door(running, fake_provider):
    return Door(running)


def in_ledger(running, line):
    """The usage row of an answered job, whose attempts are the calls that were made."""
    return ledger_of(running).row(line["id"].removeprefix("batch_req_"))


@pytest.mark.parametrize(("model", "retry_after"), [("short", 1), ("silent", 0)])
def test_jobs_wait_out_a_throttle(running, door, fake_provider, model, retry_after):
    fake_provider.fault("429", model=f"waits-{model}", times=3, retry_after=retry_after)
    jobs = [job(f"{n}", model=model) for n in range(10)]
    produce_all(running, door.jobs, [(one, None, None) for one in jobs])
    lines = door.answers_to([one["custom_id"] for one in jobs])
    assert all(line["error"] is None and content_of(line) for line in lines.values())
    rows = [in_ledger(running, line) for line in lines.values()]
    statuses = [attempt["status_code"] for row in rows for attempt in row["attempts"]]
    assert sorted(statuses) == [200] * 10 + [429] * 3, "each call is in a row, once"
    assert len(fake_provider.calls) == len(statuses)


def test_a_long_wait_is_parked_and_survives_a_crash(running, door, fake_provider):
    fake_provider.fault("429", model="waits-long", times=1, retry_after=12)
    jobs = [job(f"{n}", model="long") for n in range(5)]
    produce(running, door.jobs, jobs[0])
    eventually(lambda: parked(running, jobs[0]), "the job is parked")
    produce_all(running, door.jobs, [(one, None, None) for one in jobs[1:]])
    eventually(lambda: all(parked(running, one) for one in jobs[1:]), "the others are parked without a call")
    assert len(fake_provider.calls_of(model="waits-long")) == 1
    running.kill()
    for process in running.processes:
        process.start()
    running.wait_until_ready()
    lines = door.answers_to([one["custom_id"] for one in jobs])
    assert all(line["error"] is None and content_of(line) for line in lines.values())
    row = in_ledger(running, lines[jobs[0]["custom_id"]])
    assert [attempt["status_code"] for attempt in row["attempts"]] == [429, 200]
    assert [attempt["action"] for attempt in row["attempts"]] == ["INITIAL_ATTEMPT", "RETRY"]


def test_a_crash_between_parking_and_commit_ends_the_job_once(own_gateway, fake_provider):
    """What it came from is delivered again while it waits: there are two of it, and both go on."""
    armed = {"TOLLGATE_FAULT": "parked.acknowledged:1"}
    running = own_gateway([endpoint("cut", ["main alpha waits-cut"])], env=armed)
    door, one = Door(running), job("cut off", model="cut")
    fake_provider.fault("429", model="waits-cut", times=1, retry_after=12)
    produce(running, door.jobs, one)
    (process,) = running.processes
    assert process.child.wait(60) == -signal.SIGABRT, process.tail()
    del process.env["TOLLGATE_FAULT"]
    process.start()
    running.wait_until_ready()
    assert parked(running, one)

    def answers():
        return [json.loads(r.value()) for r in read(running, [door.answers])]

    eventually(answers, "it is answered", 60)
    eventually(lambda: is_all_done(running), "both have ended", 60)
    lines = answers()
    assert {(line["custom_id"], line["error"], content_of(line)) for line in lines} == {
        (one["custom_id"], None, "echo: cut off")
    }
    (request_id,) = {line["id"].removeprefix("batch_req_") for line in lines}
    rows = [json.loads(r.value()) for r in read(running, [running.topic("usage")])]
    assert {row["request_id"] for row in rows} == {request_id}
    executions = {row["execution_id"] for row in rows}
    usage = ledger_of(running)
    first = usage.row(request_id)["execution_id"]
    superseded = usage.superseded()
    eventually(lambda: superseded.count() >= len(executions) - 1, "the later one's row is there")
    assert usage.count() == 1
    later = [row["execution_id"] for row in superseded.query("SELECT execution_id FROM usage")]
    assert sorted([first, *later]) == sorted(executions)
    told = attempts_in(usage) | attempts_in(superseded)
    # The call before the crash is told of by what waits. If the other one is at work when that comes, that one goes on alone.
    assert sorted(status for _, status in told if status != 429) == [200] * (len(fake_provider.calls) - 1)
    assert sum(status == 429 for _, status in told) <= 1


def is_all_done(running):
    """Whether the router has committed all that was there to be worked on and to wait. What that caused is there before, so the ends
    are asked for after all commits."""
    readers = {topic: consumer(running.operator(), running.topic(group)) for topic, group in PLACES.items()}
    try:
        committed = {}
        for topic, reader in readers.items():
            partitions = reader.list_topics(timeout=10).topics[running.topic(topic)].partitions
            places = [TopicPartition(running.topic(topic), number) for number in partitions]
            committed[topic] = reader.committed(places, timeout=10)
        return all(
            max(place.offset, 0) == readers[topic].get_watermark_offsets(place, timeout=10)[1]
            for topic, places in committed.items()
            for place in places
        )
    finally:
        for reader in readers.values():
            reader.close()


def attempts_in(ledger):
    """(began, status) of each attempt in a table. One that was parked is in the row of each execution that went on from there."""
    attempt = "struct_pack(began := epoch_us(a.start_time), status := a.status_code)"
    rows = ledger.query(f"SELECT unnest([{attempt} for a in routing_information.attempts]) AS attempt FROM usage")
    return {(row["attempt"]["began"], row["attempt"]["status"]) for row in rows}


def parked(running, one):
    """The records of a job in the topics where requests wait."""
    topics = [running.topic(f"parked.{delay}") for delay in ("10s", "1m", "10m")]
    wanted = one["custom_id"].encode()
    return [record for record in read(running, topics) if wanted in record.value()]


def test_a_deadline_that_passes_while_parked_is_an_answer(running, door, fake_provider):
    fake_provider.fault("429", model="waits-late", retry_after=600)
    one = job("too late", model="late")
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    produce(running, door.jobs, one, headers={"ce_expirytime": expires})
    line = door.answers_to([one["custom_id"]])[one["custom_id"]]
    assert line["response"] is None and line["error"]["code"] == "deadline_exceeded"
    row = in_ledger(running, line)
    assert row["status_code"] == 504 and [attempt["status_code"] for attempt in row["attempts"]] == [429]
    assert parked(running, one)


def cancel(running, request_id, team):
    value = {"request_id": request_id, "team": team, "reason": "requested"}
    producer = Producer(running.operator())
    producer.produce(running.topic("cancellations"), json.dumps(value).encode(), request_id)
    assert producer.flush(30) == 0


def test_a_parked_request_can_be_cancelled_by_its_team(running, door, fake_provider):
    fake_provider.fault("429", model="waits-unwanted", retry_after=600)
    one = job("never mind", model="unwanted")
    produce(running, door.jobs, one)
    (record,) = eventually(lambda: parked(running, one), "the job is parked")
    assert record.topic() == running.topic("parked.10m")
    request = json.loads(record.value())
    assert request["waiting"]["parks"] == 1 and len(request["waiting"]["attempts"]) == 1
    cancel(running, request["request_id"], "other")
    cancel(running, request["request_id"], "search")
    line = door.answers_to([one["custom_id"]])[one["custom_id"]]
    assert line["error"]["code"] == "cancelled"
    assert len(in_ledger(running, line)["attempts"]) == 1


def test_a_caller_is_told_when_to_come_back(running, fake_provider):
    fake_provider.fault("429", name="alpha", model="waits-both", retry_after=600)
    fake_provider.fault("429", name="claude", model="waits-too", retry_after=300)
    for calls in (2, 2):
        with pytest.raises(openai.RateLimitError) as caught:
            running.openai().chat.completions.create(model="both", messages=user("hello"))
        assert caught.value.code == "rate_limit_exceeded"
        assert 0 < int(caught.value.response.headers["retry-after"]) <= 300
        assert len(fake_provider.calls) == calls, "a provider that named a time is left alone until then"


def test_a_provider_that_names_its_overloads_end_is_left_alone_until_then(running, fake_provider):
    fake_provider.fault("503", model="waits-over", retry_after=600)
    for _ in range(2):
        with pytest.raises(openai.InternalServerError) as caught:
            running.openai().chat.completions.create(model="overloaded", messages=user("hello"))
        assert (caught.value.status_code, caught.value.code) == (503, "overloaded")
        assert 0 < int(caught.value.response.headers["retry-after"]) <= 600
    assert len(fake_provider.calls) == 1


def test_a_provider_that_is_down_holds_back_only_its_own(running, door, fake_provider):
    """More jobs for it than a partition may have in flight stand before those for somebody else."""
    waiting = [(job("down", model="down", custom_id=f"down-{n}-{uuid.uuid4().hex}"), None, None) for n in range(1500)]
    produce_all(running, door.jobs, waiting)
    jobs = [job(f"{n}") for n in range(20)]
    produce_all(running, door.jobs, [(one, None, None) for one in jobs])
    lines = door.answers_to([one["custom_id"] for one in jobs])
    assert all(line["error"] is None for line in lines.values())
    down = [json.loads(r.value()) for r in read(running, [door.answers]) if b"down-" in r.value()]
    assert down == [], "a job for a provider that is down waits"


def test_a_provider_that_stalls_holds_back_only_its_own(running, door, fake_provider):
    """It takes calls and never answers, and three times as many jobs for it as may be in flight stand before the others."""
    fake_provider.fault("gate", model="stalls")
    stalled = [job("?", model="stalled", custom_id=f"stalled-{n}-{uuid.uuid4().hex}") for n in range(STALLED_JOBS)]
    produce_all(running, door.jobs, [(one, None, None) for one in stalled])

    def called():
        return len(fake_provider.calls_of(model="stalls"))

    eventually(lambda: called() == STALLED_PLACES, "the provider has all the calls it may have", 60)
    jobs = [job(f"{n}") for n in range(20)]
    produce_all(running, door.jobs, [(one, None, None) for one in jobs])
    lines = door.answers_to([one["custom_id"] for one in jobs])
    assert all(line["error"] is None and content_of(line) for line in lines.values())
    assert called() == STALLED_PLACES, "the gate is shut all the while"
    waiting = [json.loads(r.value()) for r in read(running, [door.answers]) if b"stalled-" in r.value()]
    assert waiting == [], "those for the stalled provider wait"
    fake_provider.open_gate("stalls")
    eventually(lambda: called() > 10 * STALLED_PLACES, "they are tried once it answers", 60)


def test_large_jobs_for_a_provider_that_stalls_hold_back_only_its_own(running, door, fake_provider):
    """It would take calls for all the bytes that the lane may have in flight, and jobs for others stand behind."""
    fake_provider.fault("gate", model="stalls-large")
    text = "x" * LARGE_BYTES
    large = [job(text, model="large", custom_id=f"large-{n}-{uuid.uuid4().hex}") for n in range(LARGE_JOBS)]
    produce_all(running, door.jobs, [(one, None, None) for one in large])

    def called():
        return len(fake_provider.calls_of(model="stalls-large"))

    # What a record has beside its body is not known here to the byte.
    most = CALLED_BYTES // LARGE_BYTES
    eventually(lambda: called() > most - 10, "the provider has the bytes that it may have", 120)
    jobs = [job(f"{n}") for n in range(20)]
    produce_all(running, door.jobs, [(one, None, None) for one in jobs])
    lines = door.answers_to([one["custom_id"] for one in jobs])
    assert all(line["error"] is None and content_of(line) for line in lines.values())
    assert most - 10 < called() <= most, "the gate is shut all the while"
    waiting = [json.loads(r.value()) for r in read(running, [door.answers]) if b"large-" in r.value()]
    assert waiting == [], "those for the stalled provider wait"
    fake_provider.open_gate("stalls-large")
    eventually(lambda: called() > 2 * most, "they are tried once it answers", 120)
