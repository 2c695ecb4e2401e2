"""Azure AI Content Safety, as a judge and as callers ask it: its calls are those of Microsoft's own client, and silence passes nothing."""

import json
from decimal import Decimal

import fake_content_safety as azure_safety
import pytest
from azure.ai.contentsafety import ContentSafetyClient
from azure.ai.contentsafety.models import AnalyzeTextOptions
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import HttpResponseError
from fake_provider import FakeProvider
from kafka_tools import everything
from ledger import ledger_of
from support import answered, blocked, endpoint, eventually, user

FINE, BAD = "the weather, please", "how to build a bomb"
PER_CALL = Decimal("0.00038")
# What a judge that cannot rule meets, and how often it is called. What hangs may not even be reached in its half second.
FAULTS = {"429": 2, "500": 2, "503": 2, "401": 1, "400": 1, "malformed": 2, "no-severity": 2, "no-category": 2, "hang": None}


@pytest.fixture(scope="module")
def server():
    server = FakeProvider(handler=azure_safety.Handler).start()
    yield server
    server.stop()


@pytest.fixture
def azure(server):
    server.reset()
    yield server
    server.reset()  # whoever hangs there is let go


def url(server, name):
    return f"http://127.0.0.1:{server.port}/p/{name}"


@pytest.fixture(scope="module")
def running(gateway, server):
    def provider(name, key=azure_safety.KEY):
        return {"kind": "azure", "base_url": url(server, name), "api_key": key}

    def judge(provider, **more):
        return {"kind": "azure_content_safety", "provider": provider, **more}

    def judged(name, judge=None, where="input", budget="1m"):
        checks = {"safety": {"action": "block", "judge": judge or name}}
        return endpoint(name, ["main alpha fake-large"], guardrails={where: checks, "budget": budget})

    broken = [f"broken-{fault}" for fault in FAULTS]
    return gateway(
        [
            *(judged(name) for name in ("guarded", "strict", "hateful", "once")),
            judged("answers", "guarded", "output"),
            *(judged(name, budget="500ms" if name == "broken-hang" else "1m") for name in broken),
            endpoint("moderate", ["main azure content-safety"], task="moderations"),
        ],
        providers={
            "azure": provider("azure"),
            "once": provider("once"),
            **{f"broken-{fault}": provider(f"fault-{fault}") for fault in FAULTS},
            "broken-401": provider("fault-401", "another-key"),
        },
        judges={
            "guarded": judge("azure"),
            "strict": judge("azure", threshold=0.3),
            "hateful": judge("azure", categories=["hate"]),
            "once": judge("once"),
            **{name: judge(name) for name in broken},
        },
        prices=[{"provider": "azure", "model": "content-safety", "per_call": float(PER_CALL)}],
    )


@pytest.fixture
def ask(running, azure, fake_provider):
    def ask(model, text, **more):
        return running.chat({"model": model, "messages": user(text), **more})

    return ask


def microsofts(server, name="azure", key=azure_safety.KEY):
    return ContentSafetyClient(url(server, name), AzureKeyCredential(key), api_version=azure_safety.VERSION, retry_total=0)


def options(text):
    return AnalyzeTextOptions(text=text, output_type="FourSeverityLevels")


def test_the_fake_is_read_by_microsofts_own_client(azure):
    found = microsofts(azure).analyze_text(options("a bomb and a slur"))
    severities = {each.category: each.severity for each in found.categories_analysis}
    assert severities == {"Hate": 6, "SelfHarm": 0, "Sexual": 0, "Violence": 4}
    assert microsofts(azure, "fault-no-severity").analyze_text(options("x")).categories_analysis[0].severity is None
    long = "x" * (azure_safety.TEXT_MAX_CHARS + 1)
    for name, key, text, status, code in [
        ("azure", azure_safety.KEY, long, 400, "InvalidRequestBody"),
        ("azure", "another", "x", 401, "401"),
        ("fault-429", azure_safety.KEY, "x", 429, "429"),
        ("fault-503", azure_safety.KEY, "x", 503, "ServerBusy"),
    ]:
        with pytest.raises(HttpResponseError) as caught:
            microsofts(azure, name, key).analyze_text(options(text))
        assert (caught.value.status_code, caught.value.error.code) == (status, code)


def test_a_judge_is_asked_as_microsofts_own_client_asks(ask, azure):
    said = 'how to build a "bomb" – quickly'
    blocked(ask("guarded", said), "input.safety", "violence")
    microsofts(azure).analyze_text(options(said))

    def told(call):
        headers = call["headers"]
        return call["path"], headers["ocp-apim-subscription-key"], headers["content-type"], json.loads(call["body"])

    ours, theirs = azure.calls_of("azure")
    assert told(ours) == told(theirs)
    assert "authorization" not in ours["headers"] and "api-key" not in ours["headers"]


def test_it_blocks_from_medium_on_and_its_call_is_a_row_with_its_price(running, ask, azure, fake_provider):
    for harmless in (FINE, "a knife for bread"):
        assert answered(ask("guarded", harmless)) == f"echo: {harmless}"
    fake_provider.reset()
    response = ask("guarded", BAD)
    request_id = blocked(response, "input.safety", "violence")
    assert "bomb" not in response.text and fake_provider.calls == [] and len(azure.calls_of("azure")) == 3
    ledger = ledger_of(running)
    (check,) = ledger.row(request_id)["guardrails"]
    assert (check["check"], check["outcome"], check["category"], check["judge"]) == (
        "input.safety", "blocked", "violence", "guarded",
    )  # fmt: skip
    columns = "lane, endpoint_name, api_type, status_code, price_status, cost_usd"
    of_judge = f"SELECT {columns} FROM usage WHERE parent_request_id = '{request_id}'"
    (call,) = eventually(lambda: ledger.query(of_judge), "the row of the judge's call", 40)
    assert call == {
        "lane": "judge",
        "endpoint_name": "judge:guarded",
        "api_type": "openai/v1/moderations",
        "status_code": 200,
        "price_status": "priced",
        "cost_usd": PER_CALL,
    }


def test_thresholds_and_categories_count(ask):
    blocked(ask("strict", "a knife for bread"), "input.safety", "violence")
    assert answered(ask("strict", FINE)) == f"echo: {FINE}"
    assert answered(ask("hateful", BAD)) == f"echo: {BAD}"
    blocked(ask("hateful", "a slur and a bomb"), "input.safety", "hate")
    blocked(ask("guarded", "I want to harm myself, with a bomb"), "input.safety", "self-harm", "violence")


@pytest.mark.parametrize("stream", [False, True])
def test_answers_are_judged_too(ask, stream):
    response = ask("answers", "say: fine", stream=stream)
    assert response.status_code == 200 and "fine" in response.text
    response = ask("answers", "say: harmless at first, then a bomb", stream=stream)
    blocked(response, "output.safety", "violence")
    assert "harmless" not in response.text


def test_a_long_text_is_judged_in_pieces(ask, azure):
    blocked(ask("guarded", "fine " * 5_000 + "a bomb"), "input.safety", "violence")
    shown = [json.loads(call["body"])["text"] for call in azure.calls_of("azure")]
    assert len(shown) == 3 and max(map(len, shown)) == azure_safety.TEXT_MAX_CHARS
    azure.reset()
    too_long = ask("guarded", "fine " * 40_000)
    assert too_long.json()["error"]["code"] == "guardrail_unavailable" and azure.calls_of("azure") == [], "more than 16 calls"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_judge_that_cannot_rule_passes_nothing(running, ask, azure, fake_provider, fault):
    response = ask(f"broken-{fault}", FINE)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["checks"]) == (503, "guardrail_unavailable", ["input.safety"])
    assert fake_provider.calls == [] and FAULTS[fault] in (None, len(azure.calls_of(f"fault-{fault}")))
    row = ledger_of(running).row(response.headers["x-request-id"])
    assert [(check["outcome"], check["judge"]) for check in row["guardrails"]] == [("failed", f"broken-{fault}")]


def test_a_call_that_is_throttled_is_made_again_when_it_may(ask, azure):
    azure.fault("429", name="once", times=1)
    assert answered(ask("once", FINE)) == f"echo: {FINE}"
    assert len(azure.calls_of("once")) == 2


def test_callers_ask_it_by_moderations(running, azure):
    with running.http() as http:
        answer = http.post("/v1/moderations", json={"model": "moderate", "input": "a bomb"}).json()
        (result,) = answer["results"]
        assert (answer["model"], result["flagged"]) == ("moderate", True)
        assert result["categories"] == {"hate": False, "self-harm": False, "sexual": False, "violence": True}
        assert result["category_scores"]["violence"] == pytest.approx(4 / 6)
        long = "x" * (azure_safety.TEXT_MAX_CHARS + 1)
        refused = http.post("/v1/moderations", json={"model": "moderate", "input": long})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
    assert len(azure.calls_of("azure")) == 1, "what it would refuse does not go out"


def test_no_credential_leaves_the_router(running, ask):
    ask("guarded", FINE)
    seen = everything(running) + running.log().encode()
    assert FINE.encode() in seen, "the topics were read"
    assert azure_safety.KEY.encode() not in seen
