"""Providers that answer nothing while work is queued: memory stays flat, the door pushes back, then everything drains.

The figures that matter are each process's resident memory with nothing queued, with a fifth and with all of the jobs,
and what callers hear at the door's bound.
"""

import collections
import json
import select
import socket
import time
from pathlib import Path

from support import SEARCH_KEY

from .callers import Asked
from .provider import prompt

FIFTH = 5
# Callers that wait on one replica at most (docs/api.md), and some more that must be refused.
WAITING_MAX = 10_000
MORE = 100
STEADY_SECONDS = 5
FILL_SECONDS = 900
# What a process may grow by between a fifth of the jobs and all of them.
GROWTH_MAX_MIB = 96
MIB = 1 << 20


def stall(session, wanted):
    fleet, callers, provider = session.fleet, session.callers, session.provider
    provider.stall()
    memory = {"nothing queued": resident(fleet)}
    for part in (wanted.jobs // FIFTH, wanted.jobs):
        queue_jobs(callers, part)
        wait_until_taken(session, part)
        memory[f"{part} jobs queued"] = resident(fleet)
    door = Door(fleet.doors_open()[0])
    door.fill(WAITING_MAX + MORE)
    memory[f"and {len(door.sockets)} callers"] = resident(fleet)
    refused = door.answers()
    provider.let_go()
    told = refused + door.wait_for_all(FILL_SECONDS)
    verdict = session.settle()
    verdict.figures["callers refused while the provider stalled"] = len(refused)
    verdict.figures["callers answered afterwards"] = len(told) - len(refused)
    for name in sorted(memory["nothing queued"]):
        steps = ", ".join(f"{when}: {found[name] // MIB} MiB" for when, found in memory.items() if name in found)
        verdict.figures[f"resident memory of {name}"] = steps
    wrong = [answer for answer in refused if answer["status"] not in (429, 503) or not answer["retry-after"]]
    verdict.check("the door refuses with 429 or 503 and retry-after", wrong)
    if len(refused) < MORE:
        verdict.check("the door has a bound", [f"{len(refused)} of {len(door.sockets)} callers were refused"])
    late = collections.Counter(answer["status"] for answer in told[len(refused) :])
    verdict.figures["statuses of those that waited"] = dict(late)
    verdict.check("who waited is answered", [status for status in late if status != 200])
    few, many = (memory[f"{part} jobs queued"] for part in (wanted.jobs // FIFTH, wanted.jobs))
    grown = [
        (name, few[name] // MIB, many[name] // MIB) for name in few if many[name] > few[name] + GROWTH_MAX_MIB * MIB
    ]
    verdict.check("memory stays flat", grown)
    return verdict


def resident(fleet):
    """Bytes of resident memory of each process, by name."""
    out = {}
    for process in fleet.processes:
        status = Path(f"/proc/{process.child.pid}/status").read_text()
        out[process.name] = next(
            int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS")
        )
    return out


def queue_jobs(callers, upto):
    for number in range(len(callers.asked), upto):
        callers.asked[number] = asked = Asked(number, "job", "plain")
        callers.job(asked)
        while len(callers.producer) > 5_000:
            callers.producer.poll(0.1)
    callers.flush()


def wait_until_taken(session, count):
    """Until ingress has taken all of the jobs, and memory has had time to settle."""
    until, last, since = time.monotonic() + FILL_SECONDS, -1, time.monotonic()
    while time.monotonic() < until:
        accepted, _, _ = session.watch.figures()
        if accepted != last:
            last, since = accepted, time.monotonic()
            print(f"          {accepted} of {count} jobs are accepted", flush=True)
        if time.monotonic() - since > STEADY_SECONDS and accepted >= count:
            return
        time.sleep(1)
    raise AssertionError(f"only {last} of {count} jobs were accepted")


class Door:
    """Thousands of callers of one replica, as bare sockets: a thread each would be too many."""

    def __init__(self, process):
        self.port, self.sockets, self.poll = process.port, {}, select.epoll()

    def fill(self, count):
        for number in range(count):
            body = json.dumps({"model": "lone", "messages": [{"role": "user", "content": prompt(10_000_000 + number)}],
                               "user": f"n-{10_000_000 + number}"}).encode()  # fmt: skip
            head = (
                f"POST /v1/chat/completions HTTP/1.1\r\nhost: audit\r\nauthorization: Bearer {SEARCH_KEY}\r\n"
                f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            caller = socket.create_connection(("127.0.0.1", self.port), timeout=60)
            caller.sendall(head.encode() + body)
            self.sockets[caller.fileno()] = caller
            self.poll.register(caller.fileno(), select.EPOLLIN)

    def answers(self, seconds=STEADY_SECONDS):
        """What has been answered, until nobody is answered for `seconds`."""
        out = []
        while ready := self.poll.poll(seconds):
            for number, _ in ready:
                self.poll.unregister(number)
                out.append(read_answer(self.sockets[number]))
                self.sockets[number].close()
        return out

    def wait_for_all(self, seconds):
        until, out, left = time.monotonic() + seconds, [], len(self.sockets)
        while len(out) < left and time.monotonic() < until:
            found = self.answers()
            out += found
            if not found and not self.waiting():
                break
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
