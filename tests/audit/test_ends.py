"""What explains that a request was run twice, and what does not."""

import sys
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.audit import watch as watching  # noqa: E402
from tests.audit.ends import Troubles, lost_at, unexplained_executions  # noqa: E402
from tests.audit.fleet import Timeline  # noqa: E402

BEGAN, ENDED = 1000.0, 1010.0
ONE, OTHER = "router-worker", "router-worker-1"
SAID = "1970-01-01T00:16:{at}.000000Z  WARN tollgate_bus::work::assignment: all partitions were lost; what is in flight …"


def run_twice(approvals=1, attempts=(1, 1)):
    seen = watching.Seen("r")
    seen.accepted, seen.number, seen.began, seen.ended = True, 7, BEGAN, ENDED
    seen.records = [("requests.interactive", 0, 0, BEGAN, "request 7"), ("completions", 0, 0, BEGAN, "completion")]
    seen.records += [("approved.interactive", 0, n, BEGAN, "request 7") for n in range(approvals)]
    for n, made in enumerate(attempts):
        seen.terminals.append(watching.End(f"execution-{n}", 200, None, "echo"))
        if made is not None:
            seen.attempts[f"execution-{n}"] = made
    return seen


def is_explained(seen, replicas, *events, log=""):
    timeline = Timeline()
    timeline.events = [{"time": time, "what": what, "name": name} for time, what, name in events]
    calls = [{"number": 7, "replica": replica} for replica in replicas] + [{"number": 8, "replica": "router-worker-2"}]
    processes = [types.SimpleNamespace(name=ONE, log=lambda: log)]
    return unexplained_executions([seen], Troubles(timeline, calls, processes)) == []


BEFORE, MEANWHILE, LONG_BEFORE = BEGAN - 10, BEGAN + 5, BEGAN - 100


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([], False, id="nothing"),
        pytest.param([(MEANWHILE, "killed", ONE)], True, id="it was killed"),
        pytest.param([(MEANWHILE, "ended by itself", ONE)], True, id="it ended by itself"),
        pytest.param([(BEFORE, "killed", ONE), (BEFORE + 2, "started", ONE)], False, id="it was killed before"),
        pytest.param([(MEANWHILE, "killed", OTHER)], False, id="another was killed"),
        pytest.param([(MEANWHILE, "killed", "guardrail")], False, id="somebody else was killed"),
        pytest.param([(MEANWHILE, "started", OTHER), (MEANWHILE, "added", "router-worker-2")], False, id="others came"),
        pytest.param([(BEFORE, "paused", ONE), (MEANWHILE, "resumed", ONE)], True, id="it stood still"),
        pytest.param([(BEFORE, "paused", ONE), (BEFORE + 5, "resumed", ONE)], True, id="it had just stood still"),
        pytest.param([(LONG_BEFORE, "paused", ONE), (LONG_BEFORE + 5, "resumed", ONE)], False, id="it had stood still"),
        pytest.param([(LONG_BEFORE, "paused", ONE)], True, id="it stands still"),
        pytest.param([(BEFORE, "asked to end", ONE), (MEANWHILE, "ended", ONE)], True, id="it was ending"),
        pytest.param([(BEFORE, "asked to end", ONE), (BEFORE + 5, "ended", ONE)], False, id="it had ended"),
        pytest.param([(BEFORE, "away", "broker"), (BEFORE + 5, "back", "broker")], True, id="the broker was away"),
        pytest.param([(LONG_BEFORE, "away", "broker"), (LONG_BEFORE + 5, "back", "broker")], False, id="long before"),
    ],
)
def test_of_a_replica_that_ran_it_twice(events, expected):
    assert is_explained(run_twice(), [ONE, ONE], *events) == expected


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        pytest.param([], False, id="nothing"),
        pytest.param([(MEANWHILE, "killed", OTHER)], True, id="one of them was killed"),
        pytest.param([(BEGAN - 30, "killed", "router-worker-2")], True, id="their group changed"),
        pytest.param([(MEANWHILE, "killed", "guardrail")], False, id="another group changed"),
        pytest.param([(LONG_BEFORE, "killed", OTHER)], False, id="their group had changed"),
    ],
)
def test_of_two_replicas(events, expected):
    assert is_explained(run_twice(), [ONE, OTHER], *events) == expected


@pytest.mark.parametrize(
    ("seen", "replicas"),
    [
        pytest.param(run_twice(), [], id="no call was heard of"),
        pytest.param(run_twice(attempts=(1, 0)), [ONE], id="one made no call"),
        pytest.param(run_twice(attempts=(1, None)), [ONE, ONE], id="one has no row"),
        pytest.param(run_twice(attempts=(1, 2)), [ONE, ONE], id="one call was not heard of"),
    ],
)
def test_who_is_not_known_may_be_any_router(seen, replicas):
    assert is_explained(seen, replicas, (MEANWHILE, "killed", "router-worker-2"))
    assert not is_explained(seen, replicas, (MEANWHILE, "killed", "guardrail"))


@pytest.mark.parametrize("approvals", [0, 2])
def test_work_that_came_to_the_routers_otherwise_may_be_anybodys(approvals):
    seen = run_twice(approvals)
    assert is_explained(seen, [ONE, ONE], (BEGAN - 30, "killed", "guardrail"))
    assert not is_explained(seen, [ONE, ONE], (MEANWHILE, "killed", "usage-aggregator"))


def test_who_was_taken_for_gone_says_so():
    log = "a line\n" + SAID.format(at=45) + "\n\nanother\n"
    assert lost_at(log) == [1005.0]
    assert is_explained(run_twice(), [ONE, ONE], log=log)
    assert not is_explained(run_twice(), [OTHER, OTHER], log=log)
    assert is_explained(run_twice(), [OTHER, "router-worker-2"], log=log), "their group changed"
    assert not is_explained(run_twice(), [ONE, ONE], log=SAID.format(at=10))
