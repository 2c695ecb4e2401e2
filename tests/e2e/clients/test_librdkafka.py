"""librdkafka produces and consumes: codecs, sizes, acknowledgements, what a record holds, order, time, and errors."""

import random
import time

import pytest
from confluent_kafka import (
    OFFSET_END,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from kit import consumer, producer, read, send, watermarks
from support import eventually

NOISE = random.Random(1).randbytes(6 << 20)  # does not compress


def failure(call, *arguments, **more):
    """The code of the error that a call raises."""
    with pytest.raises(KafkaException) as caught:
        call(*arguments, **more)
    return caught.value.args[0].code()


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_codec(broker, topic, codec):
    to = topic(partitions=2)
    sent = [{"value": b"%d " % n + NOISE[n : n + n % 50] + b"x" * 300, "key": b"%d" % n} for n in range(2000)]
    reports = send(broker, to, sent, compression_type=codec, linger_ms=50, batch_num_messages=300)
    found = {record.key(): record for record in read(broker, to)}
    assert len(found) == len(sent)
    for record, report in zip(sent, reports):
        place = found[record["key"]]
        assert place.value() == record["value"]
        assert (place.partition(), place.offset()) == (report.partition(), report.offset())


@pytest.mark.parametrize("acks", ["0", "1", "all"])
def test_acks(broker, topic, acks):
    to = topic()
    send(broker, to, [{"value": b"%d" % n} for n in range(500)], acks=acks)
    eventually(lambda: watermarks(broker, to) == (0, 500), "500 records")
    assert [int(record.value()) for record in read(broker, to)] == list(range(500))


def test_large_records(broker, topic):
    """A record larger than a consumer's usual fetch still reaches it, and those behind it too."""
    to = topic(**{"max.message.bytes": 8 << 20})
    values = [NOISE[: 5 << 20], b"small", NOISE[: 900 << 10], b"last"]
    send(broker, to, [{"value": value} for value in values], message_max_bytes=8 << 20)
    assert [record.value() for record in read(broker, to)] == values
    small = read(broker, to, fetch_message_max_bytes=1 << 10, fetch_max_bytes=8 << 20, message_max_bytes=8 << 20)
    assert [record.value() for record in small] == values


def test_too_large(broker, topic):
    to, roomy = topic(**{"max.message.bytes": 2000}), topic()
    assert failure(send, broker, to, [{"value": NOISE[:3000]}]) == KafkaError.MSG_SIZE_TOO_LARGE
    too_much = [{"value": NOISE[: 3 << 20]}]
    for safe in (False, True):
        code = failure(send, broker, roomy, too_much, message_max_bytes=9 << 20, enable_idempotence=safe)
        assert code == KafkaError.MSG_SIZE_TOO_LARGE
    send(broker, to, [{"value": b"fits"}])
    assert [record.value() for record in read(broker, to)] == [b"fits"]


def test_what_a_record_holds(broker, topic):
    to = topic()
    headers = [("twice", b"1"), ("twice", b"2"), ("null", None), ("empty", b""), ("ünïcode", b"1"), ("", b"no name")]
    sent = [
        {"value": b"v", "key": b"k", "headers": headers, "timestamp": 1_600_000_000_123},
        {"value": None, "key": b"tombstone"},
        {"value": b"no key", "key": None},
        {"value": b"", "key": b""},
    ]
    before = int(time.time() * 1000)
    send(broker, to, sent)
    found = read(broker, to)
    assert [(record.key(), record.value()) for record in found] == [(record["key"], record["value"]) for record in sent]
    assert found[0].headers() == headers and found[0].timestamp() == (TIMESTAMP_CREATE_TIME, 1_600_000_000_123)
    assert found[1].headers() is None
    kind, stamp = found[1].timestamp()
    assert kind == TIMESTAMP_CREATE_TIME and stamp >= before - 1
    assert [record.offset() for record in found] == [0, 1, 2, 3]


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_log_append_time(broker, topic, codec):
    to = topic(**{"message.timestamp.type": "LogAppendTime"})
    before = int(time.time() * 1000)
    sent = [{"value": b"x" * 100, "timestamp": 1000 + n} for n in range(50)]
    reports = send(broker, to, sent, compression_type=codec)
    found = read(broker, to)
    stamps = [record.timestamp() for record in found]
    assert len(found) == 50 and {kind for kind, _ in stamps} == {TIMESTAMP_LOG_APPEND_TIME}
    assert stamps == sorted(stamps) and before <= stamps[0][1] <= stamps[-1][1] <= time.time() * 1000 + 1
    assert reports[-1].timestamp() == stamps[-1]


def test_seek_by_time(broker, topic):
    to = topic(partitions=2)
    send(broker, to, [{"value": b"%d" % n, "partition": 0, "timestamp": 1_000_000 + n * 10} for n in range(300)])
    send(broker, to, [{"value": b"late", "partition": 0, "timestamp": 1_000_000}], compression_type="gzip")
    reader = consumer(broker)

    def offset_at(stamp, partition=0):
        (place,) = reader.offsets_for_times([TopicPartition(to, partition, stamp)], timeout=30)
        return place.offset

    asked = {1: 0, 1_000_000: 0, 1_000_001: 1, 1_000_010: 1, 1_002_985: 299, 1_002_990: 299, 1_002_991: OFFSET_END}
    assert {stamp: offset_at(stamp) for stamp in asked} == asked
    assert offset_at(1, partition=1) == OFFSET_END
    assert reader.get_watermark_offsets(TopicPartition(to, 0), timeout=30) == (0, 301)
    assert reader.get_watermark_offsets(TopicPartition(to, 1), timeout=30) == (0, 0)
    reader.close()
    assert [record.value() for record in read(broker, to, start=298, partitions=[0])] == [b"298", b"299", b"late"]


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_idempotent_producer(broker, topic, codec):
    """Small batches, five in flight on each partition, and a second producer in between."""
    to = topic(partitions=3)
    settings = {"enable_idempotence": True, "max_in_flight": 5, "linger_ms": 0, "batch_num_messages": 7}
    settings["compression_type"] = codec
    send(broker, to, [{"value": b"a%d" % n, "partition": n % 3} for n in range(6000)], **settings)
    send(broker, to, [{"value": b"b%d" % n, "partition": n % 3} for n in range(300)], **settings)
    found = read(broker, to)
    for partition in range(3):
        expected = [b"a%d" % n for n in range(partition, 6000, 3)] + [b"b%d" % n for n in range(partition, 300, 3)]
        assert [record.value() for record in found if record.partition() == partition] == expected


def test_fetches_wait_for_records(broker, topic):
    """A consumer at the end of many partitions gets what arrives in any of them."""
    to = topic(partitions=8)
    reader = consumer(broker, enable_partition_eof=False)
    reader.assign([TopicPartition(to, partition, 0) for partition in range(8)])
    assert reader.poll(1.0) is None
    for partition in [3, 0, 7, 3]:
        send(broker, to, [{"value": b"wake", "partition": partition}])
        message = reader.poll(30)
        assert message is not None and message.error() is None and message.partition() == partition
    reader.close()


def test_unknown_topic(broker, name):
    assert failure(send, broker, name, [{"value": b"x"}], topic_metadata_propagation_max_ms=0) in (
        KafkaError._UNKNOWN_TOPIC,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    )
    reader = consumer(broker, topic_metadata_propagation_max_ms=0)
    assert reader.list_topics(name, timeout=30).topics[name].error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    assert reader.list_topics("no good!", timeout=30).topics["no good!"].error.code() == KafkaError.TOPIC_EXCEPTION
    reader.subscribe([name])
    assert eventually(lambda: reader.poll(0.5), "an error").error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART
    reader.close()


def test_unknown_partition(broker, topic):
    to = topic()
    assert failure(send, broker, to, [{"value": b"x", "partition": 5}]) == KafkaError._UNKNOWN_PARTITION


def test_offset_out_of_range(broker, topic):
    to = topic()
    send(broker, to, [{"value": b"%d" % n} for n in range(10)])
    assert failure(read, broker, to, start=99, auto_offset_reset="error") == KafkaError._AUTO_OFFSET_RESET
    assert len(read(broker, to, start=99)) == 10


def test_many_topics_over_one_connection(broker, topic):
    """One producer and one consumer for twenty topics; closing leaves nothing behind that blocks."""
    names = [topic(partitions=2) for _ in range(20)]
    sender = producer(broker, linger_ms=5)
    for number in range(2000):
        sender.produce(names[number % 20], b"%d" % number, partition=number // 20 % 2)
        sender.poll(0)
    assert sender.flush(60) == 0
    reader = consumer(broker, enable_partition_eof=False)
    reader.assign([TopicPartition(each, partition, 0) for each in names for partition in range(2)])
    found = []
    eventually(lambda: found.extend(reader.consume(500, 0.5)) or len(found) >= 2000, "2000 records", 60)
    assert sorted(int(message.value()) for message in found) == list(range(2000))
    reader.close()
