"""A direct producer and consumer as a team would write them, and reading topics whole to see what is in them."""

import json
import time
import uuid

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, Producer, TopicPartition


def produce(gateway, topic, value, key=None, headers=None):
    """Produces one record and waits until the broker has it."""
    produce_all(gateway, topic, [(value, key, headers)])


def produce_all(gateway, topic, records):
    """Produces (value, key, headers) records; values that are not bytes are sent as JSON."""
    ours = {"acks": "all", "partitioner": "murmur2_random", "message.max.bytes": 4 << 20}
    producer = Producer({**gateway.anybody(), **ours})
    failed = []
    for value, key, headers in records:
        value = value if isinstance(value, bytes) else json.dumps(value).encode()
        headers = list((headers or {}).items())
        producer.produce(topic, value, key, headers=headers, on_delivery=lambda e, _: e and failed.append(e))
    left = producer.flush(30)
    assert not left and not failed, f"{left} records were not delivered: {failed}"


def consumer(client, group=None, **more):
    """A consumer that begins at the oldest record; `client` says where and as whom: `gateway.anybody()` or `.operator()`."""
    return Consumer(
        {
            **client,
            "group.id": group or f"e2e-{uuid.uuid4().hex}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            **more,
        }
    )


def read(gateway, topics):
    """Every record that the topics hold now."""
    # The end is what the broker calls so: the last offsets may be markers', deleted, or never given out.
    # A fetch that finds nothing says so when its wait is over, half a second by default. Whoever waits for a record reads again and again.
    reader = consumer(gateway.operator(), **{"enable.partition.eof": True, "fetch.wait.max.ms": 100})
    known = reader.list_topics(timeout=10).topics
    left = {(topic, partition) for topic in topics for partition in known[topic].partitions}
    records = []
    if left:
        reader.assign([TopicPartition(*place, OFFSET_BEGINNING) for place in left])
    stop = time.monotonic() + 60
    while left:
        assert time.monotonic() < stop, f"could not read {left} to the end"
        record = reader.poll(0.2)
        if record is None:
            continue
        if record.error() is None:
            records.append(record)
        elif record.error().code() == KafkaError._PARTITION_EOF:
            left.discard((record.topic(), record.partition()))
    reader.close()
    return records


def collect(gateway, topic, count, seconds=60):
    """The first `count` records of a topic, waiting for them; then what came beyond, if anything did."""
    reader = consumer(gateway.anybody())
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
    reader = consumer(gateway.operator())
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
