"""Limits and budgets on two ingress replicas that share a real Redis: exact under 256 concurrent callers, settled whatever
becomes of a request, and what happens when the store is away."""

import asyncio
import base64
import collections
import datetime
import hashlib
import hmac
import http.server
import json
import threading

import httpx
import openai
import pytest
from kafka_tools import collect, produce_all
from support import SEARCH_KEY, endpoint, eventually, free_port, sha256, user

CALLERS = 256


def key(name, **more):
    return {"name": name, "team": more.pop("team", "search"), "sha256": sha256("tg-" + name), **more}


KEYS = [
    key("five", limits=[{"requests": 100, "per": "day"}]),
    key("three-at-once", limits=[{"concurrent": 3}]),
    key("tokens", limits=[{"tokens": 100_000, "per": "day"}]),
    key("poor", team="poor"),
    key("soft", team="soft"),
    key("watched", team="watched"),
    key("inside", team="inside"),
    key("other-key", team="search"),
]
# 1,000,000 output tokens cost 8 dollars; `max_tokens: 1000` is 0.008 dollars, and the prompt a little.
BUDGETS = {
    "poor": [{"usd": 0.09, "per": "month", "action": "block"}],
    "soft": [{"usd": 0.05, "per": "day", "action": "block", "enforcement": "soft", "time_zone": "Europe/Berlin"}],
    "watched": [{"usd": 0.001, "per": "total", "action": "alert", "alert_at": [0.5, 1.0], "webhook": "pager"}],
    "inside": [{"usd": 0.0001, "per": "total", "action": "alert", "webhook": "inside"}],
}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Pager(http.server.BaseHTTPRequestHandler):
    """Takes notices, and checks their signature as a receiver would."""

    notices = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        secret = base64.b64decode(SECRET.removeprefix("whsec_"))
        signed = f"{self.headers['webhook-id']}.{self.headers['webhook-timestamp']}.".encode() + body
        good = "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
        Pager.notices.append((json.loads(body), self.headers["webhook-signature"] == good))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def pager():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", free_port()), Pager)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/notices"
    server.shutdown()


@pytest.fixture(scope="module")
def running(gateway, redis, pager):
    chat = endpoint("chat", ["main alpha fake-large"])
    return gateway(
        [
            chat,
            endpoint("gated", ["main alpha fault-gate"]),
            endpoint("unpriced", ["main alpha fake-unheard-of"]),
            {
                "name": "shared",
                "destinations": [
                    {"name": "main", "provider": "alpha", "model": "fake-large", "limits": [{"requests": 5, "per": "day"}]}
                ],
                "fallbacks": [{"name": "second", "provider": "beta", "model": "fake-small"}],
            },
        ],
        separate=True,
        ingress=2,
        admission={"store": redis.url},
        prices=[
            {"provider": "alpha", "model": model, "input": 2, "output": 8} for model in ("fake-large", "fault-gate")
        ],
        webhooks={
            "pager": {"url": pager, "secret": SECRET, "allow_private": True},
            "inside": {"url": pager.replace("127.0.0.1", "localhost"), "secret": SECRET},
        },
        teams=[
            {"name": "search", "endpoints": ["chat", "gated", "unpriced", "shared"]},
            {
                "name": "jobs",
                "endpoints": ["gated"],
                "limits": [{"concurrent": 2}],
                "kafka": {"requests": "in.jobs", "replies": "out.jobs"},
            },
            *({"name": name, "endpoints": ["chat", "gated", "unpriced"], "budgets": budgets} for name, budgets in BUDGETS.items()),
        ],
        keys=[{"name": "search-web", "team": "search", "sha256": sha256(SEARCH_KEY)}, *KEYS],
    )


def ask(running, name, door=0, **body):
    body = {"model": "chat", "messages": user("hello"), **body}
    with running.http("tg-" + name, door) as client:
        return client.post("/v1/chat/completions", json=body)


async def crowd(running, name, count, **body):
    """`count` callers at once, spread over both replicas."""
    body = {"model": "chat", "messages": user("hello"), **body}
    headers = {"authorization": "Bearer tg-" + name}
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(headers=headers, timeout=120, limits=limits) as client:
        calls = [client.post(running.doors[n % 2].url + "/v1/chat/completions", json=body) for n in range(count)]
        return await asyncio.gather(*calls)


def test_a_limit_is_exact_however_many_ask_at_once(running, fake_provider):
    answers = asyncio.run(crowd(running, "five", CALLERS))
    codes = [answer.status_code for answer in answers]
    assert (codes.count(200), codes.count(429)) == (100, CALLERS - 100)
    assert len(fake_provider.calls) == 100
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.headers["x-ratelimit-limit-requests"] == "100"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert int(refused.headers["retry-after"]) >= 1 and int(refused.headers["retry-after-ms"]) >= 1
    assert "h" in refused.headers["x-ratelimit-reset-requests"], "a duration like 23h12m0s"


def test_a_destinations_limit_is_one_for_all_routers_and_the_rest_falls_over(running, fake_provider):
    running.add("router-worker-1")
    running.wait_until_ready()
    answers = asyncio.run(crowd(running, "other-key", 40, model="shared"))
    destinations = collections.Counter(answer.headers["x-tollgate-destination"] for answer in answers)
    assert destinations == {"main": 5, "second": 35}
    assert all(answer.headers["x-tollgate-attempts"] == "1" for answer in answers), "a call that is not made is no attempt"


def test_an_answer_tells_what_is_left(running, fake_provider):
    answer = ask(running, "tokens", max_tokens=500)
    assert answer.headers["x-ratelimit-limit-tokens"] == "100000"
    assert 0 < int(answer.headers["x-ratelimit-remaining-tokens"]) < 100_000
    with running.http("tg-tokens") as http:
        answer = http.post("/v1/messages", json={"model": "chat", "messages": user("hello"), "max_tokens": 500})
    told = {name.removeprefix("anthropic-ratelimit-tokens-"): value for name, value in answer.headers.items() if "ratelimit" in name}
    assert told.keys() == {"limit", "remaining", "reset"}, "in the words of the API that was called"
    assert told["limit"] == "100000" and 0 < int(told["remaining"]) < 100_000
    assert datetime.datetime.fromisoformat(told["reset"]) > datetime.datetime.now(datetime.timezone.utc)


def test_tokens_that_were_reserved_and_not_used_come_back(running, fake_provider):
    """Reserved are 50,000 a request; used are a few: without settlement the third would be refused."""
    for _ in range(6):
        answer = eventually(
            lambda: (got := ask(running, "tokens", max_tokens=50_000)).status_code == 200 and got, "settled, so there is room"
        )
    assert answer.status_code == 200
    too_large = ask(running, "tokens", max_tokens=200_000)
    assert (too_large.status_code, too_large.headers["x-should-retry"]) == (429, "false")


def held(running, fake_provider, name, reason, let_in, kept_out, **body):
    """The answers of callers at once, of whom `let_in` are held at the provider until all others are refused for `reason`."""
    answers, count = [], let_in + kept_out
    body = {"model": "gated", **body}
    asked = threading.Thread(target=lambda: answers.extend(asyncio.run(crowd(running, name, count, **body))))
    asked.start()
    eventually(lambda: refused(running, reason) >= kept_out, f"{kept_out} are refused")
    eventually(lambda: len(fake_provider.calls) == let_in, f"{let_in} are at the provider")
    fake_provider.open_gate("fault-gate")
    asked.join()
    codes = [answer.status_code for answer in answers]
    assert (codes.count(200), codes.count(429)) == (let_in, kept_out)
    assert len(fake_provider.calls) == let_in
    return answers


def test_so_many_at_once_and_no_more(running, fake_provider):
    """Three of twelve get in and are held at the provider; the others are refused before anything is let go."""
    held(running, fake_provider, "three-at-once", "concurrent", 3, 9)
    again = eventually(lambda: (got := ask(running, "three-at-once")).status_code == 200 and got, "places come back")
    assert again.status_code == 200


def refused(running, reason):
    """How often both replicas have refused for a reason."""
    total = 0
    for door in running.doors:
        for line in httpx.get(door.url + "/metrics").text.splitlines():
            if line.startswith("tollgate_admission_refused_total") and f'reason="{reason}"' in line:
                total += int(float(line.rsplit(" ", 1)[1]))
    return total


def test_a_strict_budget_lets_through_what_fits_and_never_more(running, fake_provider):
    """None is settled while 200 come at once: 0.09 dollars hold eleven reservations of a little over 0.008."""
    answers = held(running, fake_provider, "poor", "budget", 11, 189, max_tokens=1000)
    told = next(answer for answer in answers if answer.status_code == 429)
    assert told.json()["error"]["code"] == "insufficient_quota"
    assert told.headers["x-should-retry"] == "false" and "retry-after" not in told.headers
    with pytest.raises(openai.RateLimitError):
        running.openai("tg-poor", max_retries=2).chat.completions.create(model="chat", messages=user("x"), max_tokens=20_000)


def test_a_strict_budget_caps_what_the_provider_may_produce(running, fake_provider):
    eventually(lambda: ask(running, "poor", max_tokens=200).status_code == 200, "room, once the others are settled")
    call = json.loads(fake_provider.calls[-1]["body"])
    assert call.get("max_tokens", call.get("max_completion_tokens")) == 200
    ask(running, "soft")
    assert "max_completion_tokens" not in json.loads(fake_provider.calls[-1]["body"])


def test_a_model_without_a_price_is_refused_under_a_blocking_budget(running, fake_provider):
    refused = ask(running, "poor", model="unpriced")
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert "price" in refused.json()["error"]["message"]
    assert ask(running, "other-key", model="unpriced").status_code == 200, "no budget, no question"


def test_thresholds_are_told_once_with_a_signature(running, fake_provider):
    Pager.notices.clear()
    for n in range(12):
        assert ask(running, "watched", n % 2, messages=user("long " * 200)).status_code == 200, "an alert blocks nothing"
    eventually(lambda: len(Pager.notices) >= 2, "both thresholds")
    assert all(good for _, good in Pager.notices)
    told = [notice["data"]["threshold"] for notice, _ in Pager.notices]
    assert sorted(told) == [0.5, 1.0], "each once, though two replicas read every row"


def test_a_webhook_does_not_reach_into_the_network_unless_it_is_allowed_to(running, fake_provider):
    Pager.notices.clear()
    assert ask(running, "inside", messages=user("long " * 200)).status_code == 200
    eventually(lambda: "its host is not public" in running.log(), "the notice is refused")
    assert Pager.notices == []


def test_the_store_is_killed_and_comes_back_empty(running, fake_provider, redis):
    spent = ask(running, "five")
    assert spent.status_code == 429
    redis.kill()
    refused = eventually(lambda: (got := ask(running, "other-key")).status_code == 200 and got, "no limit, no store")
    assert refused.status_code == 200
    down = ask(running, "poor", max_tokens=10)
    assert (down.status_code, down.json()["error"]["code"]) == (503, "overloaded"), "never 401, never let through"
    assert "on_store_failure" in running.log()
    redis.start()

    def rebuilt(door):
        got = ask(running, "five", door)
        return got.status_code == 429 and got.json()["error"]["code"] == "rate_limit_exceeded"

    for door in (0, 1):
        eventually(lambda door=door: rebuilt(door), "the day's requests are counted again", 60)
    eventually(lambda: ask(running, "poor", max_tokens=20_000).json()["error"]["code"] == "insufficient_quota", "and the money", 60)


def test_a_job_waits_for_its_teams_limit(running, fake_provider):
    """Nothing that will do later is refused at the Kafka door: two of six jobs run, the others wait for their turn."""
    bodies = [{"model": "gated", "messages": user(f"j {n}")} for n in range(6)]
    jobs = [{"custom_id": f"j-{n}", "url": "/v1/chat/completions", "body": body} for n, body in enumerate(bodies)]
    produce_all(running, running.topic("in.jobs"), [(job, None, None) for job in jobs])
    eventually(lambda: len(fake_provider.calls) == 2, "two are at the provider")
    with running.http() as client:
        assert client.get("/v1/models").status_code == 200, "others are served meanwhile"
    assert len(fake_provider.calls) == 2
    fake_provider.open_gate("fault-gate")
    found = [json.loads(record.value()) for record in collect(running, running.topic("out.jobs"), 6)]
    answers = {answer["custom_id"]: answer for answer in found}
    assert {answers[f"j-{n}"]["response"]["status_code"] for n in range(6)} == {200}
    assert len(fake_provider.calls) == 6
