"""Judges of every kind that cannot rule: throttled, broken, silent, or with an answer that breaks off. None passes anything."""

import fake_bedrock
import pytest
from fake_judges import SECRET, Judges
from fake_provider import FakeProvider
from ledger import ledger_of
from support import answered, endpoint, user

FINE = "the weather, please"
FAULTS = ["429", "500", "malformed", "hang"]
# The models of those that judge, behind the router. A fault has a model, or a path, of its own.
MODELS = {
    "openai_moderation": "omni-moderation-latest",
    "llm": "fake-judge",
    "llama_guard": "fake-guard",
    "bedrock_guardrail": "abc123/1",
}
KINDS = [*MODELS, "webhook", "presidio"]
TABLE = [(kind, fault) for kind in KINDS for fault in FAULTS]


def named(kind, what):
    return f"{kind.replace('_', '-')}-{what}"


def check_of(kind):
    return "pii" if kind == "presidio" else "safety"


def judged(name, kind, judge, budget="1m", **more):
    checks = {check_of(kind): {"action": "block", "judge": judge, **more}}
    return endpoint(name, ["main alpha fake-large"], guardrails={"input": checks, "budget": budget})


@pytest.fixture(scope="module")
def amazon():
    server = FakeProvider(handler=fake_bedrock.Handler).start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def own():
    server = Judges().start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def running(gateway, _provider, amazon, own):
    providers = {}

    def provider(kind, name):
        """One of its own, so that what a fault does to it is no other judge's matter."""
        if kind == "bedrock_guardrail":
            url = f"http://127.0.0.1:{amazon.port}/p/{name.replace('-', '_')}"
            providers[name] = {"kind": "bedrock", "region": fake_bedrock.REGION, "base_url": url, "api_key": fake_bedrock.API_KEY}
        else:
            providers[name] = {"kind": "openai", "base_url": _provider.url(name), "api_key": "${E2E_ALPHA_KEY}"}
        return name

    def judge(kind, name, fault=None):
        if kind == "webhook":
            path = f"/fault/{fault}" if fault else "/judge"
            return {"kind": kind, "url": own.url + path, "secret": SECRET, "allow_private": True}
        if kind == "presidio":
            return {"kind": kind, "url": own.url + (f"/fault/{fault}" if fault else "")}
        model = MODELS[kind]
        if fault:
            model = f"fault-{fault}/1" if kind == "bedrock_guardrail" else f"fault-{fault}"
        return {"kind": kind, "provider": provider(kind, name), "model": model}

    judges = {named(kind, "works"): judge(kind, named(kind, "works")) for kind in KINDS}
    judges |= {named(kind, fault): judge(kind, named(kind, fault), fault) for kind, fault in TABLE}
    return gateway(
        [
            *(judged(named(kind, "works"), kind, named(kind, "works")) for kind in KINDS),
            *(judged(named(kind, fault), kind, named(kind, fault), "500ms" if fault == "hang" else "1m") for kind, fault in TABLE),
            *(judged(named(kind, "lenient"), kind, named(kind, "500"), on_judge_failure="allow") for kind in KINDS),
        ],
        providers=providers,
        judges=judges,
    )


@pytest.fixture
def ask(running, fake_provider, amazon):
    amazon.reset()

    def ask(model):
        return running.chat({"model": model, "messages": user(FINE)})

    yield ask
    amazon.reset()  # whoever hangs there is let go


def answers_of(fake_provider):
    return fake_provider.calls_of(name="alpha", model="fake-large")


def ruled(running, response):
    """What the row says of the judge's check."""
    row = ledger_of(running).row(response.headers["x-request-id"])
    return row["guardrail_outcome"], [(check["outcome"], check["judge"]) for check in row["guardrails"] if check["judge"]]


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_fault_it_passes(running, ask, kind):
    response = ask(named(kind, "works"))
    assert answered(response) == f"echo: {FINE}"
    assert ruled(running, response) == ("passed", [("passed", named(kind, "works"))])


@pytest.mark.parametrize(("kind", "fault"), TABLE)
def test_a_judge_that_cannot_rule_passes_nothing(running, ask, fake_provider, kind, fault):
    response = ask(named(kind, fault))
    error = response.json()["error"]
    told = (response.status_code, error["code"], error["checks"])
    assert told == (503, "guardrail_unavailable", [f"input.{check_of(kind)}"])
    assert answers_of(fake_provider) == []
    assert ruled(running, response) == ("failed", [("failed", named(kind, fault))])


@pytest.mark.parametrize("kind", KINDS)
def test_where_it_may_fail_the_row_says_that_it_has(running, ask, fake_provider, kind):
    response = ask(named(kind, "lenient"))
    assert answered(response) == f"echo: {FINE}" and len(answers_of(fake_provider)) == 1
    assert ruled(running, response) == ("failed", [("failed", named(kind, "500"))])
