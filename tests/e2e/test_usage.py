"""The usage table, read with DuckDB from local disk and from S3: columns, one exact row per request, names, footers."""

import datetime
import json
import re
import signal
import time
from decimal import Decimal

import httpx
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from kafka_tools import produce
from ledger import ledger_of, ledger_of_bucket, s3_options
from support import SEARCH_KEY, endpoint, eventually, sha256, user

TEXT, BIG, INT, MONEY = "VARCHAR", "BIGINT", "INTEGER", "DECIMAL(38,12)"
MAP, TIME = "MAP(VARCHAR, VARCHAR)", "TIMESTAMP WITH TIME ZONE"
DETAILS = ["cache_read_input_tokens", "cache_creation_input_tokens", "output_reasoning_tokens"]
ATTEMPT = {
    "priority": INT, "action": TEXT, "destination": TEXT, "provider": TEXT, "model": TEXT, "service_tier": TEXT,
    "status_code": INT, "error_code": TEXT, "latency_ms": BIG, "start_time": TIME, "end_time": TIME,
    "input_tokens": BIG, "output_tokens": BIG, **dict.fromkeys(DETAILS, BIG), "cost_usd": MONEY, "price_version": TEXT,
    "provider_request_id": TEXT,
}  # fmt: skip


def struct(fields):
    return "STRUCT(" + ", ".join(f'"{name}" {kind}' for name, kind in fields.items()) + ")"


COLUMNS = {
    "schema_version": INT, "gateway": TEXT, "region": TEXT, "account_id": TEXT, "workspace_id": TEXT, "request_id": TEXT,
    "invocation_id": TEXT, "execution_id": TEXT, "parent_request_id": TEXT, "batch_id": TEXT, "trace_id": TEXT,
    "event_time": TIME, "endpoint_id": TEXT, "endpoint_name": TEXT, "endpoint_tags": MAP, "destination_type": TEXT,
    "destination_name": TEXT, "destination_id": TEXT, "destination_provider": TEXT, "destination_model": TEXT,
    "requester": TEXT, "requester_type": TEXT, "team": TEXT, "key_id": TEXT, "key_name": TEXT, "user_id": TEXT,
    "end_user": TEXT, "ip_address": TEXT, "user_agent": TEXT, "url": TEXT, "api_type": TEXT, "lane": TEXT,
    "stream": "BOOLEAN", "status_code": INT, "error_code": TEXT, "finish_reason": TEXT, "response_content_type": TEXT,
    "latency_ms": BIG, "time_to_first_byte_ms": BIG, "queue_ms": BIG, "input_tokens": BIG, "output_tokens": BIG,
    "total_tokens": BIG, "token_details": struct(dict.fromkeys(DETAILS, BIG)), "token_source": TEXT,
    "provider_usage": TEXT, "request_tags": MAP, "routing_information": struct({"attempts": struct(ATTEMPT) + "[]"}),
    "cost_usd": MONEY, "price_status": TEXT, "price_version": TEXT, "cache_hit": "BOOLEAN", "saved_usd": MONEY,
    "guardrail_outcome": TEXT, "policy_version": TEXT, "source_partition": INT, "source_offset": BIG,
    "guardrails": struct({"check": TEXT, "outcome": TEXT, "category": TEXT, "judge": TEXT, "latency_ms": BIG}) + "[]",
}  # fmt: skip
KEYWORDS = {"input": {"keywords": {"action": "block", "words": ["orion"]}}}
ENDPOINTS = [
    endpoint("chat", ["main alpha fake-large"], tags={"cost_center": "1234"}),
    endpoint("claude", ["main claude fake-claude"]),
    endpoint("twice", ["first alpha fault-503"], retry={"attempts": 2}, fallbacks=["second beta fake-small"]),
    endpoint("failing", ["only alpha fault-500"]),
    endpoint("unpriced", ["main alpha fake-unlisted"]),
    endpoint("mock", ["main demo any"]),
    endpoint("guarded", ["main alpha fake-large"], guardrails=KEYWORDS),
]
OPENAI_COST = Decimal("0.003150")  # 700 at $2, 300 cached at $0.50, 200 at $8 per million
CLAUDE_COST = Decimal("0.005265")  # 600 at $3, 300 read at $0.30, 100 written at $3.75, 200 at $15 per million
BETA_COST = Decimal("0.001575")  # 700 at $1, 300 cached at $0.25, 200 at $4 per million


# A table in a bucket is written with Apache Kafka beside it by test_ledger_faults.py.
S3 = pytest.param("s3", marks=pytest.mark.only_embedded(reason="what a row says is the same wherever it is kept"))


@pytest.fixture(scope="module", params=["local", S3])
def place(request, gateway, moto_s3, tmp_path_factory):
    """A gateway and a function that gives its table."""
    if request.param == "local":
        running = gateway(ENDPOINTS)
        return running, lambda: ledger_of(running)
    address, client = moto_s3
    prefix = f"e2e-{time.time_ns()}"
    running = gateway(ENDPOINTS, storage={"url": f"s3://tollgate/{prefix}", "options": s3_options(address)})
    folder = tmp_path_factory.mktemp("s3")
    return running, lambda: ledger_of_bucket(client, "tollgate", prefix, folder)


@pytest.fixture
def running(place, fake_provider):
    return place[0]


def row_of(place, request_id):
    """The row of a request; files in a bucket are fetched anew until it is there."""
    found = f"SELECT 1 FROM usage WHERE request_id = '{request_id}'"
    eventually(lambda: place[1]().query(found), "the row", 60)
    return place[1]().row(request_id)


def asked(place, model, text="hello", stream=False, **headers):
    """Sends one request; gives the response and its row."""
    body = {"model": model, "messages": user(text), "stream": stream, "user": "end-user-7"}
    response = place[0].chat(body, user_agent="e2e/1.0", **headers)
    return response, row_of(place, response.headers["x-request-id"])


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "cost"), [("chat", OPENAI_COST), ("claude", CLAUDE_COST)])
def test_tokens_and_cost_are_exact(running, place, model, cost, stream):
    response, row = asked(place, model, stream=stream)
    assert response.status_code == 200
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (1000, 200, 1200)
    written, reasoned = (100, None) if model == "claude" else (None, 50)
    details = row["token_details"]
    assert details["cache_read_input_tokens"] == 300
    assert (details["cache_creation_input_tokens"] or None) == written
    assert (details["output_reasoning_tokens"] or None) == reasoned
    assert (row["cost_usd"], row["price_status"]) == (cost, "priced")
    assert row["token_source"] == "provider" and json.loads(row["provider_usage"])
    assert row["price_version"] and row["stream"] is stream
    (attempt,) = row["attempts"]
    assert (attempt["action"], attempt["cost_usd"], attempt["status_code"]) == ("INITIAL_ATTEMPT", cost, 200)
    assert attempt["provider_request_id"] == "req_fake"
    assert (row["finish_reason"], row["status_code"], row["error_code"]) == ("stop", 200, None)


def test_who_asked_for_what(running, place):
    _, row = asked(place, "chat")
    expected = {
        "schema_version": 1,
        "gateway": "e2e",
        "region": "test-1",
        "endpoint_name": "chat",
        "destination_name": "main",
        "destination_provider": "alpha",
        "destination_model": "fake-large",
        "team": "search",
        "key_name": "search-web",
        "key_id": sha256(SEARCH_KEY)[:16],
        "end_user": "end-user-7",
        "user_agent": "e2e/1.0",
        "ip_address": "127.0.0.1",
        "url": "/v1/chat/completions",
        "lane": "interactive",
        "response_content_type": "application/json",
        "cache_hit": False,
    }
    assert {name: row[name] for name in expected} == expected
    tags = row["endpoint_tags"]
    assert tags == {"cost_center": "1234"} or tags == {"key": ["cost_center"], "value": ["1234"]}
    assert re.fullmatch("[0-9a-f]{32}", row["trace_id"])
    assert abs(row["event_time"] / 1e6 - time.time()) < 300
    assert 0 <= row["queue_ms"] <= row["latency_ms"] and 0 <= row["time_to_first_byte_ms"] <= row["latency_ms"]
    assert len({row["request_id"], row["invocation_id"], row["execution_id"]}) == 3


def test_attempts_are_nested_with_their_own_money(running, place):
    response, row = asked(place, "twice")
    assert response.headers["x-tollgate-attempts"] == "3"
    assert [(a["action"], a["destination"], a["status_code"]) for a in row["attempts"]] == [
        ("INITIAL_ATTEMPT", "first", 503),
        ("RETRY", "first", 503),
        ("FALLBACK", "second", 200),
    ]
    assert [a["priority"] for a in row["attempts"]] == [1, 2, 3]
    assert [(a["provider"], a["model"]) for a in row["attempts"]][-1] == ("beta", "fake-small")
    assert row["attempts"][-1]["cost_usd"] == row["cost_usd"] == BETA_COST
    assert all(a["start_time"] <= a["end_time"] for a in row["attempts"])
    assert row["destination_name"] == "second"


def test_requests_without_an_answer_have_a_row_too(running, place):
    response, row = asked(place, "failing")
    assert (response.status_code, row["status_code"], row["error_code"]) == (502, 502, "provider_error")
    assert len(row["attempts"]) == 1
    response, row = asked(place, "guarded", "about orion")
    assert (row["status_code"], row["error_code"], row["guardrail_outcome"]) == (400, "guardrail_blocked", "blocked")
    assert row["attempts"] == [] and row["input_tokens"] is None


def test_an_unknown_price_is_null_and_a_free_one_zero(running, place):
    _, row = asked(place, "unpriced")
    assert (row["cost_usd"], row["price_status"]) == (None, "unpriced")
    assert row["input_tokens"] == 1000
    _, row = asked(place, "mock")
    assert (row["cost_usd"], row["price_status"]) == (Decimal(0), "free")


def test_a_topic_job_has_a_row(running, place):
    body = {"model": "chat", "messages": user("hi")}
    job = {"custom_id": "j-1", "url": "/v1/chat/completions", "body": body}
    produce(running, running.topic("in.search"), job)
    sql = "SELECT * EXCLUDE (event_time, routing_information) FROM usage WHERE lane = 'batch'"
    (row,) = eventually(lambda: place[1]().query(sql), "the job's row", 60)
    assert (row["team"], row["key_id"], row["url"]) == ("search", None, running.topic("in.search"))
    assert row["cost_usd"] == OPENAI_COST


def test_columns_are_as_documented(running, place):
    asked(place, "chat")
    described = place[1]().query("DESCRIBE usage")
    assert {row["column_name"]: row["column_type"].replace('"', "") for row in described} == {
        name: kind.replace('"', "") for name, kind in COLUMNS.items()
    }
    assert [row["column_name"] for row in described] == list(COLUMNS)


def test_each_request_has_one_row(running, place):
    before = place[1]().count()
    ids = [running.chat({"model": "chat", "messages": user(f"{n}")}).headers["x-request-id"] for n in range(50)]
    eventually(lambda: place[1]().count() >= before + 50, "50 more rows", 60)
    ledger = place[1]()
    counted = ledger.query("SELECT count(*) AS n, count(DISTINCT request_id) AS d FROM usage")[0]
    assert counted["n"] == counted["d"]
    listed = ", ".join(f"'{request_id}'" for request_id in ids)
    assert ledger.query(f"SELECT count(*) AS n FROM usage WHERE request_id IN ({listed})")[0]["n"] == 50
    assert (
        ledger.query("SELECT count(DISTINCT (source_partition, source_offset)) AS n FROM usage")[0]["n"] == counted["n"]
    )


def test_files_are_named_by_their_first_record_and_their_ranges_join(running, place):
    asked(place, "chat")
    asked(place, "chat")
    ledger = place[1]()
    assert len(ledger.files()) >= 2
    ledger.assert_contiguous()
    today = datetime.datetime.now(datetime.timezone.utc).date()
    dates = {path.parent.name for path in ledger.files()}
    assert dates <= {f"date={today - datetime.timedelta(days=n)}" for n in (0, 1)}


def test_files_are_compressed_and_have_a_bloom_filter(running, place):
    import duckdb

    asked(place, "chat")
    path = str(place[1]().files()[-1])
    with duckdb.connect() as db:
        sql = "SELECT path_in_schema, compression, bloom_filter_offset FROM parquet_metadata(?)"
        columns = db.execute(sql, [path]).fetchall()
    assert {compression for _, compression, _ in columns} == {"ZSTD"}
    assert [column for column, _, bloom in columns if bloom] == ["request_id"]


def test_rows_survive_a_restart_and_none_comes_twice(running, place):
    _, first = asked(place, "chat")
    running.restart()
    response, _ = asked(place, "chat", "after")
    assert response.status_code == 200
    assert row_of(place, first["request_id"])["invocation_id"] == first["invocation_id"]
    counted = place[1]().query("SELECT count(*) AS n, count(DISTINCT request_id) AS d FROM usage")[0]
    assert counted["n"] == counted["d"]


def create_again(running, topic):
    """The topic goes with all it holds, and another of its name comes."""
    admin = AdminClient(running.operator())
    admin.delete_topics([topic])[topic].result(30)
    eventually(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic is gone")
    new = NewTopic(topic, 1, 1, config={"message.timestamp.type": "LogAppendTime"})

    def created():
        # A topic that was just deleted may still be in the way.
        return admin.create_topics([new])[topic].exception(30) is None

    eventually(created, "the topic is there again")


@pytest.mark.parametrize("while_it_is", ["stopped", "reading"])
def test_a_topic_created_again_is_refused_until_a_person_begins_the_next_epoch(own_gateway, while_it_is):
    running = own_gateway(ENDPOINTS[:1], separate=True)
    ledger, aggregator = ledger_of(running), running.process("usage-aggregator")
    body = {"model": "chat", "messages": user("hello")}
    for _ in range(3):
        assert running.chat(body).status_code == 200
    eventually(lambda: ledger.count() == 3, "three rows", 60)
    if while_it_is == "stopped":
        aggregator.signal(signal.SIGTERM)
        assert aggregator.wait() == 0
        create_again(running, running.topic("usage"))
        aggregator.start()
    else:
        aggregator.signal(signal.SIGSTOP)
        create_again(running, running.topic("usage"))
    # More than there were, so that the new log goes beyond the place where the old one was left.
    asked = [running.chat(body) for _ in range(6)]
    assert {response.status_code for response in asked} == {200}
    aggregator.signal(signal.SIGCONT)
    eventually(lambda: aggregator.child.poll() is not None, "it ends", 90)
    assert aggregator.child.returncode not in (0, -signal.SIGABRT)
    # The last time it says so counts, as for a person.
    said = re.findall(r"the usage table was begun on .* overwrite (\S+) with (\{.*?\}) and start again", aggregator.log())
    assert said, aggregator.tail()
    assert ledger.count() == 3, "nothing of the other log is under the old epoch"
    path, content = said[-1]
    assert json.loads(content)["epoch"] == 2
    (running.data_dir / path).write_text(content)
    aggregator.start()
    eventually(aggregator.is_ready, "the aggregator is ready", 60)
    eventually(lambda: ledger.count() == 9, "six more rows", 60)
    assert {footer["epoch"] for footer in ledger.footers().values()} == {"1", "2"}
    ledger.assert_contiguous()
    assert ledger.query("SELECT count(DISTINCT request_id) AS n FROM usage")[0]["n"] == 9


def health(process):
    return httpx.get(process.url + "/health/ready", timeout=10)


def test_a_damaged_file_stops_the_ledger_and_nothing_else(own_gateway):
    running = own_gateway(ENDPOINTS[:1])
    ledger, body = ledger_of(running), {"model": "chat", "messages": user("hello")}
    assert running.chat(body).status_code == 200
    eventually(lambda: ledger.count() == 1, "a row", 60)
    running.end()
    (file,) = ledger.files()
    whole = file.read_bytes()
    file.write_bytes(b"damaged")
    (up,) = running.processes
    up.start()
    running.wait_until_ready()
    eventually(lambda: "is down until a person" in health(up).text, "it says so", 60)
    assert health(up).status_code == 200
    assert "tollgate_usage_down 1" in httpx.get(up.url + "/metrics", timeout=10).text
    assert "is not a readable ledger file" in up.log()
    assert running.chat(body).status_code == 200, "callers are served"
    file.write_bytes(whole)
    eventually(lambda: ledger.count() == 2, "it goes on by itself", 120)
    eventually(lambda: health(up).text == "ready\n", "nothing is left to say", 60)
    assert "tollgate_usage_down 0" in httpx.get(up.url + "/metrics", timeout=10).text
