"""The admin API and its commands, on two ingress replicas with every service apart: what is changed through one replica holds
everywhere, survives restarts, and can be told who did it."""

import concurrent.futures
import json
import subprocess
import threading
import time

import httpx
import pytest
from kafka_tools import everything
from support import SEARCH_KEY, clean_environment, endpoint, eventually, sha256, user

ROOT_KEY, ANALYST_KEY, LEAD_KEY = "tg-admin-root-5d21", "tg-admin-analyst-77aa", "tg-admin-lead-0c9e"
KEK = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
ADMIN = {
    "keys": [
        {"name": "root", "sha256": sha256(ROOT_KEY)},
        {"name": "reader", "sha256": sha256(ANALYST_KEY), "role": "analyst"},
        {"name": "lead", "sha256": sha256(LEAD_KEY), "role": "team_admin", "team": "search"},
    ],
    "key_encryption_key": "${E2E_KEK}",
}


@pytest.fixture(scope="module")
def running(gateway):
    chat = endpoint("chat", ["main alpha fake-large"])
    spare = endpoint("spare", ["main beta fake-small"])
    held = endpoint("held", ["main alpha fault-gate-stream"])
    return gateway([chat, spare, held], separate=True, ingress=2, admin=ADMIN, env={"E2E_KEK": KEK})


def admin(running, key=ROOT_KEY, door=0):
    return httpx.Client(base_url=running.doors[door].url + "/admin/v1", headers={"authorization": f"Bearer {key}"}, timeout=60)


def ask(running, key, model="chat", door=0):
    with running.http(key, door) as http:
        return http.post("/v1/chat/completions", json={"model": model, "messages": user("hello")})


def everywhere(running, check, what):
    """Both doors come to say the same, for the change takes its way through the log."""
    for door in (0, 1):
        eventually(lambda door=door: check(door), f"{what} at door {door}")


def test_a_key_is_made_shown_once_and_works_at_both_doors(running, fake_provider, measured):
    with admin(running) as api:
        made = api.post("/keys", json={"name": "made", "team": "search", "tags": {"origin": "admin"}})
        assert made.status_code == 201, made.text
        key = made.json()["key"]
        assert made.headers["etag"] == '"%d"' % made.json()["version"]
        assert ask(running, key).status_code == 200, "the replica that was asked knows it at once"
        everywhere(running, lambda door: ask(running, key, door=door).status_code == 200, "the key works")
        read = api.get("/keys/made")
        assert "key" not in read.json() and key not in read.text
        assert read.json()["value"]["sha256"] == sha256(key)
        assert api.post("/keys", json={"name": "made", "team": "search"}).status_code == 412, "there is one already"
        assert api.delete("/keys/made").status_code == 204
    since = time.monotonic()
    everywhere(running, lambda door: ask(running, key, door=door).status_code == 401, "the key is gone")
    measured(f"a key that is deleted at one replica is refused at both after {(time.monotonic() - since) * 1000:.0f} ms")


def test_a_rotated_key_works_beside_the_old_one_for_a_while_and_keeps_its_id(running, fake_provider):
    with admin(running) as api:
        first = api.post("/keys", json={"name": "turning", "team": "search"}).json()
        second = api.post("/keys/turning/rotate", json={"grace": "1h"}).json()
        assert first["value"]["id"] == second["value"]["id"]
        for key in (first["key"], second["key"]):
            everywhere(running, lambda door, key=key: ask(running, key, door=door).status_code == 200, "both work")
        third = api.post("/keys/turning/rotate", json={"grace": "0s"}).json()
        everywhere(running, lambda door: ask(running, second["key"], door=door).status_code == 401, "no grace")
        assert ask(running, first["key"]).status_code == 200, "its hour goes on"
        assert ask(running, third["key"]).status_code == 200


def test_a_key_is_rotated_under_load_and_no_caller_is_refused(running, fake_provider):
    stop, codes = threading.Event(), []

    def load(door):
        while not stop.is_set():
            codes.append(ask(running, keys[-1], door=door).status_code)

    with admin(running) as api:
        keys = [api.post("/keys", json={"name": "busy", "team": "search"}).json()["key"]]
        everywhere(running, lambda door: ask(running, keys[0], door=door).status_code == 200, "the key works")
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            callers = [pool.submit(load, n % 2) for n in range(6)]
            try:
                for _ in range(4):
                    fresh = api.post("/keys/busy/rotate", json={"grace": "1h"}).json()["key"]
                    everywhere(running, lambda door, fresh=fresh: ask(running, fresh, door=door).status_code == 200, "the new one")
                    keys.append(fresh)
            finally:
                stop.set()
            for caller in callers:
                caller.result()
    assert set(codes) == {200} and len(codes) > 10


def test_a_key_that_is_revoked_while_it_streams_begins_nothing_more(running, fake_provider):
    with admin(running) as api:
        key = api.post("/keys", json={"name": "streaming", "team": "search"}).json()["key"]
        everywhere(running, lambda door: ask(running, key, door=door).status_code == 200, "the key works")
        body = {"model": "held", "messages": user("hello"), "stream": True}
        with running.http(key) as http, http.stream("POST", "/v1/chat/completions", json=body, timeout=60) as stream:
            lines = stream.iter_lines()
            first = next(line for line in lines if line)
            assert stream.status_code == 200 and first.startswith("data: ")
            assert api.delete("/keys/streaming").status_code == 204
            everywhere(running, lambda door: ask(running, key, door=door).status_code == 401, "the key is gone")
            fake_provider.open_gate("fault-gate-stream")
            assert list(filter(None, lines))[-1] == "data: [DONE]", "what was let in is finished"


def test_of_two_racing_changes_one_wins_everywhere(running):
    with admin(running) as api:
        assert api.post("/teams", json={"name": "raced", "endpoints": []}).status_code == 201
    for _ in range(5):
        with admin(running) as api:
            version = api.get("/teams/raced").json()["version"]

        def change(n, version=version):
            with admin(running, door=n % 2) as api:
                body = {"endpoints": ["chat"] if n % 2 else ["spare"]}
                return api.put("/teams/raced", json=body, headers={"if-match": f'"{version}"'})

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(change, range(8)))
        assert sorted(a.status_code for a in answers) == [200] + [412] * 7, [a.text for a in answers]
        won = next(a.json() for a in answers if a.status_code == 200)

        def agreed(door, won=won):
            with admin(running, door=door) as api:
                return api.get("/teams/raced").json()["value"] == won["value"]

        everywhere(running, agreed, "the winner's team")


def test_what_would_break_something_is_refused_and_says_what(running):
    with admin(running) as api:
        team = api.get("/teams/search").json()
        wrong = api.put("/teams/search", json={**team["value"], "endpoints": ["chat", "nowhere"]})
        assert wrong.status_code == 400 and "nowhere" in wrong.json()["error"]["message"]
        assert api.delete("/endpoints/chat").status_code == 400, "teams use it"
        assert api.post("/keys", json={"name": "x", "team": "nobody"}).status_code == 400
        unknown = api.post("/teams", json={"name": "y", "endpionts": []})
        assert unknown.status_code == 400 and "endpionts" in unknown.json()["error"]["message"]
        assert api.put("/providers/alpha", json={"kind": "openai", "api_key": "sk-x"}).status_code == 400
        assert api.get("/nonsense").status_code == 404
        assert api.get("/teams/search").json() == team, "nothing has changed"


def test_a_model_is_swapped_under_load_and_no_request_is_lost(running, fake_provider):
    stop, codes = threading.Event(), []

    def load(door):
        while not stop.is_set():
            codes.append(ask(running, SEARCH_KEY, "spare", door).status_code)

    threads = [threading.Thread(target=load, args=(n % 2,)) for n in range(6)]
    for thread in threads:
        thread.start()
    try:
        with admin(running) as api:
            value = api.get("/endpoints/spare").json()["value"]
            for n in range(10):
                value["destinations"][0] = {"name": f"d{n}", "provider": ["alpha", "beta"][n % 2], "model": f"fake-{n}"}
                assert api.put("/endpoints/spare", json=value).status_code == 200
                eventually(lambda n=n: any(c["model"] == f"fake-{n}" for c in fake_provider.calls), f"model {n}")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert set(codes) == {200} and len(codes) > 10


def test_a_canary_gets_what_its_weight_says_while_it_runs(running, fake_provider):
    def split(old, new):
        both = (("old", "alpha", old), ("new", "beta", new))
        return [{"name": name, "provider": at, "model": f"fake-{name}", "weight": weight} for name, at, weight in both]

    def served():
        return {ask(running, SEARCH_KEY, "spare", n % 2).headers["x-tollgate-destination"] for n in range(20)}

    with admin(running) as api:
        value = api.get("/endpoints/spare").json()["value"]
        for weights, expected in (((1, 0), {"old"}), ((1, 1), {"old", "new"}), ((0, 1), {"new"})):
            assert api.put("/endpoints/spare", json={**value, "destinations": split(*weights)}).status_code == 200
            eventually(lambda expected=expected: served() == expected, f"the split {weights}")


def test_a_guardrail_is_given_to_an_endpoint_while_it_runs(running, fake_provider):
    with admin(running) as api:
        policy = {"name": "no-orion", "input": {"keywords": {"action": "block", "words": ["orion"]}}}
        assert api.post("/guardrails", json=policy).status_code == 201
        guarded = {"name": "guarded", "guardrails": {"policy": "no-orion"},
                   "destinations": [{"name": "main", "provider": "alpha", "model": "fake-large"}]}  # fmt: skip
        assert api.post("/endpoints", json=guarded).status_code == 201
        team = api.get("/teams/search").json()["value"]
        assert api.put("/teams/search", json={**team, "endpoints": [*team["endpoints"], "guarded"]}).status_code == 200
        body = {"model": "guarded", "messages": user("about orion")}
        with running.http() as http:
            blocked = eventually(
                lambda: (got := http.post("/v1/chat/completions", json=body)).status_code == 400 and got, "blocked"
            )
        assert blocked.json()["error"]["code"] == "guardrail_blocked"
        assert api.delete("/guardrails/no-orion").status_code == 400, "an endpoint uses it"


def test_a_new_teams_topic_is_heard_without_a_restart(running, fake_provider):
    from confluent_kafka import Consumer, Producer

    with admin(running) as api:
        team = {"name": "late", "endpoints": ["chat"], "kafka": {"requests": "in.late", "replies": "out.late"}}
        assert api.post("/teams", json=team).status_code == 201
    producer = Producer(running.anybody())
    consumer = Consumer({**running.anybody(), "group.id": f"late.{running.prefix}", "auto.offset.reset": "earliest"})
    job = {"custom_id": "late-1", "url": "/v1/chat/completions", "body": {"model": "chat", "messages": user("late")}}
    topics = consumer.list_topics
    eventually(lambda: running.topic("in.late") in topics(timeout=10).topics, "the topic is created")
    producer.produce(running.topic("in.late"), json.dumps(job))
    assert producer.flush(30) == 0
    consumer.subscribe([running.topic("out.late")])
    answer = eventually(lambda: (got := consumer.poll(1)) is not None and not got.error() and got, "an answer", 60)
    consumer.close()
    assert json.loads(answer.value())["response"]["body"]["choices"][0]["message"]["content"] == "echo: late"


def test_a_credential_is_sealed_on_the_log_and_used_by_the_router(running, fake_provider):
    secret = "sk-canary-sealed-4f0b"
    with admin(running) as api:
        provider = {"name": "fresh", "kind": "openai", "base_url": fake_provider.url("fresh")}
        assert api.post("/providers", json=provider).status_code == 201
        made = api.post("/credentials", json={"name": "fresh-1", "provider": "fresh", "api_key": secret})
        assert made.status_code == 201 and secret not in made.text and made.json()["value"]["sealed"] == "***"
        value = {"name": "sealed", "destinations": [{"name": "main", "provider": "fresh", "model": "fake-large"}]}
        assert api.post("/endpoints", json=value).status_code == 201
        team = api.get("/teams/search").json()["value"]
        assert api.put("/teams/search", json={**team, "endpoints": [*team["endpoints"], "sealed"]}).status_code == 200
        for path in ("/config", "/audit", "/credentials", "/credentials/fresh-1"):
            assert secret not in api.get(path).text
    eventually(lambda: ask(running, SEARCH_KEY, "sealed").status_code == 200, "the new provider answers")
    assert fake_provider.calls[-1]["headers"]["authorization"] == f"Bearer {secret}"
    assert secret not in running.log()
    for door in running.doors:
        assert secret not in httpx.get(door.url + "/metrics").text
    assert secret.encode() not in everything(running)


def test_roles_on_every_route(running):
    with admin(running, ANALYST_KEY) as reader, admin(running, LEAD_KEY) as lead, admin(running, "tg-nobody") as nobody:
        for section in ("providers", "endpoints", "guardrails", "teams", "users", "keys", "budgets", "prices", "credentials"):
            assert nobody.get(f"/{section}").status_code == 401
            assert reader.get(f"/{section}").status_code == 200
            assert reader.post(f"/{section}", json={"name": "n"}).status_code in (400, 403)
            assert reader.delete(f"/{section}/search-web").status_code in (403, 404)
        assert reader.get("/audit").status_code == 200 and lead.get("/audit").status_code == 404
        assert {team["name"] for team in lead.get("/teams").json()["data"]} == {"search"}
        assert lead.post("/keys", json={"name": "led", "team": "search"}).status_code == 201
        assert lead.post("/keys", json={"name": "led-2", "team": "other"}).status_code in (403, 404)
        assert lead.get("/keys/other-web").status_code == 404, "another team's key looks like none"
        widened = {"endpoints": ["chat", "spare"], "budgets": []}
        assert lead.put("/teams/search", json=widened).status_code == 403, "what a team may use is not its own to say"
        assert lead.delete("/keys/led").status_code == 204
    assert ask(running, ROOT_KEY).status_code == 401, "an admin key opens no model"
    with admin(running, SEARCH_KEY) as caller:
        assert caller.get("/teams").status_code == 401, "a caller's key administers nothing"


def test_on_every_route_that_is_described_only_who_may_changes_anything(running):
    with admin(running) as api:
        paths = api.get("/openapi.json").json()["paths"]
        routes = [(m, path) for path, item in paths.items() for m in ("get", "put", "post", "delete") if m in item]
        history = api.get("/audit").json()["data"]
    assert len(routes) > 40
    with httpx.Client(base_url=running.url, timeout=60) as http:
        for method, path in routes:
            place = path.replace("{name}", "other-web")

            def status(key, method=method, place=place):
                headers = {"authorization": f"Bearer {key}"} if key else {}
                body = {"name": "other-web", "team": "other"} if method in ("post", "put") else None
                return http.request(method, place, json=body, headers=headers).status_code

            for stranger in (None, "tg-nobody", SEARCH_KEY):
                assert status(stranger) == 401, (method, place)
            if method == "get":
                assert status(ANALYST_KEY) in (200, 404), (method, place)
                assert status(LEAD_KEY) in (200, 403, 404), (method, place)
            else:
                assert status(ANALYST_KEY) in (400, 403, 404), (method, place)
                assert status(LEAD_KEY) in (400, 403, 404), (method, place)
    with admin(running) as api:
        assert api.get("/audit").json()["data"] == history, "nothing was changed, nor put to the log"


def command(running, *arguments, key=ROOT_KEY, stdin=None):
    env = {**clean_environment(), "TOLLGATE_ADMIN_KEY": key, "TOLLGATE_URL": running.url}
    done = subprocess.run([running.binary, *arguments], env=env, input=stdin, capture_output=True, text=True, timeout=60)
    assert key not in done.stdout + done.stderr
    return done


def test_the_commands(running, fake_provider):
    made = command(running, "keys", "create", stdin="name: from-cli\nteam: search\n")
    assert made.returncode == 0, made.stderr
    assert ask(running, made.stdout.strip()).status_code == 200
    rotated = command(running, "keys", "rotate", "from-cli", "--grace", "0s")
    assert rotated.returncode == 0 and rotated.stdout.strip() != made.stdout.strip()
    shown = json.loads(command(running, "keys", "get", "from-cli", "--json").stdout)
    assert shown["value"]["team"] == "search" and shown["source"] == "control"
    stale = command(running, "keys", "delete", "from-cli", "--if-version", "1")
    assert stale.returncode == 1 and "version" in stale.stderr
    assert command(running, "keys", "delete", "from-cli").returncode == 0
    listed = command(running, "endpoints", "list")
    assert "chat" in listed.stdout and "file" in listed.stdout
    history = command(running, "audit", "--kind", "keys", "--name", "from-cli")
    assert [word for word in ("create", "update", "delete") if word in history.stdout] == ["create", "update", "delete"]
    assert "root" in history.stdout
    effective = command(running, "config", "show", "--effective")
    assert "raced" in effective.stdout, "what was changed since stands over the file"
    wrong = command(running, "teams", "list", key="tg-nobody")
    assert wrong.returncode == 1 and "not known" in wrong.stderr


def in_effect(api):
    """What each replica has of the configuration but its own address."""
    told = api.get("/config").json()
    del told["config"]["listen"]
    return told


def test_everything_survives_a_restart_and_can_be_told(running):
    with admin(running) as api:
        assert api.post("/teams", json={"name": "kept", "endpoints": ["chat"]}).status_code == 201
        key = api.post("/keys", json={"name": "kept", "team": "kept"}).json()["key"]
        assert api.delete("/keys/other-web").status_code == 204, "one of the file"
        before = in_effect(api)
    running.restart()
    for door in (0, 1):
        assert ask(running, key, door=door).status_code == 200
        with admin(running, door=door) as api:
            assert in_effect(api) == before
            assert api.get("/keys/other-web").status_code == 404, "the file does not bring it back"
            newest = api.get("/audit", params={"limit": 1}).json()["data"][0]
            assert (newest["by"]["name"], newest["action"], newest["name"]) == ("root", "delete", "other-web")
