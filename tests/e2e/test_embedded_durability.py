"""What the embedded broker keeps: over restarts, over `SIGKILL` in the middle of work, and when the disk is full."""

import contextlib
import json
import resource
import signal
import subprocess
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from kafka_tools import consumer, produce_all, read
from ledger import ledger_of
from support import endpoint, eventually, user

pytestmark = pytest.mark.only_embedded(reason="its files")

ENDPOINTS = [endpoint("chat", ["main demo mock-1"])]
SMALL = {"partitions": {"default": 2, "usage": 1}}
KILLS = 4
JOBS_A_LIFE = 400


def job(custom_id, text="a job"):
    body = {"model": "chat", "messages": user(text)}
    return {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body}


def submit(running, count):
    """Jobs that the broker has acknowledged: their custom ids."""
    ids = {uuid.uuid4().hex for _ in range(count)}
    produce_all(running, running.topic("in.search"), [(job(i), None, None) for i in ids])
    return ids


def answers(running):
    """Answers by custom id; of several, all."""
    found = {}
    for record in read(running, [running.topic("out.search")]):
        line = json.loads(record.value())
        found.setdefault(line["custom_id"], []).append(line)
    return found


def rows(running, ids):
    """How often each of these requests is in the table."""
    listed = ", ".join(f"'{request_id}'" for request_id in ids)
    sql = f"SELECT request_id, count(*) AS n FROM usage WHERE request_id IN ({listed}) GROUP BY ALL"
    return {row["request_id"]: row["n"] for row in ledger_of(running).query(sql)}


def offsets(running):
    """Where every partition of every topic ends."""
    reader = consumer(running.operator())
    found = {}
    for name, topic in reader.list_topics(timeout=10).topics.items():
        for partition in topic.partitions:
            found[name, partition] = reader.get_watermark_offsets(TopicPartition(name, partition), timeout=10)
    cluster = reader.list_topics(timeout=10).cluster_id
    reader.close()
    return cluster, found


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(ENDPOINTS, kafka=SMALL, usage={"flush": {"rows": 1000, "after": "200ms"}})


@pytest.mark.parametrize("how", ["asked to stop", "killed", "power loss"])
def test_all_is_there_after_a_restart(running, how):
    ids = submit(running, 20)
    eventually(lambda: ids <= set(answers(running)), "the answers", 60)
    request_id = running.chat({"model": "chat", "messages": user("hello")}).headers["x-request-id"]
    group = f"team.{uuid.uuid4().hex}"
    places = [TopicPartition(running.topic("out.search"), p, 3 + p) for p in (0, 1)]
    reader = Consumer({**running.anybody(), "group.id": group})
    reader.commit(offsets=places, asynchronous=False)
    reader.close()
    cluster, before = offsets(running)
    (process,) = running.processes
    process.signal(signal.SIGTERM if how == "asked to stop" else signal.SIGKILL)
    assert process.wait() == (0 if how == "asked to stop" else -signal.SIGKILL)
    if how == "power loss":
        # As after a start of the machine: what was written last may be gone, so offsets go on beyond any given out.
        (running.data_dir / "broker" / "boot").write_text("another run of the system")
    process.start()
    running.wait_until_ready()
    again, after = offsets(running)
    assert again == cluster, "the usage table names its files by the cluster's id"
    assert all(after[place][1] >= end for place, (_, end) in before.items()), "no offset is given out twice"
    assert (how == "power loss") == any(after[place][1] > end + 1000 for place, (_, end) in before.items())
    assert ids <= set(answers(running)), "a reader gets over what was left out, and to the end"
    ids |= submit(running, 20)
    eventually(lambda: ids <= set(answers(running)), "the answers of before and after", 60)
    reader = Consumer({**running.anybody(), "group.id": group})
    assert [place.offset for place in reader.committed(places, timeout=10)] == [3, 4]
    reader.close()
    with running.http() as http:
        eventually(lambda: http.get(f"/v1/requests/{request_id}").status_code == 200, "its answer is found")
    assert running.chat({"model": "chat", "messages": user("again")}).status_code == 200
    eventually(lambda: rows(running, [request_id]) == {request_id: 1}, "its row", 60)


class Load:
    """Callers and a producer that go on whatever happens, and remember what was accepted."""

    def __init__(self, running):
        self.running, self.over = running, threading.Event()
        self.acknowledged, self.answered = set(), set()
        self.allowed = 0
        self.threads = [threading.Thread(target=self.submit), *(threading.Thread(target=self.call) for _ in range(4))]
        for thread in self.threads:
            thread.start()

    def submit(self):
        """Jobs; those whose record the broker acknowledged are accepted."""
        producer = Producer({**self.running.anybody(), "acks": "all", "linger.ms": 0})
        produced = 0
        while not self.over.is_set():
            producer.poll(0)
            time.sleep(0.005)
            if produced == self.allowed:
                continue
            produced += 1
            custom_id = uuid.uuid4().hex

            def delivered(error, _, custom_id=custom_id):
                if error is None:
                    self.acknowledged.add(custom_id)

            producer.produce(self.running.topic("in.search"), json.dumps(job(custom_id)), on_delivery=delivered)
        assert producer.flush(60) == 0

    def call(self):
        """Requests; those that were answered have been accepted and have ended."""
        while not self.over.is_set():
            try:
                response = self.running.chat({"model": "chat", "messages": user("hello")})
            except httpx.TransportError:
                time.sleep(0.02)
                continue
            if response.status_code == 200:
                self.answered.add(response.headers["x-request-id"])

    def go_on(self):
        """Until there is something new of both sorts, with more of it on its way."""
        jobs, calls = len(self.acknowledged), len(self.answered)
        self.allowed += JOBS_A_LIFE
        eventually(lambda: len(self.acknowledged) >= jobs + JOBS_A_LIFE // 4, "jobs are taken", 90)
        eventually(lambda: len(self.answered) >= calls + 10, "calls are answered", 90)

    def end(self):
        self.over.set()
        for thread in self.threads:
            thread.join(90)
            assert not thread.is_alive()


@pytest.mark.timeout(600)
def test_killed_in_the_middle_of_work(running, measured):
    """Each accepted request ends, and the table has each once; what was done again after a kill is not counted twice."""
    load = Load(running)
    (process,) = running.processes
    try:
        for _ in range(KILLS):
            load.go_on()
            process.signal(signal.SIGKILL)
            process.wait()
            process.start()
            running.wait_until_ready()
        load.go_on()
    finally:
        load.end()
    eventually(lambda: load.acknowledged <= set(answers(running)), "every acknowledged job is answered", 120)
    found = answers(running)
    assert {line["error"] for lines in found.values() for line in lines} == {None}
    jobs = set()
    for custom_id in load.acknowledged:
        of_one = {line["response"]["request_id"] for line in found[custom_id]}
        assert len(of_one) == 1, "a job that is read again is the same request"
        jobs |= of_one
    accepted = jobs | load.answered
    eventually(lambda: set(rows(running, accepted)) == accepted, "each request's row", 60)
    assert set(rows(running, accepted).values()) == {1}
    repeated = sum(len(lines) - 1 for lines in found.values())
    counts = f"{len(load.acknowledged)} jobs, {len(load.answered)} calls"
    measured(f"{KILLS} kills under load: {counts}, none lost, each in the table once; {repeated} jobs answered again")


@pytest.mark.timeout(300)
def test_a_disk_that_is_full_stops_intake_and_harms_nothing(own_gateway):
    """A limit on the size of files stands for the disk: beyond it each write fails, with EFBIG rather than ENOSPC."""
    running = own_gateway(ENDPOINTS, kafka={"partitions": {"default": 1, "usage": 1}}, popen={"restore_signals": False})
    (process,) = running.processes
    padding = "word " * 20_000

    def accepted(text, seconds=30):
        with running.http() as http:
            try:
                body = {"model": "chat", "messages": user(text)}
                response = http.post("/v1/chat/completions", json=body, timeout=seconds)
            except httpx.TransportError:
                return None
        return response.headers["x-request-id"] if response.status_code == 200 else None

    before = [accepted(padding) for _ in range(30)]
    assert all(before)
    # The log of requests is larger than this by now; what the gateway writes for people is far below.
    _, hard = resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (2 << 20, hard))
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(lambda _: accepted(padding, 4), range(3))) == [None] * 3
    assert process.child.poll() is None and httpx.get(process.url + "/health/live", timeout=10).status_code == 200
    resource.prlimit(process.child.pid, resource.RLIMIT_FSIZE, (hard, hard))
    after = eventually(lambda: accepted("room again"), "it takes requests again", 60)
    wanted = {*before, after}
    eventually(
        lambda: rows(running, wanted) == dict.fromkeys(wanted, 1), "each answered request is in the table once", 60
    )
    running.restart()
    assert accepted("after a restart") and rows(running, wanted) == dict.fromkeys(wanted, 1)


SHIM = """
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
static int refused(void) { errno = EIO; return access(getenv("E2E_BROKEN_DISK"), F_OK) == 0 ? -1 : 0; }
int fsync(int fd) { (void)fd; return refused(); }
int fdatasync(int fd) { (void)fd; return refused(); }
"""


def test_a_disk_that_refuses_to_sync_ends_the_gateway(gateway, tmp_path):
    """The broker stops by itself, and the process ends with an error instead of promising what it cannot keep."""
    source, shim, broken = tmp_path / "shim.c", tmp_path / "shim.so", tmp_path / "broken"
    source.write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", str(shim), str(source)], check=True, timeout=60)
    running = gateway(ENDPOINTS, kafka=SMALL, env={"LD_PRELOAD": str(shim), "E2E_BROKEN_DISK": str(broken)})
    (process,) = running.processes
    request_id = running.chat({"model": "chat", "messages": user("kept")}).headers["x-request-id"]
    broken.touch()
    with contextlib.suppress(httpx.TransportError):
        running.chat({"model": "chat", "messages": user("one more, so that there is something to sync")})
    assert process.wait() == 1
    assert "refused an fsync" in process.log()
    broken.unlink()
    process.start()
    running.wait_until_ready()
    with running.http() as http:
        eventually(lambda: http.get(f"/v1/requests/{request_id}").status_code == 200, "its answer is found")
