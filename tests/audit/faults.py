"""Crashes at named points: a service is started with `TOLLGATE_FAULT=point:n`, dies there, is started again without.

The points are those of `tollgate_bus::fault::point`; a debug build has them. A point that no process passes is a
failure: it was renamed, or what it stands behind does not happen any more.
"""

import signal
import time

from support import eventually

# (service, point, its how-manyeth passing, what makes it be passed)
FAULTS = [
    ("router-worker", "offset.committing", 2, None),
    ("router-worker", "offset.committed", 2, None),
    ("guardrail", "offset.committing", 2, None),
    ("guardrail", "offset.committed", 2, None),
    ("ingress", "offset.committing", 2, None),
    ("ingress", "offset.committed", 2, None),
    ("usage-aggregator", "ledger.file.encoded", 2, None),
    ("usage-aggregator", "ledger.file.put", 2, None),
    ("usage-aggregator", "ledger.offset.committed", 2, None),
    ("usage-aggregator", "ledger.file.begun", 2, None),
    # Only work that was done twice has superseded rows.
    ("usage-aggregator", "ledger.superseded.put", 1, "router-worker"),
]
PASS_SECONDS = 60
PROVOKE_EVERY_SECONDS = 3
BETWEEN_SECONDS = 1


def crash_at_each(fleet, faults=None):
    """Crashes at each point under the load that runs; gives those that nobody passed."""
    missing = []
    for service, point, nth, provoked_by in faults or FAULTS:
        process = fleet.one_of(service)
        if provoked_by and fleet.one_of(provoked_by) is process:
            fleet.kill_one(process)  # what it had not committed is done again by the armed one
        else:
            fleet.end_one(process)
        unarmed, process.env = process.env, {**process.env, "TOLLGATE_FAULT": f"{point}:{nth}"}
        process.start()
        fleet.timeline.note("armed", process.name, point=point)
        code = await_crash(fleet, process, provoked_by)
        process.env = unarmed
        if code == -signal.SIGABRT:
            fleet.timeline.note("killed", process.name, point=point)
        else:
            missing.append(f"{service} did not die at {point}, passing {nth}: its exit code is {code}")
            fleet.kill_one(process)
        fleet.start_one(process)
        eventually(lambda process=process: fleet.is_up(process), f"{process.name} is ready", PASS_SECONDS)
        time.sleep(BETWEEN_SECONDS)
    return missing


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
