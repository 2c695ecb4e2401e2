"""A direct producer and consumer as a team would write them, and reading topics whole to see what is in them."""

import json
import time
import uuid

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition


def produce(gateway, topic, value, key=None, headers=None):
    """Produces one record and waits until the broker has it."""
    produce_all(gateway, topic, [(value, key, headers)])


def produce_all(gateway, topic, records):
    """Produces (value, key, headers) records; values that are not bytes are sent as JSON."""
    producer = Producer({"bootstrap.servers": gateway.brokers, "acks": "all", "partitioner": "murmur2_random", "message.max.bytes": 4 << 20})
    failed = []
    for value, key, headers in records:
        value = value if isinstance(value, bytes) else json.dumps(value).encode()
        headers = list((headers or {}).items())
        producer.produce(topic, value, key, headers=headers, on_delivery=lambda e, _: e and failed.append(e))
    left = producer.flush(30)
    assert not left and not failed, f"{left} records were not delivered: {failed}"


def consumer(gateway, group=None):
    return Consumer(
        {
            "bootstrap.servers": gateway.brokers,
            "group.id": group or f"e2e-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )


def read(gateway, topics):
    """Every record that the topics hold now."""
    reader = consumer(gateway)
    known = reader.list_topics(timeout=10).topics
    ends = {}
    for topic in topics:
        for partition in known[topic].partitions:
            _, end = reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            if end > 0:
                ends[(topic, partition)] = end
    records = []
    if ends:
        reader.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in ends])
    stop = time.monotonic() + 60
    while ends:
        assert time.monotonic() < stop, f"could not read up to {ends}"
        record = reader.poll(0.2)
        if record is None or record.error():
            # Offsets at the end may belong to markers or be deleted, so the position decides, not the last record.
            for place in reader.position([TopicPartition(*place) for place in ends]):
                if place.offset >= ends[(place.topic, place.partition)]:
                    del ends[(place.topic, place.partition)]
            continue
        records.append(record)
    reader.close()
    return records


def collect(gateway, topic, count, seconds=60):
    """The first `count` records of a topic, waiting for them; then what came beyond, if anything did."""
    reader = consumer(gateway)
    reader.subscribe([topic])
    records, end = [], time.monotonic() + seconds
    while len(records) < count:
        assert time.monotonic() < end, (
            f"{len(records)} of {count} records came on {topic}: {[r.value() for r in records]}"
        )
        record = reader.poll(0.5)
        if record is not None and not record.error():
            records.append(record)
    reader.close()
    return records


def all_topics(gateway):
    """Names of all topics of a gateway."""
    reader = consumer(gateway)
    names = [name for name in reader.list_topics(timeout=10).topics if name.startswith(gateway.prefix)]
    reader.close()
    return names


def headers_of(record):
    """A record's headers as text."""
    return {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers() or []}


def everything(gateway):
    """All bytes of all topics, keys and headers included."""
    out = []
    for record in read(gateway, all_topics(gateway)):
        out += [record.key() or b"", record.value() or b""]
        out += [name.encode() + b"=" + (value or b"") for name, value in record.headers() or []]
    return b"\n".join(out)
