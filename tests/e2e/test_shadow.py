"""Shadows: answered requests are copied to models that answer nobody, and that are billed to their own tags."""

import json
from decimal import Decimal

import pytest
from kafka_tools import produce, read
from ledger import ledger_of
from support import endpoint, eventually, user

CALLERS = 20
# 700 at $1, 300 cached at $0.25, 200 at $4 per million; and of the main model 700 at $2, 300 at $0.50, 200 at $8.
COPY_COST, COST = Decimal("0.001575"), Decimal("0.003150")


def shadow(name, provider, model, **more):
    return {"name": name, "provider": provider, "model": model, "share": 1.0, "tags": {"experiment": name}, **more}


def budget(name, subject, usd):
    return {"name": name, "usd": round(float(usd), 6), "per": "total", "action": "alert", "for": subject}


@pytest.fixture(scope="module")
def running(gateway):
    shadows = [shadow("candidate", "beta", "fake-small"), shadow("broken", "alpha", "fault-404", team="other")]
    # The first is reached by the last copy; the others would be if they counted copies as well.
    own, copies = COST * (CALLERS + 1), COPY_COST * (CALLERS + 1)
    budgets = [
        budget("budget-of-the-tag", "tag:experiment=candidate", copies - COPY_COST / 2),
        budget("budget-of-the-team", "team:search", own + copies / 2),
        budget("budget-of-the-endpoint", "endpoint:chat", own + copies / 2),
    ]
    return gateway([endpoint("chat", ["main alpha fake-large"], shadows=shadows)], budgets=budgets)


@pytest.fixture(scope="module")
def rows(running):
    """All rows, once what callers have asked has them; each caller has seen the main model and nothing else. The last one is a job."""
    for n in range(CALLERS):
        response = running.chat({"model": "chat", "messages": user("hello"), "stream": n % 2 == 0})
        assert response.status_code == 200 and "echo" in response.text, response.text
        assert (response.headers["x-tollgate-destination"], response.headers["x-tollgate-attempts"]) == ("main", "1")
    body = {"model": "chat", "messages": user("a job"), "stream": True}
    produce(running, running.topic("in.search"), {"custom_id": "job", "url": "/v1/chat/completions", "body": body})
    ledger, wanted = ledger_of(running), 3 * (CALLERS + 1)
    eventually(lambda: ledger.count() >= wanted, "a row for each request and for each of its copies", 60)
    return ledger.query(
        """SELECT request_id, parent_request_id, endpoint_name, lane, team, requester, key_id, user_id, status_code, error_code,
        trace_id, stream, destination_name, cost_usd, request_tags FROM usage"""
    )


def test_each_copy_is_a_row_of_its_own(rows):
    asked = {row["request_id"]: row for row in rows if row["parent_request_id"] is None}
    assert (len(rows), len(asked)) == (3 * (CALLERS + 1), CALLERS + 1)
    assert {(row["status_code"], row["team"], row["cost_usd"]) for row in asked.values()} == {(200, "search", COST)}
    for name, team, status, error, cost in [
        ("candidate", "", 200, None, COPY_COST),
        ("broken", "other", 404, "provider_rejected", 0),
    ]:
        copies = [row for row in rows if row["destination_name"] == name]
        assert sorted(row["parent_request_id"] for row in copies) == sorted(asked)
        for row in copies:
            assert (row["endpoint_name"], row["lane"], row["stream"]) == ("chat", "batch", False)
            assert (row["team"], row["key_id"], row["user_id"], row["requester"]) == (team, None, None, team or None)
            assert (row["status_code"], row["error_code"], row["cost_usd"]) == (status, error, cost)
            assert dict(row["request_tags"]) == {"experiment": name}
            assert row["trace_id"] == asked[row["parent_request_id"]]["trace_id"]


def test_nobody_is_told_of_a_copy(running, rows):
    """The rows of all copies are there, so whatever they would cause is under way at the least."""
    asked = {row["request_id"] for row in rows if row["parent_request_id"] is None}

    def told(topic):
        return [json.loads(record.value()) for record in read(running, [running.topic(topic)])]

    eventually(lambda: {reply["request_id"] for reply in told("replies")} == asked, "replies to callers and to nobody else")
    answers = eventually(lambda: told("out.search"), "the job's answer")
    assert [answer["custom_id"] for answer in answers] == ["job"]


def test_the_tags_budget_counts_copies_and_no_other_does(running, rows):
    eventually(lambda: "budget-of-the-tag" in running.log(), "the budget of the tag is told of")
    assert "budget-of-the-team" not in running.log() and "budget-of-the-endpoint" not in running.log()
