"""Callers who are told that their request could not be queued, while it may be on the log: it runs beside no next try."""

import json
import signal

import httpx
import pytest
import shared_broker
from kafka_tools import read
from ledger import ledger_of
from support import SEARCH_KEY, endpoint, eventually, user

pytestmark = pytest.mark.only_embedded(reason="a broker that is paused in its tracks is one process here")

ENDPOINTS = [
    endpoint("chat", ["main alpha fake-large"]),
    endpoint("gated", ["main alpha fault-gate"], on_disconnect="finish"),
]


@pytest.fixture
def broker():
    """A broker for one test: its process and its address."""
    child, address, clean = shared_broker.start_serve()
    yield child, address
    child.send_signal(signal.SIGCONT)
    clean()


@pytest.mark.timeout(400)
def test_what_was_told_to_be_unpublished_is_cancelled(broker, own_gateway, fake_provider):
    """The record lies in the broker's socket while its caller is told 503; the broker reads it when it goes on."""
    child, address = broker
    running = own_gateway(ENDPOINTS, brokers=address)
    assert running.chat({"model": "chat", "messages": user("hello")}).status_code == 200
    child.send_signal(signal.SIGSTOP)
    try:
        body, headers = {"model": "gated", "messages": user("hello")}, {"authorization": f"Bearer {SEARCH_KEY}"}
        told = httpx.post(running.url + "/v1/chat/completions", json=body, headers=headers, timeout=120)
    finally:
        child.send_signal(signal.SIGCONT)
    assert (told.status_code, told.json()["error"]["code"]) == (503, "overloaded"), told.text
    request_id = told.headers["x-request-id"]

    def values(topic):
        return [json.loads(record.value()) for record in read(running, [running.topic(topic)])]

    def cancelled():
        return [value for value in values("cancellations") if value["request_id"] == request_id]

    (cancellation,) = eventually(cancelled, "its cancellation is on the log", 120)
    assert (cancellation["team"], cancellation["reason"]) == ("search", "unpublished")
    # Nothing goes on that nobody waits for, whether the broker has read the record or not.
    if any(value["request_id"] == request_id for value in values("approved.interactive")):
        row = ledger_of(running).row(request_id)
        assert (row["status_code"], row["error_code"]) == (499, "cancelled")
    after = running.chat({"model": "chat", "messages": user("again")})
    assert after.status_code == 200, after.text
