"""Fixtures: a broker, the product's binary, providers, model servers, object storage, and gateways built from them.

`shared_broker.py` says which Kafka they stand on; `TOLLGATE_BIN` names a binary other than `target/debug/tollgate`. Each
gateway has a topic prefix of its own, so tests share a broker at most.
"""

import os
import shutil

import boto3
import pytest
import shared_broker
from aimock_server import AiMock
from fake_google import FakeGoogle
from fake_provider import FakeProvider
from gateway import Gateway
from model_server import ModelServer
from moto.server import ThreadedMotoServer
from redis_server import Redis
from support import PROVIDER_KEYS, ROOT, config, free_port, share_certificates

share_certificates()
_running = []
_LEFT_OUT, _MEASURED = pytest.StashKey[str](), pytest.StashKey[list]()
if shared_broker.FLAVOUR == "embedded":
    # What tests/e2e/clients asks for. It cleans up as often as scripts/kafka has it.
    command = shared_broker.SERVE + " --port {port} --dir {dir} --housekeeping-ms 500"
    os.environ.setdefault("TOLLGATE_E2E_BROKER_COMMAND", command)


def pytest_addoption(parser):
    parser.addoption(
        "--write-provider-matrix",
        action="store_true",
        help="test_kinds.py writes its table into docs/providers.md instead of comparing the two",
    )


# What callers, Tollgate, providers and collectors of traces say to each other, and files that are only read: which broker is beside it
# makes no difference, so one run has it.
_OF_ONE_RUN = {
    f"test_{name}"
    for name in """admin_schema apis attribution bad_input bedrock cache compose content_safety credentials disconnect fake_provider gemini_door google
    guardrail_overrides guardrail_streams guardrails http_door identity import judge_faults judges kinds litellm_upstream more_apis node_sdk
    other_clients other_readings presidio real_upstreams responses restore resume router routing shadow trace upstream_faults""".split()
}


def _why_left_out(item):
    """Why a test is no part of this run; none if it is."""
    others = {"embedded": "only_kafka", "kafka": "only_embedded"}[shared_broker.FLAVOUR]
    if marker := item.get_closest_marker(others):
        return marker.kwargs["reason"]
    if shared_broker.FLAVOUR == "kafka" and item.path.stem in _OF_ONE_RUN:
        return "what callers and providers are told is the same on both"
    return None


def pytest_collection_modifyitems(config, items):
    """Tests that are about one broker alone are no part of the other's run; a skip would look the same in both."""
    left_out = [item for item in items if _why_left_out(item)]
    if left_out:
        reasons = {_why_left_out(item) for item in left_out}
        config.stash[_LEFT_OUT] = f"{len(left_out)} tests are for the other broker: {'; '.join(sorted(reasons))}"
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter, config):
    terminalreporter.write_line(f"broker: {shared_broker.FLAVOUR}. {config.stash.get(_LEFT_OUT, '')}")
    for line in config.stash.get(_MEASURED, []):
        terminalreporter.write_line(f"measured: {line}")


@pytest.fixture
def measured(request):
    """A function that takes a line to be shown at the end of the run, also of a test that passes."""
    return request.config.stash.setdefault(_MEASURED, []).append


@pytest.fixture(scope="session")
def kafka():
    """Bootstrap address of the broker that gateways share."""
    address, clean = shared_broker.start()
    yield address
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


@pytest.fixture(scope="module")
def google():
    """Google's APIs."""
    fake = FakeGoogle().start()
    yield fake
    fake.stop()


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
def redis(tmp_path_factory):
    server = Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


def _model_server(tmp_path_factory, embeddings):
    server = ModelServer(tmp_path_factory.mktemp("model"), PROVIDER_KEYS["E2E_ALPHA_KEY"], embeddings)
    yield server
    server.kill()


@pytest.fixture(scope="module")
def chat_server(tmp_path_factory):
    """llama.cpp's server; it takes the key of provider `alpha`."""
    yield from _model_server(tmp_path_factory, embeddings=False)


@pytest.fixture(scope="module")
def embedding_server(tmp_path_factory):
    yield from _model_server(tmp_path_factory, embeddings=True)


@pytest.fixture(scope="module")
def aimock(tmp_path_factory):
    """Several providers' APIs, by CopilotKit's aimock."""
    server = AiMock(tmp_path_factory.mktemp("aimock"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def gateway(request, binary, _provider, tmp_path_factory):
    """A factory: `gateway(endpoints=[…], separate=True, ingress=2, env={…}, **sections of the configuration)`.

    What it starts runs until the module's end, then must stop by itself with exit code 0.
    """
    yield from _gateways(request, binary, _provider, tmp_path_factory)


@pytest.fixture
def own_gateway(request, binary, _provider, tmp_path_factory):
    """The same for one test: what it starts ends with it, and takes nothing from those behind it."""
    yield from _gateways(request, binary, _provider, tmp_path_factory)


def _gateways(request, binary, _provider, tmp_path_factory):
    started = []

    def start(endpoints=None, separate=False, brokers=None, **more):
        own = {name: more.pop(name) for name in ("ingress", "env", "wait", "popen", "operator") if name in more}
        folder = tmp_path_factory.mktemp("gateway")
        if brokers is None and (separate or shared_broker.FLAVOUR == "kafka"):
            brokers = request.getfixturevalue("kafka")
        running = Gateway(binary, brokers, folder, config(_provider, endpoints, **more), separate, **own)
        started.append(running)
        _running.append(running)
        return running

    yield start
    _provider.reset()  # whoever hangs there would hold up the end of a gateway
    failures = []
    for running in started:
        running.ask_to_end()
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
