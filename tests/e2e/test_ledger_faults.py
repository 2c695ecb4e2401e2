"""The ledger while its writer is killed, paused, doubled, or its storage is away; on local disk and on S3 alike, where that makes a
difference.

After each fault the plain glob has each request once, later executions are in `usage_superseded` once, and the ranges of
the files join. An hour of outage is in the aggregator's own tests, where time is simulated.
"""

import http.client
import json
import os
import random
import resource
import signal
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import httpx
import pytest
from confluent_kafka import Producer
from gateway import Process
from kafka_tools import read
from ledger import Ledger, ledger_of_bucket, s3_options
from moto.server import ThreadedMotoServer
from support import endpoint, eventually, free_port, user

pytestmark = pytest.mark.only_kafka(reason="faults of the ledger's storage; which broker is beside it makes no difference")

POINTS = [
    "ledger.file.begun",
    "ledger.file.encoded",
    "ledger.file.put",
    "ledger.superseded.put",
    "ledger.offset.committed",
]
ENDPOINTS = [endpoint("chat", ["main demo mock-1"])]
FLUSH = {"flush": {"rows": 1000, "after": "300ms"}}
AGGREGATOR = "usage-aggregator"
MIB = 1 << 20


class Disk:
    """A table in a folder. It is away while a file stands where the folder was."""

    def __init__(self, folder):
        self.folder = folder
        self.config = {"url": f"file://{folder}"}

    def take_away(self):
        (self.folder / "usage").rename(self.folder / "usage.away")
        (self.folder / "usage").touch()

    def bring_back(self):
        (self.folder / "usage").unlink()
        (self.folder / "usage.away").rename(self.folder / "usage")

    def ledger(self):
        return Ledger(self.folder)


class Bucket:
    """A table in a bucket of a server that can be stopped; what it holds stays."""

    def __init__(self, folder):
        self.folder, self.port, self.prefix = folder, free_port(), f"faults-{uuid.uuid4().hex}"
        address = f"http://127.0.0.1:{self.port}"
        self.bring_back()
        keys = {"aws_access_key_id": "e2e", "aws_secret_access_key": "e2e-secret", "region_name": "us-east-1"}
        self.client = boto3.client("s3", endpoint_url=address, **keys)
        self.client.create_bucket(Bucket="faults")
        self.config = {"url": f"s3://faults/{self.prefix}", "options": s3_options(address)}

    def take_away(self):
        self.server.stop()

    def bring_back(self):
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self.server.start()

    def ledger(self):
        return ledger_of_bucket(self.client, "faults", self.prefix, self.folder)


class Table:
    """A gateway of separate processes, its storage, and what the table must hold."""

    def __init__(self, gateway, storage, partitions=1, **more):
        self.storage = storage
        kafka = {"partitions": {"default": 2, "usage": partitions}}
        self.running = gateway(ENDPOINTS, separate=True, storage=storage.config, usage=FLUSH, kafka=kafka, **more)
        self.requests, self.again = set(), set()

    @property
    def writer(self):
        return self.running.process(AGGREGATOR)

    def ask(self, count):
        """Requests by callers, who all must be served."""
        with self.running.http() as http:
            for n in range(count):
                response = http.post("/v1/chat/completions", json={"model": "chat", "messages": user(f"{n}")})
                assert response.status_code == 200, response.text
                self.requests.add(response.headers["x-request-id"])

    def a_row(self):
        """Some row on the topic: (partition, key, row)."""
        record = random.choice(read(self.running, [self.running.topic("usage")]))
        return record.partition(), record.key(), json.loads(record.value())

    def produce(self, rows):
        """Rows as a router-worker would send them: (partition, key, row)."""
        failed = []
        producer = Producer({**self.running.anybody(), "acks": "all", "message.max.bytes": 4 * MIB})
        for partition, key, row in rows:
            value = json.dumps(row).encode()
            producer.produce(
                self.running.topic("usage"), value, key, partition, on_delivery=lambda e, _: e and failed.append(e)
            )
            producer.poll(0)
        assert producer.flush(60) == 0 and not failed

    def run_again(self):
        """A later execution of a request, and a redelivery of its row."""
        partition, key, row = self.a_row()
        row = {**row, "execution_id": str(uuid.uuid4()), "invocation_id": str(uuid.uuid4())}
        self.produce([(partition, key, row)] * 2)
        self.again.add((row["request_id"], row["execution_id"]))

    def invent(self, count, padding):
        """Rows of requests that nobody made, each with so much text."""
        partition, _, row = self.a_row()

        def invented():
            for _ in range(count):
                request_id = str(
                    uuid.UUID(int=int(time.time() * 1000) << 80 | 7 << 76 | 2 << 62 | random.getrandbits(62))
                )
                self.requests.add(request_id)
                yield partition, request_id, {**row, "request_id": request_id, "user_agent": padding()}

        self.produce(invented())

    def check(self, seconds=60):
        """Waits for all rows, then looks whether anything is there twice or not covered."""
        eventually(lambda: self.storage.ledger().count() >= len(self.requests), "the rows are in the table", seconds)
        if self.again:
            eventually(
                lambda: self.storage.ledger().superseded().count() >= len(self.again), "superseded rows", seconds
            )
        ledger = self.storage.ledger()
        ids = [row["request_id"] for row in ledger.query("SELECT request_id FROM usage")]
        assert sorted(ids) == sorted(self.requests)
        found = ledger.superseded().query("SELECT request_id, execution_id FROM usage")
        assert sorted(tuple(row.values()) for row in found) == sorted(self.again)
        return ledger.assert_contiguous()

    def add_writer(self, name):
        first = self.writer
        folder = self.running.folder
        process = Process(first.command[0], name, [AGGREGATOR], self.running.config, folder, first.env, first.popen)
        self.running.processes.append(process)
        eventually(process.is_ready, f"{name} is ready", 60)
        return process


STORAGES = pytest.mark.parametrize("kind", [Disk, Bucket], ids=["local", "s3"])
# In a bucket only after a put: otherwise the next writer finds what any start finds there, with nothing half done.
CRASHES = [(Disk, point) for point in POINTS] + [(Bucket, point) for point in POINTS if point.endswith(".put")]


@pytest.fixture(scope="module")
def tables(gateway, tmp_path_factory):
    """The table of each kind of storage, made when it is first asked for."""
    made = {}

    def table(kind):
        if kind not in made:
            made[kind] = Table(gateway, kind(tmp_path_factory.mktemp("table")))
        return made[kind]

    return table


@pytest.mark.parametrize(("kind", "point"), CRASHES, ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_a_crash_at_any_point_loses_and_doubles_nothing(tables, kind, point):
    table = tables(kind)
    table.ask(2)
    table.check()
    writer = table.writer
    writer.signal(signal.SIGTERM)
    assert writer.wait() == 0
    table.ask(5)
    table.run_again()
    clean, writer.env = writer.env, {**writer.env, "TOLLGATE_FAULT": f"{point}:1"}
    writer.start()
    eventually(lambda: writer.child.poll() is not None, f"it ends at {point}", 60)
    assert writer.child.returncode == -signal.SIGABRT and point in writer.tail()
    writer.env = clean
    writer.start()
    table.ask(2)
    table.check()
    eventually(writer.is_ready, "the writer is ready", 60)


def resident(process):
    """Resident memory of a process in bytes."""
    with open(f"/proc/{process.child.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def metric(process, name):
    lines = httpx.get(process.url + "/metrics", timeout=10).text.splitlines()
    return next((float(line.split()[1]) for line in lines if line.startswith(name + " ")), 0.0)


@STORAGES
@pytest.mark.timeout(400)
def test_storage_that_is_away_stalls_nobody_and_is_caught_up_with(tables, kind, measured):
    table = tables(kind)
    table.ask(3)
    table.check()
    writer, said = table.writer, len(table.writer.log())
    before = resident(writer)
    table.storage.take_away()
    try:
        table.ask(3)
        eventually(lambda: "usage rows wait on their topic" in writer.log()[said:], "it says so", 120)
        eventually(lambda: metric(writer, "tollgate_usage_storage_waiting_seconds") > 0, "the metric says so", 120)
        # Far more than may be in memory.
        table.invent(400 * MIB // 100_000, lambda: random.choice("abcdef") * 100_000)
        time.sleep(2)
        half = resident(writer)
        table.ask(20)
        table.run_again()
        time.sleep(8)
        full = resident(writer)
        assert all(process.is_ready() for process in table.running.processes)
        assert "waits for storage" in httpx.get(writer.url + "/health/ready", timeout=10).text
        assert len(writer.log()[said:].splitlines()) < 10, "it is no flood"
    finally:
        table.storage.bring_back()
    table.check(240)
    assert full - before < 250 * MIB, f"{before // MIB}, then {half // MIB}, then {full // MIB} MiB"
    eventually(lambda: metric(writer, "tollgate_usage_storage_waiting_seconds") == 0, "the metric says so")
    assert httpx.get(writer.url + "/health/ready", timeout=10).text == "ready\n"
    measured(
        f"storage away ({kind.__name__}), 400 MiB of rows waiting: the aggregator had {before // MIB} MiB before, "
        f"{half // MIB} and {full // MIB} MiB meanwhile"
    )


def test_a_full_disk_is_waited_for(own_gateway, tmp_path_factory):
    """A limit on the size of files stands for the disk: beyond it each write fails, with EFBIG rather than ENOSPC."""
    table = Table(own_gateway, Disk(tmp_path_factory.mktemp("full")), popen={"restore_signals": False})
    table.ask(3)
    table.check()
    writer, pid = table.writer, table.writer.child.pid
    limit = 256 << 10
    assert writer.log_file.stat().st_size < limit // 4, "its log must still fit"
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, hard))
    table.invent(4, lambda: random.randbytes(200_000).hex())
    eventually(lambda: "usage rows wait on their topic" in writer.log(), "it says so", 60)
    table.ask(3)
    assert writer.child.poll() is None and writer.is_ready()
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))
    table.check()
    assert not list(table.storage.folder.rglob("*#*")), "no part of a file is left"


@STORAGES
@pytest.mark.timeout(400)
def test_writers_that_come_go_sleep_and_die_never_overlap(own_gateway, tmp_path_factory, kind):
    table = Table(own_gateway, kind(tmp_path_factory.mktemp("many")), partitions=3)
    table.ask(6)
    first = table.writer
    second = table.add_writer("usage-aggregator-2")
    table.ask(10)
    third = table.add_writer("usage-aggregator-3")
    table.ask(10)
    table.run_again()
    # Longer than the group waits for a sign of life: its partitions go to the others, and it wakes up as a zombie.
    second.signal(signal.SIGSTOP)
    table.ask(10)
    table.check()
    second.signal(signal.SIGCONT)
    table.ask(10)
    first.signal(signal.SIGKILL)
    first.wait()
    table.ask(10)
    table.check()
    third.signal(signal.SIGTERM)
    assert third.wait() == 0
    first.start()
    third.start()
    table.ask(10)
    table.run_again()
    assert len(table.check()) == 3, "each partition has files"
    for process in (first, second, third):
        eventually(process.is_ready, f"{process.name} is ready", 60)


@STORAGES
def test_a_start_while_storage_is_away_is_ready_and_serves(own_gateway, tmp_path_factory, kind):
    storage = kind(tmp_path_factory.mktemp("late"))
    running = own_gateway(ENDPOINTS, storage=storage.config, usage=FLUSH)
    (up,) = running.processes
    body = {"model": "chat", "messages": user("hello")}
    assert running.chat(body).status_code == 200
    eventually(lambda: storage.ledger().count() == 1, "a row", 60)
    running.end()
    storage.take_away()
    try:
        up.start()
        running.wait_until_ready()
        assert "waits for storage" in httpx.get(up.url + "/health/ready", timeout=10).text
        for _ in range(3):
            assert running.chat(body).status_code == 200
    finally:
        storage.bring_back()

    def is_back():
        assert up.is_ready(), "whoever looks meanwhile finds it ready"
        return storage.ledger().count() == 4

    eventually(is_back, "the rows are in the table", 120)
    eventually(lambda: httpx.get(up.url + "/health/ready", timeout=10).text == "ready\n", "nothing is left to say", 60)
    storage.ledger().assert_contiguous()


class Conflicts(BaseHTTPRequestHandler):
    """Stands before an S3 server and answers the first conditional put of each name with 409, as S3 does when two puts get in
    each other's way and neither wins: nothing is written."""

    protocol_version = "HTTP/1.1"

    def any_method(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        name = self.path.split("?")[0]
        if self.command == "PUT" and self.headers.get("if-none-match") == "*" and name not in self.server.refused:
            self.server.refused.add(name)
            text = b"<Error><Code>ConditionalRequestConflict</Code><Message>retry</Message></Error>"
            return self.answer(409, {"content-type": "application/xml"}, text)
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream_port, timeout=60)
        upstream.request(self.command, self.path, body, dict(self.headers.items()))
        response = upstream.getresponse()
        text = response.read()
        headers = {name.lower(): value for name, value in response.getheaders()}
        upstream.close()
        return self.answer(response.status, headers, text)

    def answer(self, status, headers, text):
        self.send_response_only(status)
        if self.command != "HEAD":
            headers["content-length"] = str(len(text))
        for name in headers.keys() - {"transfer-encoding", "connection"}:
            self.send_header(name, headers[name])
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = any_method

    def log_message(self, *_):
        pass


def test_a_conflict_that_nobody_won_is_tried_again(own_gateway, tmp_path_factory):
    storage = Bucket(tmp_path_factory.mktemp("conflicts"))
    stub = ThreadingHTTPServer(("127.0.0.1", free_port()), Conflicts)
    stub.upstream_port, stub.refused = storage.port, set()
    threading.Thread(target=stub.serve_forever, daemon=True).start()
    storage.config["options"] = s3_options("http://127.0.0.1:%d" % stub.server_port)
    try:
        table = Table(own_gateway, storage)
        table.ask(3)
        table.check()
        table.run_again()
        table.check()
        kinds = {name.split("/")[3] for name in stub.refused}
        assert {"usage", "usage_superseded"} <= kinds
        assert any(name.endswith("/epoch.json") for name in stub.refused)
        table.running.end()
    finally:
        stub.shutdown()
