"""Which Kafka the gateways of a run stand on, and brokers that run beside them.

`TOLLGATE_E2E_BROKER` is `embedded` (the default) or `kafka`. With `embedded`, a gateway in one process has its broker inside,
and gateways of several processes share one broker, a program of crates/broker (`TOLLGATE_SERVE` names another than
`target/debug/examples/serve`). With `kafka`, all share an Apache Kafka that scripts/kafka starts, or the one that
`TOLLGATE_E2E_BROKERS` names.
"""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from support import ROOT, clean_environment, eventually, free_port

GIVEN = os.environ.get("TOLLGATE_E2E_BROKERS")
FLAVOUR = os.environ.get("TOLLGATE_E2E_BROKER") or ("kafka" if GIVEN else "embedded")
assert FLAVOUR in ("embedded", "kafka"), f"TOLLGATE_E2E_BROKER={FLAVOUR}: it is `embedded` or `kafka`"
SERVE = os.environ.get("TOLLGATE_SERVE", str(ROOT / "target" / "debug" / "examples" / "serve"))
STOP_SECONDS = 40


def start():
    """The broker that gateways share: its address, and what stops it and deletes its data."""
    if GIVEN:
        return GIVEN, lambda: None
    if FLAVOUR == "kafka":
        port, clean = start_kafka()
        return f"127.0.0.1:{port}", clean
    _, address, clean = start_serve()
    return address, clean


def start_kafka(*options):
    """Starts an Apache Kafka with scripts/kafka; gives its port and what stops it and deletes its data."""
    port = str(free_port(run=3))
    script = str(ROOT / "scripts" / "kafka")
    subprocess.run([script, "start", "--port", port, *options], check=True, timeout=300, stdout=subprocess.DEVNULL)
    return int(port), lambda: subprocess.run([script, "clean", "--port", port], check=True, timeout=60)


def start_serve():
    """Starts the embedded broker in a process of its own, open to everybody: the process, its address, and what ends it."""
    assert shutil.which(SERVE), f"{SERVE} does not exist; run `cargo build -p tollgate-broker --example serve` first"
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="tollgate-e2e-broker-"))
    command = [SERVE, "--port", str(port), "--dir", str(folder / "data")]
    with (folder / "log").open("wb") as log:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=clean_environment())

    def listens():
        assert child.poll() is None, f"the broker ended with {child.returncode}\n{(folder / 'log').read_text()}"
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    def clean():
        child.terminate()
        try:
            code = child.wait(STOP_SECONDS)
        finally:
            child.kill()
        assert code == 0, f"the broker ended with {code}\n{(folder / 'log').read_text()[-4000:]}"
        shutil.rmtree(folder)

    eventually(listens, "the broker listens")
    return child, f"127.0.0.1:{port}", clean
