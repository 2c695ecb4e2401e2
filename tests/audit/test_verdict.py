"""The verdict itself: a run in which all is well passes; each wrong thing put into it is found, by its own promise."""

import json
import sys
import threading
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.audit import watch as watching  # noqa: E402
from tests.audit.callers import Asked  # noqa: E402
from tests.audit.chaos import Chaos  # noqa: E402
from tests.audit.fleet import Timeline  # noqa: E402
from tests.audit.verdict import judge  # noqa: E402

EXECUTION, OTHER = "execution-1", "execution-2"
ASKED_AT, ENDED_AT = 1000.0, 1001.0
TOPIC = "a.usage"


class Table:
    """A table as the verdict asks for it: its rows as (request id, execution id)."""

    def __init__(self, *rows):
        self.rows = list(rows)
        self.ranges = [(0, 9), (10, 19)]

    def count(self):
        return len(self.rows)

    def query(self, sql):
        if "attempts" in sql:
            return []
        if "count(*)" in sql:
            ids = [request_id for request_id, _ in self.rows]
            return [{"request_id": i, "n": ids.count(i)} for i in sorted(set(ids))]
        more = (lambda _: {"error_code": None}) if "error_code" in sql else (lambda e: {"execution_id": e})
        return [{"request_id": i, **more(e)} for i, e in self.rows]

    def footers(self):
        ranges = enumerate(self.ranges)
        return {f"{n}.parquet": {"partition": 0, "first_offset": a, "last_offset": z} for n, (a, z) in ranges}


class World:
    """A keyed caller (number 0, request `r0`) and a job (number 1, request `r1`), both answered."""

    def __init__(self):
        self.timeline, self.calm = Timeline(), False
        self.table, self.superseded = Table(("r0", EXECUTION), ("r1", EXECUTION)), Table()
        self.caller, self.job = Asked(0, "keyed", "plain"), Asked(1, "job", "plain")
        self.caller.seen, self.caller.told = [(200, "r0", None, self.caller.answer)], {"r0"}
        self.caller.over = self.job.over = True
        self.job.sent = self.job.acknowledged = 1
        self.watch = watching.Watch(types.SimpleNamespace(prefix="a."))
        for asked in (self.caller, self.job):
            seen = self.watch.of(f"r{asked.number}")
            seen.accepted, seen.number, seen.rows = True, asked.number, 1
            seen.began, seen.ended = ASKED_AT, ENDED_AT
            seen.terminals = [watching.End(EXECUTION, 200, None, asked.answer)]
        self.watch.jobs = {1: [("in.search", 0, 0, ASKED_AT)]}
        self.line = watching.Line("r1", "r1", 200, None, self.job.answer)
        self.watch.answers = {"n-1": [self.line]}
        self.committed = types.SimpleNamespace(backwards=[], looks=9, blind=list)

    def happened(self, what, name, time):
        self.timeline.events.append({"time": time, "what": what, "name": name, "code": 0})

    def broken(self):
        fleet = types.SimpleNamespace(
            timeline=self.timeline, processes=[], tables=lambda: (self.table, self.superseded)
        )
        callers = types.SimpleNamespace(asked={a.number: a for a in (self.caller, self.job)}, stored={}, keys=True)
        provider = types.SimpleNamespace(calls_of=list)
        verdict = judge(fleet, self.watch, self.committed, callers, provider, ENDED_AT, self.calm)
        for promise, culprits, show in verdict.broken:
            assert [show(culprit) for culprit in culprits], promise
        return [promise for promise, _, _ in verdict.broken]

    def end(self, request_id, *terminals):
        self.watch.requests[request_id].terminals += terminals


def two_ends(world):
    world.end("r0", watching.End(EXECUTION, 500, "internal_error", None))


def two_texts(world):
    world.end("r0", watching.End(EXECUTION, 200, None, "echo: other"))


def two_executions(world):
    world.end("r0", watching.End(OTHER, 200, None, world.caller.answer))


def two_executions_after_a_kill_of_the_aggregator(world):
    two_executions(world)
    world.happened("killed", "usage-aggregator", ASKED_AT + 0.5)


def two_executions_long_after_a_kill(world):
    two_executions(world)
    world.happened("killed", "router-worker", ASKED_AT - 100)


def answered_twice_in_calm(world):
    world.calm = True
    world.watch.answers["n-1"].append(world.line)


def sent_twice_in_calm(world):
    world.calm = True
    world.end("r0", *world.watch.requests["r0"].terminals)


def no_end(world):
    world.watch.requests["r0"].terminals = []


def answered_and_refused(world):
    world.watch.answers["n-1"].append(world.line._replace(status=None, error="internal_error", text=None))


def answered_otherwise(world):
    world.watch.answers["n-1"] = [world.line._replace(text="echo: other")]


def answered_under_two_ids(world):
    world.watch.answers["n-1"].append(world.line._replace(request_id="r9"))


def resent_and_answered_once(world):
    world.job.sent = world.job.acknowledged = 2
    world.watch.jobs[1].append(("in.search", 1, 0, ASKED_AT))


def job_lost(world):
    world.job.sent = world.job.acknowledged = 2


def job_taken_twice(world):
    world.watch.requests["r2"] = seen = watching.Seen("r2")
    seen.__dict__.update({**world.watch.requests["r1"].__dict__, "request_id": "r2"})
    world.table.rows.append(("r2", EXECUTION))


def answer_to_nobody(world):
    world.watch.answers["n-9"] = [world.line]


def hung_door(world):
    world.caller.timed_out = [("ingress-0", ASKED_AT, ASKED_AT + 90)]
    world.happened("paused", "ingress-1", ASKED_AT + 1)


def hung_caller(world):
    world.caller.over = False


def caller_that_gave_up(world):
    world.caller.gave_up = True
    world.caller.in_vain = [("ingress-0", ASKED_AT, ASKED_AT + 20, None), ("ingress-1", ASKED_AT + 60, ASKED_AT + 65, None)]
    world.happened("killed", "ingress-0", ASKED_AT + 19)


def repeat_told_otherwise(world):
    world.caller.again = [(200, "r9", None, world.caller.answer)]


def end_that_nobody_wrote(world):
    world.caller.seen = [(503, "r0", "provider_unavailable", None)]


def wrong_answer(world):
    world.caller.seen = [(200, "r0", None, "echo: other")]


def doubled_row(world):
    world.table.rows.append(("r0", OTHER))


def missing_row(world):
    world.table.rows.pop()


def row_of_nobody(world):
    world.table.rows.append(("r9", EXECUTION))


def doubled_superseded_row(world):
    world.superseded.rows = [("r0", OTHER), ("r0", OTHER)]


def superseded_row_that_counts(world):
    world.superseded.rows = [("r0", EXECUTION)]


def superseded_row_of_nobody(world):
    world.superseded.rows = [("r9", OTHER)]


def cancelled(world, asked):
    """A request ended early instead of answered."""
    (end,) = world.watch.requests[f"r{asked.number}"].terminals
    world.watch.requests[f"r{asked.number}"].terminals = [end._replace(status=499, error="cancelled", text=None)]
    if asked.is_job:
        world.watch.answers["n-1"] = [world.line._replace(status=None, error="cancelled", text=None)]
    else:
        asked.seen = [(499, "r0", "cancelled", None)]


def cancelled_by_nobody(world):
    cancelled(world, world.caller)


def delete_that_is_refused(world):
    world.caller.delete_after, world.caller.deleted = 0.1, [404]


def expired(world):
    """No request, and an answer that says why."""
    del world.watch.requests["r1"]
    world.table.rows.pop()
    world.watch.answers["n-1"] = [world.line._replace(status=None, error="deadline_exceeded", text=None)]


def expired_without_a_deadline(world):
    expired(world)


def torn_range(world):
    world.table.ranges = [(0, 9), (11, 19)]


def overlapping_ranges(world):
    world.table.ranges = [(0, 9), (9, 19)]


def late_beginning(world):
    world.table.ranges = [(1, 9)]


def offset_that_goes_back(world):
    committed = committed_of("g")
    for offset in (7, 5):
        committed.note("g", types.SimpleNamespace(topic=TOPIC, partition=0, offset=offset))
    world.committed.backwards = committed.backwards


def dead_letter(world):
    world.watch.dead = [("dead-letters", {}, b"")]


def record_that_is_none(world):
    take(world.watch, "a.replies", b'{"request_id": "r0", "event"')


LOOKED_AT = "committed offsets are looked at all the time"
SECOND_RUN = "more than one execution ends a request only if something befell who worked on it"
JOB_END = "a job's answer is its request's end"
SUPERSEDED = "a superseded row is another execution of a request with a row"
CONTIGUOUS = "the files' ranges are contiguous and disjoint"


@pytest.mark.parametrize(
    ("wrong", "promise"),
    [
        (two_ends, "an execution has one end"),
        (two_texts, "an execution has one end"),
        (two_executions, SECOND_RUN),
        (two_executions_after_a_kill_of_the_aggregator, SECOND_RUN),
        (two_executions_long_after_a_kill, SECOND_RUN),
        (sent_twice_in_calm, "nothing is written twice in calm"),
        (answered_twice_in_calm, "nothing is written twice in calm"),
        (no_end, "each accepted request ends"),
        (answered_and_refused, JOB_END),
        (answered_otherwise, JOB_END),
        (answered_otherwise, "a job's answer is the answer to what was asked"),
        (answered_under_two_ids, "each job has one answer, by its id"),
        (resent_and_answered_once, "each record of a job is answered"),
        (job_lost, "each acknowledged record of a job is in the log once"),
        (job_taken_twice, "a job in the log is one request, however often it was sent"),
        (answer_to_nobody, "each answer is of a job that was asked"),
        (hung_door, "an answer comes, unless its door is paused or killed"),
        (hung_caller, "no caller waits for ever"),
        (caller_that_gave_up, "no caller gives up, unless harm met each of its tries"),
        (repeat_told_otherwise, "who asks again is told the same"),
        (end_that_nobody_wrote, "what a caller saw is an end that the log has"),
        (wrong_answer, "an answer is the answer to what was asked"),
        (doubled_row, "each request has one row"),
        (missing_row, "each accepted request has a row (losses)"),
        (row_of_nobody, "each row is of an accepted request"),
        (doubled_superseded_row, SUPERSEDED),
        (superseded_row_that_counts, SUPERSEDED),
        (superseded_row_of_nobody, SUPERSEDED),
        (cancelled_by_nobody, "only a request that was deleted, or whose caller left, is cancelled"),
        (delete_that_is_refused, "a DELETE is taken, or told to come back"),
        (expired_without_a_deadline, "only a job with a deadline of its own expires"),
        (expired_without_a_deadline, "a job in the log is one request, however often it was sent"),
        (torn_range, CONTIGUOUS),
        (overlapping_ranges, CONTIGUOUS),
        (late_beginning, "the files begin with the topic"),
        (offset_that_goes_back, "committed offsets never go back"),
        (dead_letter, "nothing is dead-lettered"),
        (record_that_is_none, "each record can be read"),
    ],
)
def test_what_is_wrong_is_found(wrong, promise):
    world = World()
    assert world.broken() == []
    wrong(world)
    assert promise in world.broken()


def caller_that_asked_while_the_broker_was_away(world):
    world.caller.gave_up = True
    world.caller.in_vain = [("ingress-0", ASKED_AT + 20, ASKED_AT + 21, None)]
    world.happened("away", "broker", ASKED_AT)
    world.happened("back", "broker", ASKED_AT + 40)


def caller_that_met_harm_wherever_it_asked(world):
    caller_that_gave_up(world)
    world.caller.seen = []
    world.happened("back", "broker", ASKED_AT + 55)


def caller_that_waited_for_a_claim_of_the_dead(world):
    world.caller.gave_up = True
    world.caller.in_vain = [("ingress-0", ASKED_AT, ASKED_AT + 45, "refused at the door")]
    world.happened("killed", "ingress-1", ASKED_AT - 20)


def killed_meanwhile(world):
    two_executions(world)
    world.happened("killed", "router-worker", ASKED_AT + 0.5)


def rebalance_before(world):
    two_executions(world)
    world.happened("killed", "guardrail-1", ASKED_AT - 5)


def broker_away(world):
    two_executions(world)
    world.happened("away", "broker", ASKED_AT - 100)
    world.happened("back", "broker", ENDED_AT + 1)


def acknowledged_twice_by_one_execution(world):
    world.end("r0", *world.watch.requests["r0"].terminals)


def run_again(world):
    killed_meanwhile(world)
    world.superseded.rows = [("r0", OTHER)]


def hung_while_paused(world):
    world.caller.timed_out = [("ingress-0", ASKED_AT, ASKED_AT + 90)]
    world.happened("paused", "ingress-0", ASKED_AT + 1)


def deleted_and_cancelled(world):
    for asked in (world.caller, world.job):
        asked.delete_after, asked.deleted = 0.1, [202]
        cancelled(world, asked)


def deleted_by_a_request_of_which_nothing_was_heard(world):
    world.job.delete_after, world.job.deleted = 0.1, [None]
    cancelled(world, world.job)


def deleted_too_late(world):
    world.caller.delete_after, world.caller.deleted = 0.1, [200]


def cancelled_because_its_caller_left(world):
    world.caller.kind, world.caller.key = "once", None
    cancelled(world, world.caller)
    world.caller.seen = []


def expired_before_it_was_a_request(world):
    world.job.expires_after = 0.2
    expired(world)


@pytest.mark.parametrize(
    "right",
    [
        deleted_and_cancelled,
        deleted_by_a_request_of_which_nothing_was_heard,
        deleted_too_late,
        cancelled_because_its_caller_left,
        expired_before_it_was_a_request,
        killed_meanwhile,
        caller_that_asked_while_the_broker_was_away,
        caller_that_met_harm_wherever_it_asked,
        caller_that_waited_for_a_claim_of_the_dead,
        rebalance_before,
        broker_away,
        acknowledged_twice_by_one_execution,
        run_again,
        hung_while_paused,
    ],
)
def test_what_is_explained_is_nobodys_fault(right):
    world = World()
    right(world)
    assert world.broken() == []


def take(watch, topic, value):
    record = types.SimpleNamespace(
        topic=lambda: topic,
        partition=lambda: 0,
        offset=lambda: 0,
        value=lambda: value,
        headers=lambda: [("ce_id", b"e")],
        timestamp=lambda: (0, 1000_000),
    )
    watch.places[topic, 0] = 0
    watch.take(record)


def test_a_terminal_and_an_answer_are_read_alike():
    watch = watching.Watch(types.SimpleNamespace(prefix="a."))
    chat = {"choices": [{"message": {"content": "echo: hi"}}]}
    terminal = {"status": 200, "error": None, "body": {"inline": chat}}
    reply = {"request_id": "r", "execution_id": EXECUTION, "event": {"terminal": terminal}}
    take(watch, "a.replies", json.dumps(reply).encode())
    line = {"id": "batch_req_r", "custom_id": "n-1", "response": {"status_code": 200, "body": chat}, "error": None}
    take(watch, "a.out.search", json.dumps(line).encode())
    (end,), (told,) = watch.requests["r"].terminals, watch.answers["n-1"]
    assert told.tells(end) and (told.request_id, told.event_id) == ("r", "e")
    assert not watch.unreadable


def committed_of(*groups):
    committed = watching.Committed.__new__(watching.Committed)
    threading.Thread.__init__(committed, daemon=True)
    committed.fleet, committed.over, committed.failure = None, threading.Event(), None
    committed.latest, committed.backwards, committed.looks = {}, [], 0
    committed.began, committed.missed, committed.heard = 0.0, 0, set(groups)
    committed.places, committed.groups = [], list(groups)
    return committed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_dead_committed_thread_is_found():
    committed = committed_of("g")  # without a fleet: it fails at its first look
    committed.start()
    committed.join(30)
    world = World()
    world.committed = committed
    assert LOOKED_AT in world.broken()
    assert "AttributeError" in committed.blind()[0]


def test_committed_offsets_that_nobody_saw_are_found():
    committed = committed_of("g", "h", "router-judge")
    committed.note("g", types.SimpleNamespace(topic=TOPIC, partition=0, offset=1))
    few, unseen = committed.blind()
    assert few.startswith("0 looks") and "group h has committed nothing" == unseen
    committed.looks = 10**9
    assert committed.blind() == [unseen]
    committed.heard.discard("router-judge")
    assert committed.blind() == ["group router-judge was never looked at", unseen]


@pytest.mark.parametrize("embedded", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_each_kind_of_harm_is_done_before_any_is_repeated(embedded, seed, monkeypatch):
    fleet = types.SimpleNamespace(embedded=embedded, timeline=Timeline())
    chaos, done = Chaos(fleet, seed), []
    refused = {"remove"} & set(chaos.weights)  # until another replica is there

    def harm(kind):
        if kind in refused:
            refused.discard(kind)
            return False
        done.append(kind)
        return True

    for kind in chaos.weights:
        monkeypatch.setattr(chaos, kind, lambda kind=kind: harm(kind), raising=True)
    assert chaos.missing() == list(chaos.weights)
    while chaos.missing():
        chaos.act()
    assert sorted(done) == sorted(chaos.weights)
