"""Fixtures: a broker, the product's binary, providers, object storage, and gateways built from them.

`TOLLGATE_E2E_BROKERS` names a broker to use instead of starting one; `TOLLGATE_BIN` a binary other than
`target/debug/tollgate`. Each gateway has a topic prefix of its own, so tests share a broker and nothing else.
"""

import os
import shutil
import subprocess

import boto3
import pytest
from fake_provider import FakeProvider
from gateway import Gateway
from moto.server import ThreadedMotoServer
from support import ROOT, config, free_port

_running = []


def start_kafka(*options):
    """Starts a broker with scripts/kafka; gives its port and what stops it and deletes its data."""
    port = str(free_port(run=3))
    script = str(ROOT / "scripts" / "kafka")
    subprocess.run([script, "start", "--port", port, *options], check=True, timeout=300, stdout=subprocess.DEVNULL)
    return int(port), lambda: subprocess.run([script, "clean", "--port", port], check=True, timeout=60)


@pytest.fixture(scope="session")
def kafka():
    """Bootstrap address of a broker."""
    given = os.environ.get("TOLLGATE_E2E_BROKERS")
    if given:
        yield given
        return
    port, clean = start_kafka()
    yield f"127.0.0.1:{port}"
    clean()


@pytest.fixture(scope="session")
def binary():
    path = os.environ.get("TOLLGATE_BIN", str(ROOT / "target" / "debug" / "tollgate"))
    assert shutil.which(path), f"{path} does not exist; run `cargo build` first or set TOLLGATE_BIN"
    return path


@pytest.fixture(scope="session")
def _provider():
    provider = FakeProvider().start()
    yield provider
    provider.stop()


@pytest.fixture
def fake_provider(_provider):
    """The provider that all gateways of a run call, with nothing remembered from other tests."""
    _provider.reset()
    return _provider


@pytest.fixture(scope="session")
def moto_s3():
    """An S3 endpoint with the bucket `tollgate`, and a client for it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    endpoint = "http://%s:%d" % server.get_host_and_port()
    keys = {"aws_access_key_id": "e2e", "aws_secret_access_key": "e2e-secret", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    client.create_bucket(Bucket="tollgate")
    yield endpoint, client
    server.stop()


@pytest.fixture(scope="module")
def gateway(kafka, binary, _provider, tmp_path_factory):
    """A factory: `gateway(endpoints=[…], separate=True, ingress=2, env={…}, **sections of the configuration)`.

    What it starts runs until the module's end, then must stop by itself with exit code 0.
    """
    started = []

    def start(endpoints=None, separate=False, ingress=1, env=None, brokers=kafka, wait=True, whole=None, **sections):
        folder = tmp_path_factory.mktemp("gateway")
        wanted = whole or config(_provider, endpoints, **sections)
        running = Gateway(binary, brokers, folder, wanted, separate, ingress, env, wait)
        started.append(running)
        _running.append(running)
        return running

    yield start
    _provider.reset()  # whoever hangs there would hold up the end of a gateway
    failures = []
    for running in started:
        _running.remove(running)
        try:
            running.stop()
        except AssertionError as failure:
            failures.append(str(failure))
    assert not failures, "\n".join(failures)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        for running in _running:
            report.sections.append(("gateway " + running.prefix, running.tails()))
    return report
