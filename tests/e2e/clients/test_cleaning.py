"""Old records go: compaction keeps each key's last value, retention moves the log's start, and readers go on."""

import itertools

import pytest
from confluent_kafka import KafkaError, KafkaException
from kit import read, send, watermarks
from support import eventually

# Segments close as soon as the next record comes, anything dirty is cleaned, tombstones go at once.
EAGER = {
    "cleanup.policy": "compact",
    "segment.ms": "100",
    "min.cleanable.dirty.ratio": "0.01",
    "min.compaction.lag.ms": "0",
    "delete.retention.ms": "0",
}
COMPACTED_SECONDS = 120
GONE_SECONDS = 400


def test_compaction(broker, topic):
    """The last value of each key stays at its offset, as it was; a tombstone takes its key and goes too."""
    codecs = ["none", "gzip", "snappy", "lz4", "zstd"]  # one for each partition
    to, headers = topic(len(codecs), **EAGER), [("h", b"1"), ("h", b"2"), ("null", None)]
    last = {}
    for number, (partition, codec) in itertools.product(range(3), enumerate(codecs)):
        records = [
            {
                "key": b"k%d" % key,
                "value": None if key == 0 and number == 2 else b"%d of %d" % (number, key) * 20,
                "headers": headers,
                "timestamp": 1_700_000_000_000 + number,
                "partition": partition,
            }
            for key in range(100)
        ]
        reports = send(broker, to, records, compression_type=codec, linger_ms=50, enable_idempotence=number == 1)
        last[partition] = {report.key(): report.offset() for report in reports if report.key() != b"k0"}

    def compacted():
        # Some brokers close a segment only when the next record comes.
        send(broker, to, [{"key": b"tick", "partition": partition} for partition in last])
        left = [record for record in read(broker, to) if record.key() != b"tick"]
        return left if len(left) == 99 * len(codecs) else None

    left = eventually(compacted, "compaction", COMPACTED_SECONDS)
    for partition in last:
        mine = [record for record in left if record.partition() == partition]
        assert {record.key(): record.offset() for record in mine} == last[partition]
        assert [record.offset() for record in mine] == sorted(last[partition].values())
        # A reader that starts in a gap gets what comes next.
        assert read(broker, to, start=150, partitions=[partition])[0].offset() == mine[0].offset()
        assert watermarks(broker, to, partition)[0] == 0
    for record in left:
        assert record.value() == b"2 of %s" % record.key()[1:] * 20 and record.headers() == headers
        assert record.timestamp()[1] == 1_700_000_000_002


def test_compacted_topics_need_keys(broker, topic):
    to = topic(**EAGER)
    with pytest.raises(KafkaException) as caught:
        send(broker, to, [{"value": b"no key"}])
    assert caught.value.args[0].code() == KafkaError.INVALID_RECORD


def deleted(broker, to, above):
    """The log's start once it is above an offset."""
    return eventually(
        lambda: watermarks(broker, to)[0] > above and watermarks(broker, to)[0], "old records that go", GONE_SECONDS
    )


@pytest.mark.timeout(GONE_SECONDS + 60)
def test_retention_by_time(broker, topic):
    to, stays = topic(**{"retention.ms": "1000"}), topic(**{"retention.ms": "-1"})
    records = [{"value": b"%d" % n, "timestamp": 1_600_000_000_000 + n} for n in range(100)]
    send(broker, to, records)
    send(broker, stays, records)
    assert deleted(broker, to, 99) == 100
    assert watermarks(broker, to) == (100, 100) and read(broker, to) == []
    send(broker, to, [{"value": b"after"}])
    assert [record.offset() for record in read(broker, to, start=7)] in ([100], [])  # it may be gone already
    assert watermarks(broker, stays) == (0, 100)


@pytest.mark.timeout(GONE_SECONDS + 60)
def test_retention_by_size(broker, topic):
    to = topic(**{"retention.bytes": 2 << 20, "segment.bytes": 1 << 20})
    records = [{"value": b"%04d" % n + b"x" * 100_000} for n in range(80)]
    send(broker, to, records, batch_num_messages=2)
    start = deleted(broker, to, 30)
    end = watermarks(broker, to)[1]
    assert start < end == 80, "what fits stays"
    left = read(broker, to, start=0, auto_offset_reset="earliest")
    assert [int(record.value()[:4]) for record in left] == list(range(left[0].offset(), 80))
    assert sum(len(record.value()) for record in left) >= (2 << 20) - (1 << 20)
