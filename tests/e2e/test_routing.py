"""Which destination serves a request: strategies, sticky splits, fallbacks for certain failures, hedged calls, shared cool-downs."""

import httpx
import openai
import pytest
from ledger import ledger_of
from support import SEARCH_KEY, endpoint, eventually, text_of_stream, user


def special(name, model, on):
    return {"name": name, "provider": "beta", "model": model, "on": on}


OPEN = special("open", "fake-open", ["content_policy"])


@pytest.fixture(scope="module")
def running(gateway, _provider):
    own = {"kind": "openai", "preset": "openai", "base_url": _provider.url("own"), "api_key": "${E2E_BETA_KEY}"}
    two = ["one alpha fake-large", "two beta fake-small"]
    return gateway(
        [
            endpoint("cheapest", ["dear alpha fake-large", "cheap beta fake-small"], routing="cheapest"),
            endpoint("sticky", two, sticky="user"),
            *[
                endpoint(
                    name,
                    [f"main alpha fault-{name}"],
                    fallbacks=[special("long", "fake-long", ["context_window"]), special("open", "fake-open", ["content_policy"]), "any beta fake-small"],
                )
                for name in ("too-long", "policy", "500", "404", "refuse")
            ],
            *[endpoint(f"{name}-refuses", [f"main {name} fault-refuse"], fallbacks=[OPEN]) for name in ("claude", "own")],
            *[endpoint(f"{name}-alone", [f"main {name} fault-refuse"]) for name in ("alpha", "claude", "own")],
            endpoint("nobody-speaks", ["main alpha fault-refuse"], fallbacks=[special("open", "fault-500", ["content_policy"])]),
            endpoint("alone", ["main alpha fault-too-long"]),
            endpoint("any/*", ["main alpha fake-*"]),
            endpoint("any/special/*", ["main beta fake-small"]),
            endpoint("hedged", ["slow alpha fault-hang"], fallbacks=["quick beta fake-small"], hedge={"after": "200ms"}),
            endpoint("unhedged", ["main alpha fake-large"], fallbacks=["other beta fault-hang"], hedge={"after": "60s"}),
        ],
        providers={"own": own},
    )


@pytest.fixture
def client(running, fake_provider):
    return running.openai()


def served_by(running, model, **more):
    response = running.chat({"model": model, "messages": user("hello"), **more})
    assert response.status_code == 200, response.text
    return response.headers["x-tollgate-destination"]


def test_a_wildcard_stands_for_the_rest_of_the_models_name(running, client, fake_provider):
    raw = client.chat.completions.with_raw_response.create(model="any/large", messages=user("hi"))
    assert raw.parse().model == "any/large"
    assert served_by(running, "any/special/x") == "main"
    assert [(call["name"], call["model"]) for call in fake_provider.calls] == [("alpha", "fake-large"), ("beta", "fake-small")]
    row = ledger_of(running).row(raw.headers["x-request-id"])
    assert (row["endpoint_name"], row["destination_model"], row["price_status"]) == ("any/*", "fake-large", "priced")
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="any/", messages=user("hi"))


def test_the_cheapest_serves(running, fake_provider):
    assert {served_by(running, "cheapest") for _ in range(20)} == {"cheap"}


def test_a_user_stays_where_he_is(running, fake_provider):
    first = {n: served_by(running, "sticky", user=f"user-{n}") for n in range(20)}
    assert set(first.values()) == {"one", "two"}
    for _ in range(2):
        assert {n: served_by(running, "sticky", user=f"user-{n}") for n in range(20)} == first


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("model", "served"), [("too-long", "long"), ("policy", "open"), ("refuse", "open"), ("500", "any")])
def test_a_failure_goes_to_the_fallback_that_is_for_it(running, fake_provider, model, served, stream):
    response = running.chat({"model": model, "messages": user("hello"), "stream": stream})
    assert response.status_code == 200 and "echo" in response.text, response.text
    assert (response.headers["x-tollgate-destination"], response.headers["x-tollgate-attempts"]) == (served, "2")
    assert len(fake_provider.calls) == 2


# Door, model at a provider of the same API, the rest of the body, and how a refusal ends there.
DOORS = {
    "alpha": ("/v1/chat/completions", {"messages": user("hello")}, '"finish_reason":"content_filter"'),
    "claude": ("/v1/messages", {"messages": user("hello"), "max_tokens": 64}, '"stop_reason":"refusal"'),
    "own": ("/v1/responses", {"input": "hello"}, '"reason":"content_filter"'),
}


def ask_at(running, door, model, stream):
    path, body, end = DOORS[door]
    headers = {"authorization": f"Bearer {SEARCH_KEY}"}
    response = httpx.post(running.url + path, json={"model": model, "stream": stream, **body}, headers=headers, timeout=60)
    assert response.status_code == 200, response.text
    return response, end in response.text.replace(" ", "")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("door", ["claude", "own"])
def test_a_native_refusal_goes_to_the_fallback_that_is_for_it(running, fake_provider, door, stream):
    response, is_refused = ask_at(running, door, f"{door}-refuses", stream)
    assert not is_refused and response.headers["x-tollgate-destination"] == "open", response.text
    row = ledger_of(running).row(response.headers["x-request-id"])
    assert [(a["destination"], a["input_tokens"] > 0) for a in row["attempts"]] == [("main", True), ("open", True)]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("door", DOORS)
def test_a_refusal_is_the_answer_where_nobody_else_is_asked(running, fake_provider, door, stream):
    response, is_refused = ask_at(running, door, f"{door}-alone", stream)
    assert is_refused and response.headers["x-tollgate-destination"] == "main", response.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_refusal_is_the_answer_where_nobody_does_better(running, client, fake_provider, stream):
    raw = client.chat.completions.with_raw_response.create(model="nobody-speaks", messages=user("hello"), stream=stream)
    answer = raw.parse()
    choices = [chunk.choices[0] for chunk in answer] if stream else answer.choices
    said = [choice.delta if stream else choice.message for choice in choices]
    assert "".join(each.refusal or "" for each in said) == "I will not." and choices[-1].finish_reason == "content_filter"
    assert (raw.headers["x-tollgate-destination"], raw.headers["x-tollgate-attempts"]) == ("main", "2")


def test_what_is_simply_wrong_goes_nowhere(client, fake_provider):
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="404", messages=user("hello"))
    assert refused.value.code == "provider_rejected" and len(fake_provider.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_who_has_no_larger_model_is_told_that_it_is_too_long(client, fake_provider, stream):
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="alone", messages=user("hello"), stream=stream)
    assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize("stream", [False, True])
def test_a_hedged_call_has_the_caller_and_both_are_billed(running, client, fake_provider, stream):
    raw = client.chat.completions.with_raw_response.create(model="hedged", messages=user("hello"), stream=stream)
    answer = raw.parse()
    text = text_of_stream(answer) if stream else answer.choices[0].message.content
    assert (text, raw.headers["x-tollgate-destination"], raw.headers["x-tollgate-attempts"]) == ("echo: hello", "quick", "2")
    eventually(lambda: fake_provider.calls_of("alpha")[0]["caller_gone"], "the slower call was broken off")
    row = ledger_of(running).row(raw.headers["x-request-id"])
    told = [(a["action"], a["destination"], a["error_code"], a["priority"]) for a in row["attempts"]]
    assert told == [("INITIAL_ATTEMPT", "slow", "outrun", 1), ("HEDGE", "quick", None, 2)]
    assert row["destination_name"] == "quick" and row["attempts"][0]["input_tokens"] > 0


def test_a_call_that_is_quick_enough_is_the_only_one(running, fake_provider):
    assert served_by(running, "unhedged") == "main"
    assert len(fake_provider.calls) == 1


def test_a_cool_down_is_known_to_every_replica(gateway, fake_provider):
    """One router is told to keep away for a minute; the other one, which has never asked, keeps away too."""
    running = gateway([endpoint("chat", ["first alpha fake-large"], fallbacks=["second beta fake-small"])], separate=True)
    running.add("router-worker-1")
    running.wait_until_ready()
    fake_provider.fault("429", name="alpha", times=1, retry_after=3600)

    def calls():
        routers = [p for p in running.processes if p.name.startswith("router-worker")]
        return [sum(made(router).values()) for router in routers]

    def made(router):
        lines = httpx.get(router.url + "/metrics").text.splitlines()
        found = [line for line in lines if line.startswith("tollgate_provider_requests_total")]
        return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in found}

    def ask():
        response = running.chat({"model": "chat", "messages": user("hello")})
        assert (response.status_code, response.headers["x-tollgate-destination"]) == (200, "second"), response.text

    ask()
    # Until both have served somebody, so that each has had the chance to ask the one that is cooling.
    def both():
        ask()
        return all(calls())

    eventually(both, "both routers serve", 60)
    assert len(fake_provider.calls_of("alpha")) == 1, "only the one that found out"
