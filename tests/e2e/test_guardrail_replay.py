"""`tollgate guardrails replay`: other guardrails on what the topics still have, with the real command."""

import json
import subprocess

import pytest
import yaml
from support import PROVIDER_KEYS, clean_environment, endpoint, user

EMAIL = "jane.roe@example.com"


def keywords(action):
    return {"keywords": {"action": action, "words": ["orion"]}}


@pytest.fixture(scope="module")
def running(gateway):
    logged = {"input": keywords("log"), "output": keywords("log")}
    return gateway([endpoint("chat", ["main demo mock-1"], guardrails=logged), endpoint("open", ["main demo mock-1"])])


@pytest.fixture(scope="module")
def asked(running):
    """The id of each request that was made."""

    def ask(model, text):
        response = running.chat({"model": model, "messages": user(text)})
        assert response.status_code == 200, response.text
        return response.headers["x-request-id"]

    texts = {"orion": ("chat", "about orion"), "email": ("chat", f"write to {EMAIL}"), "plain": ("chat", "hello")}
    return {name: ask(*text) for name, text in {**texts, "open": ("open", "about orion")}.items()}


@pytest.fixture
def replay(running, binary, tmp_path):
    def call(guardrails, *arguments, ok=True):
        """`guardrails`: of endpoints, by name, over what the gateway has."""
        config = yaml.safe_load(running.processes[0].config_file.read_text())
        for known in config["endpoints"]:
            known["guardrails"] = guardrails.get(known["name"], known.get("guardrails", {}))
        policy = tmp_path / "new.yaml"
        policy.write_text(yaml.safe_dump(config))
        command = [binary, "guardrails", "replay", "--policy", str(policy), "--config", str(running.processes[0].config_file)]
        environment = {**clean_environment(), **PROVIDER_KEYS}
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120)
        assert (done.returncode == 0) == ok, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return call


STRICT = {"input": {**keywords("block"), "pii": {"action": "mask", "entities": ["EMAIL_ADDRESS"]}}, "output": keywords("log")}


def test_what_other_guardrails_would_have_done_is_counted_and_shown(asked, replay):
    done = replay({"chat": STRICT, "open": {"input": keywords("block")}}, "--format", "json")
    found = json.loads(done.stdout)
    assert (found["requests"], found["answers"], found["unreadable"]) == (4, 3, 0)

    def counts(seen, blocked=0, masked=0, flagged=0):
        return {"seen": seen, "blocked": blocked, "masked": masked, "flagged": flagged}

    rows = {(row["endpoint"], row["check"]): (row["before"], row["after"]) for row in found["checks"]}
    assert rows[("chat", "input")] == (counts(3, flagged=1), counts(3, blocked=1, masked=1))
    assert rows[("chat", "input.keywords")] == (counts(3, flagged=1), counts(3, blocked=1))
    assert rows[("chat", "input.pii")] == (counts(0), counts(3, masked=1))
    assert rows[("chat", "output.keywords")] == (counts(3, flagged=1), counts(3, flagged=1))
    assert rows[("open", "input.keywords")] == (counts(0), counts(1, blocked=1)), "it was checked by nothing when it was asked"

    differing = {line["request_id"]: line for line in found["differences"]}
    assert found["differing"] == 3 and set(differing) == {asked["orion"], asked["email"], asked["open"]}
    (masked,) = differing[asked["email"]]["after"]
    assert (masked["check"], masked["outcome"], masked["category"]) == ("input.pii", "masked", "EMAIL_ADDRESS")
    assert EMAIL not in done.stdout + done.stderr and "about" not in done.stdout


def test_a_table_is_for_people(asked, replay):
    done = replay({"chat": STRICT}, "--show", "1")
    assert "4 requests, 3 answers" in done.stdout and "0 → 1" in done.stdout
    shown = [name for name in ("orion", "email") if asked[name] in done.stdout]
    assert "2 differ" in done.stdout and len(shown) == 1
    assert "0 differ" in replay({}).stdout


def test_what_cannot_be_replayed_is_said(asked, replay):
    bad = replay({"chat": {"input": {"pii": {"action": "mask", "entities": ["NOBODY"]}}}}, ok=False)
    assert "endpoints[0].guardrails.input.pii.entities[0]" in bad.stderr
    assert "nothing was asked or answered" in replay({}, "--since", "0s", ok=False).stderr
