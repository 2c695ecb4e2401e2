"""Reading along: every record of the internal topics, kept as one line each, and every group's committed offsets."""

import json
import re
import threading
import time
import traceback
from typing import NamedTuple

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_tools import consumer, headers_of

TOPICS = re.compile(
    r"((requests|approved)\.(interactive|batch|judge)|parked\.\w+|completions|replies|usage|dead-letters|in\.\w+|out\.\w+)$"
)
REQUEST_TOPICS = re.compile(r"(requests|approved|parked)\.")
POLL_SECONDS = 0.5
SILENT_SECONDS = 5
# A reader that hears nothing for so long may have lost its broker for good.
DEAF_SECONDS = 30
NUMBER = re.compile(rb"audit request (\d+)\.")
SHOWN_BYTES = 300
STORED = "(stored)"
# A look that fails is tried again: the broker may be away. So many must succeed, or nobody has looked.
LOOK_AT_LEAST_EVERY_SECONDS = 15
# Groups that may have nothing to do in a run.
IDLE = re.compile(r"judge|parked")


class End(NamedTuple):
    """A terminal on `replies`."""

    execution: str
    status: int
    error: str | None
    text: str | None

    @property
    def outcome(self):
        return self[1:]


class Line(NamedTuple):
    """An answer on `out.`: of which request, for which record of a job (the event's id), and what it says."""

    request_id: str
    event_id: str
    status: int | None
    error: str | None
    text: str | None

    @property
    def outcome(self):
        return self.error, self.text

    def tells(self, end):
        """Whether it says what the terminal says."""
        return self.error == end.error and self.text == end.text and self.status in (None, end.status)


class Seen:
    """What the topics say of one request."""

    def __init__(self, request_id):
        self.request_id, self.number, self.records = request_id, None, []
        self.accepted, self.began, self.ended = False, float("inf"), 0.0
        self.terminals, self.rows, self.chunks = [], 0, 0
        self.appended = {}  # execution → when its row came
        self.attempts = {}  # execution → how many its row tells of

    def life(self):
        """When it was accepted and when it was last ended, in Unix seconds."""
        return self.began, self.ended or float("inf")

    def approvals(self):
        """How often it came to the routers: once, unless somebody before them did its work twice, or it was parked or handed over."""
        return sum(topic.startswith("approved.") for topic, *_ in self.records)

    def lines(self):
        return [f"{t:24} {p}-{o:<7} {at:.3f} {what}" for t, p, o, at, what in sorted(self.records, key=lambda r: r[3])]


class Watch(threading.Thread):
    """Follows the topics from their start; connects anew when an embedded broker has a new credential."""

    def __init__(self, fleet):
        super().__init__(name="watch", daemon=True)
        self.fleet, self.over, self.failure = fleet, threading.Event(), None
        self.places, self.requests, self.answers, self.dead, self.jobs = {}, {}, {}, [], {}
        self.unreadable = []  # records that cannot be what their topic holds
        self.on_accepted = lambda _number, _request_id: None
        self.lock = threading.Lock()
        self.count = 0

    def run(self):
        while not self.over.is_set():
            who = operator(self.fleet)
            try:
                if who:
                    self.follow(who)
                    continue
            except (KafkaException, OSError):
                pass
            except BaseException as failure:
                self.failure = failure
                raise
            time.sleep(POLL_SECONDS)

    def follow(self, who):
        reader = consumer(who, log_level=0)
        try:
            known = reader.list_topics(timeout=10).topics
            for name, topic in known.items():
                if name.startswith(self.fleet.prefix) and TOPICS.match(name.removeprefix(self.fleet.prefix)):
                    for partition in topic.partitions:
                        self.places.setdefault((name, partition), 0)
            reader.assign([TopicPartition(*place, offset) for place, offset in self.places.items()])
            looked = heard = time.monotonic()
            while not self.over.is_set():
                for record in reader.consume(500, POLL_SECONDS):
                    if record.error() is None:
                        heard = time.monotonic()
                        self.take(record)
                now = time.monotonic()
                if now - max(heard, looked) > SILENT_SECONDS:
                    looked = now
                    if operator(self.fleet) != who or now - heard > DEAF_SECONDS:
                        return
        finally:
            reader.close()

    def take(self, record):
        topic, partition, offset = record.topic(), record.partition(), record.offset()
        if offset < self.places[topic, partition]:
            return
        self.places[topic, partition] = offset + 1
        self.count += 1
        name = topic.removeprefix(self.fleet.prefix)
        at = record.timestamp()[1] / 1000
        place = (name, partition, offset, at)
        with self.lock:
            try:
                self.sort_in(name, place, record)
            except Exception:
                why = traceback.format_exc(limit=-1).splitlines()[-1]
                self.unreadable.append((place, why, (record.value() or b"")[:SHOWN_BYTES]))

    def sort_in(self, name, place, record):
        value = record.value() or b""
        if name == "dead-letters":
            self.dead.append((place, headers_of(record), value[:2000]))
            return
        if name.startswith("in."):
            found = NUMBER.search(value)
            self.jobs.setdefault(int(found[1]), []).append(place)
            return
        document = json.loads(value)
        if name.startswith("out."):
            line = line_of(document, headers_of(record)["ce_id"])
            self.answers.setdefault(document["custom_id"], []).append(line)
            what = f"answer of {document['custom_id']}, status {line.status}, error {line.error}"
            self.of(line.request_id).records.append((*place, what))
            return
        # Of an answer that is checked part by part, the parts come before the whole.
        is_part = name == "completions" and "seq" in document
        request = document["request"] if name == "completions" and not is_part else document
        seen = self.of(request["request_id"])
        execution = (document.get("execution_id") or document.get("usage", {}).get("execution_id") or "")[-12:]
        if REQUEST_TOPICS.match(name):
            is_first, seen.accepted = not seen.accepted, True
            seen.began = min(seen.began, place[3])
            seen.number = int(request["caller"]["end_user"].removeprefix("n-"))
            if is_first:
                self.on_accepted(seen.number, seen.request_id)
            seen.records.append((*place, f"request {seen.number}"))
        elif name == "completions":
            what = f"part {document['seq']} of a completion" if is_part else "completion"
            seen.records.append((*place, f"{what}, execution …{execution}"))
        elif name == "usage":
            seen.rows += 1
            seen.appended.setdefault(document["execution_id"], place[3])
            what = f"row, execution …{execution}, status {document['status_code']}, {document.get('error_code')}"
            attempts = seen.attempts[document["execution_id"]] = len(document["attempts"])
            seen.records.append((*place, f"{what}, {attempts} attempts"))
        elif "terminal" in document["event"]:
            terminal = document["event"]["terminal"]
            error = (terminal["error"] or {}).get("code")
            seen.ended = max(seen.ended, place[3])
            seen.terminals.append(End(document["execution_id"], terminal["status"], error, text_of(terminal["body"])))
            seen.records.append((*place, f"terminal, execution …{execution}, status {terminal['status']}, {error}"))
        else:
            seen.chunks += 1

    def of(self, request_id):
        return self.requests.setdefault(request_id, Seen(request_id))

    def figures(self):
        """(accepted, ended, with a row on the topic)."""
        with self.lock:
            accepted = [seen for seen in self.requests.values() if seen.accepted]
            return len(accepted), sum(bool(s.terminals) for s in accepted), sum(s.rows > 0 for s in accepted)

    def answered(self):
        """How many records of jobs have an answer."""
        with self.lock:
            return sum(len({line.event_id for line in lines}) for lines in self.answers.values())

    def stop(self):
        self.over.set()
        self.join()


def operator(fleet):
    """Who may read everything; none while an embedded broker is writing that down."""
    try:
        return fleet.operator()
    except (OSError, ValueError):
        return None


def said_in(document):
    return document["choices"][0]["message"]["content"] if document else None


def text_of(body):
    """What a terminal's body says; of a stored one, that it is stored."""
    if body is None:
        return None
    return STORED if "ref" in body else said_in(body["inline"])


def line_of(document, event_id):
    response = document["response"] or {}
    body = response.get("body")
    # A body that is too large for a record is a pointer to where it can be fetched.
    text = STORED if body and "url" in body else said_in(body)
    request_id = (document["id"] or "").removeprefix("batch_req_")
    return Line(request_id, event_id, response.get("status_code"), (document["error"] or {}).get("code"), text)


class Committed(threading.Thread):
    """Asks for the committed offsets of every group, again and again; `backwards` are those that went back.

    A consumer asks, not an admin client: that one may abort this process when a broker goes away under its requests.
    """

    def __init__(self, fleet):
        super().__init__(name="committed", daemon=True)
        self.fleet, self.over, self.failure = fleet, threading.Event(), None
        self.latest, self.backwards, self.looks = {}, [], 0
        self.began, self.missed, self.heard = time.monotonic(), 0, set()
        self.places, self.groups = [], self.list_groups()

    def list_groups(self):
        """Every group of the fleet; once it is ready it has them all."""
        admin = AdminClient(self.fleet.operator())
        found = admin.list_consumer_groups(request_timeout=10).result(20).valid
        return [group.group_id for group in found if group.group_id.startswith(self.fleet.prefix)]

    def run(self):
        try:
            self.look_again_and_again()
        except BaseException as failure:
            self.failure = failure
            raise

    def look_again_and_again(self):
        who, readers = None, {}
        while not self.over.wait(POLL_SECONDS):
            now = operator(self.fleet)
            if now and who != now:
                who, readers = now, {group: consumer(now, group, log_level=0) for group in self.groups}
            try:
                if readers:
                    self.look(readers)
            except (KafkaException, OSError):
                self.missed += 1

    def look(self, readers):
        if not self.places:
            known = next(iter(readers.values())).list_topics(timeout=5).topics
            mine = {name: topic for name, topic in known.items() if name.startswith(self.fleet.prefix)}
            self.places = [(name, partition) for name, topic in mine.items() for partition in topic.partitions]
        for group, reader in readers.items():
            found = reader.committed([TopicPartition(*place) for place in self.places], timeout=5)
            self.heard.add(group)
            for place in found:
                if place.offset >= 0 or (group, place.topic, place.partition) in self.latest:
                    self.note(group, place)
        self.looks += 1

    def note(self, group, place):
        where = (group, place.topic, place.partition)
        before = self.latest.get(where, -1)
        if place.offset < before:
            self.backwards.append((*where, before, place.offset, time.time()))
        self.latest[where] = place.offset

    def stop(self):
        self.over.set()
        self.join()

    def blind(self):
        """Why what was seen is not enough to say that no offset went back."""
        out = [f"its thread failed: {self.failure!r}"] if self.failure else []
        seconds = time.monotonic() - self.began
        wanted = max(1, int(seconds / LOOK_AT_LEAST_EVERY_SECONDS))
        if self.looks < wanted:
            out.append(f"{self.looks} looks in {seconds:.0f} s, {self.missed} failed; at least {wanted} are wanted")
        out += [f"group {group} was never looked at" for group in self.groups if group not in self.heard]
        working = {group for group in self.groups if not IDLE.search(group)} - {group for group, _, _ in self.latest}
        return out + [f"group {group} has committed nothing" for group in sorted(working)]
