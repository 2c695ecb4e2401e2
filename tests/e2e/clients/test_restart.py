"""Clients across a broker that is killed and comes back on its data: nothing acknowledged is lost, doubled or moved."""

import threading

import pytest
from confluent_kafka import KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kit import QUIET, Member, producer, read, send, settle, watermarks
from support import eventually

SLOW = pytest.mark.only_embedded(reason="a killed Apache Kafka comes back only when its session has run out")
pytestmark = [SLOW, pytest.mark.timeout(400)]
PARTITIONS = 3
KILLS = 3
BETWEEN_KILLS = 2000  # records acknowledged after each start


class Writer(threading.Thread):
    """An idempotent producer that numbers each partition's records and never rests."""

    def __init__(self, broker, topic):
        super().__init__(daemon=True)
        settings = {"enable_idempotence": True, "max_in_flight": 5, "linger_ms": 1, "batch_num_messages": 20}
        patient = {"message_timeout_ms": 170_000, "reconnect_backoff_max_ms": 500, "queue_buffering_max_messages": 2000}
        self.producer, self.topic = producer(broker, **settings, **patient), topic
        self.sent, self.acknowledged, self.failed = 0, [], []
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            try:
                where = {"partition": self.sent % PARTITIONS, "on_delivery": self._report}
                self.producer.produce(self.topic, b"%d" % self.sent, **where)
                self.sent += 1
                self.producer.poll(0)
            except BufferError:
                self.producer.poll(0.05)

    def _report(self, error, message):
        if error:
            self.failed.append(error)
        else:
            self.acknowledged.append((message.partition(), message.offset(), int(message.value())))

    def finish(self):
        self.stopping.set()
        self.join(60)
        assert self.producer.flush(120) == 0 and not self.failed, self.failed


def create(broker, name):
    admin = AdminClient({"bootstrap.servers": broker.address, **QUIET})
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(30)
    eventually(lambda: admin.list_topics(name, timeout=30).topics[name].error is None, f"metadata of {name}")
    return admin


def identity(admin, topic):
    described = admin.describe_topics(TopicCollection([topic]))[topic].result(60)
    return admin.describe_cluster().result(60).cluster_id, str(described.topic_id), len(described.partitions)


def committed(member):
    """Whether all that was ever read is committed: not while a rebalance goes on."""
    member.poll()
    ends = {
        record.partition(): record.offset() + 1 for record in sorted(member.records, key=lambda each: each.offset())
    }
    places = [TopicPartition(member.records[0].topic(), partition, end) for partition, end in ends.items()]
    try:
        return not any(place.error for place in member.consumer.commit(offsets=places, asynchronous=False))
    except KafkaException:
        return False


def test_killed_broker(restartable_broker, name):
    """Every record of an idempotent producer is there once, in order, at the offset it was acknowledged with."""
    broker = restartable_broker
    admin = create(broker, name)
    before = identity(admin, name)
    writer = Writer(broker.address, name)
    writer.start()
    for _ in range(KILLS):
        enough = len(writer.acknowledged) + BETWEEN_KILLS
        eventually(lambda enough=enough: len(writer.acknowledged) >= enough or writer.failed, "acknowledgements", 90)
        broker.kill()
        broker.start()
    enough = len(writer.acknowledged) + BETWEEN_KILLS
    eventually(lambda: len(writer.acknowledged) >= enough or writer.failed, "acknowledgements", 90)
    writer.finish()
    assert len(writer.acknowledged) == writer.sent
    found = [(record.partition(), record.offset(), int(record.value())) for record in read(broker.address, name)]
    # An acknowledgement that was lost with the broker is repeated without an offset.
    known = {place for place in writer.acknowledged if place[1] >= 0}
    assert known <= set(found) and len(known) > KILLS * BETWEEN_KILLS
    for partition in range(PARTITIONS):
        numbers = [number for where, _, number in found if where == partition]
        assert numbers == list(range(partition, writer.sent, PARTITIONS))
    assert identity(AdminClient({"bootstrap.servers": broker.address, **QUIET}), name) == before


def test_group_goes_on(restartable_broker, name):
    """Members outlive a kill and a stop of the broker; committed offsets are where they were."""
    broker = restartable_broker
    create(broker, name)
    numbered = [{"value": b"%d" % number, "partition": number % PARTITIONS} for number in range(900)]
    send(broker.address, name, numbered[:300], enable_idempotence=True)
    member = Member(broker.address, name, name, reconnect_backoff_max_ms=500, session_timeout_ms=45_000)
    settle([member], PARTITIONS)

    def values():
        member.poll()
        return sorted(int(record.value()) for record in member.records)

    eventually(lambda: len(values()) >= 300, "300 records", 60)
    member.consumer.commit(asynchronous=False)
    broker.kill()
    broker.start()
    send(broker.address, name, numbered[300:600], enable_idempotence=True)
    eventually(lambda: len(set(values())) >= 600, "600 records", 90)
    # What was read but not committed comes again if the broker has forgotten the group's members.
    assert sorted(set(values())) == list(range(600))
    eventually(lambda: committed(member), "a commit", 90)
    member.close()

    broker.stop()
    broker.start()
    assert sum(watermarks(broker.address, name, partition)[1] for partition in range(PARTITIONS)) >= 600
    send(broker.address, name, numbered[600:], enable_idempotence=True)
    again = Member(broker.address, name, name)
    eventually(lambda: again.poll() or len(again.records) >= 300, "300 more", 60)
    assert sorted(int(record.value()) for record in again.records) == list(range(600, 900))
    again.close()


def test_ends_can_be_reached_after_a_kill(restartable_broker, name):
    """A reader gets to the end that a killed broker states before anything new is written; offsets only grow."""
    broker = restartable_broker
    create(broker, name)
    reports = send(broker.address, name, [{"value": b"%d" % n, "partition": 0} for n in range(50)])
    broker.kill()
    broker.start()
    assert [int(record.value()) for record in read(broker.address, name)] == list(range(50))
    (after,) = send(broker.address, name, [{"value": b"50", "partition": 0}])
    assert after.offset() > reports[-1].offset()
    assert [int(record.value()) for record in read(broker.address, name)] == list(range(51))
