"""librdkafka's admin client: topics, partitions, configs, groups, offsets, the cluster, and the errors of each."""

import pytest
from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from kit import Member, read, send, settle, watermarks
from support import eventually


def result(futures):
    """The one result of an admin call, whose futures come in a dictionary or alone."""
    if isinstance(futures, dict):
        (futures,) = futures.values()
    return futures.result(30)


def failure(futures):
    with pytest.raises(KafkaException) as caught:
        result(futures)
    return caught.value.args[0].code()


def described(admin, topic):
    # A new topic is known a moment after its creation.
    eventually(lambda: admin.list_topics(topic, timeout=30).topics[topic].error is None, f"metadata of {topic}")
    return result(admin.describe_topics(TopicCollection([topic])))


def test_topics(admin, broker, name):
    new = NewTopic(name, 3, 1, config={"retention.ms": "86400000"})
    result(admin.create_topics([new], validate_only=True))
    assert name not in admin.list_topics(timeout=30).topics
    result(admin.create_topics([new]))
    assert failure(admin.create_topics([new])) == KafkaError.TOPIC_ALREADY_EXISTS
    topic = described(admin, name)
    assert sorted(admin.list_topics(timeout=30).topics[name].partitions) == [0, 1, 2]
    assert topic.name == name and len(topic.partitions) == 3 and not topic.is_internal
    assert all(partition.leader.id == partition.replicas[0].id == partition.isr[0].id for partition in topic.partitions)
    send(broker, name, [{"value": b"old", "partition": 0}])

    result(admin.delete_topics([name]))
    eventually(lambda: name not in admin.list_topics(timeout=30).topics, "the topic's end")
    assert failure(admin.delete_topics([name])) == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert failure(admin.describe_topics(TopicCollection([name]))) == KafkaError.UNKNOWN_TOPIC_OR_PART

    result(admin.create_topics([NewTopic(name, 1, 1)]))
    assert str(described(admin, name).topic_id) != str(topic.topic_id)
    assert read(broker, name) == [] and watermarks(broker, name) == (0, 0)


def test_topics_that_cannot_be(admin, name):
    def refused(*arguments, **more):
        return failure(admin.create_topics([NewTopic(*arguments, **more)]))

    assert refused(name, 0, 1) == KafkaError.INVALID_PARTITIONS
    assert refused(name, 1, 3) == KafkaError.INVALID_REPLICATION_FACTOR
    assert refused("no good!", 1, 1) == KafkaError.TOPIC_EXCEPTION
    assert refused("x" * 250, 1, 1) == KafkaError.TOPIC_EXCEPTION
    assert refused(name, 1, 1, config={"retention.ms": "long"}) == KafkaError.INVALID_CONFIG
    assert refused(name, 1, 1, config={"cleanup.policy": "shred"}) == KafkaError.INVALID_CONFIG
    assert refused(name, 1, 1, config={"no.such.config": "1"}) == KafkaError.INVALID_CONFIG
    assert name not in admin.list_topics(timeout=30).topics


def test_defaults_of_a_topic(admin, name):
    """-1 stands for the broker's own number of partitions and replicas."""
    result(admin.create_topics([NewTopic(name, -1, -1)]))
    assert len(described(admin, name).partitions) >= 1


def test_partitions(admin, broker, topic):
    to = topic()
    send(broker, to, [{"value": b"before"}])
    result(admin.create_partitions([NewPartitions(to, 3)]))
    eventually(lambda: len(admin.list_topics(to, timeout=30).topics[to].partitions) == 3, "three partitions")
    send(broker, to, [{"value": b"after", "partition": 2}])
    assert {record.value() for record in read(broker, to)} == {b"before", b"after"}
    assert failure(admin.create_partitions([NewPartitions(to, 2)])) == KafkaError.INVALID_PARTITIONS
    assert failure(admin.create_partitions([NewPartitions(to, 3)])) == KafkaError.INVALID_PARTITIONS
    assert failure(admin.create_partitions([NewPartitions(to + "-not", 2)])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_configs(admin, topic):
    to = topic(**{"retention.ms": "1234567"})

    def configs():
        return result(admin.describe_configs([ConfigResource(ResourceType.TOPIC, to)]))

    def alter(option, value, operation):
        entry = ConfigEntry(option, value, incremental_operation=operation)
        return admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, to, incremental_configs=[entry])])

    found = configs()
    assert found["retention.ms"].value == "1234567"
    assert found["retention.ms"].source == ConfigSource.DYNAMIC_TOPIC_CONFIG.value
    default = found["segment.bytes"]
    assert default.is_default and not found["retention.ms"].is_default
    assert found["cleanup.policy"].value == "delete" and not found["cleanup.policy"].is_read_only

    result(alter("segment.bytes", "2097152", AlterConfigOpType.SET))
    eventually(lambda: configs()["segment.bytes"].value == "2097152", "a set option")
    assert configs()["retention.ms"].value == "1234567"
    result(alter("segment.bytes", "0", AlterConfigOpType.DELETE))
    eventually(lambda: configs()["segment.bytes"].value == default.value, "the default")
    result(alter("cleanup.policy", "compact", AlterConfigOpType.APPEND))
    eventually(lambda: set(configs()["cleanup.policy"].value.split(",")) == {"compact", "delete"}, "both policies")
    result(alter("cleanup.policy", "delete", AlterConfigOpType.SUBTRACT))
    eventually(lambda: configs()["cleanup.policy"].value == "compact", "one policy")

    assert failure(alter("retention.ms", "long", AlterConfigOpType.SET)) == KafkaError.INVALID_CONFIG
    assert failure(alter("no.such.config", "1", AlterConfigOpType.SET)) == KafkaError.INVALID_CONFIG
    missing = ConfigResource(ResourceType.TOPIC, to + "-not")
    assert failure(admin.describe_configs([missing])) == KafkaError.UNKNOWN_TOPIC_OR_PART


def test_cluster(admin, broker):
    cluster = admin.describe_cluster().result(30)
    assert len(cluster.cluster_id) == 22 and cluster.cluster_id == admin.list_topics(timeout=30).cluster_id
    (node,) = cluster.nodes
    assert f"{node.host}:{node.port}" == broker and cluster.controller.id == node.id


def test_groups(admin, broker, topic, name):
    to = topic(partitions=4)
    members = [Member(broker, name, to, group_instance_id=each, client_id=f"client-{each}") for each in ["one", "two"]]
    settle(members, 4)
    listed = {each.group_id: each for each in admin.list_consumer_groups().result(30).valid}
    assert listed[name].state == ConsumerGroupState.STABLE and not listed[name].is_simple_consumer_group
    empty = admin.list_consumer_groups(states={ConsumerGroupState.EMPTY}).result(30).valid
    assert name not in [each.group_id for each in empty]
    group = result(admin.describe_consumer_groups([name]))
    assert group.state == ConsumerGroupState.STABLE and group.partition_assignor == "range"
    names = {(member.client_id, member.group_instance_id) for member in group.members}
    assert names == {("client-one", "one"), ("client-two", "two")}
    assert all(member.host.strip("/") == "127.0.0.1" for member in group.members)
    shares = [[place.partition for place in member.assignment.topic_partitions] for member in group.members]
    assert sorted(shares) == [[0, 1], [2, 3]]

    assert failure(admin.delete_consumer_groups([name])) == KafkaError.NON_EMPTY_GROUP
    assert failure(admin.delete_consumer_groups([name + "-not"])) == KafkaError.GROUP_ID_NOT_FOUND
    for member in members:
        member.consumer.unsubscribe()
        member.close()


def test_offsets_of_a_group(admin, broker, topic, name):
    """A group that never had members: its offsets are written, read and deleted by an administrator."""
    to = topic(partitions=2)
    wanted = [TopicPartition(to, 0, 5, metadata="by hand"), TopicPartition(to, 1, 7)]
    done = result(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(name, wanted)]))
    assert [place.error for place in done.topic_partitions] == [None, None]

    def offsets(*places):
        found = result(admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(name, list(places) or None)]))
        return {(place.topic, place.partition): place.offset for place in found.topic_partitions}

    assert offsets() == {(to, 0): 5, (to, 1): 7}
    assert offsets(TopicPartition(to, 1), TopicPartition(to, 9)) == {(to, 1): 7, (to, 9): -1001}
    assert result(admin.describe_consumer_groups([name])).state == ConsumerGroupState.EMPTY
    assert name in [each.group_id for each in admin.list_consumer_groups().result(30).valid]

    member = Member(broker, name, to)
    settle([member], 2)
    with pytest.raises(KafkaException):
        done = result(admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(name, wanted)]))
        raise KafkaException(next(place.error for place in done.topic_partitions if place.error))
    member.close()
    result(admin.delete_consumer_groups([name]))
    assert offsets() == {}
    assert name not in [each.group_id for each in admin.list_consumer_groups().result(30).valid]


def test_list_offsets(admin, broker, topic):
    to = topic()
    send(broker, to, [{"value": b"x", "timestamp": 1000 * n} for n in (1, 5, 3)])

    def listed(spec):
        return result(admin.list_offsets({TopicPartition(to, 0): spec}))

    assert (listed(OffsetSpec.earliest()).offset, listed(OffsetSpec.latest()).offset) == (0, 3)
    assert (listed(OffsetSpec.max_timestamp()).offset, listed(OffsetSpec.max_timestamp()).timestamp) == (1, 5000)
    assert (listed(OffsetSpec.for_timestamp(2000)).offset, listed(OffsetSpec.for_timestamp(6000)).offset) == (1, -1)


def test_delete_records(admin, broker, topic):
    to = topic()
    send(broker, to, [{"value": b"%d" % n} for n in range(100)], batch_num_messages=20)
    assert result(admin.delete_records([TopicPartition(to, 0, 33)])).low_watermark == 33
    assert watermarks(broker, to) == (33, 100)
    assert [int(record.value()) for record in read(broker, to)] == list(range(33, 100))
    assert result(admin.delete_records([TopicPartition(to, 0, 10)])).low_watermark == 33
    assert failure(admin.delete_records([TopicPartition(to, 0, 101)])) == KafkaError.OFFSET_OUT_OF_RANGE
    assert result(admin.delete_records([TopicPartition(to, 0, -1)])).low_watermark == 100
    send(broker, to, [{"value": b"after"}])
    assert [(record.offset(), record.value()) for record in read(broker, to)] == [(100, b"after")]
    missing = failure(admin.delete_records([TopicPartition(to + "-not", 0, 1)]))
    assert missing in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._NOENT)
