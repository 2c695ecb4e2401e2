"""One audit: what runs, who watches it, the load, the recovery, the verdict, and what a person needs to judge it."""

import time

from .callers import Callers
from .verdict import judge
from .watch import Committed, Watch

PROGRESS_SECONDS = 5
# Nothing moves for this long and something has not ended: it waits for ever.
STALLED_SECONDS = 120
TAIL_LINES = 40
EXPLAINED = 8
FETCHED_MAX = 300
FIGURES = "accepted, ended, rows on the topic, rows in the table, answered records of jobs, callers"


class Session:
    def __init__(self, fleet, provider, seed, rate, keys):
        self.fleet, self.provider = fleet, provider
        self.watch, self.committed = Watch(fleet), Committed(fleet)
        self.callers = Callers(fleet, seed, rate, keys)
        self.watch.on_accepted = self.callers.accepted
        self.watch.start()
        self.committed.start()

    def progress(self, seconds, goes_on=lambda: True):
        until = time.monotonic() + seconds
        while time.monotonic() < until and goes_on():
            time.sleep(min(PROGRESS_SECONDS, max(0, until - time.monotonic())))
            accepted, ended, rows = self.watch.figures()
            asked = len(self.callers.asked)
            print(f"          asked {asked}, accepted {accepted}, ended {ended}, rows {rows}", flush=True)

    def settle(self, calm=False):
        """Ends the load, lets everything recover, and gives the verdict; `calm`: nothing was done to the fleet."""
        self.callers.stop()
        self.provider.calm = True
        self.fleet.wait_until_ready()
        self.fleet.timeline.note("recovering", "all")
        self.callers.flush()
        stalled = self.recover()
        self.callers.fetch_again(FETCHED_MAX)
        end = time.time()
        self.committed.stop()
        self.watch.stop()
        assert self.watch.failure is None, f"the reader of the topics failed: {self.watch.failure!r}"
        codes = self.fleet.end_all()
        verdict = judge(self.fleet, self.watch, self.committed, self.callers, self.provider, end, calm)
        verdict.check("nothing waits for ever", stalled)
        verdict.check("all end in order at the end", [(name, code) for name, code in codes.items() if code != 0])
        return verdict

    def recover(self):
        """Waits until all that was accepted has ended and is in the table; what it says is what waits for ever."""
        last, moved = None, time.monotonic()
        while True:
            for process in self.fleet.processes:
                self.fleet.revive(process)
            figures = (
                *self.watch.figures(),
                self.fleet.tables()[0].count(),
                self.watch.answered(),
                self.callers.running(),
            )
            if figures != last:
                last, moved = figures, time.monotonic()
                print(f"          recovering: {FIGURES}: {figures}", flush=True)
            elif self.has_ended(*figures):
                return []
            if self.watch.failure or time.monotonic() - moved > STALLED_SECONDS:
                print(f"          nothing has moved for {STALLED_SECONDS} s", flush=True)
                return [f"nothing had moved for {STALLED_SECONDS} s; {FIGURES}: {figures}"]
            time.sleep(2)

    def has_ended(self, accepted, ended, rows, table, answered, running):
        acknowledged = sum(asked.acknowledged for asked in list(self.callers.asked.values()))
        jobs = sum(len(places) for places in list(self.watch.jobs.values()))
        return running == 0 and accepted == ended and table >= accepted and answered >= jobs >= acknowledged

    def explain(self, verdict):
        """What a person needs to find the cause: records on every topic, what was done when, the logs' ends."""
        watch = self.watch
        for request_id in culprits(verdict, watch)[:EXPLAINED]:
            seen = watch.requests[request_id]
            print(f"\nrecords of {request_id} (number {seen.number}, {seen.chunks} chunks), at Unix time:")
            print("\n".join("  " + line for line in seen.lines()))
            for process in self.fleet.processes:
                for line in [line for line in process.log().splitlines() if request_id in line][-5:]:
                    print(f"  {process.name}: {line[:300]}")
        for place, why, value in watch.unreadable[:EXPLAINED]:
            print(f"\nunreadable {place}: {why}: {value}")
        for place, headers, value in watch.dead[:3]:
            print(f"\ndead letter {place}: {headers} {value[:300]}")
        print("\nwhat was done, at Unix time:")
        for event in self.fleet.timeline.events:
            print("  " + " ".join(f"{value:.3f}" if key == "time" else str(value) for key, value in event.items()))
        for process in self.fleet.processes:
            print(f"\n--- the end of {process.name}'s log ---\n{process.tail(TAIL_LINES)}")


def culprits(verdict, watch):
    """The ids of requests that show a broken promise: at most three a promise."""
    out = []
    for _, found, _ in verdict.broken:
        for culprit in found[:3]:
            named = culprit if isinstance(culprit, dict) else getattr(culprit, "__dict__", {"request_id": culprit})
            number, request_id = named.get("number"), named.get("request_id")
            ids = {request_id} if isinstance(request_id, str) else set()
            if number is not None:
                ids |= {i for i, seen in watch.requests.items() if seen.number == number}
            out += [i for i in sorted(ids) if i in watch.requests and i not in out]
    return out
