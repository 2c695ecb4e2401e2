"""Crashes at named points: a service is started with `TOLLGATE_FAULT=point:n`, dies there, is started again without.

The points are those of `tollgate_bus::fault::point`; a debug build has them. A point that no process passes is a
failure: it was renamed, or what it stands behind does not happen any more. In one process, services share the bus's
points, so each is crashed at once there, whoever passes it.
"""

import signal
import time

from support import eventually

# (service, point, its how-manyeth passing, what makes it be passed)
FAULTS = [
    # A key is claimed, its request is not published.
    ("ingress", "idempotency.claimed", 3, None),
    ("ingress", "offset.committing", 2, None),
    ("ingress", "offset.committed", 2, None),
    # A request has passed its checks. One that is blocked, or whose answer was checked, ends here.
    ("guardrail", "approved.acknowledged", 3, None),
    ("guardrail", "reply.acknowledged", 3, None),
    ("guardrail", "usage.acknowledged", 3, None),
    ("guardrail", "offset.committing", 2, None),
    ("guardrail", "offset.committed", 2, None),
    # An answer goes out: to its caller, or first to its checks.
    ("router-worker", "reply.acknowledged", 5, None),
    ("router-worker", "usage.acknowledged", 5, None),
    ("router-worker", "completion.acknowledged", 3, None),
    # A job goes on to wait.
    ("router-worker", "parked.acknowledged", 1, None),
    ("router-worker", "offset.committing", 2, None),
    ("router-worker", "offset.committed", 2, None),
    ("usage-aggregator", "ledger.file.encoded", 2, None),
    ("usage-aggregator", "ledger.file.put", 2, None),
    ("usage-aggregator", "ledger.offset.committed", 2, None),
    ("usage-aggregator", "ledger.file.begun", 2, None),
    # Only work that was done twice has superseded rows.
    ("usage-aggregator", "ledger.superseded.put", 1, "router-worker"),
]
PASS_SECONDS = 120
# A member that was killed is missed after 6 s, and only then does another repeat its work.
PROVOKE_EVERY_SECONDS = 12
BETWEEN_SECONDS = 1


def faults_of(fleet, points=None):
    """Those of FAULTS that tell apart in this fleet, or of them the named points."""
    out, seen = [], set()
    for fault in FAULTS:
        process, point = fleet.one_of(fault[0]), fault[1]
        if (process, point) not in seen and point in (points or [point]):
            seen.add((process, point))
            out.append(fault)
    return out


def crash_at_each(fleet, faults):
    """Crashes at each point under the load that runs; gives those that nobody passed.

    What died at one point recovers armed with the next one, if that is its own too.
    """
    missing = []
    for fault, after in zip(faults, [*faults[1:], None]):
        process = fleet.one_of(fault[0])
        if process.child.poll() is None:
            fleet.end_one(process)
        unarmed = process.env
        if not crash_at(fleet, process, *fault[1:]):
            missing.append(f"{fault[0]} did not die at {fault[1]}, passing {fault[2]}")
            fleet.kill_one(process)
        process.env = unarmed
        if after is None or fleet.one_of(after[0]) is not process:
            fleet.start_one(process)
            eventually(lambda process=process: fleet.is_up(process), f"{process.name} is ready", PASS_SECONDS)
            time.sleep(BETWEEN_SECONDS)
    return missing


def crash_at(fleet, process, point, nth, provoked_by):
    """Starts the process armed; whether it died there."""
    process.env = {**process.env, "TOLLGATE_FAULT": f"{point}:{nth}"}
    fleet.timeline.note("armed", process.name, point=point)
    fleet.start_one(process)
    code = await_crash(fleet, process, provoked_by)
    if code == -signal.SIGABRT:
        fleet.timeline.note("killed", process.name, point=point)
    return code == -signal.SIGABRT


def await_crash(fleet, process, provoked_by):
    """The exit code of the armed process; none if it lives on."""
    until = time.monotonic() + PASS_SECONDS
    provoke_at = time.monotonic() + PROVOKE_EVERY_SECONDS
    while process.child.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
        if provoked_by and time.monotonic() >= provoke_at:
            other = fleet.one_of(provoked_by)
            if other is not process:
                fleet.kill_one(other)
                fleet.start_one(other)
            provoke_at = time.monotonic() + PROVOKE_EVERY_SECONDS
    return process.child.poll()
