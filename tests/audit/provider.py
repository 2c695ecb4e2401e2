"""A provider that misbehaves at random and keeps account of its calls, by the number in the prompt.

Each router-worker is told a base URL of its own (`/p/NAME.REPLICA/v1`), so that a call whose row is missing can be laid
at the door of one replica, and of what happened to it.
"""

import random
import re
import threading
import time

import fake_provider

NUMBER = re.compile(r"audit request (\d+)\.")
SLOW_SECONDS = (0.1, 1.5)
VERY_SLOW_SECONDS = (3.0, 8.0)
# What a call meets, by weight. `stream` faults need a stream; others meet both.
MOODS = {
    "": 700, "slow": 90, "very-slow": 12, "429": 45, "429-bare": 20, "500": 40, "503": 20, "reset": 20,
    "reset-stream": 20, "truncate": 20, "no-end": 8, "malformed": 5,
}  # fmt: skip
STREAM_MOODS = {"reset-stream", "truncate", "no-end"}
SAY_WORDS = 12
# The provider that may be told to stall.
STALLING = "gamma"
STALL_MAX_SECONDS = 1800
# One that refuses the first call for each request, for longer than a job waits in place: so it is parked.
THROTTLING = "epsilon"
THROTTLED_SECONDS = 6


def prompt(number, words=SAY_WORDS):
    """The user text of a request; the answer echoes it, in several chunks if it is a stream."""
    return f"audit request {number}. " + "word " * words


class Handler(fake_provider.Handler):
    def answer(self, kind, request, call, fault):
        provider = self.provider
        found = NUMBER.search(call.pop("body"))
        name, _, replica = call["name"].partition(".")
        call.update(number=int(found[1]), name=name, replica=replica, began=time.time(), ended=None, how="running")
        del call["headers"]
        if name == STALLING:
            provider.going.wait(STALL_MAX_SECONDS)
        mood = provider.mood(call, request.get("stream") is True)
        call["mood"] = mood
        try:
            if mood in ("slow", "very-slow"):
                low, high = SLOW_SECONDS if mood == "slow" else VERY_SLOW_SECONDS
                # Waiting as for a gate notices a caller that goes away.
                gate = f"slow-{id(call)}"
                threading.Timer(provider.pick(low, high), provider.open_gate, [gate]).start()
                call["model"] = gate
                if not self.wait(call, gate=True):
                    call["how"] = "caller gone"
                    return self.drop()
                provider.gates.pop(gate, None)
                mood = ""
            after = {"429": 1, "503": 1, "429-long": THROTTLED_SECONDS}.get(mood)
            fault = {"fault": mood.removesuffix("-bare").removesuffix("-long"), "retry_after": after} if mood else None
            super().answer(kind, request, call, fault)
            call["how"] = "answered" if not mood else mood
        except OSError:
            call["how"] = "caller gone"
            raise
        finally:
            call["ended"] = time.time()


class Provider(fake_provider.FakeProvider):
    """Moods come from a seed of their own, so that a run's choices do not depend on which thread is first elsewhere."""

    def __init__(self, seed):
        super().__init__(handler=Handler)
        self.random = random.Random(seed)
        self.calm = False
        self.throttled = set()  # numbers
        self.going = threading.Event()
        self.going.set()

    def stall(self):
        """One of the providers takes calls and answers nothing until it is let go; all are well from now on."""
        self.calm = True
        self.going.clear()

    def let_go(self):
        self.going.set()

    def mood(self, call, stream):
        with self.lock:
            if call["name"] == THROTTLING:
                is_first = not self.calm and call["number"] not in self.throttled
                self.throttled.add(call["number"])
                return "429-long" if is_first else ""
            mood = "" if self.calm else self.random.choices(list(MOODS), list(MOODS.values()))[0]
        return "" if mood in STREAM_MOODS and not stream else mood

    def pick(self, low, high):
        with self.lock:
            return self.random.uniform(low, high)

    def base_url(self, name, replica):
        return self.url(f"{name}.{replica}")
