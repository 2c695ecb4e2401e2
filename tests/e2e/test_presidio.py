"""The judge `presidio` as it is: Presidio's own analyzer, with its patterns and without a model.

Names, which a model finds, and what exactly the analyzer is asked are of the fake one in `test_judges.py`.
"""

import json

import pytest
from ledger import ledger_of
from presidio_server import Presidio
from support import answered, blocked, endpoint, user

EMAIL = "ada@example.com"
# Of identity cards in Singapore and Spain, whose recognisers know English and Spanish. No check of these endpoints' own looks for them.
NRIC, OTHER_NRIC, NIF = "S1234567D", "T7654321Z", "12345678Z"
# One character to the eye is one of two code units, one of two code points, one of five.
WIDE = "𝒜 cafe\u0301 👩‍👩‍👧"


def guarded(name, judge, action="mask", **more):
    pii = {"action": action, "entities": ["EMAIL_ADDRESS"], "judge": judge, **more}
    return endpoint(name, ["main alpha fake-large"], guardrails={"input": {"pii": pii}, "budget": "1m"})


ENDPOINTS = [
    guarded("masked", "singapore"),
    guarded("unmasked", "singapore", on_judge_failure="allow"),
    guarded("restored", "singapore", "mask_and_restore"),
    guarded("blocked", "singapore", "block"),
    guarded("sure", "sure"),
    guarded("spanish", "spanish"),
    guarded("unknown", "unknown"),
    guarded("lenient", "unknown", on_judge_failure="allow"),
    guarded("partly", "partly"),
]


@pytest.fixture(scope="module")
def analyzer(tmp_path_factory):
    server = Presidio(tmp_path_factory.mktemp("presidio"))
    yield server
    server.kill()


@pytest.fixture(scope="module")
def running(gateway, analyzer):
    def judge(*entities, **more):
        return {"kind": "presidio", "url": analyzer.url, "entities": list(entities), **more}

    judges = {
        "singapore": judge("SG_NRIC_FIN"),
        "sure": judge("SG_NRIC_FIN", threshold=0.6),
        "spanish": judge("ES_NIF", language="es"),
        "unknown": judge("ES_NIF"),
        "partly": judge("ES_NIF", "SG_NRIC_FIN"),
    }
    started = gateway(ENDPOINTS, judges=judges)
    analyzer.wait_until_ready(120)
    return started


@pytest.fixture
def ask(running, fake_provider):
    def ask(model, text):
        return running.chat({"model": model, "messages": user(text)})

    return ask


def ruled(running, response):
    """What the ledger has of the request and of its judge."""
    row = ledger_of(running).row(response.headers["x-request-id"])
    (ruling,) = [check for check in row["guardrails"] if check["judge"]]
    return row["guardrail_outcome"], ruling["outcome"], ruling["category"]


def assert_failed(running, refused, let_through, text):
    assert refused.status_code == 503, refused.text
    error = refused.json()["error"]
    assert (error["code"], error["checks"]) == ("guardrail_unavailable", ["input.pii"])
    assert answered(let_through) == f"echo: {text}"
    assert [ruled(running, response) for response in (refused, let_through)] == [("failed", "failed", None)] * 2


def test_it_masks_what_it_alone_finds_wherever_that_stands(running, fake_provider):
    parts = [" ", f"{WIDE} {NRIC} {WIDE} {EMAIL}, {OTHER_NRIC}!"]
    masked = [" ", f"{WIDE} [SG_NRIC_FIN_2] {WIDE} [EMAIL_ADDRESS_1], [SG_NRIC_FIN_1]!"]

    def messages(note, parts):
        spoken = [{"type": "text", "text": part} for part in parts]
        return [{"role": "system", "content": note}, {"role": "user", "content": spoken}]

    response = running.chat({"model": "masked", "messages": messages(f"note {OTHER_NRIC}", parts)})
    assert response.status_code == 200, response.text
    (call,) = fake_provider.calls
    assert json.loads(call["body"])["messages"] == messages("note [SG_NRIC_FIN_1]", masked)
    assert ruled(running, response) == ("masked", "masked", "SG_NRIC_FIN")


def test_what_it_finds_comes_back(ask, fake_provider):
    said = f"{WIDE} {NRIC} {WIDE} {EMAIL}"
    assert answered(ask("restored", said)) == f"echo: {said}"
    (call,) = fake_provider.calls
    assert "[SG_NRIC_FIN_1]" in call["body"] and NRIC not in call["body"] and EMAIL not in call["body"]


def test_it_blocks(running, ask, fake_provider):
    response = ask("blocked", f"mine is {NRIC}")
    blocked(response, "input.pii", "SG_NRIC_FIN")
    assert NRIC not in response.text and fake_provider.calls == []
    assert answered(ask("blocked", "mine is secret")) == "echo: mine is secret"


def test_it_looks_from_the_threshold_on_and_in_the_language_that_is_configured(ask):
    """Its word for the number makes it surer: 0.85 instead of 0.5."""
    assert answered(ask("masked", f"it is {NRIC}")) == "echo: it is [SG_NRIC_FIN_1]"
    assert answered(ask("sure", f"it is {NRIC}")) == f"echo: it is {NRIC}"
    assert answered(ask("sure", f"nric {NRIC}")) == "echo: nric [SG_NRIC_FIN_1]"
    assert answered(ask("spanish", f"es {NIF}")) == "echo: es [ES_NIF_1]"


def test_what_it_refuses_has_failed(running, ask):
    """It knows no such number in English, and answers with an error."""
    assert_failed(running, ask("unknown", NIF), ask("lenient", NIF), NIF)


def test_it_leaves_out_an_entity_that_it_does_not_know_beside_one_that_it_knows(ask):
    """`docs/guardrails.md` warns of it; a version that answers with an error instead is a reason to change that."""
    assert answered(ask("partly", f"{NRIC} and {NIF}")) == f"echo: [SG_NRIC_FIN_1] and {NIF}"


def test_once_it_is_killed_it_has_failed(running, ask, analyzer):
    """The last one: there is no judge after it."""
    assert answered(ask("unmasked", NRIC)) == "echo: [SG_NRIC_FIN_1]"
    analyzer.kill()
    assert_failed(running, ask("masked", NRIC), ask("unmasked", NRIC), NRIC)
