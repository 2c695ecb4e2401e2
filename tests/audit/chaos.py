"""What befalls the fleet, drawn from a seed: kills, pauses, restarts, replicas come and go, broker or storage away.

Each kind is drawn once before any is drawn twice, so that a short run has them all. One thread draws and does. What
lasts (a pause, an absence) is ended by a later turn of the same thread, so that several misfortunes overlap.
"""

import heapq
import itertools
import random
import re
import signal
import threading
import time

from .fleet import REPLICAS, REPLICAS_MAX

TURN_SECONDS = 0.1
BETWEEN_SECONDS = (0.5, 4.0)
AWAY_SECONDS = (0.0, 3.0)
PAUSE_SECONDS = (0.5, 13.0)  # a session lasts 6 s
LONG_PAUSE_SECONDS = (31.0, 40.0)  # a claim of an idempotency key is stale after 30 s
BROKER_AWAY_SECONDS = (0.5, 5.0)
BROKER_START_TRIES = 3
BROKER_EVERY_SECONDS = 45
STORAGE_AWAY_SECONDS = (1.0, 15.0)
TERM_SECONDS = 60
SEPARATE = {
    "kill": 30, "pause": 25, "restart": 15, "add": 10, "remove": 10, "broker": 6, "storage": 10, "long_pause": 2,
}  # fmt: skip
TOGETHER = {"kill": 50, "pause": 25, "restart": 25}
# One process is everything: less often, or nothing would ever be answered.
TOGETHER_BETWEEN_SECONDS = (3.0, 10.0)


def heeds_sigterm(pid):
    """Whether a process has a handler for SIGTERM yet."""
    with open(f"/proc/{pid}/status") as status:
        caught = next(line for line in status if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


class Chaos(threading.Thread):
    def __init__(self, fleet, seed):
        super().__init__(name="chaos", daemon=True)
        self.fleet, self.random = fleet, random.Random(seed)
        self.note = fleet.timeline.note
        self.over, self.failure = threading.Event(), None
        self.due, self.order = [], itertools.count()
        self.busy = set()
        self.broker_at = 0.0
        self.weights = TOGETHER if fleet.embedded else SEPARATE
        self.first, self.done = self.once_each(), dict.fromkeys(self.weights, 0)

    def once_each(self):
        """Each kind once, in the seed's order; the longest first, or the end of a short run would cut it short."""
        kinds = sorted(self.weights)
        self.random.shuffle(kinds)
        return sorted(kinds, key=lambda kind: kind != "long_pause")

    def missing(self):
        """The kinds of harm that never came to be."""
        return [kind for kind, count in self.done.items() if not count]

    def run(self):
        try:
            next_at = time.monotonic() + self.pause_between()
            while not self.over.wait(TURN_SECONDS):
                self.turn()
                if time.monotonic() >= next_at:
                    self.act()
                    next_at = time.monotonic() + self.pause_between()
            while self.due:
                self.turn(early=True)
                time.sleep(TURN_SECONDS)
            self.restore()
        except BaseException as failure:
            self.failure = failure
            raise

    def stop(self):
        """Ends the chaos: everything that is wanted runs again when this returns."""
        self.over.set()
        self.join()
        assert self.failure is None, f"the chaos itself failed: {self.failure!r}"

    def pause_between(self):
        return self.random.uniform(*(TOGETHER_BETWEEN_SECONDS if self.fleet.embedded else BETWEEN_SECONDS))

    def later(self, seconds, what, *arguments):
        heapq.heappush(self.due, (time.monotonic() + seconds, next(self.order), what, arguments))

    def turn(self, early=False):
        while self.due and (early or self.due[0][0] <= time.monotonic()):
            _, _, what, arguments = heapq.heappop(self.due)
            what(*arguments)
        for process in self.fleet.processes:
            if process not in self.busy:
                self.fleet.revive(process)

    def act(self):
        """One misfortune. Each kind says whether it could be done now; the first of a kind is tried until it can."""
        kind = self.first[0] if self.first else self.random.choices(list(self.weights), list(self.weights.values()))[0]
        if getattr(self, kind)():
            self.done[kind] += 1
            self.first = self.first[1:]
        elif self.first:
            self.first.append(self.first.pop(0))

    def pick(self, service=""):
        idle = [p for p in self.fleet.processes if p not in self.busy and p.name in self.fleet.wanted]
        idle = [p for p in idle if p.name.startswith(service)]
        return self.random.choice(idle) if idle else None

    def kill(self):
        process = self.pick()
        if process is None:
            return False
        self.fleet.kill_one(process)
        self.back_later(process)
        return True

    def back_later(self, process):
        self.busy.add(process)
        self.later(self.random.uniform(*AWAY_SECONDS), self.back, process)

    def back(self, process):
        self.fleet.start_one(process)
        self.busy.discard(process)

    def pause(self):
        return self.pause_one(self.pick(), PAUSE_SECONDS)

    def long_pause(self):
        """One of the doors only: there others may take over what it has claimed."""
        return self.pause_one(self.pick("ingress"), LONG_PAUSE_SECONDS)

    def pause_one(self, process, bounds):
        if process is None:
            return False
        seconds = self.random.uniform(*bounds)
        self.note("paused", process.name, seconds=round(seconds, 1))
        process.signal(signal.SIGSTOP)
        self.busy.add(process)
        self.later(seconds, self.go_on, process)
        return True

    def go_on(self, process):
        process.signal(signal.SIGCONT)
        self.note("resumed", process.name)
        self.busy.discard(process)

    def restart(self):
        process = self.pick()
        if process is None:
            return False
        self.ask_to_end(process, self.back)
        return True

    def ask_to_end(self, process, then):
        self.fleet.wanted.discard(process.name)
        self.busy.add(process)
        if process.child.poll() is None and not heeds_sigterm(process.child.pid):
            # The loader is still at it: nothing of the product runs that could end in order.
            return self.later(TURN_SECONDS, self.ask_to_end, process, then)
        self.note("asked to end", process.name)
        process.signal(signal.SIGTERM)
        self.await_end(process, time.monotonic() + TERM_SECONDS, then)

    def await_end(self, process, until, then):
        code = process.child.poll()
        if code is None and time.monotonic() < until:
            return self.later(TURN_SECONDS, self.await_end, process, until, then)
        if code is None:
            self.note("did not end", process.name, seconds=TERM_SECONDS)
            self.fleet.kill_one(process)
            return then(process)
        self.note("ended", process.name, code=code)
        then(process)

    def replicas(self, service):
        return [p for p in self.fleet.processes if re.fullmatch(service + r"(-\d+)?", p.name)]

    def add(self):
        service = self.random.choice(list(REPLICAS))
        all_of_it = self.replicas(service)
        removed = [p for p in all_of_it if p.name not in self.fleet.wanted and p not in self.busy]
        if removed:
            self.fleet.start_one(removed[0])
        elif len(all_of_it) < REPLICAS_MAX[service]:
            process = self.fleet.add(f"{service}-{len(all_of_it)}")
            self.fleet.wanted.add(process.name)
            self.note("added", process.name)
        else:
            return False
        return True

    def remove(self):
        process = self.pick()
        if process is None:
            return False
        service = re.sub(r"-\d+$", "", process.name)
        if len([p for p in self.replicas(service) if p.name in self.fleet.wanted]) < 2:
            return False
        if self.random.random() < 0.5:
            self.fleet.kill_one(process)
            self.note("removed", process.name)
        else:
            self.ask_to_end(process, self.removed)
        return True

    def removed(self, process):
        self.busy.discard(process)
        self.note("removed", process.name)

    def broker(self):
        if time.monotonic() < self.broker_at:
            return False
        self.broker_at = time.monotonic() + BROKER_EVERY_SECONDS
        self.note("away", "broker")
        seconds = self.random.uniform(*BROKER_AWAY_SECONDS)
        self.await_script(self.fleet.kafka("stop"), lambda: self.later(seconds, self.broker_back))
        return True

    def broker_back(self, tries=BROKER_START_TRIES):
        """On a machine that is too busy, Apache Kafka gives its start up after a minute."""
        script, back = self.fleet.kafka("start"), lambda: self.note("back", "broker")
        self.await_script(script, back, (lambda: self.broker_back(tries - 1)) if tries > 1 else None)

    def await_script(self, script, then, again=None):
        """Goes on with `then` once the script has ended, or with `again` if it failed: a broker takes its time to stop."""
        code = script.poll()
        if code is None:
            return self.later(TURN_SECONDS, self.await_script, script, then, again)
        if code != 0 and again:
            return again()
        assert code == 0, f"scripts/kafka ended with {code}"
        then()

    def storage(self):
        proxy = self.fleet.storage.proxy
        if proxy.away:
            return False
        self.note("away", "storage")
        proxy.take_away()
        self.later(self.random.uniform(*STORAGE_AWAY_SECONDS), self.storage_back)
        return True

    def storage_back(self):
        self.fleet.storage.proxy.give_back()
        self.note("back", "storage")

    def restore(self):
        """At least one replica of each service runs at the end."""
        services = ["up"] if self.fleet.embedded else list(REPLICAS)
        for service in services:
            all_of_it = self.replicas(service)
            if not any(p.name in self.fleet.wanted for p in all_of_it):
                self.fleet.start_one(all_of_it[0])
