"""Guardrails of teams and keys beside those of endpoints: whatever one of them blocks is blocked, on every way through."""

import httpx
import pytest
from ledger import ledger_of
from support import OTHER_KEY, SEARCH_KEY, endpoint, sha256, user

ROOT_KEY, LEAD_KEY = "tg-admin-root-91c4", "tg-admin-lead-3f70"
EXEMPT_KEY, CAREFUL_KEY = "tg-e2e-exempt-5a1d", "tg-e2e-careful-c0b2"
EMAIL = "jane.roe@example.com"


def keywords(word, action="block"):
    return {"keywords": {"action": action, "words": [word]}}


TEAM = {
    "input": {"pii": {"action": "block", "entities": ["EMAIL_ADDRESS"]}},
    "output": keywords("project orion"),
    "stream": "whole",
}
TEAMS = [
    {"name": "search", "endpoints": ["open", "strict"], "guardrails": TEAM},
    {"name": "other", "endpoints": ["open", "strict"]},
]
KEYS = [
    {"name": "search-web", "team": "search", "sha256": sha256(SEARCH_KEY)},
    {"name": "exempt", "team": "search", "sha256": sha256(EXEMPT_KEY), "guardrails": {"allow_weaker": True}},
    {"name": "other-web", "team": "other", "sha256": sha256(OTHER_KEY)},
    {"name": "careful", "team": "other", "sha256": sha256(CAREFUL_KEY), "guardrails": {"input": keywords("lyra", "mask")}},
]
ADMIN = {
    "keys": [
        {"name": "root", "sha256": sha256(ROOT_KEY)},
        {"name": "lead", "sha256": sha256(LEAD_KEY), "role": "team_admin", "team": "search"},
    ]
}


@pytest.fixture(scope="module")
def running(gateway):
    strict = endpoint("strict", ["main alpha fake-large"], guardrails={"input": keywords("forbidden")})
    return gateway([endpoint("open", ["main alpha fake-large"]), strict], teams=TEAMS, keys=KEYS, admin=ADMIN)


def ask(running, key, model, text, stream=False):
    with running.http(key) as http:
        return http.post("/v1/chat/completions", json={"model": model, "messages": user(text), "stream": stream})


def blocked_by(response):
    if response.status_code == 200:
        return None
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "guardrail_blocked"), response.text
    return error["checks"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("key", "model", "text", "checks"),
    [
        # An endpoint without checks: the team's input checks, and its output checks, before any byte of the answer leaves.
        (SEARCH_KEY, "open", f"write to {EMAIL}", ["input.pii.team"]),
        (SEARCH_KEY, "open", "say: harmless words, then project orion", ["output.keywords.team"]),
        (OTHER_KEY, "open", f"say: project orion, {EMAIL}", None),
        # One with checks: both hold.
        (SEARCH_KEY, "strict", f"forbidden {EMAIL}", ["input.keywords", "input.pii.team"]),
        (SEARCH_KEY, "strict", "say: project orion", ["output.keywords.team"]),
        (OTHER_KEY, "strict", "forbidden", ["input.keywords"]),
        # What an administrator has let be weaker stands for all of it.
        (EXEMPT_KEY, "strict", f"say: forbidden project orion {EMAIL}", None),
    ],
)
def test_what_any_of_them_blocks_is_blocked(running, fake_provider, key, model, text, checks, stream):
    response = ask(running, key, model, text, stream)
    assert blocked_by(response) == checks
    if checks:
        assert "harmless" not in response.text
        assert len(fake_provider.calls) == (1 if checks[0].startswith("output") else 0)


def test_a_keys_checks_mask_what_the_endpoint_lets_pass(running, fake_provider):
    assert ask(running, CAREFUL_KEY, "open", "about lyra").status_code == 200
    assert "lyra" not in fake_provider.calls[0]["body"]


def test_the_row_names_the_version_of_all_of_them(running, fake_provider):
    keys = {"team": SEARCH_KEY, "none": OTHER_KEY, "key": CAREFUL_KEY, "exempt": EXEMPT_KEY}
    ids = {who: ask(running, key, "strict", "hello").headers["x-request-id"] for who, key in keys.items()}
    rows = {who: ledger_of(running).row(id) for who, id in ids.items()}
    versions = {who: row["policy_version"] for who, row in rows.items()}
    assert versions["exempt"] is None
    assert None not in (named := [versions[who] for who in ("team", "none", "key")]) and len(set(named)) == 3
    checks = {who: sorted(check["check"] for check in row["guardrails"] or []) for who, row in rows.items()}
    assert checks["team"] == ["input.keywords", "input.pii.team", "output.keywords.team"]
    assert (checks["none"], checks["key"]) == (["input.keywords"], ["input.keywords", "input.keywords.key"])


def test_only_an_administrator_makes_a_keys_checks_weaker(running):
    def make(key, name, guardrails):
        headers = {"authorization": f"Bearer {key}"}
        body = {"name": name, "team": "search", "guardrails": guardrails}
        return httpx.post(running.url + "/admin/v1/keys", json=body, headers=headers, timeout=60).status_code

    weaker = {"allow_weaker": True}
    assert make(LEAD_KEY, "tight", {"input": keywords("lyra")}) == 201
    assert make(LEAD_KEY, "loose", weaker) == 403
    assert make(ROOT_KEY, "loose", weaker) == 201
