"""What a request is billed to, what its answer tells, and the paths of other gateways."""

import json

import openai
import pytest
from kafka_tools import produce_all, read
from ledger import ledger_of
from support import SEARCH_KEY, endpoint, eventually, user


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(
        [
            endpoint("chat", ["main alpha fake-large"]),
            endpoint("failing", ["main alpha fault-500"]),
            endpoint("cut", ["main alpha fault-truncate"]),
            endpoint("vectors", ["main alpha fake-embed"], task="embeddings"),
        ],
        http={"cors": {"origins": ["https://app.example.com"]}},
    )


def tags_of(running, request_id):
    row = ledger_of(running).row(request_id)
    return dict(row["request_tags"]), row


def test_tags_of_headers_and_body_are_in_the_row(running, fake_provider):
    headers = {
        "x-tollgate-tags": "project=atlas, run=7",
        "databricks-ai-gateway-request-tags": json.dumps({"run": "8", "shift": "night"}),
    }
    body = {"model": "chat", "messages": user("hi"), "metadata": {"project": "body", "own": "x"}, "safety_identifier": "u-1"}
    with running.http() as http:
        response = http.post("/v1/chat/completions", json=body, headers=headers)
    assert response.status_code == 200, response.text
    tags, row = tags_of(running, response.headers["x-request-id"])
    assert tags == {"project": "atlas", "run": "7", "shift": "night", "own": "x"}
    assert row["end_user"] == "u-1"
    # 1000 tokens in, of which 300 cached, 200 out, at 2, 0.5 and 8 dollars a million.
    assert response.headers["x-tollgate-cost-usd"] == "0.00315" and str(row["cost_usd"]).rstrip("0") == "0.00315"


@pytest.mark.parametrize("value", ["atlas", '{"a": 1}', "a=b," * 17 + ",".join(f"n{n}=x" for n in range(17))])
def test_tags_that_cannot_be_read_are_refused(running, fake_provider, value):
    response = running.chat({"model": "chat", "messages": user("hi")}, x_tollgate_tags=value)
    assert response.status_code == 400 and fake_provider.calls == []
    assert response.json()["error"]["param"] in ("x-tollgate-tags", "metadata")


def test_a_repeat_and_a_failure_cost_nothing(running, fake_provider):
    bodies = {"model": "chat", "messages": user("once")}
    first, second = (running.chat(bodies, idempotency_key="one-key") for _ in range(2))
    assert first.headers["x-tollgate-cost-usd"] and first.json() == second.json()
    assert "x-tollgate-cost-usd" not in second.headers
    assert "x-tollgate-cost-usd" not in running.chat({"model": "failing", "messages": user("hi")}).headers


def test_a_job_has_tags_too(running):
    line = json.dumps({"custom_id": "tagged", "body": {"model": "chat", "messages": user("hi")}}).encode()
    produce_all(running, running.topic("in.search"), [(line, None, {"tollgate-tags": "project=atlas"})])
    answers = eventually(lambda: read(running, [running.topic("out.search")]), "the job is answered", 60)
    output = json.loads(answers[-1].value())
    tags, _ = tags_of(running, output["response"]["request_id"])
    assert tags == {"project": "atlas"}


def test_jobs_name_the_paths_of_other_gateways(running, fake_provider):
    body = {"messages": user("hi"), "usage_context": {"project": "barometer"}}
    contents = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    jobs = {
        "databricks": ("/serving-endpoints/chat/invocations", body),
        "vector": ("/serving-endpoints/vectors/invocations", {"input": "hi"}),
        "sdk": ("/serving-endpoints/chat/completions", {**body, "model": "chat"}),
        "azure": ("/openai/deployments/chat/chat/completions?api-version=2024-10-21", {"messages": user("hi")}),
        "beta": ("/v1/messages?beta=true", {"model": "chat", "max_tokens": 9, "messages": user("hi")}),
        "google": ("/v1beta/models/chat:generateContent?alt=sse", contents),
        "wrong": ("/serving-endpoints/chat/invocations", {"question": "hi"}),
        "nowhere": ("/serving-endpoints/chat/queries", body),
    }
    lines = [{"custom_id": name, "method": "POST", "url": url, "body": body} for name, (url, body) in jobs.items()]
    produce_all(running, running.topic("in.search"), [(line, None, None) for line in lines])

    def answers():
        found = [json.loads(record.value()) for record in read(running, [running.topic("out.search")])]
        return {line["custom_id"]: line for line in found if line["custom_id"] in jobs}

    found = eventually(lambda: len(found := answers()) == len(jobs) and found, "all are answered", 60)
    for name in ("wrong", "nowhere"):
        assert found[name]["error"]["code"] == "invalid_request_error" and found[name]["response"] is None, name
    bodies = {name: found[name]["response"]["body"] for name in jobs if found[name]["response"]}
    for name in ("databricks", "sdk", "azure"):
        assert bodies[name]["choices"][0]["message"]["content"] == "echo: hi", name
    assert bodies["vector"]["data"] and bodies["beta"]["content"][0]["text"] == "echo: hi"
    assert bodies["google"]["candidates"][0]["content"]["parts"][0]["text"] == "echo: hi"
    for name in ("databricks", "sdk"):
        tags, row = tags_of(running, found[name]["response"]["request_id"])
        assert (tags, row["endpoint_name"]) == ({"project": "barometer"}, "chat"), name
    assert all("usage_context" not in json.loads(call["body"]) for call in fake_provider.calls)


def test_callers_of_databricks(running, fake_provider):
    client = openai.OpenAI(base_url=running.url + "/serving-endpoints", api_key=SEARCH_KEY, max_retries=0)
    assert client.chat.completions.create(model="chat", messages=user("hi")).choices[0].message.content == "echo: hi"
    context = {"usage_context": {"project": "barometer"}}
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=user("hi"), extra_body=context)
    assert raw.parse().choices[0].message.content == "echo: hi"
    tags, _ = tags_of(running, raw.headers["x-request-id"])
    assert tags == {"project": "barometer"}
    raw = client.embeddings.with_raw_response.create(model="vectors", input="hi", extra_body=context)
    tags, _ = tags_of(running, raw.headers["x-request-id"])
    assert tags == {"project": "barometer"}
    assert all("usage_context" not in json.loads(call["body"]) for call in fake_provider.calls)
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="chat", messages=user("hi"), extra_body={"usage_context": "barometer"})
    assert refused.value.param == "usage_context"
    body = {"messages": user("hi"), "max_tokens": 9, **context}
    with running.http() as http:
        response = http.post("/serving-endpoints/chat/invocations", json=body)
        vector = http.post("/serving-endpoints/vectors/invocations", json={"input": "hi"})
        unknown = http.post("/serving-endpoints/nothing/invocations", json=body)
        wrong = http.post("/serving-endpoints/chat/invocations", json={"question": "hi"})
        stream = http.post("/serving-endpoints/chat/invocations", json={**body, "stream": True})
        cut = http.post("/serving-endpoints/cut/invocations", json={**body, "stream": True})
    assert response.json()["choices"][0]["message"]["content"] == "echo: hi"
    assert "usage_context" not in json.loads(fake_provider.calls_of(model="fake-large")[-1]["body"])
    assert vector.json()["data"][0]["embedding"] and stream.text.rstrip().endswith("[DONE]")
    tags, _ = tags_of(running, response.headers["x-request-id"])
    assert tags == {"project": "barometer"}
    assert (unknown.status_code, unknown.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    assert (wrong.status_code, wrong.json()["error_code"]) == (400, "BAD_REQUEST") and "messages" in wrong.json()["message"]
    last = json.loads(cut.text.strip().splitlines()[-1].removeprefix("data: "))
    assert (last["error_code"], last["code"]) == ("INTERNAL_ERROR", "provider_error") and "[DONE]" not in cut.text


def test_callers_of_azure(running, fake_provider):
    azure = openai.AzureOpenAI(azure_endpoint=running.url, api_key=SEARCH_KEY, api_version="2024-10-21", max_retries=0)
    assert azure.chat.completions.create(model="chat", messages=user("hi")).choices[0].message.content == "echo: hi"
    assert azure.embeddings.create(model="vectors", input="hi").data[0].embedding
    plain = openai.OpenAI(base_url=running.url + "/openai/v1", api_key=SEARCH_KEY, max_retries=0)
    assert plain.chat.completions.create(model="chat", messages=user("hi")).choices[0].message.content == "echo: hi"
    # This API has no deployments, so its model stands in the body.
    assert azure.responses.create(model="chat", input="hi").output_text == "echo: hi"
    for client in (azure, plain):
        assert {"chat", "vectors"} <= {model.id for model in client.models.list()}
        assert client.models.retrieve("chat").id == "chat"
    with pytest.raises(openai.NotFoundError):
        azure.chat.completions.create(model="nothing", messages=user("hi"))


def test_pages_of_listed_origins_may_call_the_api_and_no_others(running, fake_provider):
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, content-type"}

    def preflight(origin, path="/v1/chat/completions"):
        with running.http(None) as http:
            return http.options(path, headers={"origin": origin, **asked}).headers

    allowed = preflight("https://app.example.com")
    assert allowed["access-control-allow-origin"] == "https://app.example.com"
    assert "POST" in allowed["access-control-allow-methods"] and "authorization" in allowed["access-control-allow-headers"]
    assert "access-control-allow-origin" not in preflight("https://evil.example.com")
    assert "access-control-allow-origin" not in preflight("https://app.example.com", "/admin/v1/teams")
    answer = running.chat({"model": "chat", "messages": user("hi")}, origin="https://app.example.com")
    assert answer.headers["access-control-allow-origin"] == "https://app.example.com"
    assert "x-request-id" in answer.headers["access-control-expose-headers"]
