"""Providers' credentials: several of one provider in turn, one refused or throttled, one in a file that is replaced."""

import collections
import pathlib
import resource
import signal

import pytest
from support import endpoint, eventually, user

KEYS = ["sk-first", "sk-second", "sk-third"]


@pytest.fixture(scope="module")
def key_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("secrets") / "key"
    file.write_text("sk-canary-before\n")
    return file


@pytest.fixture(scope="module")
def running(gateway, _provider, key_file):
    def provider(name, **keys):
        return {"kind": "openai", "base_url": _provider.url(name), **keys}

    several = [f"several-{status}" for status in (200, 401, 403, 429)]
    return gateway(
        [*(endpoint(name, [f"main {name} fake-large"]) for name in several), endpoint("filed", ["main filed fake-large"])],
        separate=True,
        providers={
            **{name: provider(name, api_keys=KEYS) for name in several},
            "filed": provider("filed", api_key="${file:%s}" % key_file),
        },
    )


def asked(running, fake_provider, model, times):
    """Asks so often; every answer is good. The keys that were used, in order."""
    before = len(fake_provider.calls)
    for _ in range(times):
        assert running.chat({"model": model, "messages": user("hello")}).status_code == 200
    return [call["key"] for call in fake_provider.calls[before:]]


def test_keys_are_used_in_turn(running, fake_provider):
    used = collections.Counter(asked(running, fake_provider, "several-200", 9))
    assert used == dict.fromkeys(KEYS, 3)


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_key_that_is_refused_or_throttled_is_left_alone_and_no_caller_sees_it(running, fake_provider, status):
    fake_provider.fault(status, name=f"several-{status}", key="sk-second", retry_after=60)
    used = collections.Counter(asked(running, fake_provider, f"several-{status}", 9))
    assert used["sk-second"] == 1, "the call that found out"
    assert used["sk-first"] + used["sk-third"] == 9 and min(used["sk-first"], used["sk-third"]) >= 4


def test_a_key_in_a_file_is_read_again_when_it_is_replaced(running, fake_provider, key_file):
    assert asked(running, fake_provider, "filed", 1) == ["sk-canary-before"]
    key_file.write_text("")
    new = key_file.with_name("new")
    new.write_text("sk-canary-after\n")
    eventually(lambda: "stays as it is" in running.log(), "an empty file is not taken for a key")
    assert asked(running, fake_provider, "filed", 1) == ["sk-canary-before"]
    new.replace(key_file)
    eventually(lambda: asked(running, fake_provider, "filed", 1) == ["sk-canary-after"], "the new key is used")
    assert "sk-canary" not in running.log()


def cores_are_elsewhere():
    """Whether the system's cores go to a program or another folder, where this test cannot look."""
    return pathlib.Path("/proc/sys/kernel/core_pattern").read_text()[0] in "|/"


@pytest.mark.skipif(cores_are_elsewhere(), reason="kernel.core_pattern takes cores elsewhere")
def test_a_crash_leaves_no_secret_on_disk(running):
    (router,) = [process for process in running.processes if process.name == "router-worker"]
    quiet = (router.env, router.popen)

    def crashed(**env):
        """The cores that the router leaves when it aborts with its credentials in memory."""
        # In order: a member that is killed is waited for by whoever comes after it.
        router.signal(signal.SIGTERM)
        router.wait()
        limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        router.env = {**router.env, **env}
        router.popen = {**router.popen, "preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_CORE, limits)}
        router.start()
        eventually(router.is_ready, "the router is ready", 60)
        router.signal(signal.SIGABRT)
        assert router.wait() == -signal.SIGABRT
        return list(router.folder.glob("core*"))

    assert crashed() == []
    (core,) = crashed(TOLLGATE_CORE_DUMPS="allow")
    assert b"sk-canary" in core.read_bytes(), "or this would prove nothing"
    core.unlink()
    router.env, router.popen = quiet
    router.start()
    eventually(router.is_ready, "the router is ready", 60)
