"""Ends against each other: what the replies, a team's answers and the timeline say of one request.

An execution has one distinct end, however often its record was sent. Another execution may end the same request, but
only where something befell those who worked on it, while it lived: work that was not committed is done again.
"""

import collections
import datetime

# A member that is gone is missed after a session of 6 s; who takes over may still wait for others to let go of theirs.
# A broker that is back has to catch up with what everybody sent again.
REBALANCE_SECONDS = 60
# Who stood still, or whose broker was away, finds out only then that others have taken its work over.
LATE_SECONDS = 20
SKEW_SECONDS = 2
# What makes work move between processes, or be sent again.
TROUBLES = ("killed", "ended by itself", "asked to end", "ended", "did not end", "added", "removed", "started", "armed")
# What begins and ends a time in which a process does not do its work, or the broker its own.
BEGINNINGS = ("paused", "away", "asked to end")
ENDINGS = ("resumed", "back", "killed", "ended by itself", "did not end", "ended")
# Nothing that a request passes through.
ASIDE = ("usage-aggregator", "storage")
BROKER, ROUTER = "broker", "router-worker"
# What a process says that was taken for gone although nothing was done to it, or that does not know what others have finished.
LOST = ("all partitions were lost", "finished records may be worked on again")


class Troubles:
    """The spans in which work may be done twice: anywhere, by the routers, and by one process alone.

    `calls` are the provider's, of which each says what replica made it; `processes` have their logs.
    """

    def __init__(self, timeline, calls=(), processes=()):
        self.anywhere, self.routers, self.own = [], [], collections.defaultdict(list)
        self.replicas = collections.defaultdict(list)
        for call in calls:
            self.replicas[call["number"]].append(call["replica"])
        events = [
            event
            for event in timeline.of(*TROUBLES, "paused", "resumed", "away", "back")
            if not event["name"].startswith(ASIDE)
        ]
        self.note_rebalances(events)
        self.note_own(events)
        for process in processes:
            for at in lost_at(process.log()):
                self.own[process.name].append((at - LATE_SECONDS, at + LATE_SECONDS))
                self.note_rebalance(process.name, at - LATE_SECONDS, at + REBALANCE_SECONDS)

    def note_rebalances(self, events):
        begun = {}
        for event in events:
            name, time = event["name"], event["time"]
            if event["what"] in ("paused", "away"):
                begun.setdefault(name, time)
            else:
                self.note_rebalance(name, begun.pop(name, time), time + REBALANCE_SECONDS)
        for name, time in begun.items():
            self.note_rebalance(name, time, float("inf"))

    def note_rebalance(self, name, since, until):
        self.anywhere.append((since, until))
        if name.startswith((ROUTER, BROKER, "up")):
            self.routers.append((since, until))

    def note_own(self, events):
        begun = {}
        for event in events:
            what, name, time = event["what"], event["name"], event["time"]
            if what in BEGINNINGS:
                begun.setdefault(name, time)
            elif what in ENDINGS:
                late = LATE_SECONDS if what in ("resumed", "back") else SKEW_SECONDS
                self.own[name].append((begun.pop(name, time) - SKEW_SECONDS, time + late))
        for name, time in begun.items():
            self.own[name].append((time - SKEW_SECONDS, float("inf")))

    def explain(self, seen):
        """Whether a request may have been worked on twice.

        If it came to the routers once, it was delivered to one of them again. That takes a trouble of one that worked on it, or of
        the broker; between two of them its partition may also have moved with any change of their group.
        """
        if seen.approvals() != 1:
            return overlap(self.anywhere, seen)
        replicas = self.replicas.get(seen.number, [])
        if any(overlap(self.own[name], seen) for name in {BROKER, *replicas}):
            return True
        return not self.is_of_one(seen, replicas) and overlap(self.routers, seen)

    @staticmethod
    def is_of_one(seen, replicas):
        """Whether one replica is known to have made all calls of all that ended it."""
        made = [seen.attempts.get(end.execution, 0) for end in seen.terminals]
        return len(set(replicas)) == 1 and all(made) and sum(made) <= len(replicas)


def overlap(spans, seen):
    began, ended = seen.life()
    return any(since <= ended and until >= began for since, until in spans)


def lost_at(log):
    """When a process said so, in Unix seconds."""
    lines = [line for line in log.splitlines() if any(said in line for said in LOST)]
    return [datetime.datetime.fromisoformat(line.split()[0]).timestamp() for line in lines]


def torn_executions(accepted):
    """Requests of which one execution has ended in two different ways."""
    out = []
    for seen in accepted:
        ends = {}
        for end in seen.terminals:
            ends.setdefault(end.execution, set()).add(end.outcome)
        out += [seen] * any(len(found) > 1 for found in ends.values())
    return out


def unexplained_executions(accepted, troubles):
    """Requests that several executions have ended although nothing befell who worked on them."""
    several = [seen for seen in accepted if len({end.execution for end in seen.terminals}) > 1]
    return [seen for seen in several if not troubles.explain(seen)]


def strange_answers(accepted, answers, troubles):
    """Answers of jobs that say what no end on the replies says; a kill between the two would explain it."""
    out = []
    for job, lines in answers.items():
        for line in lines:
            seen = accepted.get(line.request_id)
            if seen and not any(line.tells(end) for end in seen.terminals) and not troubles.explain(seen):
                out.append({"request_id": line.request_id, "job": job, "line": line, "ends": seen.terminals})
    return out


def repeated_records(accepted, answers, records):
    """What stands on a topic more than once: with nothing done to the fleet, nothing does.

    `records`: number → the records of its job.
    """
    out = [seen for seen in accepted if len(seen.terminals) > 1 or seen.rows > 1]
    for job, lines in answers.items():
        if len(lines) > len(records.get(int(job.removeprefix("n-")), [])):
            out.append({"request_id": lines[0].request_id, "job": job, "lines": len(lines)})
    return out
