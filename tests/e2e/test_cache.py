"""Answers that are given again: to the same request, within a team, in memory and in Valkey; and what the row says of it."""

import json
import signal

import pytest
from kafka_tools import produce_all, read
from ledger import ledger_of
from support import OTHER_KEY, SEARCH_KEY, endpoint, eventually, text_of_stream, user

CACHED = {"ttl": "1h"}


def endpoints():
    return [
        endpoint("chat", ["main alpha fake-large"], cache=CACHED),
        endpoint("everyone", ["main alpha fake-large"], cache={**CACHED, "scope": "everyone"}),
        endpoint("checked", ["main alpha fake-large"], cache=CACHED, guardrails={"output": {"keywords": {"action": "block", "words": ["forbidden"]}}}),
        endpoint("failing", ["main alpha fault-500"], cache=CACHED),
        endpoint("plain", ["main alpha fake-large"]),
        endpoint("lenient", ["main alpha fake-large"], cache=CACHED, on_unsupported="drop"),
        endpoint("claude", ["main claude fake-claude"], cache=CACHED),
    ]


def teams():
    names = [e["name"] for e in endpoints()]
    kafka = {"requests": "in.search", "replies": "out.search"}
    return [{"name": "search", "endpoints": names, "kafka": kafka}, {"name": "other", "endpoints": names}]


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(endpoints(), teams=teams())


def ask(running, text, model="chat", key=SEARCH_KEY, headers=None, **more):
    with running.http(key) as http:
        response = http.post("/v1/chat/completions", json={"model": model, "messages": user(text), **more}, headers=headers or {})
    assert response.status_code == 200, response.text
    return response


def outcome(response):
    return response.headers.get("x-tollgate-cache")


def test_the_same_request_is_answered_again_for_nothing(running, fake_provider):
    first, second = ask(running, "again", temperature=0), ask(running, "again", temperature=0, user="me")
    assert [outcome(first), outcome(second)] == ["miss", "hit"]
    assert first.json() == second.json() and first.headers["x-request-id"] != second.headers["x-request-id"]
    assert outcome(ask(running, "again", temperature=1)) == "miss"
    assert len(fake_provider.calls) == 2
    rows = [ledger_of(running).row(response.headers["x-request-id"]) for response in (first, second)]
    assert [(row["cache_hit"], len(row["attempts"])) for row in rows] == [(False, 1), (True, 0)]
    assert rows[1]["saved_usd"] == rows[0]["cost_usd"] > 0 and rows[1]["cost_usd"] == 0
    assert (rows[1]["price_status"], rows[1]["finish_reason"]) == ("free", "stop")


def test_a_hit_tells_what_the_first_answer_told(running, fake_provider):
    body = {"model": "lenient", "max_tokens": 9, "top_k": 5, "messages": user("told")}
    with running.http() as http:
        first, second = (http.post("/v1/messages", json=body) for _ in range(2))
        stream = http.post("/v1/messages", json={**body, "stream": True})
    assert [outcome(response) for response in (first, second, stream)] == ["miss", "hit", "hit"]
    for response in (first, second, stream):
        assert response.headers["x-tollgate-dropped"] == "top_k"
        assert response.headers["x-tollgate-destination"] == "main"
    told = [(r.headers["x-tollgate-attempts"], float(r.headers["x-tollgate-cost-usd"])) for r in (first, second, stream)]
    assert told[0][0] == "1" and told[0][1] > 0 and told[1:] == [("0", 0), ("0", 0)]
    assert len(fake_provider.calls) == 1


def test_a_job_is_told_what_a_kept_answer_left_out(running, fake_provider):
    body = {"model": "lenient", "max_tokens": 9, "top_k": 5, "messages": user("told to jobs")}
    with running.http() as http:
        assert http.post("/v1/messages", json=body).headers["x-tollgate-dropped"] == "top_k"
    line = {"custom_id": "again", "url": "/v1/messages", "body": body}
    produce_all(running, running.topic("in.search"), [(json.dumps(line).encode(), None, None)])
    answers = eventually(lambda: read(running, [running.topic("out.search")]), "the job is answered", 60)
    assert json.loads(answers[-1].value())["response"]["dropped"] == ["top_k"]
    assert len(fake_provider.calls) == 1


def test_other_betas_are_another_request(running, fake_provider):
    body = {"model": "claude", "max_tokens": 9, "messages": user("betas")}
    with running.http() as http:
        betas = ("one", "one", "two", None)
        answers = [http.post("/v1/messages", json=body, headers={"anthropic-beta": b} if b else {}) for b in betas]
    assert [outcome(answer) for answer in answers] == ["miss", "hit", "miss", "miss"]


def test_a_stream_and_a_whole_answer_stand_in_for_each_other(running, fake_provider):
    client = running.openai()

    def stream(text):
        raw = client.chat.completions.with_raw_response.create(model="chat", messages=user(text), stream=True)
        return text_of_stream(raw.parse()), outcome(raw)

    assert outcome(ask(running, "whole first")) == "miss"
    assert stream("whole first") == ("echo: whole first", "hit")
    assert stream("stream first")[0] == "echo: stream first"
    assert outcome(ask(running, "stream first")) == "hit"
    assert len(fake_provider.calls) == 2


def test_no_team_sees_an_answer_of_another_unless_the_endpoint_says_so(running, fake_provider):
    for model, told in (("chat", ["miss", "miss", "hit"]), ("everyone", ["miss", "hit", "hit"])):
        keys = [SEARCH_KEY, OTHER_KEY, OTHER_KEY]
        assert [outcome(ask(running, "whose", model, key)) for key in keys] == told


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"x-tollgate-cache": "refresh"}, ["miss", "miss", "hit"]),
        ({"cache-control": "max-age=0, no-cache"}, ["miss", "miss", "hit"]),
        ({"x-tollgate-cache": "bypass"}, ["miss", "bypass", "hit"]),
        ({"cache-control": "no-store"}, ["miss", "bypass", "hit"]),
    ],
)
def test_a_caller_may_want_a_new_answer(running, fake_provider, headers, told):
    text = json.dumps(headers)
    assert [outcome(ask(running, text, headers=h)) for h in (None, headers, None)] == told
    assert len(fake_provider.calls) == 2


def test_what_is_wrong_with_the_header_is_told(running):
    response = running.chat({"model": "chat", "messages": user("hi")}, x_tollgate_cache="maybe")
    assert (response.status_code, response.json()["error"]["param"]) == (400, "x-tollgate-cache")


def test_failures_are_not_kept_and_checks_run_on_each_answer(running, fake_provider):
    for _ in range(2):
        assert running.chat({"model": "failing", "messages": user("hi")}).status_code == 502
    assert len(fake_provider.calls_of(model="fault-500")) == 2
    for _ in range(2):
        blocked = running.chat({"model": "checked", "messages": user("say: forbidden")})
        assert (blocked.status_code, blocked.json()["error"]["code"]) == (400, "guardrail_blocked")
    assert len(fake_provider.calls_of(model="fake-large")) == 1, "the answer was kept, and checked again"
    assert outcome(ask(running, "hi", "plain")) is None


def test_all_routers_share_what_is_kept_in_valkey_and_none_needs_it(gateway, redis, fake_provider):
    running = gateway(endpoints(), teams=teams(), cache={"store": redis.url}, separate=True)
    assert outcome(ask(running, "shared")) == "miss"
    running.add("router-worker-1")
    running.wait_until_ready()
    first = running.process("router-worker")
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    assert outcome(ask(running, "shared")) == "hit", "another router-worker gives it again"
    redis.kill()
    assert outcome(ask(running, "shared")) == "miss"
    redis.start()
    assert len(fake_provider.calls) == 2
