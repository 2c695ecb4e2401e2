"""kafka-python, whose protocol code is its own: codecs, groups, commits, offsets by time, and its admin client."""

import threading

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import TopicAlreadyExistsError, UnknownTopicOrPartitionError
from kafka.structs import OffsetAndMetadata
from support import eventually


def send(broker, topic, records, **more):
    """Produces (value, partition, timestamp) and gives the offsets."""
    producer = KafkaProducer(bootstrap_servers=broker, **more)
    futures = [producer.send(topic, value, partition=to, timestamp_ms=stamp) for value, to, stamp in records]
    producer.flush(60)
    producer.close()
    return [future.get(30).offset for future in futures]


def reader_of(broker, group=None, **more):
    quiet = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "heartbeat_interval_ms": 500}
    return KafkaConsumer(bootstrap_servers=broker, group_id=group, **quiet, **more)


def read(reader, records):
    for found in reader.poll(timeout_ms=1000).values():
        records.extend(found)


class Member(threading.Thread):
    """A member of a group. It polls without end, because a join that outlasts a poll can be lost in 3.0.12."""

    def __init__(self, broker, group, topic, assignor):
        super().__init__(daemon=True)
        self.consumer = reader_of(broker, group, partition_assignment_strategy=[assignor])
        # It can stay without partitions if it joins before it knows the topic.
        self.consumer.partitions_for_topic(topic)
        self.consumer.subscribe([topic])
        self.records, self.stopping = [], threading.Event()
        self.start()

    def run(self):
        while not self.stopping.is_set():
            read(self.consumer, self.records)

    def stop(self):
        """Ends the polling: from here on the consumer is the caller's."""
        self.stopping.set()
        self.join(60)
        return self.consumer


def settle(members, partitions):
    """Waits until the members share the partitions evenly."""

    def shared():
        parts = [sorted(place.partition for place in set(each.consumer.assignment())) for each in members]
        even = max(map(len, parts)) - min(map(len, parts)) <= 1
        return even and sorted(sum(parts, [])) == list(range(partitions))

    eventually(shared, f"{len(members)} members that share {partitions} partitions", 60)


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
def test_codec(broker, topic, codec):
    to = topic(partitions=2)
    values = [b"%d " % n + b"x" * 300 for n in range(500)]
    numbered = [(value, n % 2, None) for n, value in enumerate(values)]
    offsets = send(broker, to, numbered, compression_type=codec, linger_ms=50)
    assert offsets == [n // 2 for n in range(500)]
    reader = reader_of(broker)
    reader.assign([TopicPartition(to, 0), TopicPartition(to, 1)])
    records = []
    eventually(lambda: read(reader, records) or len(records) >= 500, "500 records")
    reader.close()
    assert sorted(record.value for record in records) == sorted(values)
    assert {(record.value, record.partition, record.offset) for record in records} == {
        (value, n % 2, n // 2) for n, value in enumerate(values)
    }


# Not the cooperative one: in 3.0.12 a member that gives up partitions no longer fetches what it keeps, on any broker.
@pytest.mark.parametrize("assignor", [RangePartitionAssignor, StickyPartitionAssignor])
def test_group(broker, topic, name, assignor):
    to = topic(partitions=4)
    members = []
    for _ in range(2):
        members.append(Member(broker, name, to, assignor))
        settle(members, 4)
    send(broker, to, [(b"%d" % n, n % 4, None) for n in range(100)])
    eventually(lambda: sum(len(each.records) for each in members) >= 100, "100 records")
    assert sorted(int(record.value) for each in members for record in each.records) == list(range(100))

    leaver = members.pop(0).stop()
    place = min(leaver.assignment())
    leaver.commit({place: OffsetAndMetadata(7, "so far: ünïcode", -1)})
    assert leaver.committed(place, metadata=True)[:2] == (7, "so far: ünïcode")
    leaver.close()
    settle(members, 4)
    last = members[0].stop()
    assert last.committed(place) == 7
    last.close()


def test_offsets_by_time(broker, topic):
    to = topic()
    place = TopicPartition(to, 0)
    send(broker, to, [(b"%d" % n, 0, 1_000_000 + n * 10) for n in range(100)])
    reader = reader_of(broker)
    found = reader.offsets_for_times({place: 1_000_501})[place]
    assert (found.offset, found.timestamp) == (51, 1_000_510)
    assert reader.offsets_for_times({place: 2_000_000})[place] is None
    assert (reader.beginning_offsets([place])[place], reader.end_offsets([place])[place]) == (0, 100)
    reader.assign([place])
    reader.seek(place, found.offset)
    records = []
    eventually(lambda: read(reader, records) or len(records) >= 49, "49 records")
    assert [int(record.value) for record in records] == list(range(51, 100))
    reader.close()


def test_admin(broker, name):
    admin = KafkaAdminClient(bootstrap_servers=broker)
    wanted = {name: {"num_partitions": 2, "replication_factor": 1, "configs": {"retention.ms": "1234567"}}}
    admin.create_topics(wanted)
    with pytest.raises(TopicAlreadyExistsError):
        admin.create_topics(wanted)
    eventually(lambda: name in admin.list_topics(), "the new topic")
    admin.create_partitions({name: 3})
    (described,) = admin.describe_topics([name])
    eventually(lambda: len(admin.describe_topics([name])[0]["partitions"]) == 3, "three partitions")
    assert described["name"] == name and admin.describe_cluster()["cluster_id"]

    resource = ConfigResource(ConfigResourceType.TOPIC, name)

    def retention():
        (configs,) = admin.describe_configs([resource]).values()
        return configs[name]["retention.ms"]["value"]

    assert retention() == "1234567"
    admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, {"retention.ms": "7654321"})])
    eventually(lambda: retention() == "7654321", "a new value")

    send(broker, name, [(b"%d" % n, 1, None) for n in range(10)])
    place = TopicPartition(name, 1)
    assert admin.delete_records({place: 4})[place]["low_watermark"] == 4
    admin.alter_group_offsets(name, {place: OffsetAndMetadata(6, "by hand", -1)})
    assert admin.list_group_offsets(name)[name][place][:2] == (6, "by hand")
    assert name in [group["group_id"] for group in admin.list_groups()]
    assert admin.describe_groups([name])[name]["group_state"] == "Empty"
    admin.delete_groups([name])
    assert name not in [group["group_id"] for group in admin.list_groups()]
    admin.delete_topics([name])
    with pytest.raises(UnknownTopicOrPartitionError):
        admin.delete_topics([name])
    admin.close()
