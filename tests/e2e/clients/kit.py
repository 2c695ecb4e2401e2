"""librdkafka in short: send all, read all, and members of a group that are polled in turn."""

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from support import eventually

QUIET = {"log_level": 0}  # brokers that are killed on purpose would fill pages


def producer(broker, **more):
    return Producer({"bootstrap.servers": broker, **QUIET, **options(more)})


def consumer(broker, group="alone", **more):
    """A consumer that commits nothing by itself, starts at the beginning and says when it is at a partition's end."""
    wanted = {
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
    }
    return Consumer({"bootstrap.servers": broker, **QUIET, **wanted, **options(more)})


def options(named):
    """Python's names of options as librdkafka's: `linger_ms` is `linger.ms`."""
    return {name.replace("_", "."): value for name, value in named.items()}


def send(broker, topic, records, **more):
    """Produces records (dictionaries of `produce`'s arguments), in order; gives the delivery reports."""
    reports = [None] * len(records)
    # A topic is new, and a batch that its leader does not know it for yet must not be overtaken by the next one.
    sender = producer(broker, **{"max_in_flight": 1, **more})
    for number, record in enumerate(records):

        def delivered(error, message, number=number):
            reports[number] = error or message

        sender.produce(topic, on_delivery=delivered, **record)
        sender.poll(0)
    left = sender.flush(60)
    assert not left, f"{left} records were not delivered"
    for report in reports:
        if isinstance(report, KafkaError):
            raise KafkaException(report)
    return reports


def read(broker, topic, start=OFFSET_BEGINNING, partitions=None, **more):
    """What the partitions hold now, up to their ends, each in order. A fetch that finds nothing soon says so."""
    reader = consumer(broker, **{"fetch_wait_max_ms": 10, **more})
    if partitions is None:
        partitions = reader.list_topics(topic, timeout=30).topics[topic].partitions
    waiting, records = set(partitions), []
    reader.assign([TopicPartition(topic, partition, start) for partition in waiting])

    def at_end():
        for message in reader.consume(1000, 0.05):
            if message.error() is None:
                records.append(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                waiting.discard(message.partition())
            else:
                raise KafkaException(message.error())
        return not waiting

    eventually(at_end, f"the end of {topic}", 60)
    reader.close()
    return records


def watermarks(broker, topic, partition=0):
    reader = consumer(broker)
    try:
        return reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=30)
    finally:
        reader.close()


class Member:
    """A consumer of a group: counts what happens to its assignment and keeps what it read."""

    def __init__(self, broker, group, topic, **more):
        self.given, self.taken, self.records, self.errors = [], [], [], []
        more.setdefault("enable_partition_eof", False)
        self.consumer = consumer(broker, group, **more)
        self.consumer.subscribe([topic], on_assign=self._given, on_revoke=self._taken)

    def _given(self, _, places):
        self.given.append({place.partition for place in places})

    def _taken(self, _, places):
        self.taken.append({place.partition for place in places})

    def poll(self, most=500):
        for message in self.consumer.consume(most, 0.02):
            (self.errors if message.error() else self.records).append(message.error() or message)

    def has(self):
        return {place.partition for place in self.consumer.assignment()}

    def close(self):
        self.consumer.close()


def poll(members):
    for member in members:
        member.poll()


def settle(members, partitions):
    """Polls until the members share the partitions evenly."""

    def shared():
        poll(members)
        parts = [member.has() for member in members]
        even = max(map(len, parts)) - min(map(len, parts)) <= 1
        return even and sorted(number for part in parts for number in part) == list(range(partitions))

    eventually(shared, f"{len(members)} members that share {partitions} partitions", 60)
