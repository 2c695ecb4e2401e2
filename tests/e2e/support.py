"""What several tests need: bounded waiting, free ports, keys, and the configuration most gateways start from."""

import hashlib
import itertools
import json
import os
import random
import socket
import ssl
import time
from pathlib import Path

import certifi

ROOT = Path(__file__).resolve().parents[2]

# Callers' keys. The whole strings are canaries: none may be found upstream, in a topic or in a log.
SEARCH_KEY = "tg-e2e-search-3a8f1c9d27"
OTHER_KEY = "tg-e2e-other-77b0e4d512"
# Providers' credentials, given to the router-worker's environment only.
PROVIDER_KEYS = {
    "E2E_ALPHA_KEY": "sk-canary-alpha-51d07f",
    "E2E_BETA_KEY": "sk-canary-beta-90c3ae",
    "E2E_CLAUDE_KEY": "sk-canary-claude-6b2e18",
}
CANARIES = [SEARCH_KEY, OTHER_KEY, *PROVIDER_KEYS.values()]

# Below Linux's ephemeral range, so that no outgoing connection takes a port between its choice and its use; runs on the two
# brokers may go side by side.
_first = 26000 if os.environ.get("TOLLGATE_E2E_BROKER") == "kafka" else 20000
_ports = itertools.cycle(range(_first + random.randrange(250) * 20, _first + 6000))


def free_port(run=1):
    """The first of `run` consecutive free ports."""
    while True:
        first = next(_ports)
        for _ in range(run - 1):
            next(_ports)
        if all(_is_free(port) for port in range(first, first + run)):
            return first


def _is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def share_certificates():
    """Has all HTTP clients of this process share the machine's certificates. Each would read them anew, which takes 60 ms of a core, and
    what is asked here speaks plain HTTP. Other files, as tests make them, are read each time."""
    file = os.environ.setdefault("SSL_CERT_FILE", certifi.where())
    make, shared = ssl.create_default_context, ssl.create_default_context(cafile=file)

    def create_default_context(*given, **more):
        return shared if (given, more) == ((), {"cafile": file}) else make(*given, **more)

    ssl.create_default_context = create_default_context


def eventually(check, what, seconds=30.0):
    """The first truthy result of `check`; fails with `what` and the last result after a generous bound."""
    end = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < end, f"{what} did not come true in {seconds} s; the last result was {result!r}"
        time.sleep(0.05)


def answer_json(handler, status, document):
    """Answers an HTTP request of `http.server`."""
    body = json.dumps(document).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


def user(text):
    """Messages with one text from the user."""
    return [{"role": "user", "content": text}]


def answered(response):
    """The text of a whole chat completion."""
    assert response.status_code == 200, response.text
    return response.json()["choices"][0]["message"]["content"]


def blocked(response, check, *categories):
    """The id of a request that this check of a policy blocked, for nothing but these categories."""
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["code"], error["type"], error["checks"]) == ("guardrail_blocked", "invalid_request_error", [check])
    assert error.get("categories", []) == list(categories)
    return response.headers["x-request-id"]


def text_of_stream(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def endpoint(name, destinations, **more):
    """An endpoint; a destination is "NAME provider model [weight]", or a whole one. Few, quick retries, so that faults do not take long."""

    def destination(spec):
        if isinstance(spec, dict):
            return spec
        label, provider, model, *weight = spec.split()
        return {"name": label, "provider": provider, "model": model, **({"weight": int(weight[0])} if weight else {})}

    more["fallbacks"] = [destination(spec) for spec in more.get("fallbacks", [])]
    retry = {"attempts": 1, "max_attempts": 3, "backoff": "10ms", **more.pop("retry", {})}
    return {"name": name, "destinations": [destination(d) for d in destinations], "retry": retry, **more}


def config(fake, endpoints=None, **sections):
    """A configuration with three providers played by the fake one, one that refuses connections, and the mock."""
    endpoints = endpoints or [endpoint("chat", ["main alpha fake-large"])]
    names = [e["name"] for e in endpoints]

    def openai_at(name, env):
        return {"kind": "openai", "base_url": fake.url(name), "api_key": "${%s}" % env}

    base = {
        "gateway": "e2e",
        "region": "test-1",
        "kafka": {"partitions": {"default": 4, "usage": 1}},
        "usage": {"flush": {"rows": 1000, "after": "300ms"}},
        # Nobody sends callers by a load balancer, unless a test says so.
        "shutdown": {"unready": "0s"},
        "providers": {
            "alpha": openai_at("alpha", "E2E_ALPHA_KEY"),
            "beta": openai_at("beta", "E2E_BETA_KEY"),
            "claude": {"kind": "anthropic", "base_url": fake.url("claude"), "api_key": "${E2E_CLAUDE_KEY}"},
            "dead": {"kind": "openai", "base_url": f"http://127.0.0.1:{free_port()}/v1"},
            "demo": {"kind": "mock"},
        },
        "endpoints": endpoints,
        "teams": [
            {
                "name": "search",
                "endpoints": names,
                "kafka": {"requests": "in.search", "replies": "out.search"},
            },
            {"name": "other", "endpoints": names[:1]},
        ],
        "keys": [
            {"name": "search-web", "team": "search", "sha256": sha256(SEARCH_KEY)},
            {"name": "other-web", "team": "other", "sha256": sha256(OTHER_KEY)},
        ],
        # Dollars per million tokens.
        "prices": [
            {"provider": "alpha", "model": "fake-large", "input": 2, "output": 8, "cache_read": 0.5},
            {"provider": "beta", "model": "fake-small", "input": 1, "output": 4, "cache_read": 0.25},
            {
                "provider": "claude",
                "model": "fake-claude",
                "input": 3,
                "output": 15,
                "cache_read": 0.3,
                "cache_write": 3.75,
            },
        ],
    }
    for name, section in sections.items():
        base[name] = {**base[name], **section} if isinstance(section, dict) and name in base else section
    return base


def clean_environment():
    """This process's environment without anything that would change what a gateway does."""
    dropped = ("OTEL_", "TOLLGATE_", "AWS_", "OPENAI_", "RUST_LOG")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
