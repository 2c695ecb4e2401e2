"""The promises, each checked against what the topics, the table, the provider and the callers say."""

import collections
import signal

from . import accounts
from .ends import Troubles, repeated_records, strange_answers, torn_executions, unexplained_executions
from .callers import KINDS
from .watch import STORED

SHOWN = 5
# What is done to a process, or to what it stands on, and its end.
HARM = ("killed", "paused", "asked to end", "away", "ended by itself")
BACK = ("started", "resumed", "back")
# How long it takes after that until a door answers as before.
SETTLING_SECONDS = 10
# The codes of requests that are ended early.
CANCELLED, EXPIRED = "cancelled", "deadline_exceeded"
# Whoever has a key that another door holds waits until that one's claim is stale, and is refused after 45 s.
CLAIM_SECONDS = 30


class Verdict:
    """Figures, and the promises that were broken, each with the requests that show it."""

    def __init__(self):
        self.figures, self.broken = {}, []

    def check(self, promise, culprits, show=str):
        """`culprits` are what breaks the promise; a culprit may be, or have, a request id or a number."""
        culprits = list(culprits)
        if culprits:
            self.broken.append((promise, culprits, show))

    def print(self):
        print("\nfigures")
        for name, value in self.figures.items():
            print(f"  {name:58} {value}")
        for promise, culprits, show in self.broken:
            print(f"\nBROKEN: {promise}: {len(culprits)}")
            for culprit in culprits[:SHOWN]:
                print(f"  {show(culprit)}")


def judge(fleet, watch, committed, callers, provider, end, calm=False):
    verdict = Verdict()
    table, superseded = fleet.tables()
    accepted = {seen.request_id: seen for seen in watch.requests.values() if seen.accepted}
    doors(verdict, callers, accepted, watch)
    waits(verdict, callers, fleet.timeline)
    ends(verdict, accepted, watch, callers)
    early(verdict, accepted, watch, callers)
    made = [call for call in provider.calls_of() if "number" in call]
    executions(verdict, accepted, watch, Troubles(fleet.timeline, made, fleet.processes), calm)
    told(verdict, accepted, callers)
    ledger(verdict, table, superseded, accepted)
    tellings(verdict, callers, accepted, table)
    calls(verdict, fleet, table, superseded, made, end, appended_of(watch))
    files(verdict, table)
    offsets(verdict, committed)
    verdict.check("each record can be read", watch.unreadable)
    verdict.check("nothing is dead-lettered", watch.dead)
    chaos(verdict, fleet)
    return verdict


def doors(verdict, callers, accepted, watch):
    """What was accepted: the log says so, whatever the callers believe."""
    by_number = collections.defaultdict(list)
    for seen in accepted.values():
        by_number[seen.number].append(seen.request_id)
    asked = callers.asked.values()
    verdict.figures["numbers asked"] = len(asked)
    for kind in KINDS:
        verdict.figures[f"  {kind}"] = sum(a.kind == kind for a in asked)
    verdict.figures["  of large bodies"] = sum(a.endpoint == "large" for a in asked)
    verdict.figures["requests accepted"] = len(accepted)
    verdict.figures["calls whose connection broke"] = sum(a.broken for a in asked)
    if callers.keys:
        keyed = [a for a in asked if a.key and not a.is_job]
        verdict.check(
            "a caller with a key has one request and its end",
            [a for a in keyed if not has_one(a, by_number[a.number])],
            lambda a: f"number {a.number}: requests {by_number[a.number]}, its caller saw {a.seen}, told {a.told}",
        )
    once = [a for a in asked if a.kind.startswith("once")]
    verdict.check(
        "a caller without a key, who sends once, has one request at most",
        [a for a in once if len(by_number[a.number]) > 1],
        lambda a: f"number {a.number}: requests {by_number[a.number]} of {a.tries} tries",
    )
    jobs = [a for a in asked if a.is_job]
    verdict.figures["records of jobs that the broker acknowledged"] = sum(a.acknowledged for a in jobs)
    verdict.figures["  of jobs that were sent twice"] = sum(a.acknowledged for a in jobs if a.sent > 1)
    verdict.check(
        "each acknowledged record of a job is in the log once",
        [a for a in jobs if not a.acknowledged <= len(watch.jobs.get(a.number, [])) <= a.sent],
        lambda a: f"job {a.number}: {a.acknowledged} of {a.sent} acknowledged, records {watch.jobs.get(a.number)}",
    )
    verdict.check(
        "a job in the log is one request, however often it was sent",
        [
            a
            for a in jobs
            if a.number in watch.jobs
            and len(by_number[a.number]) != 1
            and not (expired_at_the_door(a, watch) and not by_number[a.number])
        ],
        lambda a: f"job {a.number}: records {watch.jobs.get(a.number)}, requests {by_number[a.number]}",
    )


def expired_at_the_door(job, watch):
    """Its time was over before it could become a request."""
    lines = watch.answers.get(f"n-{job.number}", [])
    return job.expires_after is not None and {line.error for line in lines} == {EXPIRED}


def has_one(asked, requests):
    """One request, and its end; whoever gave up may have neither."""
    if asked.gave_up:
        return len(requests) <= 1
    return len(requests) == 1 and len(asked.seen) == 1


def waits(verdict, callers, timeline):
    """Nobody waits for ever: neither for an answer at a door that ran, nor in all."""
    asked = callers.asked.values()
    late = [(a, door, since, until) for a in asked for door, since, until in a.timed_out]
    verdict.figures["answers that did not come in time"] = len(late)
    harmed = {(e["name"], e["time"]) for e in timeline.of("paused", "resumed", "killed", "ended by itself")}
    verdict.check(
        "an answer comes, unless its door is paused or killed",
        [
            {"number": a.number, "kind": a.kind, "door": door, "at": round(since - timeline.began, 1)}
            for a, door, since, until in late
            if not any(name == door and since <= time <= until for name, time in harmed)
        ],
    )
    gave_up = [a for a in asked if a.gave_up]
    verdict.figures["callers that gave up after five minutes"] = len(gave_up)
    verdict.check(
        "no caller gives up, unless harm met each of its tries",
        [(a, tries) for a in gave_up if (tries := [each for each in a.in_vain if not met_harm(each, timeline)])],
        lambda found: f"number {found[0].number}, {found[0].kind}, {len(found[1])} of {found[0].tries} tries without harm; "
        + ", ".join(tried(each, timeline) + (" (*)" if each in found[1] else "") for each in found[0].in_vain),
    )
    verdict.check(
        "no caller waits for ever",
        [a for a in asked if not a.over and not a.is_job],
        lambda a: f"number {a.number}, {a.kind}: {a.tries} tries, {a.broken} broken, told {a.told}",
    )


def tried(each, timeline):
    """When, where and how long, and what came of it."""
    door, since, until, what = each
    return f"{since - timeline.began:.1f} s {door} {until - since:.1f} s {what or 'broken off'}"


def met_harm(each, timeline):
    """Whether its door, or what the door stands on, was harmed or had just come back; who waited for another door's claim, that one."""
    door, since, until, _ = each
    if any(is_away(name, until, timeline) for name in ("broker", "storage")):
        return True
    waited = until - since > CLAIM_SECONDS
    for event in timeline.of(*HARM, *BACK):
        is_own = event["name"] in (door, "broker", "storage") and since - SETTLING_SECONDS <= event["time"] <= until
        is_claimants = waited and event["name"].startswith("ingress") and since - CLAIM_SECONDS <= event["time"] <= until
        if is_own or is_claimants:
            return True
    return False


def is_away(name, at, timeline):
    """Whether it was taken away, however long before, and had not come back."""
    events = [event["what"] for event in timeline.of("away", "back", name=name) if event["time"] <= at]
    return events[-1:] == ["away"]


def ends(verdict, accepted, watch, callers):
    verdict.check(
        "each accepted request ends",
        [seen for seen in accepted.values() if not seen.terminals],
        lambda seen: f"{seen.request_id}: number {seen.number}",
    )
    answers = watch.answers
    verdict.figures["terminals on replies"] = sum(len(seen.terminals) for seen in accepted.values())
    verdict.figures["  more than one of a request (raw)"] = sum(len(s.terminals) > 1 for s in accepted.values())
    verdict.figures["chunks on replies"] = sum(seen.chunks for seen in accepted.values())
    verdict.figures["lines on out.search"] = sum(len(lines) for lines in answers.values())
    verdict.figures["  more than one of a record (raw)"] = sum(
        len(lines) > len({line.event_id for line in lines}) for lines in answers.values()
    )
    verdict.check(
        "each job has one answer, by its id",
        [
            {"number": number, "lines": answers.get(f"n-{number}")}
            for number in watch.jobs
            if len({line.request_id for line in answers.get(f"n-{number}", [])}) != 1
        ],
    )
    verdict.check(
        "each record of a job is answered",
        [
            {"number": number, "records": places, "lines": answers.get(f"n-{number}")}
            for number, places in watch.jobs.items()
            if len({line.event_id for line in answers.get(f"n-{number}", [])}) != len(places)
        ],
    )
    asked = {f"n-{a.number}": a for a in callers.asked.values() if a.is_job}
    unknown = answers.keys() - asked.keys()
    verdict.check("each answer is of a job that was asked", [(job, answers[job]) for job in unknown])
    verdict.check(
        "a job's answer is the answer to what was asked",
        [
            {"number": job.number, "line": line}
            for name, job in asked.items()
            for line in answers.get(name, [])
            if line.error is None and line.text != job.answer and not is_large(job, line)
        ],
    )
    outcome = collections.Counter(line.error or "answered" for lines in answers.values() for line in lines)
    verdict.figures["lines on out.search, by outcome"] = ", ".join(f"{c} {n}" for c, n in outcome.most_common())


def early(verdict, accepted, watch, callers):
    """Who was ended early was to be."""
    deleted = [a for a in callers.asked.values() if a.delete_after is not None]
    cancelled = [seen for seen in accepted.values() if any(end.error == CANCELLED for end in seen.terminals)]
    to_be = {a.number for a in deleted}
    # A caller without a key that goes away ends its request.
    leaving = {a.number for a in callers.asked.values() if a.kind.startswith("once")}
    verdict.figures["requests for which DELETE was sent"] = sum(bool(a.deleted) for a in deleted)
    verdict.figures["  that it ended"] = sum(seen.number in to_be for seen in cancelled)
    verdict.check(
        "only a request that was deleted, or whose caller left, is cancelled",
        [seen for seen in cancelled if seen.number not in to_be | leaving],
        lambda seen: f"{seen.request_id}: number {seen.number}, {seen.terminals}",
    )
    verdict.check(
        "a DELETE is taken, or told to come back",
        [a for a in deleted if set(a.deleted) - {200, 202, 503, None}],
        lambda a: f"number {a.number}: {a.deleted}",
    )
    jobs = [a for a in callers.asked.values() if a.is_job]
    expired = [a for a in jobs if any(line.error == EXPIRED for line in watch.answers.get(f"n-{a.number}", []))]
    verdict.figures["jobs with a deadline of seconds"] = sum(a.expires_after is not None for a in jobs)
    verdict.figures["  that expired"] = len(expired)
    verdict.check(
        "only a job with a deadline of its own expires",
        [a for a in expired if a.expires_after is None],
        lambda a: f"number {a.number}: {watch.answers[f'n-{a.number}']}",
    )


def is_large(asked, line):
    """Answers that are too large for a record are fetched by id."""
    return asked.endpoint == "large" and line.text == STORED


def executions(verdict, accepted, watch, troubles, calm):
    seen = accepted.values()
    verdict.figures["requests that several executions ended"] = sum(
        len({end.execution for end in s.terminals}) > 1 for s in seen
    )

    def show(seen):
        return f"{seen.request_id}: number {seen.number}, {seen.terminals}"

    verdict.check("an execution has one end", torn_executions(seen), show)
    verdict.check(
        "more than one execution ends a request only if something befell who worked on it",
        unexplained_executions(seen, troubles),
        show,
    )
    verdict.check("a job's answer is its request's end", strange_answers(accepted, watch.answers, troubles))
    if calm:
        verdict.check("nothing is written twice in calm", repeated_records(seen, watch.answers, watch.jobs))


def told(verdict, accepted, callers):
    """What callers saw, against what was asked and what the log has."""
    heard = [a for a in callers.asked.values() if a.seen]
    verdict.figures["HTTP callers that saw an end"] = len(heard)
    verdict.figures["  and asked again afterwards"] = sum(len(a.again) for a in heard)
    codes = collections.Counter(code or "answered" for a in heard for _, _, code, _ in a.seen)
    verdict.figures["  by what they saw"] = ", ".join(f"{code} {count}" for code, count in codes.most_common())

    def show(a):
        return f"number {a.number}: saw {short(a.seen)}, then {short(a.again)}"

    verdict.check(
        "an answer is the answer to what was asked",
        [a for a in heard for status, _, _, text in a.seen + a.again if status == 200 and text != a.answer],
        show,
    )
    verdict.check(
        "what a caller saw is an end that the log has",
        [a for a in heard for end in a.seen + a.again if not known_end(accepted.get(end[1]), end)],
        lambda a: f"{show(a)}, the log has {[accepted[i].terminals for i in a.told & accepted.keys()]}",
    )
    unlike = [a for a in heard if any(not same(a, end) for end in a.again)]
    verdict.check("who asks again is told the same", unlike, show)


def short(ends):
    return [(*end[:3], end[3] and end[3][:80]) for end in ends]


def same(asked, again):
    """A stream of one's own may break off; the repeat tells how it ended."""
    first = asked.seen[0]
    alike = first[2] == again[2] and (first[2] is not None or first[3] == again[3])
    return first[1] == again[1] and (alike or NOT_ON_REPLIES & {first[2], again[2]})


# Errors of a caller's own stream, or from before a request was accepted, stand on no topic.
NOT_ON_REPLIES = {"stream_interrupted", "overloaded", "rate_limit_exceeded"}


def known_end(seen, end):
    _, _, code, text = end
    if code in NOT_ON_REPLIES:
        return True
    # Of a stream that broke, the caller has the part that came.
    return seen is not None and any(code == e.error and (code or e.text in (STORED, text)) for e in seen.terminals)


def ledger(verdict, table, superseded, accepted):
    rows = table.query("SELECT request_id, count(*) AS n FROM usage GROUP BY ALL")
    found = {row["request_id"]: row["n"] for row in rows}
    verdict.figures["rows in usage (count(*))"] = table.count()
    verdict.figures["rows in usage_superseded"] = superseded.count()
    verdict.check("each request has one row", [(i, n) for i, n in found.items() if n != 1])
    verdict.check("each accepted request has a row (losses)", accepted.keys() - found.keys())
    verdict.check("each row is of an accepted request", found.keys() - accepted.keys())
    wrong = accounts.superseded_wrong(accounts.executions(table), accounts.executions(superseded))
    verdict.check("a superseded row is another execution of a request with a row", wrong)
    if table.count() != len(accepted):
        verdict.check("count(*) equals the requests", [f"{table.count()} rows, {len(accepted)} requests"])


def tellings(verdict, callers, accepted, table):
    """What a caller saw, what is stored for its return, and what its row says."""
    seen = {i: (a.number, code, text) for a in callers.asked.values() for _, i, code, text in a.seen if i in accepted}
    verdict.figures["stored answers fetched again"] = len(callers.stored)
    verdict.check("an ended request can be fetched", [i for i, found in callers.stored.items() if found is None])
    verdict.check(
        "what is stored is what the caller saw",
        [
            {"request_id": i, "seen": seen[i], "stored": found}
            for i, found in callers.stored.items()
            if found is not None and i in seen and seen[i][1] not in NOT_ON_REPLIES
            if found[1] != seen[i][1] or (found[1] is None and found[2] != seen[i][2])
        ],
    )
    rows = {row["request_id"]: row["error_code"] for row in table.query("SELECT request_id, error_code FROM usage")}
    # Not forbidden: a kill may fall between an answer and its row, and the second run may end otherwise.
    verdict.figures["rows that tell of another end than the caller saw"] = sum(
        rows.get(i, code) != code for i, (_, code, _) in seen.items() if code not in NOT_ON_REPLIES
    )


def appended_of(watch):
    return {execution: at for seen in watch.requests.values() for execution, at in seen.appended.items()}


def calls(verdict, fleet, table, superseded, made, end, appended):
    attempts = accounts.attempts_of(table, superseded, appended=appended)
    explained, unexplained, unseen = accounts.settle(made, attempts, fleet.timeline, end)
    figures = verdict.figures
    figures["calls that the provider saw"] = len(made)
    figures["  by mood"] = ", ".join(
        f"{mood or 'well'} {count}" for mood, count in collections.Counter(call["mood"] for call in made).most_common()
    )
    figures["  attempts in usage"] = sum(a["table"] == "usage" for found in attempts.values() for a in found)
    figures["  attempts in usage_superseded"] = sum(a["table"] != "usage" for found in attempts.values() for a in found)
    figures["  cut off by the end of their process"] = len(explained)
    figures["  attempts that did not reach the provider"] = len(unseen)

    def show(call):
        began = call["began"] - fleet.timeline.began
        how = f"{call['how']} after {call['ended'] - call['began']:.1f} s" if call["ended"] else "running"
        return f"number {call['number']}: by {call['replica']} at {began:.1f} s, mood {call['mood'] or 'well'}, {how}"

    verdict.check("each call is in a row or was cut off by a kill", unexplained, show)
    verdict.check("an attempt that was answered is a call the provider saw", [a for a in unseen if a["status"]])


def files(verdict, table):
    ranges = collections.defaultdict(list)
    for name, footer in table.footers().items():
        ranges[int(footer["partition"])].append((int(footer["first_offset"]), int(footer["last_offset"]), name))
    verdict.figures["files of usage"] = sum(len(found) for found in ranges.values())
    torn = []
    for partition, found in ranges.items():
        found.sort()
        for (_, last, name), (first, _, after) in zip(found, found[1:]):
            if first != last + 1:
                torn.append((partition, name, last, after, first))
    verdict.check("the files' ranges are contiguous and disjoint", torn)
    verdict.check("the files begin with the topic", [(p, f[0]) for p, f in ranges.items() if f[0][0] != 0])


def offsets(verdict, committed):
    verdict.figures["looks at committed offsets"] = committed.looks
    verdict.check("committed offsets never go back", committed.backwards)
    verdict.check("committed offsets are looked at all the time", committed.blind())


# A process that has just been made cannot yet take a signal.
NEW_SECONDS = 3


def in_order(fleet, ended):
    begun = [e["time"] for e in fleet.timeline.of("started", "added", name=ended["name"])]
    since = max((time for time in begun if time < ended["time"]), default=0)
    return ended["code"] == 0 or (ended["code"] == -signal.SIGTERM and ended["time"] - since < NEW_SECONDS)


def chaos(verdict, fleet):
    counted = collections.Counter(event["what"] + (" " + event["name"] if event["what"] == "away" else "")
                                  for event in fleet.timeline.events)  # fmt: skip
    for what in ("killed", "paused", "asked to end", "added", "removed", "away broker", "away storage"):
        verdict.figures[f"chaos: {what}"] = counted[what]
    verdict.figures["processes that ended by themselves"] = counted["ended by itself"]
    verdict.check(
        "who is asked to end does so in order", [e for e in fleet.timeline.of("ended") if not in_order(fleet, e)]
    )
    verdict.check("who is asked to end does so within its time", fleet.timeline.of("did not end"))
    panicked = [p for p in fleet.processes if "panicked at" in p.log()]
    verdict.check("nothing panics", panicked, lambda p: p.name)
    aborted = [e for e in fleet.timeline.of("ended by itself") if e["code"] < 0]
    verdict.check("nothing crashes by itself", aborted)
