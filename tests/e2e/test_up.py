"""`tollgate up` and `tollgate demo` with nothing but the binary: what a new user types first, and what it costs left on."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Consumer, Producer
from ledger import Ledger
from support import clean_environment, eventually, free_port, user

pytestmark = pytest.mark.only_embedded(reason="the product without anything beside it")

# Far above what is measured, so that neither a busy machine nor a debug build fails: what is measured is shown.
IDLE_CPU_MAX, IDLE_RSS_MAX_MB = 0.10, 250
IDLE_SECONDS = 10


class Up:
    """`tollgate up` without a configuration, and what it printed."""

    def __init__(self, binary, folder):
        self.api, self.kafka = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.output = folder / f"printed-{uuid.uuid4().hex}"
        command = [binary, "up", "--listen", self.api, "--kafka-listen", self.kafka]
        with self.output.open("wb") as out, (folder.parent / f"{folder.name}.log").open("ab") as log:
            self.child = subprocess.Popen(command, cwd=folder, stdout=out, stderr=log, env=clean_environment())
        eventually(self._printed, "it prints what to do", 60)

    def _printed(self):
        assert self.child.poll() is None, f"it ended with {self.child.returncode}"
        return "tollgate usage" in self.text

    @property
    def text(self):
        return self.output.read_text()

    @property
    def key(self):
        return re.search(r"^  (tg-\w+)$", self.text, re.M)[1]

    def snippet(self, program):
        """The command that begins with this word, as a person would mark and paste it."""
        (found,) = re.findall(rf"^  {program} .*(?:\n    .*)*", self.text, re.M)
        return found

    def stop(self):
        self.child.send_signal(signal.SIGTERM)
        assert self.child.wait(60) == 0


@pytest.fixture
def up(binary, tmp_path):
    started = []

    def start():
        started.append(Up(binary, tmp_path))
        return started[-1]

    yield start
    for one in started:
        if one.child.poll() is None:
            one.stop()


def ask(api, key):
    body = {"model": "chat", "messages": user("hello")}
    return httpx.post(
        f"http://{api}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}, timeout=30
    )


def test_what_it_prints_works_as_it_stands(up, binary, tmp_path):
    running = up()
    done = subprocess.run(["bash", "-c", running.snippet("curl")], capture_output=True, text=True, timeout=60)
    assert json.loads(done.stdout)["choices"][0]["message"]["content"] == "mock: hello", done
    # The lines for kcat, with confluent-kafka in its place: what is piped in, and where to.
    value = re.search(r"^  echo '(.*)' \|$", running.text, re.M)[1]
    address, jobs = re.search(r"kcat -P -b (\S+) -t (\S+)", running.text).groups()
    answers = re.search(r"kcat -C -b \S+ -t (\S+)", running.text)[1]
    assert (address, jobs, answers) == (running.kafka, "tollgate.in.search", "tollgate.out.search")
    producer = Producer({"bootstrap.servers": address})
    producer.produce(jobs, value)
    assert producer.flush(30) == 0
    reader = Consumer({"bootstrap.servers": address, "group.id": "mine", "auto.offset.reset": "earliest"})
    reader.subscribe([answers])
    record = eventually(lambda: (r := reader.poll(1)) and not r.error() and r, "the answer")
    reader.close()
    assert json.loads(record.value())["custom_id"] == "job-1"
    running.stop()
    tables = re.search(r"as Parquet: (\S+?)/usage/date=", running.text)[1]
    assert Ledger(tmp_path / tables).count() == 2
    usage = subprocess.run(
        [binary, "usage", "--format", "json"], cwd=tmp_path, capture_output=True, env=clean_environment()
    )
    assert [row["requests"] for row in json.loads(usage.stdout)] == [2]


def test_it_goes_on_where_it_stopped_with_a_fresh_key(up, tmp_path):
    first = up()
    assert (kept := ask(first.api, first.key)).status_code == 200
    first.stop()
    assert {path.name for path in (tmp_path / "tollgate-data").iterdir()} >= {"broker", "usage"}
    assert not (tmp_path / "tollgate-data" / "broker" / "credential").exists(), "its password died with it"
    second = up()
    assert second.key != first.key and ask(second.api, first.key).status_code == 401
    assert ask(second.api, second.key).status_code == 200
    path = f"http://{second.api}/v1/requests/{kept.headers['x-request-id']}"
    key = {"x-api-key": second.key}
    eventually(lambda: httpx.get(path, headers=key, timeout=30).status_code == 200, "the answer of the run before")
    second.stop()
    assert Ledger(tmp_path / "tollgate-data").count() == 2


def test_demo_needs_nothing(binary, tmp_path):
    done = subprocess.run(
        [binary, "demo"], cwd=tmp_path, capture_output=True, text=True, timeout=170, env=clean_environment()
    )
    assert done.returncode == 0, done.stderr
    assert "3 produced, 3 answered" in done.stdout and not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_idle_it_costs_next_to_nothing(up, measured):
    running = up()
    assert ask(running.api, running.key).status_code == 200
    time.sleep(5)
    before, began = cpu_seconds(running.child.pid), time.monotonic()
    time.sleep(IDLE_SECONDS)
    share = (cpu_seconds(running.child.pid) - before) / (time.monotonic() - began)
    memory = rss_mb(running.child.pid)
    measured(f"`tollgate up`, idle: {share:.2%} of a core, {memory:.0f} MB resident")
    assert share < IDLE_CPU_MAX and memory < IDLE_RSS_MAX_MB


def cpu_seconds(pid):
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024
