"""`python -m tests.audit --broker kafka|embedded --seconds N --seed N`: chaos, recovery, verdict.

Exit code 0 if every promise held. The seed is printed first; it fixes what is drawn, not when the machine gets to it.
"""

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from support import share_certificates

from .backpressure import stall
from .chaos import Chaos
from .faults import crash_at_each, faults_of
from .fleet import Fleet
from .provider import Provider
from .session import Session

ROOT = Path(__file__).resolve().parents[2]


def options():
    parser = argparse.ArgumentParser(
        prog="tests.audit", description="Chaos on a running gateway; its promises checked."
    )
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--seconds", type=float, default=60, help="how long requests and chaos go on")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--requests-per-second", type=float, default=15)
    parser.add_argument("--mode", choices=("chaos", "calm", "faults", "backpressure"), default="chaos")
    parser.add_argument("--point", action="append", help="with --mode faults: only this point")
    parser.add_argument("--jobs", type=int, default=50_000, help="with --mode backpressure: how many jobs are queued")
    parser.add_argument("--without-keys", action="store_true", help="callers do not rely on idempotency keys")
    parser.add_argument("--keep", action="store_true", help="leave logs and tables in their folder")
    return parser.parse_args()


def main():
    wanted = options()
    share_certificates()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that nothing is left running
    what = f"{wanted.mode}, seed {wanted.seed}, broker {wanted.broker}"
    print(f"audit: {what}", flush=True)
    binary = os.environ.get("TOLLGATE_BIN", str(ROOT / "target" / "debug" / "tollgate"))
    folder = Path(tempfile.mkdtemp(prefix="tollgate-audit-"))
    provider = Provider(wanted.seed).start()
    fleet = Fleet(binary, wanted.broker, folder, provider)
    try:
        session = Session(fleet, provider, wanted.seed + 1, wanted.requests_per_second, not wanted.without_keys)
        verdict = MODES[wanted.mode](session, wanted)
        verdict.print()
        if verdict.broken:
            session.explain(verdict)
    finally:
        fleet.clean()
        provider.stop()
        if wanted.keep:
            print(f"logs and tables: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    outcome = f"FAILED, {len(verdict.broken)} promises broken" if verdict.broken else "passed"
    print(f"\naudit: {outcome} ({what})")
    return 1 if verdict.broken else 0


def chaos(session, wanted):
    misfortune = Chaos(session.fleet, wanted.seed + 2)
    session.callers.start()
    misfortune.start()
    session.progress(wanted.seconds, goes_on=misfortune.is_alive)
    misfortune.stop()
    verdict = session.settle()
    for kind, count in misfortune.done.items():
        verdict.figures[f"harm: {kind}"] = count
    verdict.check("each kind of harm is done at least once; a longer run may do", misfortune.missing())
    return verdict


def calm(session, wanted):
    session.callers.start()
    session.progress(wanted.seconds)
    return session.settle(calm=True)


def faults(session, wanted):
    session.callers.start()
    planned = faults_of(session.fleet, wanted.point)
    missing = crash_at_each(session.fleet, planned)
    verdict = session.settle()
    verdict.figures["crashes at a named point"] = len(planned) - len(missing)
    verdict.check("each fault point is passed", missing if planned else ["there is no such point"])
    return verdict


MODES = {"chaos": chaos, "calm": calm, "faults": faults, "backpressure": stall}

if __name__ == "__main__":
    sys.exit(main())
