"""librdkafka in groups: members that come and go, static members, commits with metadata, offsets that stay."""

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from kit import Member, consumer, poll, send, settle
from support import eventually

PATIENT = {"session_timeout_ms": 45_000, "heartbeat_interval_ms": 500}


def strategy(name):
    return {"partition_assignment_strategy": name, **PATIENT}


@pytest.mark.parametrize("assignor", ["range", "roundrobin", "cooperative-sticky"])
def test_members_come_and_go(broker, topic, name, assignor):
    to = topic(partitions=6)
    members = [Member(broker, name, to, **strategy(assignor))]
    settle(members, 6)
    first = members[0]
    for _ in range(2):
        members.append(Member(broker, name, to, **strategy(assignor)))
        settle(members, 6)
    kept = first.has()
    send(broker, to, [{"value": b"%d" % n, "partition": n % 6} for n in range(60)])

    def all_read():
        poll(members)
        return sum(len(member.records) for member in members) >= 60

    eventually(all_read, "60 records read")
    assert sorted(int(record.value()) for member in members for record in member.records) == list(range(60))
    members.pop(1).close()
    settle(members, 6)
    taken = set().union(*first.taken)
    if assignor == "cooperative-sticky":
        assert not kept & taken, "a cooperative member gives up only what moves"
        assert kept <= first.has()
    else:
        assert taken == set(range(6)), "an eager member gives up all that it has"
    members.pop().close()
    settle(members, 6)
    first.close()
    assert not first.errors


def test_strategies_that_do_not_meet(broker, topic, name):
    """A member that shares no protocol with the group is refused; the group goes on."""
    to = topic(partitions=2)
    member = Member(broker, name, to, **strategy("range"))
    settle([member], 2)
    stranger = Member(broker, name, to, **strategy("roundrobin"))

    def refused():
        poll([member, stranger])
        return stranger.errors

    assert eventually(refused, "an error")[0].code() == KafkaError.INCONSISTENT_GROUP_PROTOCOL
    assert member.has() == {0, 1} and not member.errors
    stranger.close()
    member.close()


def test_subscriptions_differ(broker, topic, name):
    """Each member gets partitions only of what it subscribes to; a pattern finds topics that come later."""
    first = topic(partitions=2)
    one = Member(broker, name, first, **strategy("range"))
    every = Member(broker, name, f"^{name}-.*", topic_metadata_refresh_interval_ms=500, **strategy("range"))

    members = [one, every]

    def seen():
        poll(members)
        return {(place.topic, place.partition) for place in every.consumer.assignment()}

    eventually(lambda: seen() and len(one.has()) == 1, "a share for both")
    second = topic(partitions=1)
    eventually(lambda: (second, 0) in seen(), "the new topic")
    members.remove(one)
    one.close()
    eventually(lambda: seen() == {(first, 0), (first, 1), (second, 0)}, "all partitions")
    every.close()


@pytest.mark.parametrize("assignor", ["range", "cooperative-sticky"])
def test_static_members(broker, topic, name, assignor):
    """A static member that restarts gets its partitions back and nobody rebalances; its double is fenced."""
    to = topic(partitions=4)
    stays, restarts = (Member(broker, name, to, group_instance_id=each, **strategy(assignor)) for each in ["a", "b"])
    settle([stays, restarts], 4)
    had, rounds = restarts.has(), (len(stays.given), len(stays.taken))
    restarts.close()
    again = Member(broker, name, to, group_instance_id="b", **strategy(assignor))
    settle([stays, again], 4)
    send(broker, to, [{"value": b"x", "partition": partition} for partition in range(4)])
    eventually(lambda: poll([stays, again]) or len(stays.records) + len(again.records) >= 4, "four records")
    assert again.has() == had and (len(stays.given), len(stays.taken)) == rounds

    double = Member(broker, name, to, group_instance_id="b", **strategy(assignor))

    def fenced():
        poll([stays, again, double])
        return again.errors

    error = eventually(fenced, "a fenced member")[0]
    assert error.code() == KafkaError._FATAL or error.code() == KafkaError.FENCED_INSTANCE_ID
    settle([stays, double], 4)
    assert double.has() == had
    for member in (again, double, stays):
        member.close()


def test_member_that_dies(broker, topic, name):
    """A member that says nothing for its session's length loses its partitions; a static one leaves without a word."""
    to = topic(partitions=4)
    stays = Member(broker, name, to, **strategy("range"))
    dies = Member(broker, name, to, group_instance_id="dies", session_timeout_ms=6000, heartbeat_interval_ms=500)
    settle([stays, dies], 4)
    dies.close()
    settle([stays], 4)
    stays.close()


def test_commits(broker, topic, name):
    """Offsets and metadata are read back, by member and by others, and a new consumer starts there."""
    to = topic(partitions=3)
    send(broker, to, [{"value": b"%d" % n, "partition": n % 3} for n in range(30)])
    member = Member(broker, name, to, **PATIENT)
    settle([member], 3)
    asked = [TopicPartition(to, 0, 4, metadata="so far: ünïcode"), TopicPartition(to, 1, 10)]
    committed = member.consumer.commit(offsets=asked, asynchronous=False)
    assert [(place.offset, place.error) for place in committed] == [(4, None), (10, None)]
    # The limit is 4,096; this client appends a NUL.
    too_much = [TopicPartition(to, 2, 1, metadata="x" * 4096)]
    with pytest.raises(KafkaException) as caught:
        for place in member.consumer.commit(offsets=too_much, asynchronous=False):
            if place.error:
                raise KafkaException(place.error)
    assert caught.value.args[0].code() == KafkaError.OFFSET_METADATA_TOO_LARGE
    fits = [TopicPartition(to, 2, 1, metadata="x" * 4095)]
    member.consumer.commit(offsets=fits, asynchronous=False)

    other = consumer(broker, name)
    with pytest.raises(KafkaException) as caught:  # not a member, and the group has members
        other.commit(offsets=asked, asynchronous=False)
    assert caught.value.args[0].code() in (KafkaError.UNKNOWN_MEMBER_ID, KafkaError.ILLEGAL_GENERATION)
    member.close()
    places = other.committed([TopicPartition(to, partition) for partition in range(3)], timeout=30)
    assert [place.offset for place in places] == [4, 10, 1]
    assert [place.metadata or "" for place in places] == ["so far: ünïcode", "", "x" * 4095]
    other.commit(offsets=[TopicPartition(to, 2, 9)], asynchronous=False)  # the group is empty now
    other.close()

    again = Member(broker, name, to, **PATIENT)
    settle([again], 3)
    eventually(lambda: poll([again]) or len(again.records) >= 7, "what was not committed")
    firsts = {}
    for record in again.records:
        firsts.setdefault(record.partition(), record.offset())
    assert firsts == {0: 4, 2: 9} and len(again.records) == 7
    again.close()


def test_automatic_commits(broker, topic, name):
    """What a consumer has handed out is committed when it closes; the next one goes on after it."""
    to = topic(partitions=2)
    send(broker, to, [{"value": b"%d" % n, "partition": n % 2} for n in range(40)])
    first = Member(broker, name, to, enable_auto_commit=True, **PATIENT)
    eventually(lambda: first.poll(most=1) or len(first.records) >= 15, "15 records")
    first.close()
    second = Member(broker, name, to, enable_auto_commit=True, **PATIENT)
    eventually(lambda: poll([second]) or len(first.records) + len(second.records) >= 40, "the rest")
    second.close()
    assert sorted(int(record.value()) for record in first.records + second.records) == list(range(40))
