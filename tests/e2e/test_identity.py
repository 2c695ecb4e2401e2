"""Who is asking and what they may use: keys, users, permissions at both doors, and tokens of an issuer."""

import datetime
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from issuer import Issuer
from kafka_tools import collect, produce_all
from support import SEARCH_KEY, endpoint, eventually, sha256, user

PAST, FUTURE = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z"
OLD, RETIRED = "tg-e2e-old-5f10", "tg-e2e-retired-99aa"
NAMES = ("expired", "disabled", "orphaned", "narrow", "owned", "tagged")
KEYS = {name: f"tg-e2e-{name}-00c4" for name in NAMES}


def key(name, secret=None, **more):
    return {"name": name, "team": "search", "sha256": sha256(secret or KEYS[name]), **more}


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(
        [
            endpoint("chat", ["main alpha fake-large"]),
            endpoint("extra", ["main alpha fake-large"]),
            endpoint("secret", ["main alpha fake-large"]),
        ],
        teams=[
            {
                "name": "search",
                "endpoints": ["chat", "extra"],
                "kafka": {"requests": "in.search", "replies": "out.search"},
            },
            {"name": "other", "endpoints": ["secret"]},
        ],
        users=[
            {"name": "ada", "endpoints": ["chat"], "teams": [{"name": "search"}]},
            {"name": "gone", "enabled": False, "teams": [{"name": "search"}]},
            {"name": "stranger", "teams": [{"name": "other"}]},
        ],
        keys=[
            key(
                "search-web",
                SEARCH_KEY,
                id="stable",
                retiring=[{"sha256": sha256(OLD), "until": FUTURE}, {"sha256": sha256(RETIRED), "until": PAST}],
            ),
            key("expired", expires=PAST),
            key("disabled", enabled=False),
            key("orphaned", user="gone"),
            key("narrow", endpoints=["extra"]),
            key("owned", user="ada"),
            key("tagged", tags={"cost-centre": "7", "app": "key"}),
        ],
    )


def ask(running, secret, model="chat", **more):
    with running.http(secret) as http:
        return http.post("/v1/chat/completions", json={"model": model, "messages": user("hi"), **more})


def models(running, secret):
    with running.http(secret) as http:
        return [model["id"] for model in http.get("/v1/models").json()["data"]]


def test_a_rotated_key_works_under_both_secrets_until_the_old_one_ends(running, fake_provider):
    for secret in (SEARCH_KEY, OLD):
        assert ask(running, secret).status_code == 200
    refused = ask(running, RETIRED)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "rotated" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("secret", "word"),
    [
        (KEYS["expired"], "expired"),
        (KEYS["disabled"], "disabled"),
        (KEYS["orphaned"], "user"),
        ("tg-nobodys", "not known"),
        ("", "no API key"),
    ],
    ids=["expired", "disabled", "user", "unknown", "none"],
)
def test_a_key_that_opens_nothing_says_why_to_its_holder(running, secret, word):
    refused = ask(running, secret)
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert word in refused.json()["error"]["message"]


def test_what_a_key_may_use_is_what_team_user_and_key_allow(running, fake_provider):
    allowed = {SEARCH_KEY: ["chat", "extra"], KEYS["narrow"]: ["extra"], KEYS["owned"]: ["chat"]}
    for secret, names in allowed.items():
        assert models(running, secret) == names
        for name in ("chat", "extra", "secret"):
            assert ask(running, secret, name).status_code == (200 if name in names else 404), (secret, name)


def test_an_endpoint_one_may_not_use_looks_like_one_that_does_not_exist(running):
    def said(answer, name):
        return answer.status_code, answer.text.replace(name, "NAME"), sorted(set(answer.headers) - {"date"})

    assert said(ask(running, SEARCH_KEY, "secret"), "secret") == said(ask(running, SEARCH_KEY, "absent"), "absent")
    with running.http() as http:
        answers = [said(http.get(f"/v1/models/{name}"), name) for name in ("secret", "absent")]
    assert answers[0] == answers[1] and answers[0][0] == 404


def test_a_keys_tags_stand_beside_the_callers(running, fake_provider):
    assert ask(running, KEYS["tagged"], metadata={"app": "mine"}).status_code == 200
    many = {f"t{n}": "x" for n in range(15)}
    refused = ask(running, KEYS["tagged"], metadata=many)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "metadata")


def test_a_job_names_a_user_of_its_team_and_is_narrowed_to_it(running, fake_provider):
    cases = {
        "team": ("extra", None, None),
        "within": ("chat", b"ada", None),
        "beyond": ("extra", b"ada", "model_not_found"),
        "disabled": ("chat", b"gone", "permission_denied"),
        "stranger": ("chat", b"stranger", "permission_denied"),
        "nobody": ("chat", b"nobody", "permission_denied"),
        "garbage": ("chat", b"\xff", "permission_denied"),
    }
    records = []
    for name, (model, who, _) in cases.items():
        line = {"custom_id": name, "url": "/v1/chat/completions", "body": {"model": model, "messages": user("hi")}}
        records.append((line, None, {"tollgate-user": who} if who else None))
    produce_all(running, running.topic("in.search"), records)
    lines = [json.loads(record.value()) for record in collect(running, running.topic("out.search"), len(cases))]
    answers = {line["custom_id"]: (line["error"] or {}).get("code") for line in lines}
    assert answers == {name: code for name, (_, _, code) in cases.items()}


@pytest.fixture(scope="module")
def issuer():
    issuer = Issuer().start()
    yield issuer
    issuer.stop()


def with_issuer(gateway, issuer, **more):
    return gateway(
        [endpoint("chat", ["main alpha fake-large"]), endpoint("extra", ["main alpha fake-large"])],
        users=[{"name": "off", "enabled": False}, {"name": "few", "endpoints": ["extra"]}],
        teams=[{"name": "search", "endpoints": ["chat", "extra"]}, {"name": "other", "endpoints": ["extra"]}],
        oidc=[{"issuer": issuer.url, "audience": "tollgate", "refresh": "1s", **more}],
    )


@pytest.fixture(scope="module")
def federated(gateway, issuer):
    return with_issuer(gateway, issuer)


def test_a_token_is_as_good_as_a_key(federated, issuer, fake_provider):
    assert ask(federated, issuer.token()).status_code == 200
    assert ask(federated, SEARCH_KEY).status_code == 200, "keys stay"
    assert models(federated, issuer.token()) == ["chat", "extra"]
    assert models(federated, issuer.token(sub="few")) == ["extra"], "what stands of a user holds for its tokens"


def test_the_teams_of_a_token(federated, issuer):
    both = issuer.token(groups=["unknown", "search", "other"])
    assert models(federated, both) == ["chat", "extra"], "the first that there is"
    with federated.http(both) as http:
        chosen = http.get("/v1/models", headers={"x-tollgate-team": "other"})
        assert [model["id"] for model in chosen.json()["data"]] == ["extra"]
        for team in ("unknown", "third", ""):
            refused = http.get("/v1/models", headers={"x-tollgate-team": team})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    for groups in ([], ["unknown"], None):
        assert ask(federated, issuer.token(groups=groups)).status_code == 403


def test_claims_are_mapped_as_configured(gateway, issuer):
    running = with_issuer(
        gateway,
        issuer,
        user_claim="email",
        team_claim="realm.roles",
        teams={"ml": "other"},
        jwks_url=issuer.url + "/jwks",
    )
    assert models(running, issuer.token(email="a@b", realm={"roles": ["search", "ml"]})) == ["extra"]
    assert ask(running, issuer.token(email="a@b", realm={"roles": ["search"]})).status_code == 403
    assert ask(running, issuer.token(realm={"roles": ["ml"]})).status_code == 401, "no user"


FORGED = {
    "audience": lambda i: i.token(aud="somebody-else"),
    "no-audience": lambda i: i.token(aud=None),
    "issuer": lambda i: i.token(iss="http://127.0.0.1:1"),
    "expired": lambda i: i.token(exp=int(datetime.datetime.now().timestamp()) - 60),
    "endless": lambda i: i.token(exp=None),
    "early": lambda i: i.token(nbf=int(datetime.datetime.now().timestamp()) + 60),
    "none": lambda i: i.token(alg="none"),
    "hs256": lambda i: i.token(alg="HS256"),
    "key": lambda i: i.token(key=rsa.generate_private_key(public_exponent=65537, key_size=2048)),
    "kid": lambda i: i.token(kid="absent", key=i.keys[i.kid]),
    "user": lambda i: i.token(sub="off"),
    "shape": lambda i: i.token()[:-200],
}


@pytest.mark.parametrize("how", FORGED)
def test_a_token_that_is_not_right_is_refused(federated, issuer, how):
    assert ask(federated, issuer.token()).status_code == 200
    refused = ask(federated, FORGED[how](issuer))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key"), refused.text


def test_rotation_and_an_issuer_that_is_down(gateway, fake_provider):
    issuer = Issuer()
    running = with_issuer(gateway, issuer)
    never = ask(running, issuer.token())
    assert (never.status_code, never.json()["error"]["code"]) == (503, "identity_unavailable")
    issuer.start()
    try:
        eventually(lambda: ask(running, issuer.token()).status_code == 200, "the issuer is asked again")
        issuer.rotate("second", keep=True)
        eventually(lambda: ask(running, issuer.token()).status_code == 200, "a new key is fetched when it is named")
        first = issuer.token(kid="first")
        issuer.rotate("third")
        eventually(lambda: ask(running, issuer.token()).status_code == 200, "the third too")
        assert ask(running, first).status_code == 401, "the first key was withdrawn"
        issuer.stop()
        assert ask(running, issuer.token()).status_code == 200, "what is at hand stays in use"
        issuer.rotate("fourth", keep=True)
        eventually(lambda: ask(running, issuer.token()).status_code == 503, "no valid token is called invalid")
        assert ask(running, issuer.token(kid="third")).status_code == 200
        assert ask(running, SEARCH_KEY).status_code == 200
    finally:
        issuer.stop()


def test_unknown_keys_are_not_asked_for_more_often_than_configured(gateway, issuer):
    running = gateway(oidc=[{"issuer": issuer.url, "audience": "tollgate", "refresh": "1h"}])
    assert ask(running, issuer.token()).status_code == 200
    before = len(issuer.asked)
    for n in range(20):
        assert ask(running, issuer.token(kid=f"absent-{n}", key=issuer.keys[issuer.kid])).status_code == 401
    assert len(issuer.asked) == before
