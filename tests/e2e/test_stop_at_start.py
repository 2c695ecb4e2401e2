"""SIGTERM while a gateway starts: with Kafka away, and just after its own broker is there. Either ends in order."""

import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from support import clean_environment, eventually, free_port


@pytest.fixture
def starting(binary, tmp_path):
    """A function that starts a command and waits for a line in its log."""
    started = []
    subprocess.run([binary, "init", tmp_path / "tollgate.yaml"], check=True, capture_output=True, timeout=60)

    def start(line, *arguments):
        port = free_port()
        log = tmp_path / f"log-{port}"
        command = [binary, *arguments, "--config", "tollgate.yaml", "--listen", f"127.0.0.1:{port}"]
        with log.open("wb") as out:
            child = subprocess.Popen(command, cwd=tmp_path, stdout=out, stderr=out, env=clean_environment())
        started.append(child)
        eventually(lambda: child.poll() is not None or line in log.read_text(), line, 60)
        assert child.poll() is None, log.read_text()
        return child, log

    yield start
    for child in started:
        if child.poll() is None:
            child.kill()
            child.wait()


def stopped(child, log):
    child.send_signal(signal.SIGTERM)
    assert child.wait(60) == 0, log.read_text()
    assert "panicked" not in log.read_text()


def test_while_kafka_is_away(starting):
    """Side by side, because each asks for ten seconds before it says so."""
    commands, away = ["up", "ingress", "guardrail", "router-worker", "usage-aggregator"], f"127.0.0.1:{free_port()}"
    with ThreadPoolExecutor(len(commands)) as pool:
        for each in [pool.submit(lambda c=c: stopped(*starting("waiting for Kafka", c, "--brokers", away))) for c in commands]:
            each.result()


@pytest.mark.only_embedded(reason="its own broker is what starts")
def test_just_after_its_own_broker_is_there(starting, tmp_path):
    """It must be stopped as well: its password goes with it, and its log is closed."""
    line = "the embedded broker takes Kafka clients"
    for _ in range(3):
        stopped(*starting(line, "up", "--kafka-listen", f"127.0.0.1:{free_port()}"))
        assert not (tmp_path / "tollgate-data" / "broker" / "credential").exists()
