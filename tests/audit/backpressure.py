"""A provider that takes calls and answers nothing while work for it is queued: memory stays within bounds, whoever cannot wait is
told so, another provider's work passes, and then everything drains, answered.

The figures that matter are each process's resident memory with nothing queued, the most that it was until a fifth, half and all of
the jobs were taken, and what callers hear. `--jobs 10000` takes some minutes; its jobs are larger, so that what is held without a bound would show.
"""

import collections
import json
import select
import socket
import threading
import time
from pathlib import Path

import httpx
from support import SEARCH_KEY, eventually

from .callers import Asked
from .provider import STALLING, prompt

# After so many of the jobs memory is looked at.
PARTS = (0.2, 0.5, 1)
MIB = 1 << 20
# A job's body: 8 KiB, and more if there are few jobs: their bytes must be far more than what all processes may hold.
BODY_BYTES, BODY_MAX_BYTES, BODIES_BYTES = 8 << 10, 80 << 10, 800 << 20
# Callers of the stalled endpoint, far more than may have a call or queue for one.
CALLERS = 2_000
# Of one router: `concurrency`, and callers that queue for a place (docs/api.md).
CALLS_MAX, QUEUED_MAX = 256, 256
# Work for providers that are well, while the other one stalls: so many of each endpoint and door.
STEADY = 20
BESIDE = ("steady", "checked")
STEADY_SECONDS = 5
# Jobs that wait are looked at again meanwhile.
SETTLE_SECONDS = 30
FILL_SECONDS = 900
PEAKS_EVERY_SECONDS = 1
# What a process may have resident at any time (docs/reliability.md, "Memory"), by the beginning of its name.
MEMORY_MAX_MIB = {"up": 768, "router-worker": 512, "ingress": 256, "guardrail": 128, "usage-aggregator": 128}
# Those of whom that holds while they have nothing to do: until the jobs are answered.
IDLE = ("guardrail", "usage-aggregator")
AT_ANY_TIME = "at any time"


def stall(session, wanted):
    fleet, callers, provider = session.fleet, session.callers, session.provider
    peaks = Peaks(fleet)
    peaks.start()
    provider.stall()
    memory = {"nothing queued": resident(fleet)}
    callers.padding = "p" * min(max(BODIES_BYTES // wanted.jobs, BODY_BYTES), BODY_MAX_BYTES)
    parts = [int(wanted.jobs * part) for part in PARTS]
    for part in parts:
        queue_jobs(callers, part, "stalling")
        memory[f"{part} jobs queued"] = wait_until_taken(session, part)
    door = Door(fleet.doors_open()[0])
    door.fill(CALLERS)
    memory[f"and {len(door.sockets)} callers"] = resident(fleet)
    routers = sum(p.name == "up" or p.name.startswith("router-worker") for p in fleet.processes)
    refused = door.answers(CALLERS - routers * (CALLS_MAX + QUEUED_MAX))
    steady = ask_beside(session)
    stalled = calls_of(provider)
    ended_early = [number for number in session.watch.answers if number_of(number) < wanted.jobs]
    provider.let_go()
    late = door.wait_for_all(FILL_SECONDS)
    verdict = session.settle()
    memory[AT_ANY_TIME] = peaks.stop()
    figures = verdict.figures
    for name in sorted(memory["nothing queued"]):
        steps = ", ".join(f"{when}: {found[name] // MIB} MiB" for when, found in memory.items() if name in found)
        figures[f"resident memory of {name}"] = steps
    bounds = {name: next(bound for of, bound in MEMORY_MAX_MIB.items() if name.startswith(of)) for name in memory["nothing queued"]}
    beyond = [
        (when, name, size // MIB)
        for when, found in memory.items()
        for name, size in found.items()
        if size > bounds[name] * MIB and not (when == AT_ANY_TIME and name.startswith(IDLE))
    ]
    verdict.check("memory keeps to its bound", beyond)
    figures["calls under way while the provider stalled"] = stalled
    verdict.check("calls keep to their bound", [stalled] if not 0 < stalled <= routers * CALLS_MAX else [])
    verdict.check("whoever asks another provider is answered meanwhile", [s for s in steady if s != "answered"])
    outcomes(verdict, session, wanted.jobs, ended_early)
    told(verdict, refused, late, routers)
    return verdict


def calls_of(provider):
    """Calls of the stalled provider that are under way."""
    return sum(call["ended"] is None for call in provider.calls_of(STALLING))


def number_of(custom_id):
    return int(custom_id.removeprefix("n-"))


def outcomes(verdict, session, jobs, ended_early):
    """Every job has an answer, not an error, and none before the provider gave one."""
    lines = {number_of(custom_id): found for custom_id, found in session.watch.answers.items()}
    verdict.check("no job is ended while its provider stalls", ended_early)
    failed = [(number, lines[number]) for number in range(jobs) if any(line.error for line in lines.get(number, []))]
    verdict.check("jobs are answered, none with an error", failed)
    verdict.check("jobs are answered", [number for number in range(jobs) if number not in lines])


def told(verdict, refused, late, routers):
    """Callers: most are told at once when to come back; the others wait, and are answered."""
    verdict.figures["callers refused while the provider stalled"] = len(refused)
    statuses = collections.Counter(answer["status"] for answer in late)
    verdict.figures["statuses of those that waited"] = dict(statuses)
    wrong = [answer for answer in refused if answer["status"] != 503 or not answer["retry-after"]]
    verdict.check("who cannot wait is told 503 and when to come back", wrong)
    verdict.check("who waited is answered", [status for status in statuses if status != 200])
    if len(late) + len(refused) != CALLERS:
        verdict.check("each caller is told something", [f"{len(refused)} + {len(late)} of {CALLERS}"])
    if not 0 < len(late) <= routers * (CALLS_MAX + QUEUED_MAX):
        verdict.check("few wait for a provider that stalls", [len(late)])


def ask_beside(session):
    """Asks the endpoints beside the stalled one through both doors; what came of each."""
    out, number = [], 20_000_000
    headers = {"authorization": f"Bearer {SEARCH_KEY}"}
    url = session.fleet.doors_open()[0].url + "/v1/chat/completions"
    for model in BESIDE * STEADY:
        body = {"model": model, "messages": [{"role": "user", "content": prompt(number)}], "user": f"n-{number}"}
        answer = httpx.post(url, json=body, headers=headers, timeout=90)
        out.append("answered" if answer.status_code == 200 else f"a caller: {answer.status_code} {answer.text[:200]}")
    callers, answers = session.callers, session.watch.answers
    first = len(callers.asked)
    for model in BESIDE:
        queue_jobs(callers, len(callers.asked) + STEADY, model)
    names = [f"n-{number}" for number in range(first, len(callers.asked))]
    try:
        eventually(lambda: all(name in answers for name in names), "jobs beside the stalled ones are answered", 120)
    except AssertionError:
        pass
    for name in names:
        errors = [line.error for line in answers.get(name, [])] or ["no answer"]
        out.append("answered" if errors == [None] else f"job {name}: {errors}")
    return out


def resident(fleet, what="VmRSS"):
    """Bytes of resident memory of each process that runs, by name; `VmHWM`: the most that it ever had."""
    out = {}
    for process in fleet.processes:
        try:
            status = Path(f"/proc/{process.child.pid}/status").read_text()
        except OSError:
            continue  # it has ended
        sizes = (int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(what + ":"))
        out.update((process.name, size) for size in sizes)
    return out


class Peaks(threading.Thread):
    """The most resident memory that each process ever had, looked at until they have ended: what is drained takes some too."""

    def __init__(self, fleet):
        super().__init__(name="peaks", daemon=True)
        self.fleet, self.over, self.most = fleet, threading.Event(), collections.Counter()

    def run(self):
        while not self.over.wait(PEAKS_EVERY_SECONDS):
            self.most |= collections.Counter(resident(self.fleet, "VmHWM"))

    def stop(self):
        self.over.set()
        self.join()
        return self.most


def queue_jobs(callers, upto, endpoint):
    for number in range(len(callers.asked), upto):
        callers.asked[number] = asked = Asked(number, "job", endpoint)
        callers.job(asked)
        while len(callers.producer) > 5_000:
            callers.producer.poll(0.1)
    callers.flush()


def wait_until_taken(session, count):
    """Until ingress has taken all of the jobs, and memory has had time to settle; the most that each process had meanwhile."""
    until, last, since, most = time.monotonic() + FILL_SECONDS, -1, time.monotonic(), collections.Counter()
    while time.monotonic() < until:
        accepted, _, _ = session.watch.figures()
        most |= collections.Counter(resident(session.fleet))
        if accepted != last:
            last, since = accepted, time.monotonic()
            print(f"          {accepted} of {count} jobs are accepted", flush=True)
        if time.monotonic() - since > SETTLE_SECONDS and accepted >= count:
            return most
        time.sleep(1)
    raise AssertionError(f"only {last} of {count} jobs were accepted")


class Door:
    """Thousands of callers of one replica, as bare sockets: a thread each would be too many."""

    def __init__(self, process):
        self.port, self.sockets, self.poll = process.port, {}, select.epoll()

    def fill(self, count):
        for number in range(count):
            body = json.dumps({"model": "stalling", "messages": [{"role": "user", "content": prompt(10_000_000 + number)}],
                               "user": f"n-{10_000_000 + number}"}).encode()  # fmt: skip
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: audit\r\nauthorization: Bearer {SEARCH_KEY}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            caller = socket.create_connection(("127.0.0.1", self.port), timeout=60)
            caller.sendall(head.encode() + body)
            self.sockets[caller.fileno()] = caller
            self.poll.register(caller.fileno(), select.EPOLLIN)

    def answers(self, least=0):
        """What has been answered, until nobody is answered any more once so many have been."""
        out, until = [], time.monotonic() + FILL_SECONDS
        while (ready := self.poll.poll(STEADY_SECONDS)) or len(out) < least and time.monotonic() < until:
            for number, _ in ready:
                self.poll.unregister(number)
                out.append(read_answer(self.sockets[number]))
                self.sockets[number].close()
        return out

    def wait_for_all(self, seconds):
        until, out = time.monotonic() + seconds, []
        while self.waiting() and time.monotonic() < until:
            out += self.answers()
        return out

    def waiting(self):
        return any(caller.fileno() >= 0 for caller in self.sockets.values())


def read_answer(caller):
    caller.settimeout(60)
    data = b""
    while piece := caller.recv(65536):
        data += piece
    head = data.split(b"\r\n\r\n", 1)[0].decode("latin-1").lower().splitlines()
    headers = dict(line.split(": ", 1) for line in head[1:] if ": " in line)
    return {"status": int(head[0].split()[1]), "retry-after": headers.get("retry-after")}
