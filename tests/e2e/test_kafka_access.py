"""Who may touch what, on a log that is locked by the configuration alone: the services need no more than they are given, a team's user
reaches its own topics and groups, and every other request of two clients is refused. The same on both brokers."""

import json
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor

import locked
import pytest
import yaml
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as Place
from kafka.admin import ConfigResource as Resource
from kafka.admin import ConfigResourceType
from kafka.structs import OffsetAndMetadata
from kafka_tools import consumer, headers_of, read
from support import clean_environment, eventually, user

FOREIGN_TOPICS = ["in.ads", "out.ads", "usage", "requests.interactive", "replies", "control", "dead-letters", "new"]
FOREIGN_GROUPS = ["ads.app", "PREFIX.ingress", "PREFIX.usage-aggregator", "search", "elsewhere"]
pytestmark = pytest.mark.timeout(600)
# A topic's, a group's and the cluster's.
AUTHORISATION_CODES = {29, 30, 31}


@pytest.fixture(scope="module")
def running(gateway, binary, _provider, tmp_path_factory):
    running, clean = locked.start(gateway, binary, _provider, tmp_path_factory.mktemp("acls"))
    yield running
    if not running.embedded:
        # Its broker goes before the fixture that ends gateways would need it.
        running.stop()
        running.stop = lambda: None
    clean()


@pytest.fixture(scope="module")
def app(running):
    """A user of the team search; a user of the team ads has a group and offsets of its own."""
    ads = Consumer({**locked.client(running, "ads-app"), "group.id": "ads.app"})
    ads.commit(offsets=[TopicPartition(running.topic("out.ads"), 0, 0)], asynchronous=False)
    ads.close()
    return locked.client(running, "search-app")


@pytest.fixture(scope="module")
def admin(app):
    return AdminClient(app)


def group_of(running, name):
    return name.replace("PREFIX.", running.prefix)


def job(custom_id, model="chat"):
    body = {"model": model, "messages": user("a job")}
    return {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body}


def do_jobs(running, app, *models):
    """Produces a job for each model with a team's user, and reads the answers with it in a group of its own."""
    jobs = [job(uuid.uuid4().hex, model) for model in models]
    producer = Producer({**app, "enable.idempotence": True})
    for each in jobs:
        producer.produce(running.topic("in.search"), json.dumps(each))
    assert producer.flush(60) == 0
    reader = consumer(app, f"search.{uuid.uuid4().hex}")
    reader.subscribe([running.topic("out.search")])
    missing = {each["custom_id"] for each in jobs}

    def answered():
        record = reader.poll(1)
        assert record is None or record.error() is None, record.error()
        if record is not None:
            line = json.loads(record.value())
            if line["custom_id"] in missing:
                assert line["response"]["status_code"] == 200, line
            missing.discard(line["custom_id"])
            reader.commit(record, asynchronous=False)
        return not missing

    eventually(answered, "the answers", 120)
    reader.close()


def test_the_whole_pipeline_needs_no_more_than_it_is_given(running, app):
    do_jobs(running, app, "chat", "guarded")
    key = {"idempotency_key": uuid.uuid4().hex}
    first, again = (running.chat({"model": "guarded", "messages": user("twice")}, **key) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200) and first.json()["id"] == again.json()["id"]
    request = uuid.uuid4().hex
    producer = Producer(app)
    producer.produce(running.topic("in.search"), request.encode() + b" is no job")
    assert producer.flush(60) == 0

    def dead():
        return [r for r in read(running, [running.topic("dead-letters")]) if r.value().startswith(request.encode())]

    assert headers_of(eventually(dead, "the dead letter", 60)[0])
    running.http().delete("/v1/requests/01900000-0000-7000-8000-000000000000")
    eventually(lambda: len(read(running, [running.topic("usage")])) >= 3, "usage rows", 60)

    running.end()
    for process in running.processes:
        process.start()
    running.wait_until_ready()
    do_jobs(running, app, "chat", "guarded")
    assert running.chat({"model": "chat", "messages": user("after a restart")}).status_code == 200
    log = running.log().lower()
    assert "authoriz" not in log and "authoris" not in log, [line for line in log.splitlines() if "authori" in line]
    assert not [password for password in locked.PASSWORDS.values() if password in log]


def test_submit_works_as_a_user(running, app, binary, tmp_path):
    whole = {**running.config, "kafka": {**running.config["kafka"], "properties": {**app}}}
    del whole["kafka"]["properties"]["bootstrap.servers"]
    (tmp_path / "tollgate.yaml").write_text(yaml.safe_dump(whole))
    (tmp_path / "jobs.jsonl").write_text("".join(json.dumps(job(f"job-{n}")) + "\n" for n in range(5)))
    command = [binary, "submit", "jobs.jsonl", "--config", "tollgate.yaml", "--team", "search", "--brokers", running.brokers]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=clean_environment(), cwd=tmp_path)
    assert done.returncode == 0 and "5 answered, 0 of them with an error" in done.stderr, done.stderr


def refused(call, *arguments, **more):
    """Whether something was refused for want of authorisation, however a client says so."""
    try:
        told = call(*arguments, **more)
        told = told.result(30) if hasattr(told, "result") else told
        for future in told.values() if isinstance(told, dict) else []:
            told = future.result(30) if hasattr(future, "result") else told
        places = getattr(told, "topic_partitions", [])
        errors = [place.error for place in places if place.error]
        if errors:
            raise KafkaException(errors[0])
    except Exception as error:  # noqa: BLE001 - each client has its own
        name = error.args[0].name() if isinstance(error, KafkaException) else type(error).__name__
        # librdkafka's `_NOENT`: metadata did not tell it whom to ask.
        assert name == "_NOENT" or "AUTHORIZATION" in name.upper(), f"{call} failed with {error!r}"
        return True
    return "AuthorizationFailed" in str(told) or any(code in AUTHORISATION_CODES for code in codes_in(told))


def codes_in(told):
    """Error codes within an answer that kafka-python gives as it is, or as errors by key."""
    if isinstance(told, dict):
        for name, value in told.items():
            yield from [value] if name == "error_code" else codes_in(value)
    elif isinstance(told, (list, tuple)):
        for value in told:
            yield from codes_in(value)
    else:
        yield getattr(told, "errno", None)


def error_of_produce(client, topic):
    errors = []
    producer = Producer({**client, "message.timeout.ms": 60_000})
    producer.produce(topic, b"{}", on_delivery=lambda error, _: errors.append(error and error.name()))
    producer.flush(90)
    return errors[0]


def error_of_read(client, topic, group):
    """What a consumer is told before any record comes."""
    reader = consumer(client, group)
    reader.subscribe([topic])
    try:
        told = eventually(lambda: reader.poll(1), f"the consumer of {topic} is told something", 60)
        return told.error() and told.error().name()
    finally:
        reader.close()


def test_a_users_lists_show_its_own(running, app, admin):
    do_jobs(running, app, "chat")
    names = {name for name in admin.list_topics(timeout=60).topics}
    assert names == {running.topic("in.search"), running.topic("out.search")}
    groups = {group.group_id for group in admin.list_consumer_groups().result(60).valid}
    assert groups and all(group.startswith("search.") for group in groups), groups


@pytest.mark.parametrize("name", FOREIGN_TOPICS)
def test_librdkafka_reaches_no_topic_that_is_not_its_own(running, app, admin, name):
    topic = running.topic(name)
    place = TopicPartition(topic, 0, 0)
    assert error_of_produce(app, topic) == "TOPIC_AUTHORIZATION_FAILED"
    assert error_of_read(app, topic, "search.app") == "TOPIC_AUTHORIZATION_FAILED"
    reader = consumer(app, "search.app")
    for call in (reader.get_watermark_offsets, lambda p, timeout: reader.offsets_for_times([p], timeout)):
        with pytest.raises(KafkaException):
            call(TopicPartition(topic, 0, 1), timeout=20)
    assert refused(reader.commit, offsets=[place], asynchronous=False)
    reader.close()
    entry = ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    assert refused(admin.describe_topics, TopicCollection([topic]))
    assert refused(admin.describe_configs, [ConfigResource(ConfigResource.Type.TOPIC, topic)])
    assert refused(admin.list_offsets, {place: OffsetSpec.latest()})
    assert refused(admin.create_topics, [NewTopic(topic, 1, 1)])
    assert refused(admin.create_partitions, [NewPartitions(topic, 100)])
    assert refused(admin.incremental_alter_configs, [change])
    assert refused(admin.delete_records, [TopicPartition(topic, 0, -1)])
    assert refused(admin.delete_topics, [topic])


@pytest.mark.parametrize("name", ["in.search", "out.search"])
def test_a_user_administers_not_even_its_own_topics(running, app, admin, name):
    topic = running.topic(name)
    entry = ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    assert refused(admin.create_partitions, [NewPartitions(topic, 100)])
    assert refused(admin.incremental_alter_configs, [change])
    assert refused(admin.delete_records, [TopicPartition(topic, 0, -1)])
    assert refused(admin.delete_topics, [topic])
    if name == "in.search":
        assert error_of_read(app, topic, "search.app") == "TOPIC_AUTHORIZATION_FAILED"
    else:
        assert error_of_produce(app, topic) == "TOPIC_AUTHORIZATION_FAILED"


@pytest.mark.parametrize("name", FOREIGN_GROUPS)
def test_librdkafka_reaches_no_group_that_is_not_its_own(running, app, admin, name):
    group, topic = group_of(running, name), running.topic("out.search")
    assert error_of_read(app, topic, group) == "GROUP_AUTHORIZATION_FAILED"
    places = [ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 7)])]
    assert refused(admin.alter_consumer_group_offsets, places)
    assert refused(admin.list_consumer_group_offsets, [ConsumerGroupTopicPartitions(group)])
    assert refused(admin.describe_consumer_groups, [group])
    assert refused(admin.delete_consumer_groups, [group])


@pytest.fixture(scope="module")
def other_client(running, app):
    return {
        "bootstrap_servers": running.brokers,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": app["sasl.username"],
        "sasl_plain_password": app["sasl.password"],
    }


@pytest.fixture(scope="module")
def other_admin(other_client):
    admin = KafkaAdminClient(**other_client)
    yield admin
    admin.close()


@pytest.fixture(scope="module")
def read_by_other(running, other_client):
    """Foreign topics that kafka-python was given something of: it tells nobody that metadata was refused, and just has nowhere to
    read from. Three seconds for all of them, each with a reader of its own."""

    def gives(name):
        place = Place(running.topic(name), 0)
        reader = KafkaConsumer(**other_client, group_id=None)
        reader.assign([place])
        reader.seek(place, 0)
        found = any(reader.poll(timeout_ms=1000) for _ in range(3))
        reader.close()
        return found

    with ThreadPoolExecutor(len(FOREIGN_TOPICS)) as pool:
        return {name for name, found in zip(FOREIGN_TOPICS, pool.map(gives, FOREIGN_TOPICS)) if found}


@pytest.mark.parametrize("name", FOREIGN_TOPICS)
def test_kafka_python_reaches_no_topic_that_is_not_its_own(running, other_client, other_admin, read_by_other, name):
    topic = running.topic(name)
    place = Place(topic, 0)
    producer = KafkaProducer(**other_client, max_block_ms=20_000)
    assert refused(lambda: producer.send(topic, b"{}", partition=0).get(30))
    producer.close()
    assert name not in read_by_other
    resource = Resource(ConfigResourceType.TOPIC, topic, {"retention.ms": "1"})
    assert refused(other_admin.describe_topics, [topic])
    # It drops errors here.
    shown = other_admin.describe_configs([Resource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    assert not any(found for kind in shown.values() for found in kind.values()), shown
    assert refused(other_admin.create_topics, {topic: {"num_partitions": 1, "replication_factor": 1}})
    assert refused(other_admin.create_partitions, {topic: 9})
    assert refused(other_admin.alter_configs, [resource], raise_on_unknown=False)
    assert refused(other_admin.delete_records, {place: -1}, partition_leader_id=1)
    assert refused(other_admin.delete_topics, [topic])
    assert refused(other_admin.alter_group_offsets, "search.app", {place: OffsetAndMetadata(1, "", -1)})


@pytest.mark.parametrize("name", FOREIGN_GROUPS)
def test_kafka_python_reaches_no_group_that_is_not_its_own(running, other_client, other_admin, name):
    group, place = group_of(running, name), Place(running.topic("out.search"), 0)
    reader = KafkaConsumer(place.topic, **other_client, group_id=group)
    assert refused(lambda: [reader.poll(timeout_ms=1000) for _ in range(20)])
    reader.close(autocommit=False)
    assert refused(other_admin.describe_groups, [group])
    assert refused(other_admin.list_group_offsets, group)
    assert refused(other_admin.alter_group_offsets, group, {place: OffsetAndMetadata(1, "", -1)})
    assert refused(other_admin.delete_group_offsets, group, [place])
    assert refused(other_admin.delete_groups, [group])


def test_nothing_came_of_all_that(running, app):
    operator = AdminClient(running.operator())
    names = {name for name in operator.list_topics(timeout=60).topics if name.startswith(running.prefix)}
    assert running.topic("new") not in names and running.topic("usage") in names
    for name in ("in.ads", "out.ads", "control"):
        assert read(running, [running.topic(name)]) == [], name
    ads = Consumer({**locked.client(running, "ads-app"), "group.id": "ads.app"})
    (kept,) = ads.committed([TopicPartition(running.topic("out.ads"), 0)], timeout=60)
    ads.close()
    assert kept.offset == 0
    do_jobs(running, app, "chat")


def test_a_wrong_password_and_no_login_open_nothing(running):
    nobody = [locked.client(running, name, password) for name, password in (("search-app", "wrong"), ("nobody", "x"))]

    def is_kept_out(login):
        with pytest.raises(KafkaException):
            AdminClient(login).list_topics(timeout=5)
        return True

    with ThreadPoolExecutor() as pool:
        assert all(pool.map(is_kept_out, [*nobody, running.anybody()]))
