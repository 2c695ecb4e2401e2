"""Reading along: every record of the internal topics, kept as one line each, and every group's committed offsets."""

import json
import re
import threading
import time

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from kafka_tools import consumer, headers_of

TOPICS = re.compile(
    r"((requests|approved)\.(interactive|batch|judge)|parked\.\w+|completions|replies|usage|dead-letters|in\.\w+|out\.\w+)$"
)
REQUEST_TOPICS = re.compile(r"(requests|approved|parked)\.")
POLL_SECONDS = 0.5
SILENT_SECONDS = 5
NUMBER = re.compile(rb"audit request (\d+)\.")


class Seen:
    """What the topics say of one request."""

    def __init__(self, request_id):
        self.request_id, self.number, self.records = request_id, None, []
        self.accepted = False
        self.terminals, self.rows, self.chunks = [], 0, 0

    def lines(self):
        return [f"{t:24} {p}-{o:<7} {at:.3f} {what}" for t, p, o, at, what in sorted(self.records, key=lambda r: r[3])]


class Watch(threading.Thread):
    """Follows the topics from their start; connects anew when an embedded broker has a new credential."""

    def __init__(self, fleet):
        super().__init__(name="watch", daemon=True)
        self.fleet, self.over, self.failure = fleet, threading.Event(), None
        self.places, self.requests, self.answers, self.dead, self.jobs = {}, {}, {}, [], {}
        self.lock = threading.Lock()
        self.count = 0

    def run(self):
        while not self.over.is_set():
            try:
                self.follow()
            except (KafkaException, OSError, ValueError):
                time.sleep(POLL_SECONDS)
            except BaseException as failure:
                self.failure = failure
                raise

    def follow(self):
        who = self.fleet.operator()
        reader = consumer(who, log_level=0)
        try:
            known = reader.list_topics(timeout=10).topics
            for name, topic in known.items():
                if name.startswith(self.fleet.prefix) and TOPICS.match(name.removeprefix(self.fleet.prefix)):
                    for partition in topic.partitions:
                        self.places.setdefault((name, partition), 0)
            reader.assign([TopicPartition(*place, offset) for place, offset in self.places.items()])
            heard = time.monotonic()
            while not self.over.is_set():
                for record in reader.consume(500, POLL_SECONDS):
                    if record.error() is None:
                        heard = time.monotonic()
                        self.take(record)
                if time.monotonic() - heard > SILENT_SECONDS:
                    heard = time.monotonic()
                    if self.fleet.operator() != who:
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
        with self.lock:
            self.sort_in(name, (name, partition, offset, at), record)

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
            request_id = (document["id"] or "").removeprefix("batch_req_")
            error = (document["error"] or {}).get("code")
            self.answers.setdefault(document["custom_id"], []).append((request_id, error))
            self.of(request_id).records.append((*place, f"answer of {document['custom_id']}, error {error}"))
            return
        request = document["request"] if name == "completions" else document
        seen = self.of(request["request_id"])
        execution = (document.get("execution_id") or document.get("usage", {}).get("execution_id") or "")[-12:]
        if REQUEST_TOPICS.match(name):
            seen.accepted = True
            seen.number = int(request["caller"]["end_user"].removeprefix("n-"))
            seen.records.append((*place, f"request {seen.number}"))
        elif name == "completions":
            seen.records.append((*place, f"completion, execution …{execution}"))
        elif name == "usage":
            seen.rows += 1
            what = f"row, execution …{execution}, status {document['status_code']}, {document.get('error_code')}"
            attempts = len(document["attempts"])
            seen.records.append((*place, f"{what}, {attempts} attempts"))
        elif "terminal" in document["event"]:
            terminal = document["event"]["terminal"]
            error = (terminal["error"] or {}).get("code")
            seen.terminals.append((document["execution_id"], terminal["status"], error))
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

    def stop(self):
        self.over.set()
        self.join()


class Committed(threading.Thread):
    """Asks for the committed offsets of every group, again and again; `backwards` are those that went back.

    A consumer asks, not an admin client: that one may abort this process when a broker goes away under its requests.
    """

    def __init__(self, fleet):
        super().__init__(name="committed", daemon=True)
        self.fleet, self.over = fleet, threading.Event()
        self.latest, self.backwards, self.looks = {}, [], 0
        self.places, self.groups = [], self.list_groups()

    def list_groups(self):
        """Every group of the fleet; once it is ready it has them all."""
        admin = AdminClient(self.fleet.operator())
        found = admin.list_consumer_groups(request_timeout=10).result(20).valid
        return [group.group_id for group in found if group.group_id.startswith(self.fleet.prefix)]

    def run(self):
        who, readers = None, {}
        while not self.over.wait(POLL_SECONDS):
            try:
                if who != self.fleet.operator():
                    who = self.fleet.operator()
                    readers = {group: consumer(who, group, log_level=0) for group in self.groups}
                self.look(readers)
            except (KafkaException, OSError, ValueError):
                continue

    def look(self, readers):
        if not self.places:
            known = next(iter(readers.values())).list_topics(timeout=5).topics
            mine = {name: topic for name, topic in known.items() if name.startswith(self.fleet.prefix)}
            self.places = [(name, partition) for name, topic in mine.items() for partition in topic.partitions]
        for group, reader in readers.items():
            for place in reader.committed([TopicPartition(*place) for place in self.places], timeout=5):
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
