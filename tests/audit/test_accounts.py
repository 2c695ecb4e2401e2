"""The audit's own arithmetic: what it must find, and what it must not blame on anybody."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.audit.accounts import settle  # noqa: E402
from tests.audit.fleet import Timeline  # noqa: E402


def call(began, ended, replica="router-worker", number=7, how="answered"):
    return {"number": number, "replica": replica, "began": began, "ended": ended, "how": how, "mood": ""}


def attempt(began, ended, appended=None, status=200):
    row = {"table": "usage", "request_id": "r", "appended": appended}
    return {"began": began, "ended": ended, "status": status, "error": None, **row}


def timeline(*events):
    out = Timeline()
    out.events = [{"time": time, "what": what, "name": name} for time, what, name in events]
    return out


KILL = (120.0, "killed", "router-worker")


@pytest.mark.parametrize(
    ("calls", "attempts", "events", "expected"),
    [
        pytest.param([call(100, 101)], [attempt(99.9, 101.1)], [], (0, 0, 0), id="in a row"),
        pytest.param([call(100, 101)], [], [], (0, 1, 0), id="lost, and nothing happened"),
        pytest.param([call(100, 101)], [], [KILL], (0, 1, 0), id="ended long before the kill"),
        pytest.param([call(118, 119)], [], [KILL], (1, 0, 0), id="its row was on its way"),
        pytest.param([call(100, None)], [], [KILL], (1, 0, 0), id="it ran when its process was killed"),
        pytest.param([call(120.8, 120.8, how="caller gone")], [], [KILL], (1, 0, 0), id="heard of after the kill"),
        pytest.param([call(120.8, 120.8, how="reset")], [], [KILL], (1, 0, 0), id="heard of after the kill, and not to be answered"),
        pytest.param([call(120.8, 120.9)], [], [KILL], (0, 1, 0), id="of the process after the one that was killed"),
        pytest.param([call(118, 119)], [], [(120.0, "killed", "router-worker-1")], (0, 1, 0), id="another was killed"),
        pytest.param([call(118, 119)], [], [(120.0, "ended", "router-worker")], (0, 1, 0), id="a stop in order"),
        pytest.param([call(100, 101), call(119, None)], [], [KILL], (2, 0, 0), id="both attempts of one execution"),
        pytest.param(
            [call(100, 101)],
            [],
            [(101.5, "away", "broker"), (119.0, "back", "broker"), KILL],
            (1, 0, 0),
            id="the broker could not take its row",
        ),
        pytest.param(
            [call(100, 101), call(103, 104)], [attempt(99.9, 101.1)], [], (0, 1, 0), id="one of two is in a row"
        ),
        # Found by an hour of chaos: the stopped one's attempt took the other's call.
        pytest.param(
            [call(108.0, 108.1, replica="router-worker-1"), call(110, 110.1)],
            [attempt(100, 110.1), attempt(108, 108.1, status=429)],
            [(100.1, "paused", "router-worker"), (110.0, "resumed", "router-worker")],
            (0, 0, 0),
            id="stopped between an attempt's beginning and its call",
        ),
        pytest.param(
            [call(80, 81), call(103, 104)], [attempt(80, 81, appended=101)], [KILL], (1, 0, 0), id="all rows are slow"
        ),
        pytest.param(
            [call(80, 81), call(103, 104)],
            [attempt(80, 81, appended=101)],
            [(82.0, "paused", "router-worker"), (100.0, "resumed", "router-worker"), KILL],
            (0, 1, 0),
            id="a row came late from a pause",
        ),
        pytest.param([], [attempt(99.9, 101.1)], [], (0, 0, 1), id="a row of a call that nobody saw"),
        pytest.param([call(103, 103)], [attempt(99.9, 100.1, status=None)], [], (0, 0, 0), id="heard of after it was cancelled"),
        pytest.param([call(103, 103)], [attempt(99.9, 100.1)], [], (0, 1, 1), id="begun after it was answered"),
    ],
)
def test_calls_and_attempts(calls, attempts, events, expected):
    explained, unexplained, unseen = settle(calls, {7: attempts} if attempts else {}, timeline(*events), 200.0)
    assert (len(explained), len(unexplained), len(unseen)) == expected
