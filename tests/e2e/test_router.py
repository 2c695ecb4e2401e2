"""The router: weights, retries, fallbacks, time-outs. What is translated how is in `test_kinds.py`, faults are in `test_upstream_faults.py`."""

import openai
import pytest
from kafka_tools import everything
from support import CANARIES, endpoint, user

FAULTS = ["429", "500", "503", "529", "html", "html-200", "malformed", "reset", "hang"]
QUICK = {"first_byte": "500ms", "between_chunks": "500ms", "total": "20s"}


def falling_back(fault):
    return endpoint(
        f"back-{fault}", [f"first alpha fault-{fault}"], fallbacks=["second beta fake-small"], timeout=QUICK
    )


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(
        [
            endpoint("split", ["nine alpha fake-large 90", "one beta fake-small 10"]),
            endpoint("refused", ["first dead nothing"], fallbacks=["second beta fake-small"]),
            endpoint("retried", ["first alpha flaky"], retry={"attempts": 2}, fallbacks=["second beta fake-small"]),
            endpoint(
                "exhausted",
                ["first alpha fault-500"],
                retry={"attempts": 2, "max_attempts": 3},
                fallbacks=["second beta fault-503", "third claude fault-500"],
            ),
            endpoint("claude", ["main claude fake-claude"]),
            endpoint("claude-back", ["main claude fault-529"], fallbacks=["second alpha fake-large"]),
            endpoint("to-claude", ["main alpha fault-503"], fallbacks=["second claude fake-claude"]),
            *[falling_back(fault) for fault in FAULTS],
            *[endpoint(f"only-{status}", [f"first alpha fault-{status}"]) for status in (401, 500)],
        ]
    )


@pytest.fixture
def client(running, fake_provider):
    return running.openai()


def failed(client, model, **more):
    """The error a caller gets."""
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=model, messages=user("hello"), **more)
    return caught.value


def test_traffic_is_split_by_weight(client, fake_provider):
    for n in range(150):
        client.chat.completions.create(model="split", messages=user(f"{n}"))
    nine, one = len(fake_provider.calls_of("alpha")), len(fake_provider.calls_of("beta"))
    # 150 draws at 10 %: outside 2..40 about once in 100,000 runs.
    assert nine + one == 150 and 2 <= one <= 40


# Before an answer that is no stream only the total time-out applies, so a provider that hangs leaves no time to fall back.
FALLBACKS = [(fault, stream) for fault in [*FAULTS, "refused"] for stream in (False, True) if fault != "hang" or stream]


@pytest.mark.parametrize(("fault", "stream"), FALLBACKS)
def test_falls_back(running, fake_provider, fault, stream):
    model = "refused" if fault == "refused" else f"back-{fault}"
    response = running.chat({"model": model, "messages": user("hello"), "stream": stream})
    assert response.status_code == 200, response.text
    assert "echo" in response.text and (not stream or response.text.rstrip().endswith("[DONE]"))
    if not stream:
        assert response.headers["x-tollgate-destination"] == "second"
        assert response.headers["x-tollgate-attempts"] == "2"
    assert len(fake_provider.calls_of("beta", "fake-small")) == 1


def test_retries_the_same_destination_first(running, fake_provider):
    fake_provider.fault("503", model="flaky", times=1)
    response = running.chat({"model": "retried", "messages": user("hello")})
    assert response.headers["x-tollgate-destination"] == "first"
    assert response.headers["x-tollgate-attempts"] == "2"
    fake_provider.fault("503", model="flaky", times=2)
    response = running.chat({"model": "retried", "messages": user("hello")})
    assert response.headers["x-tollgate-destination"] == "second"
    assert response.headers["x-tollgate-attempts"] == "3"


def test_attempts_are_bounded_per_request(client, fake_provider):
    error = failed(client, "exhausted")
    assert (error.status_code, error.code) == (503, "overloaded"), "the last one said so"
    assert error.response.headers["x-tollgate-attempts"] == "3"
    assert [call["name"] for call in fake_provider.calls] == ["alpha", "alpha", "beta"]


def test_sdk_retries_are_held_back(running, fake_provider):
    failed(running.openai(max_retries=2), "only-500")
    assert len(fake_provider.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_request_is_not_tried_elsewhere(running, client, fake_provider, stream):
    fake_provider.fault("400", model="flaky")
    error = failed(client, "retried", stream=stream)
    assert (error.status_code, error.code) == (400, "provider_rejected")
    assert len(fake_provider.calls) == 1


@pytest.mark.parametrize("model", ["claude-back", "to-claude"])
@pytest.mark.parametrize("stream", [False, True])
def test_falls_back_between_wire_formats(running, fake_provider, model, stream):
    response = running.chat({"model": model, "messages": user("hello"), "stream": stream})
    assert response.status_code == 200 and "echo" in response.text
    assert [call["name"] for call in fake_provider.calls] == (
        ["claude", "alpha"] if model == "claude-back" else ["alpha", "claude"]
    )


def test_no_credential_leaves_the_router(running, client, fake_provider):
    for model in ("split", "claude", "retried"):
        client.chat.completions.create(model=model, messages=user("hello"))
    failed(client, "only-401")
    seen = everything(running) + running.log().encode()
    assert b"hello" in seen, "the topics were read"
    assert not [canary for canary in CANARIES if canary.encode() in seen]
