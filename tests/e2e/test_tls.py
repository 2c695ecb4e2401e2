"""The default build talks TLS and SASL to Kafka through `kafka.properties`, and refuses a broker it should not trust."""

import os
from pathlib import Path

import pytest
from shared_broker import start_kafka
from support import ROOT, eventually, user

pytestmark = pytest.mark.only_kafka(reason="the embedded broker has no TLS")

USER, PASSWORD = "tollgate", "tollgate-secret"  # scripts/kafka makes the broker know them


@pytest.fixture(scope="module")
def secured():
    """Port of a broker that also listens for SASL_SSL."""
    port, clean = start_kafka("--sasl-ssl")
    yield port
    clean()


def properties(port, **other):
    state = Path(os.environ.get("KAFKA_STATE", ROOT / ".kafka"))
    return {
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": PASSWORD,
        "ssl.ca.location": str(state / str(port) / "tls" / "ca.pem"),
        **other,
    }


def start(gateway, port, wait=True, **other):
    kafka = {"partitions": {"default": 2, "usage": 1}, "properties": properties(port, **other)}
    # Topics are made and read through the secured listener; the tests' own clients use the plain one.
    kafka["brokers"] = f"localhost:{port + 2}"
    return gateway(kafka=kafka, brokers=f"localhost:{port + 2}", wait=wait)


def test_sasl_ssl(secured, gateway, fake_provider):
    running = start(gateway, secured)
    running.brokers = f"127.0.0.1:{secured}"
    answer = running.chat({"model": "chat", "messages": user("over tls")})
    assert answer.json()["choices"][0]["message"]["content"] == "echo: over tls"
    assert PASSWORD not in running.log()


WRONG = {
    "wrong-password": ({"sasl.password": "wrong-secret"}, "auth"),
    "unknown-ca": ({"ssl.ca.location": "/etc/ssl/certs/ca-certificates.crt"}, "certificate"),
}


@pytest.fixture(scope="module")
def strangers(secured, gateway):
    """Gateways with something wrong, side by side: each tries for a while before it says what."""
    started = {name: start(gateway, secured, wait=False, **wrong) for name, (wrong, _) in WRONG.items()}
    for running in started.values():
        running.stop = running.kill  # it cannot be asked to stop in order: it never ran
    return started


@pytest.mark.parametrize("name", WRONG)
def test_a_broker_that_must_not_be_trusted_or_does_not_trust_us(strangers, name):
    (process,), (_, sign) = strangers[name].processes, WRONG[name]
    eventually(lambda: sign in process.log().lower(), f"the log speaks of {sign}", 60)
    assert process.child.poll() is not None or not process.is_ready()
    assert "wrong-secret" not in process.log()
