"""The commands around a running gateway, as a person types them, and the documented queries over its table."""

import csv
import hashlib
import io
import json
import re
import subprocess
from datetime import datetime, timezone

import duckdb
import pytest
from ledger import ledger_of
from support import PROVIDER_KEYS, ROOT, clean_environment, endpoint, eventually, user

JOBS = 40
URL = "/v1/chat/completions"


@pytest.fixture(scope="module")
def running(gateway):
    return gateway([endpoint("chat", ["main demo mock-1"])], usage={"flush": {"rows": 1000, "after": "200ms"}})


@pytest.fixture
def tollgate(binary, tmp_path):
    def call(*arguments, ok=True):
        done = subprocess.run(
            [binary, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**clean_environment(), **PROVIDER_KEYS},
            timeout=120,
        )
        assert (done.returncode == 0) == ok, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return call


def config_of(running):
    return running.processes[0].config_file


def test_submit_answers_a_file_in_its_order_and_usage_charges_for_it(running, tollgate, tmp_path):
    def job(n):
        model = "chat" if n else "nothing"
        return {"custom_id": f"job-{n}", "method": "POST", "url": URL, "body": {"model": model, "messages": user(f"say {n}")}}

    file = tmp_path / "jobs.jsonl"
    file.write_text("\n".join(json.dumps(job(n)) for n in range(JOBS)) + "\n")
    done = tollgate("submit", file, "--config", config_of(running), "--team", "search")
    assert f"{JOBS} answered, 1 of them with an error, 0 without an answer" in done.stderr
    answers = [json.loads(line) for line in (tmp_path / "jobs.out.jsonl").read_text().splitlines()]
    assert [answer["custom_id"] for answer in answers] == [f"job-{n}" for n in range(JOBS)]
    assert answers[0]["error"]["code"] == "model_not_found"
    for n, answer in enumerate(answers[1:], 1):
        assert answer["response"]["body"]["choices"][0]["message"]["content"] == f"mock: say {n}"

    month = datetime.now(timezone.utc).strftime("%Y-%m")

    def rows():
        done = tollgate("usage", "--config", config_of(running), "--by", "team,model", "--month", month, "--format", "json")
        return [row for row in json.loads(done.stdout) if row["requests"] >= JOBS - 1]

    [row] = eventually(rows, "the jobs are in the table")
    assert (row["team"], row["model"], row["requests"], row["attempts"]) == ("search", "mock-1", JOBS - 1, JOBS - 1)
    as_csv = tollgate("usage", "--config", config_of(running), "--by", "model", "--month", month, "--format", "csv").stdout
    assert [(row["model"], row["requests"]) for row in csv.DictReader(io.StringIO(as_csv))] == [("mock-1", str(JOBS - 1))]
    table = tollgate("usage", "--config", config_of(running), "--by", "team,model", "--month", month).stdout
    assert "mock-1" in table and "cost_usd" in table
    assert json.loads(tollgate("usage", "--config", config_of(running), "--month", "2020-01", "--format", "json").stdout) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not json\n", "not a JSON object"),
        ('{"custom_id":"a","body":{}}\n{"custom_id":"a","body":{}}\n', "already used in line 1"),
        ('{"custom_id":"a"}\n', "needs `body`"),
    ],
)
def test_submit_refuses_a_bad_file_before_it_sends_anything(running, tollgate, tmp_path, text, says):
    file = tmp_path / "jobs.jsonl"
    file.write_text(text)
    done = tollgate("submit", file, "--config", config_of(running), "--team", "search", ok=False)
    assert says in done.stderr and not (tmp_path / "jobs.out.jsonl").exists()


def test_usage_says_what_it_cannot_group_by(running, tollgate):
    assert "nothing to group by" in tollgate("usage", "--by", "colour", ok=False).stderr
    assert "YYYY-MM" in tollgate("usage", "--month", "May", ok=False).stderr


def test_a_new_key_and_its_hash(tollgate):
    key, line = tollgate("keys", "new", "--name", "web", "--team", "search").stdout.splitlines()
    assert key.startswith("tg-") and hashlib.sha256(key.encode()).hexdigest() in line and key not in line


def test_init_writes_a_file_that_passes_and_never_overwrites(tollgate, tmp_path):
    key = tollgate("init", "new.yaml").stdout.strip()
    text = (tmp_path / "new.yaml").read_text()
    assert hashlib.sha256(key.encode()).hexdigest() in text and key not in text
    tollgate("config", "check", "--config", "new.yaml")
    tollgate("init", "new.yaml", ok=False)
    assert (tmp_path / "new.yaml").read_text() == text


def test_config_show_hides_secrets_and_fills_in_defaults(running, tollgate):
    shown = tollgate("config", "show", "--effective", "--config", config_of(running)).stdout
    assert "first_byte: 120s" in shown or "first_byte: 2m" in shown
    assert "api_key: '***'" in shown or 'api_key: "***"' in shown or "api_key: ***" in shown
    assert not any(secret in shown for secret in PROVIDER_KEYS.values())
    short = tollgate("config", "show", "--config", config_of(running)).stdout
    assert len(short) <= len(shown) and "endpoints" in short


def test_the_shipped_example_passes_for_every_service(tollgate):
    for service in ("ingress", "guardrail", "usage-aggregator"):
        tollgate("config", "check", "--config", ROOT / "tollgate.example.yaml", "--service", service)
    done = tollgate("config", "check", "--config", ROOT / "tollgate.example.yaml", "--service", "router-worker", ok=False)
    assert "providers.openai.api_key" in done.stdout and "providers.claude.api_key" in done.stdout


def test_acls_let_a_team_reach_its_own_topics_only(running, tollgate):
    lines = tollgate("kafka", "acls", "--config", config_of(running)).stdout.splitlines()
    team = [line for line in lines if "User:search" in line]
    assert team and all("in.search" in line or "out.search" in line or "--group 'search.'" in line for line in team)
    for internal in ("requests.interactive", "approved.batch", "usage", "control", "dead-letters"):
        granted = [line for line in lines if f"'{running.topic(internal)}'" in line]
        assert granted and all("User:tollgate" in line for line in granted)


def test_the_documented_queries_answer(running):
    assert running.chat({"model": "chat", "messages": user("hello")}).status_code == 200
    ledger = ledger_of(running)
    eventually(ledger.count, "the table has rows")
    queries = re.findall(r"```sql\n(.*?)```", (ROOT / "docs" / "usage-table.md").read_text(), re.S)
    assert len(queries) == 3
    for query in queries:
        # The document's month is an example; every other filter stays.
        query = re.sub(r"DATE '2026-10-31'", "DATE '2000-01-01'", re.sub(r"DATE '2026-12-09'", "DATE '2999-01-01'", query))
        query = query.replace("TIMESTAMPTZ '2026-11-01", "TIMESTAMPTZ '2000-01-01").replace("TIMESTAMPTZ '2026-12-01", "TIMESTAMPTZ '2999-01-01")
        query = query.replace("'usage/", f"'{running.data_dir}/usage/").strip().removesuffix(";")
        with duckdb.connect() as db:
            assert db.execute(f"SELECT count(*) FROM ({query})").fetchone()[0] > 0, query
