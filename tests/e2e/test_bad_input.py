"""Bad input gets its documented error and disturbs nothing: after each of these, a good request is answered."""

import errno
import json
import socket
import subprocess

import pytest
import yaml
from support import OTHER_KEY, SEARCH_KEY, clean_environment, config, endpoint, user

CHAT = "/v1/chat/completions"
GOOD = {"model": "chat", "messages": user("still well?")}


@pytest.fixture(scope="module")
def running(gateway):
    return gateway([endpoint("chat", ["main alpha fake-large"]), endpoint("second", ["main alpha fake-large"])])


@pytest.fixture(autouse=True)
def a_good_request_still_works(request):
    """Wherever a test uses a gateway."""
    yield
    if "running" in request.fixturenames:
        answer = request.getfixturevalue("running").chat(GOOD)
        assert answer.json()["choices"][0]["message"]["content"] == "echo: still well?"


def check(response, status, code, kind="invalid_request_error", param=None):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(error) >= {"message", "type", "param", "code"}
    assert (error["code"], error["type"]) == (code, kind) and error["message"]
    if param:
        assert error["param"] == param
    assert response.headers["x-request-id"]
    assert response.headers["content-type"].startswith("application/json")


def send(running, content, key=SEARCH_KEY, **headers):
    named = {"content-type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    with running.http(key) as http:
        return http.post(CHAT, content=content, headers=named)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"null", None),
        (b"[]", None),
        (b'"chat"', None),
        (b'{"model":"chat","messages":[{"role":"user","content":"hi"}]} trailing', None),
        (b'{"model":"chat","messages":[{"role":"user","content":"\xff\xfe"}]}', None),
        (b'{"model":"chat","messages":[{"role":"user","content":"\\ud800"}], "x": }', None),
        (b"[" * 100_000, None),
        (json.dumps({"messages": user("hi")}).encode(), "model"),
        (json.dumps({"model": 7, "messages": user("hi")}).encode(), None),
        (json.dumps({"model": "chat"}).encode(), "messages"),
        (json.dumps({"model": "chat", "messages": "hi"}).encode(), "messages"),
        (json.dumps({"model": "chat", "messages": user("hi"), "stream": "yes"}).encode(), None),
    ],
    ids=lambda value: repr(value)[:40] if isinstance(value, bytes) else "",
)
def test_malformed_bodies(running, fake_provider, body, param):
    check(send(running, body), 400, "invalid_request_error", param=param)
    assert fake_provider.calls == []


@pytest.mark.parametrize("chunked", [False, True])
def test_an_oversized_body(running, fake_provider, chunked):
    body = json.dumps({**GOOD, "padding": "x" * (64 << 20)}).encode()
    pieces = (body[at : at + (1 << 20)] for at in range(0, len(body), 1 << 20))
    check(send(running, pieces if chunked else body), 413, "request_too_large")
    assert fake_provider.calls == []


def test_a_large_body_is_no_oversized_one(running, fake_provider):
    """Above 256 KiB a body travels by claim check; nobody sees a difference."""
    text = "word " * 200_000
    answer = running.chat({"model": "chat", "messages": user(text)})
    assert answer.json()["choices"][0]["message"]["content"] == "echo: " + text


def test_unknown_models(running):
    for model in ("nothing", "", "x" * 5000, "chat\u0000", "../chat"):
        check(running.chat({**GOOD, "model": model}), 404, "model_not_found")
    with running.http(OTHER_KEY) as others:
        check(others.post(CHAT, json={**GOOD, "model": "second"}), 404, "model_not_found")


def test_missing_and_wrong_keys(running, fake_provider):
    body = json.dumps(GOOD).encode()
    wrong = ({}, {"authorization": "Bearer wrong"}, {"x-api-key": SEARCH_KEY[:-1]}, {"authorization": SEARCH_KEY[::-1]})
    for headers in (*wrong, {"authorization": "Basic " + SEARCH_KEY}, {"api-key": ""}, {"authorization": "Bearer"}):
        check(send(running, body, None, **headers), 401, "invalid_api_key", "authentication_error")
        with running.http(None) as http:
            check(http.get("/v1/models", headers=headers), 401, "invalid_api_key", "authentication_error")
    assert fake_provider.calls == [] and SEARCH_KEY[:-1] not in running.log()


def test_wrong_methods_and_paths(running):
    with running.http() as http:
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            check(http.request(method, CHAT), 405, "method_not_allowed")
        check(http.post("/v1/models"), 405, "method_not_allowed")
        for path in ("/v1/nothing", "/", "/v1/chat/completions/more", "/v1//models", "/v1/%00"):
            check(http.get(path), 404, "not_found")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"not http at all\r\n\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\n" + b"a: " + b"b" * 200_000 + b"\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    ],
    ids=["no-http", "huge-header", "cut-off-body", "negative-length"],
)
def test_broken_http(running, request_bytes):
    with socket.create_connection(("127.0.0.1", running.doors[0].port), timeout=30) as connection:
        try:
            connection.sendall(request_bytes)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
        except OSError as error:  # closing at once is an answer too, silence is none
            assert error.errno in (errno.ENOTCONN, errno.EPIPE, errno.ECONNRESET), error


def problems(binary, tmp_path, document):
    """What `tollgate config check` says, and its exit code."""
    file = tmp_path / "tollgate.yaml"
    file.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    env = {**clean_environment(), "E2E_ALPHA_KEY": "a", "E2E_BETA_KEY": "b", "E2E_CLAUDE_KEY": "c"}
    command = [binary, "config", "check", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env)
    return done.returncode, done.stdout + done.stderr


def test_a_good_configuration_passes(binary, fake_provider, tmp_path):
    code, said = problems(binary, tmp_path, config(fake_provider))
    assert code == 0, said


def test_every_problem_of_a_configuration_is_reported_at_once(binary, fake_provider, tmp_path):
    document = config(fake_provider)
    document["endpoints"].append(dict(document["endpoints"][0]))
    document["endpoints"][0]["retrys"] = {"attempts": 2}
    document["teams"].append(dict(document["teams"][0]))
    document["keys"].append(dict(document["keys"][0]))
    document["keys"][1]["team"] = "nobody"
    document["kafka"]["topic"] = "x"
    document["surprise"] = True
    code, said = problems(binary, tmp_path, document)
    assert code != 0
    for path in ("endpoints[0].retrys", "endpoints[1].name", "teams[2].name", "keys[2].name", "keys[1].team"):
        assert path in said, said
    assert "kafka.topic" in said and "surprise" in said


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [", "listen: 5\n", "\x00", "listen: nowhere\n"])
def test_files_that_are_no_configuration(binary, tmp_path, text):
    code, said = problems(binary, tmp_path, text)
    assert "panicked" not in said
    assert code != 0 or text == "", said


def test_a_missing_secret_is_named_and_never_guessed(binary, fake_provider, tmp_path):
    document = config(fake_provider)
    document["providers"]["alpha"]["api_key"] = "${E2E_NOT_SET}"
    code, said = problems(binary, tmp_path, document)
    assert code != 0 and "E2E_NOT_SET" in said and "providers.alpha.api_key" in said


def test_a_service_does_not_start_on_a_bad_configuration(binary, fake_provider, tmp_path):
    document = config(fake_provider)
    document["endpoints"][0]["destinations"][0]["provider"] = "nobody"
    file = tmp_path / "tollgate.yaml"
    file.write_text(yaml.safe_dump(document))
    command = [binary, "up", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment())
    assert done.returncode not in (0, 101) and "endpoints[0].destinations[0].provider" in done.stderr + done.stdout


SECRET = "s3cret-canary"
MISPLACED = {
    "a key where a list belongs": ("router-worker", {"providers": {"a": {"kind": "openai", "api_keys": SECRET}}}),
    "a key where a number belongs": ("router-worker", {"providers": {"a": {"kind": "openai", "concurrency": SECRET}}}),
    "a key in an address": (
        "router-worker",
        {"providers": {"a": {"kind": "openai", "base_url": f"ftp://u:{SECRET}@h", "api_key": SECRET}}},
    ),
    "a store": ("ingress", {"admission": {"store": f"http://:{SECRET}@h:6379"}}),
    "a webhook": ("ingress", {"webhooks": {"p": {"url": f"ftp://u:{SECRET}@h", "secret": SECRET}}}),
    "a key encryption key": ("ingress", {"admin": {"key_encryption_key": SECRET}}),
    "a hash": ("ingress", {"admin": {"keys": [{"name": "a", "sha256": SECRET}]}}),
    "a password": ("ingress", {"kafka": {"users": [{"name": "a", "password": [SECRET]}]}}),
}


@pytest.mark.parametrize("what", MISPLACED)
def test_a_misplaced_secret_is_refused_and_never_shown(binary, tmp_path, what):
    service, document = MISPLACED[what]
    file = tmp_path / "tollgate.yaml"
    file.write_text(yaml.safe_dump(document))
    command = [binary, "config", "check", "--config", str(file), "--service", service]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment())
    assert done.returncode != 0 and "error: " in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
