"""Provider calls against the ledger: each call that the provider saw is an attempt of a row, or was cut off by a kill.

A call is matched to an attempt of the same number by time: both clocks are this machine's. What is left without an
attempt must be the work of a replica that ended hard while the call ran or its row was on its way to the topic. A
graceful stop excuses nothing, and neither does a pause: who wakes up again writes its row.
"""

SLACK_SECONDS = 1.0
# A burst of calls is heard of after their process has died, or after it has given them up: nobody takes their answers, or what was
# to be none.
GONE_SECONDS = 3.0
# From the provider's last byte to the acknowledged row, with everything up: far less, unless the machine is slow, which
# the rows that came tell. Time in which the broker was away or the replica stood still does not count.
ON_ITS_WAY_SECONDS = 10.0
ON_ITS_WAY_MAX_SECONDS = 60.0
ATTEMPTS = """
    SELECT request_id, end_user, execution_id, unnest([struct_pack(
        began := epoch_us(a.start_time) / 1e6, ended := epoch_us(a.end_time) / 1e6,
        status := a.status_code, error := a.error_code) for a in routing_information.attempts]) AS attempt
    FROM usage WHERE end_user IS NOT NULL
"""
HARD_ENDS = ("killed", "ended by itself")


def number_of(end_user):
    return int(end_user.removeprefix("n-"))


def attempts_of(*ledgers, appended=None):
    """number → its attempts in all tables, the oldest first; `appended`: execution → when its row came to its topic.

    A request that was parked carries its attempts, so if a crash has it run twice from there, both rows tell of them.
    """
    out, seen = {}, set()
    for ledger in ledgers:
        for row in ledger.query(ATTEMPTS):
            attempt = {**row["attempt"], "request_id": row["request_id"], "table": ledger.table}
            attempt["appended"] = (appended or {}).get(row["execution_id"])
            told = (row["request_id"], attempt["began"], attempt["ended"])
            if told not in seen:
                seen.add(told)
                out.setdefault(number_of(row["end_user"]), []).append(attempt)
    for attempts in out.values():
        attempts.sort(key=lambda attempt: attempt["began"])
    return out


def match(calls, attempts):
    """Pairs the calls of one number with its attempts: the pairs, and what is left over of both.

    The shortest attempt chooses first: a process that was stopped between an attempt's beginning and its call has one whose
    time another execution's calls fit as well.
    """
    calls, pairs, left = sorted(calls, key=lambda call: call["began"]), [], []
    for attempt in sorted(attempts, key=lambda attempt: attempt["ended"] - attempt["began"]):
        slack = GONE_SECONDS if attempt["status"] is None else SLACK_SECONDS
        fits = [call for call in calls if attempt["began"] - SLACK_SECONDS <= call["began"] <= attempt["ended"] + slack]
        if fits:
            nearest = min(fits, key=lambda call: abs(call["began"] - attempt["began"]))
            calls.remove(nearest)
            pairs.append((nearest, attempt))
        else:
            left.append(attempt)
    return pairs, calls, left


def slowest_row(pairs, still):
    """The longest way of any row from the attempt that was answered to the topic, within reason."""
    ways = [ON_ITS_WAY_SECONDS]
    for call, attempt in pairs:
        appended = attempt.get("appended")
        if appended and attempt["status"] == 200 and not attempt["error"]:
            lasted = appended - attempt["ended"] - still.seconds(call["replica"], attempt["ended"], appended)
            ways.append(min(lasted, ON_ITS_WAY_MAX_SECONDS))
    return max(ways)


def executions(ledger):
    """(request id, execution id) of each row."""
    return [tuple(row.values()) for row in ledger.query("SELECT request_id, execution_id FROM usage")]


def superseded_wrong(rows, superseded):
    """Rows of `usage_superseded` that should not be there. Both: (request id, execution id) of each row of a table."""
    first, seen, out = dict(rows), set(), []
    for request_id, execution in superseded:
        if (request_id, execution) in seen:
            out.append({"request_id": request_id, "execution": execution, "why": "it is there twice"})
        if request_id not in first:
            out.append({"request_id": request_id, "execution": execution, "why": "its request has no row in usage"})
        elif first[request_id] == execution:
            out.append({"request_id": request_id, "execution": execution, "why": "it is the row in usage"})
        seen.add((request_id, execution))
    return out


class Still:
    """Times at which a replica could not finish anything: it was paused, or its broker was away."""

    def __init__(self, timeline, end):
        self.timeline, self.end = timeline, end

    def spans(self, replica):
        yield from self.between(("away", "back"), "broker")
        yield from self.between(("paused", "resumed"), replica)

    def between(self, whats, name):
        began = None
        for event in self.timeline.of(*whats, "killed", name=name):
            if event["what"] == whats[0]:
                began = event["time"]
            elif began is not None:
                yield began, event["time"]
                began = None
        if began is not None:
            yield began, self.end

    def seconds(self, replica, since, until):
        return sum(max(0.0, min(end, until) - max(began, since)) for began, end in self.spans(replica))


def hard_end(timeline, still, call, on_its_way):
    """The end that cut this call's execution off; none if nothing explains it."""
    slack = GONE_SECONDS if call["how"] in ("caller gone", "reset") else 0.0
    for event in timeline.of(*HARD_ENDS, name=call["replica"]):
        if event["time"] < call["began"] - slack:
            continue
        last = call["chain_ended"] or event["time"]
        idle = event["time"] - last - still.seconds(call["replica"], last, event["time"])
        return event if idle <= on_its_way else None
    return None


def chains(calls, timeline):
    """Notes when the last lost call of each one's execution ended: a row tells of all its attempts or of none."""
    for call in calls:
        ends = [e["time"] for e in timeline.of(*HARD_ENDS, name=call["replica"]) if e["time"] >= call["began"]]
        upto = min(ends, default=float("inf"))
        same = [c for c in calls if c["replica"] == call["replica"] and call["began"] <= c["began"] <= upto]
        running = any(c["ended"] is None or c["ended"] > upto for c in same)
        call["chain_ended"] = None if running else max(c["ended"] for c in same)
    return calls


def settle(calls, attempts, timeline, end):
    """(lost calls that a hard end explains, those that nothing explains, attempts that no call matches)."""
    still = Still(timeline, end)
    by_number = {}
    for call in calls:
        by_number.setdefault(call["number"], []).append(call)
    found, lost, unseen = [], [], []
    for number in by_number.keys() | attempts.keys():
        pairs, without, left = match(by_number.get(number, []), attempts.get(number, []))
        found += pairs
        lost += chains(without, timeline)
        unseen += left
    on_its_way = slowest_row(found, still)
    explained, unexplained = [], []
    for call in lost:
        (explained if hard_end(timeline, still, call, on_its_way) else unexplained).append(call)
    return explained, unexplained, unseen
