"""`background: true` of the Responses API, with OpenAI's SDK: an answer that is fetched later."""

import json
import uuid

import openai
import pytest
import requests
from kafka_tools import produce
from ledger import ledger_of
from object_storage import Bucket
from support import OTHER_KEY, SEARCH_KEY, endpoint, eventually
from test_kafka_door import Door, job

MASKED = {"input": {"pii": {"action": "mask_and_restore"}}}


@pytest.fixture(scope="module")
def running(gateway, _provider):
    own = {"kind": "openai", "preset": "openai", "base_url": _provider.url("own"), "api_key": "${E2E_BETA_KEY}"}
    azure = {"kind": "azure", "base_url": _provider.url("azure"), "api_key": "${E2E_BETA_KEY}"}
    endpoints = [
        endpoint("native", ["main own fake-large"]),
        endpoint("gated", ["main own fault-gate"]),
        endpoint("checked", ["main own fake-large"], guardrails=MASKED),
        endpoint("wrong", ["main own fault-400"]),
        endpoint("short", ["main own later-short"]),
        endpoint("either", ["main own fake-large"], fallbacks=["second azure fake-large"]),
        endpoint("translated", ["main alpha fake-large"]),
        endpoint("lenient", ["main alpha fake-large"], on_unsupported="drop"),
    ]
    names = [each["name"] for each in endpoints]
    price = {"provider": "own", "model": "fake-large", "input": 2, "output": 8, "cache_read": 0.5}
    return gateway(
        endpoints,
        providers={"own": own, "azure": azure},
        prices=[price],
        teams=[
            {"name": "search", "endpoints": names, "kafka": {"requests": "in.search", "replies": "out.search"}},
            {"name": "other", "endpoints": names},
        ],
    )


@pytest.fixture
def client(running):
    return running.openai()


def begun(client, model, **more):
    """A response in the background and the request's id."""
    raw = client.responses.with_raw_response.create(model=model, input="hello", background=True, **more)
    response = raw.parse()
    assert (response.status, response.background, response.model) == ("queued", True, model)
    assert response.id == "resp_" + raw.headers["x-request-id"].replace("-", "")
    return response, raw.headers["x-request-id"]


def ended(client, response):
    """The response once it has ended: what OpenAI's guide says that a caller does."""

    def look():
        now = client.responses.retrieve(response.id)
        return now.status not in ("queued", "in_progress") and now

    return eventually(look, "it has ended")


def test_an_answer_is_fetched_later(running, client, fake_provider):
    response, request_id = begun(client, "gated", metadata={"project": "p"}, instructions="be brief")
    eventually(lambda: fake_provider.calls, "the provider is called")
    now = client.responses.retrieve(response.id)
    assert (now.id, now.status, now.model, now.output_text) == (response.id, "in_progress", "gated", "")
    assert (now.metadata, now.created_at, now.usage) == ({"project": "p"}, response.created_at, None)
    # The provider is asked as ever, so that its answer says what it costs.
    sent = json.loads(fake_provider.calls[0]["body"])
    assert "background" not in sent and sent["store"] is False and sent["instructions"] == "be brief"
    fake_provider.open_gate("fault-gate")
    answer = ended(client, response)
    assert (answer.status, answer.output_text, answer.model) == ("completed", "echo: hello", "gated")
    assert client.responses.retrieve(response.id).output_text == "echo: hello", "again"
    row = ledger_of(running).row(request_id)
    assert (row["status_code"], row["total_tokens"], row["lane"]) == (200, 1200, "batch")
    assert dict(row["request_tags"])["project"] == "p"
    assert len(fake_provider.calls) == 1


def test_it_waits_for_a_provider_that_throttles(running, client, fake_provider):
    fake_provider.fault("429", model="later-short", times=2, retry_after=1)
    response, request_id = begun(client, "short")
    assert ended(client, response).output_text == "echo: hello"
    assert [attempt["status_code"] for attempt in ledger_of(running).row(request_id)["attempts"]] == [429, 429, 200]


def test_it_survives_a_crash(own_gateway, _provider, fake_provider):
    own = {"kind": "openai", "preset": "openai", "base_url": _provider.url("own"), "api_key": "${E2E_BETA_KEY}"}
    running = own_gateway([endpoint("gated", ["main own fault-gate"])], providers={"own": own})
    response, _ = begun(running.openai(), "gated")
    running.kill()
    fake_provider.open_gate("fault-gate")
    for process in running.processes:
        process.start()
    running.wait_until_ready()
    assert ended(running.openai(), response).output_text == "echo: hello"


def test_guardrails_apply(running, client, fake_provider):
    response = client.responses.create(model="checked", input="I am ann@example.com", background=True)
    assert ended(client, response).output_text == "echo: I am ann@example.com"
    assert "ann@example.com" not in fake_provider.calls[0]["body"]


def test_cancelled(running, client, fake_provider):
    response, request_id = begun(client, "gated")
    eventually(lambda: fake_provider.calls, "the provider is called")
    client.responses.cancel(response.id)
    answer = ended(client, response)
    assert (answer.status, answer.error, answer.output) == ("cancelled", None, [])
    eventually(lambda: fake_provider.calls[0]["caller_gone"], "the call is broken off")
    assert ledger_of(running).row(request_id)["status_code"] == 499
    assert client.responses.cancel(response.id).status == "cancelled", "its end stays"


def test_failed(client):
    response, _ = begun(client, "wrong")
    answer = ended(client, response)
    assert (answer.status, answer.error.code, answer.output) == ("failed", "provider_rejected", [])
    assert answer.error.message


def test_a_key_gives_the_same_response(running, client, fake_provider):
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first, _ = begun(client, "native", extra_headers=headers)
    again = client.responses.create(model="native", input="hello", background=True, extra_headers=headers)
    assert (again.id, again.created_at) == (first.id, first.created_at)
    ended(client, first)
    with pytest.raises(openai.UnprocessableEntityError):
        client.responses.create(model="native", input="bye", background=True, extra_headers=headers)
    assert len(fake_provider.calls) == 1


def test_what_was_asked_for_at_once_is_fetched_later_too(running, client, fake_provider):
    headers = {"Idempotency-Key": uuid.uuid4().hex, "content-type": "application/json"}
    with running.http() as http:
        # The second one is the first, once `background` is left out of it.
        http.post("/v1/responses", content='{"input":"hello","model":"native"}', headers=headers)
    later = client.responses.create(model="native", input="hello", background=True, extra_headers=headers)
    assert ended(client, later).output_text == "echo: hello"
    assert len(fake_provider.calls) == 1


def test_only_its_team_finds_it(running, client):
    response, request_id = begun(client, "native")
    ended(client, response)
    other = running.openai(OTHER_KEY)
    for ask in (other.responses.retrieve, other.responses.cancel):
        with pytest.raises(openai.NotFoundError) as absent:
            ask(response.id)
        assert absent.value.code == "request_not_found"
    for id in ("resp_fake", request_id, "resp_" + uuid.uuid4().hex):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(id)
    with pytest.raises(openai.BadRequestError) as whole:
        client.responses.retrieve(response.id, stream=True)
    assert whole.value.param == "stream"


def test_where_it_is_not_possible_its_name_is_said(client, fake_provider):
    for model, more, name in (
        ("either", {}, "background"),
        ("translated", {}, "background"),
        ("native", {"stream": True}, "stream"),
    ):
        with pytest.raises(openai.BadRequestError) as refused:
            client.responses.create(model=model, input="hi", background=True, **more)
        assert refused.value.param == name and f"`{name}`" in refused.value.body["message"], model
    assert fake_provider.calls == []
    answer = client.responses.with_raw_response.create(model="lenient", input="hi", background=True)
    assert (answer.parse().status, answer.headers["x-tollgate-dropped"]) == ("completed", "background")


def test_a_job_has_its_answer_later_anyway(running, fake_provider):
    door = Door(running)
    body = {"model": "native", "input": "hello", "background": True}
    produce(running, door.jobs, {**job("", custom_id="later"), "url": "/v1/responses", "body": body})
    line = door.answers_to(["later"])["later"]
    assert line["response"]["status_code"] == 200 and line["response"]["body"]["status"] == "completed"
    assert "background" not in json.loads(fake_provider.calls[0]["body"])


def test_what_cannot_be_kept_is_not_promised(own_gateway, _provider, fake_provider):
    own = {"kind": "openai", "preset": "openai", "base_url": _provider.url("own"), "api_key": "${E2E_BETA_KEY}"}
    bucket = Bucket()
    running = own_gateway([endpoint("native", ["main own fake-large"])], providers={"own": own}, storage=bucket.config)
    client = running.openai()
    bucket.take_away()
    try:
        with pytest.raises(openai.InternalServerError) as refused:
            client.responses.create(model="native", input="hello", background=True)
        assert (refused.value.status_code, refused.value.code) == (503, "overloaded")
    finally:
        bucket.bring_back()
    assert fake_provider.calls == []
    response, _ = begun(client, "native")
    assert ended(client, response).output_text == "echo: hello"


@pytest.mark.parametrize("path", ["/openai/v1/responses", "/openai/responses", "/serving-endpoints/responses"])
def test_under_the_paths_of_others(running, path):
    with requests.Session() as http:
        http.headers["authorization"] = f"Bearer {SEARCH_KEY}"
        body = {"model": "native", "input": "hello", "background": True}
        response = http.post(running.url + path, json=body, timeout=60).json()
        one = f"{running.url}{path}/{response['id']}"

        def look():
            now = http.get(one, timeout=60).json()
            return now["status"] == "completed" and now

        assert eventually(look, "it has ended")["output"]
        assert http.post(one + "/cancel", timeout=60).json()["status"] == "completed", "its end stays"
