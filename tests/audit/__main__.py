"""`python -m tests.audit --broker kafka|embedded --seconds N --seed N`: chaos, recovery, verdict.

Exit code 0 if every promise held. The seed is printed first; it fixes what is drawn, not when the machine gets to it.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from .callers import Callers
from .chaos import Chaos
from .fleet import Fleet
from .provider import Provider
from .verdict import judge
from .watch import Committed, Watch

ROOT = Path(__file__).resolve().parents[2]
PROGRESS_SECONDS = 5
# Nothing moves for this long and something has not ended: it waits for ever.
STALLED_SECONDS = 120
TAIL_LINES = 40
EXPLAINED = 8


def main():
    parser = argparse.ArgumentParser(prog="tests.audit", description="Chaos on a running gateway, and its promises checked.")
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--seconds", type=float, default=60, help="how long requests and chaos go on")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--requests-per-second", type=float, default=15)
    parser.add_argument("--without-keys", action="store_true", help="callers do not rely on idempotency keys")
    parser.add_argument("--no-chaos", action="store_true", help="only the load and the checks")
    parser.add_argument("--keep", action="store_true", help="leave logs and tables in their folder")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 32)
    print(f"audit: seed {seed}, broker {options.broker}, {options.seconds:.0f} s", flush=True)
    binary = os.environ.get("TOLLGATE_BIN", str(ROOT / "target" / "debug" / "tollgate"))
    folder = Path(tempfile.mkdtemp(prefix="tollgate-audit-"))
    provider = Provider(seed + 1).start()
    fleet = Fleet(binary, options.broker, folder, provider)
    try:
        verdict = run(fleet, provider, seed, options)
    finally:
        fleet.clean()
        provider.stop()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    if verdict.broken:
        print(f"\naudit: FAILED, {len(verdict.broken)} promises broken (seed {seed}, broker {options.broker})")
        return 1
    print(f"\naudit: passed (seed {seed}, broker {options.broker})")
    return 0


def run(fleet, provider, seed, options):
    watch, committed = Watch(fleet), Committed(fleet)
    callers = Callers(fleet, seed + 2, options.requests_per_second, keys=not options.without_keys)
    chaos = Chaos(fleet, seed + 3)
    for thread in (watch, committed, callers) + (() if options.no_chaos else (chaos,)):
        thread.start()
    progress(fleet, watch, callers, options.seconds)
    if not options.no_chaos:
        chaos.stop()
    callers.stop()
    provider.calm = True
    fleet.wait_until_ready()
    fleet.timeline.note("recovering", "all")
    callers.flush()
    recover(fleet, watch, callers)
    end = time.time()
    committed.stop()
    watch.stop()
    codes = fleet.end_all()
    assert watch.failure is None, f"the reader of the topics failed: {watch.failure!r}"
    verdict = judge(fleet, watch, committed, callers, provider, end)
    verdict.check("all end in order at the end", [(name, code) for name, code in codes.items() if code != 0])
    verdict.print()
    if verdict.broken:
        explain(fleet, watch, verdict)
    return verdict


def progress(fleet, watch, callers, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(min(PROGRESS_SECONDS, max(0, until - time.monotonic())))
        accepted, ended, rows = watch.figures()
        print(f"          asked {len(callers.asked)}, accepted {accepted}, ended {ended}, rows {rows}", flush=True)


def recover(fleet, watch, callers):
    """Waits until all that was accepted has ended and is in the table, as long as anything still moves."""
    last, moved = None, time.monotonic()
    while True:
        for process in fleet.processes:
            fleet.revive(process)
        figures = (*watch.figures(), fleet.tables()[0].count(), len(watch.answers), callers.running())
        accepted, ended, rows, table, answers, running = figures
        acknowledged = sum(asked.acknowledged for asked in callers.asked.values())
        if accepted == ended and table >= accepted and len(watch.jobs) >= acknowledged and running == 0:
            if answers >= len(watch.jobs) and figures == last:
                return
        if figures != last:
            last, moved = figures, time.monotonic()
            names = "accepted, ended, rows on the topic, rows in the table, answered jobs, callers"
            print(f"          recovering: {names}: {figures}", flush=True)
        if time.monotonic() - moved > STALLED_SECONDS:
            print(f"          nothing has moved for {STALLED_SECONDS} s", flush=True)
            return
        time.sleep(2)


def explain(fleet, watch, verdict):
    """What a person needs to find the cause: the requests' records on every topic, what was done when, the logs' ends."""
    wanted = []
    for _, culprits, _ in verdict.broken:
        for culprit in culprits[:3]:
            number = getattr(culprit, "number", None)
            if isinstance(culprit, dict):
                number = culprit.get("number")
            ids = {culprit} if isinstance(culprit, str) else set()
            ids |= {culprit["request_id"]} if isinstance(culprit, dict) and "request_id" in culprit else set()
            ids |= {i for i, seen in watch.requests.items() if number is not None and seen.number == number}
            wanted += [i for i in ids if i in watch.requests and i not in wanted]
    for request_id in wanted[:EXPLAINED]:
        seen = watch.requests[request_id]
        print(f"\nrecords of {request_id} (number {seen.number}, {seen.chunks} chunks), at Unix time:")
        print("\n".join("  " + line for line in seen.lines()))
        for process in fleet.processes:
            for line in [line for line in process.log().splitlines() if request_id in line][-5:]:
                print(f"  {process.name}: {line[:300]}")
    for place, headers, value in watch.dead[:3]:
        print(f"\ndead letter {place}: {headers} {value[:300]}")
    print("\nwhat was done, at Unix time:")
    for event in fleet.timeline.events:
        print("  " + " ".join(f"{value:.3f}" if key == "time" else str(value) for key, value in event.items()))
    for process in fleet.processes:
        print(f"\n--- the end of {process.name}'s log ---\n{process.tail(TAIL_LINES)}")


if __name__ == "__main__":
    sys.exit(main())
