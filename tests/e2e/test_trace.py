"""One trace per request: its id in the spans of every service, on every record and in the usage row; no content anywhere."""

import secrets

import pytest
from collector import Collector
from kafka_tools import all_topics, headers_of, read
from ledger import ledger_of
from support import CANARIES, endpoint, eventually, user

SERVICES = ("ingress", "guardrail", "router-worker", "usage-aggregator")
SECRET = "zebra-crossing-4711"


@pytest.fixture(scope="module")
def collector():
    running = Collector()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def running(gateway, collector):
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    checks = {where: {"keywords": {"action": "block", "words": ["nobody says this"]}} for where in ("input", "output")}
    return gateway([endpoint("chat", ["main alpha fake-large"], guardrails=checks)], separate=True, env=env)


@pytest.fixture(scope="module")
def traced(running, collector, _provider):
    """One request that a caller began a trace for; its response, trace id and spans."""
    _provider.reset()
    trace_id = secrets.token_hex(16)
    parent = secrets.token_hex(8)
    response = running.chat(
        {"model": "chat", "messages": user(f"hello {SECRET}"), "stream": True}, traceparent=f"00-{trace_id}-{parent}-01"
    )
    assert response.status_code == 200, response.text

    def complete():
        spans = collector.spans(trace_id)
        return spans if {service_of(span) for span in spans} >= set(SERVICES) else None

    return response, trace_id, parent, eventually(complete, f"spans of {SERVICES} in one trace", 60)


def service_of(span):
    """The service a span is of, by its `service.name`."""
    return next((name for name in SERVICES if name in span.service), span.service)


def test_all_services_are_in_one_trace(traced):
    _, _, parent, spans = traced
    assert {service_of(span) for span in spans} == set(SERVICES)
    known = {span.span_id for span in spans} | {parent}
    assert all(span.parent_id in known for span in spans if span.parent_id), "no span hangs in the air"
    assert any(span.parent_id == parent and span.kind == "SERVER" for span in spans)


def test_consumed_records_are_linked(traced):
    _, trace_id, _, spans = traced
    consumers = [span for span in spans if span.kind == "CONSUMER"]
    assert {service_of(span) for span in consumers} >= {"guardrail", "router-worker", "usage-aggregator"}
    for span in consumers:
        assert span.links and all(linked == trace_id for linked, _ in span.links), span
        assert span.attributes["messaging.system"] == "kafka"
        assert span.attributes["messaging.destination.name"]


def test_the_provider_call_has_the_names_of_generative_ai(traced):
    _, _, _, spans = traced
    call = next(span for span in spans if span.kind == "CLIENT" and "gen_ai.request.model" in span.attributes)
    assert service_of(call) == "router-worker"
    assert call.attributes["gen_ai.request.model"] == "fake-large"
    assert call.attributes["gen_ai.provider.name"] == "openai"
    assert call.attributes["gen_ai.operation.name"] == "chat"
    assert int(call.attributes["gen_ai.usage.input_tokens"]) == 1000


def test_the_trace_is_on_every_record_and_in_the_row(traced, running):
    response, trace_id, _, _ = traced
    request_id = response.headers["x-request-id"]
    records = [r for r in read(running, all_topics(running)) if request_id.encode() in (r.value() or b"")]
    topics = {record.topic().removeprefix(running.prefix) for record in records}
    assert topics >= {"requests.interactive", "approved.interactive", "completions", "replies", "usage"}
    for record in records:
        assert headers_of(record)["traceparent"].split("-")[1] == trace_id, record.topic()
    assert ledger_of(running).row(request_id)["trace_id"] == trace_id


def test_logs_carry_the_trace_and_nothing_holds_content(traced, running, collector):
    _, trace_id, _, _ = traced
    for secret in (SECRET, *CANARIES):
        assert secret.encode() not in collector.raw()
        assert secret not in running.log()


def test_a_request_without_a_trace_gets_one(running, collector, fake_provider):
    response = running.chat({"model": "chat", "messages": user("hi")})
    row = ledger_of(running).row(response.headers["x-request-id"])
    eventually(
        lambda: {service_of(span) for span in collector.spans(row["trace_id"])} >= set(SERVICES), "its spans", 60
    )
