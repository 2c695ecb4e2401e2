"""Ends against each other: what the replies, a team's answers and the timeline say of one request.

An execution has one distinct end, however often its record was sent. Another execution may end the same request, but
only where something befell the fleet while the request lived: work that was not committed is done again.
"""

# A member that is gone is missed after a session of 6 s; who takes over may still wait for others to let go of theirs.
# A broker that is back has to catch up with what everybody sent again.
REBALANCE_SECONDS = 60
# What makes work move between processes, or be sent again.
TROUBLES = ("killed", "ended by itself", "asked to end", "ended", "did not end", "added", "removed", "started", "armed")
# Nothing that a request passes through.
ASIDE = ("usage-aggregator", "storage")


class Troubles:
    """The spans in which work may be done twice."""

    def __init__(self, timeline):
        self.spans = []
        begun = {}
        for event in timeline.of(*TROUBLES, "paused", "resumed", "away", "back"):
            name, time = event["name"], event["time"]
            if name.startswith(ASIDE):
                continue
            if event["what"] in ("paused", "away"):
                begun.setdefault(name, time)
            else:
                self.spans.append((begun.pop(name, time), time + REBALANCE_SECONDS))
        self.spans += [(time, float("inf")) for time in begun.values()]

    def during(self, seen):
        began, ended = seen.life()
        return any(since <= ended and until >= began for since, until in self.spans)


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
    """Requests that several executions have ended although nothing befell the fleet."""
    several = [seen for seen in accepted if len({end.execution for end in seen.terminals}) > 1]
    return [seen for seen in several if not troubles.during(seen)]


def strange_answers(accepted, answers, troubles):
    """Answers of jobs that say what no end on the replies says; a kill between the two would explain it."""
    out = []
    for job, lines in answers.items():
        for line in lines:
            seen = accepted.get(line.request_id)
            if seen and not any(line.tells(end) for end in seen.terminals) and not troubles.during(seen):
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
