"""The embedded broker's lock: who may touch what, where it may listen, and what is said when it cannot start."""

import json
import os
import socket
import stat
import subprocess
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
import yaml
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic
from kafka_tools import all_topics, collect, consumer, produce, read
from support import clean_environment, config, endpoint, eventually, free_port, user

pytestmark = pytest.mark.only_embedded(reason="its lock, its folder and its listener")

ENDPOINTS = [endpoint("chat", ["main demo mock-1"])]
REFUSED = {"TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED"}
PASSWORDS = {"E2E_APP_PASSWORD": "canary-app-4e1b", "E2E_ADS_PASSWORD": "canary-ads-90aa"}


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(ENDPOINTS)


def job(custom_id):
    body = {"model": "chat", "messages": user("a job")}
    return {"custom_id": custom_id, "url": "/v1/chat/completions", "body": body}


def login(running, name, password):
    return {
        **running.anybody(),
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": name,
        "sasl.password": password,
    }


def topics_seen(client):
    return {name.split(".", 1)[1] for name in AdminClient(client).list_topics(timeout=10).topics}


def error_of_produce(client, topic):
    """The error's name; None if the record was taken."""
    errors = []
    producer = Producer({**client, "message.timeout.ms": 10_000})
    producer.produce(topic, b"{}", on_delivery=lambda error, _: errors.append(error and error.name()))
    producer.flush(30)
    return errors[0]


def error_of_read(client, topic, group=None):
    """What a consumer is told before any record comes."""
    reader = consumer(client, group)
    reader.subscribe([topic])
    try:
        told = eventually(lambda: reader.poll(1), f"the consumer of {topic} is told something")
        return told.error() and told.error().name()
    finally:
        reader.close()


def error_of(futures):
    (future,) = futures.values()
    with pytest.raises(KafkaException) as refused:
        future.result(30)
    return refused.value.args[0].name()


def test_a_job_needs_no_login(running):
    custom_id = uuid.uuid4().hex
    produce(running, running.topic("in.search"), job(custom_id))

    def answered():
        records = read(running, [running.topic("out.search")])
        return [r for r in records if json.loads(r.value())["custom_id"] == custom_id]

    eventually(answered, "the answer")
    assert collect(running, running.topic("out.search"), 1), "and anybody reads it, in a group of their own"


def test_others_see_their_topics_only(running):
    assert topics_seen(running.anybody()) == {"in.search", "out.search"}
    assert {"usage", "replies", "requests.interactive", "in.search"} <= topics_seen(running.operator())


INTERNAL = ["requests.interactive", "approved.batch", "replies", "usage", "control", "idempotency", "dead-letters"]


@pytest.mark.parametrize("name", [*INTERNAL, "out.search", "in.other", "in.search.more", "new"])
def test_others_write_in_topics_only(running, name):
    def records():
        return [
            r.value() for r in read(running, [topic for topic in all_topics(running) if topic == running.topic(name)])
        ]

    before = records()
    assert error_of_produce(running.anybody(), running.topic(name)) in REFUSED
    assert records() == before


@pytest.mark.parametrize("name", [*INTERNAL, "in.search"])
def test_others_read_out_topics_only(running, name):
    assert error_of_read(running.anybody(), running.topic(name)) in REFUSED
    reader = consumer(running.anybody())
    if name != "in.search":  # as with Kafka's ACLs, who may write a topic may know how far it goes
        with pytest.raises(KafkaException):
            reader.get_watermark_offsets(TopicPartition(running.topic(name), 0), timeout=10)
    reader.close()


def test_the_services_groups_are_reserved(running):
    for group in ("ingress", "usage-aggregator", "anything"):
        assert error_of_read(running.anybody(), running.topic("out.search"), running.topic(group)) in REFUSED
    admin = AdminClient(running.anybody())
    assert error_of(admin.delete_consumer_groups([running.topic("ingress")])) in REFUSED


def test_a_clients_own_group_commits(running):
    produce(running, running.topic("in.search"), job(uuid.uuid4().hex))
    group, topic = f"team.{uuid.uuid4().hex}", running.topic("out.search")
    reader = consumer(running.anybody(), group)
    reader.subscribe([topic])
    record = eventually(lambda: (r := reader.poll(1)) and not r.error() and r, "an answer")
    reader.commit(record, asynchronous=False)
    reader.close()
    again = Consumer({**running.anybody(), "group.id": group})
    (committed,) = again.committed([TopicPartition(topic, record.partition())], timeout=10)
    again.close()
    assert committed.offset == record.offset() + 1


def test_others_administer_nothing(running):
    admin, topic = AdminClient(running.anybody()), running.topic("out.search")
    before = sorted(all_topics(running))
    assert error_of(admin.create_topics([NewTopic(running.topic("in.mine"), 1, 1)])) in REFUSED
    assert error_of(admin.create_topics([NewTopic("anything", 1, 1)])) in REFUSED
    assert error_of(admin.delete_topics([topic])) in REFUSED
    assert error_of(admin.create_partitions([NewPartitions(topic, 100)])) in REFUSED
    entry = ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    assert error_of(admin.incremental_alter_configs([change])) in REFUSED
    assert error_of(admin.delete_records([TopicPartition(topic, 0, -1)])) in REFUSED
    assert sorted(all_topics(running)) == before


def are_kept_out(logins):
    """None of them opens anything. Side by side, because a client goes on trying for as long as it is told to."""

    def is_kept_out(login):
        with pytest.raises(KafkaException):
            AdminClient(login).list_topics(timeout=5)
        return True

    with ThreadPoolExecutor() as pool:
        assert all(pool.map(is_kept_out, logins))


def test_the_credential_opens_everything_and_a_guess_nothing(running):
    file = running.data_dir / "broker" / "credential"
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(file.parent).st_mode) == 0o700
    password = running.operator()["sasl.password"]
    assert len(password) >= 32 and password not in running.log()
    assert read(running, [running.topic("control")]) == []
    guesses = (("tollgate", "guess"), ("tollgate", ""), ("nobody", password))
    are_kept_out(login(running, name, guess or "\0") for name, guess in guesses)


def test_a_record_that_is_too_large_is_refused(running):
    errors = []
    producer = Producer({**running.anybody(), "message.max.bytes": 8 << 20})
    producer.produce(running.topic("in.search"), b"x" * (5 << 20), on_delivery=lambda e, _: errors.append(e.name()))
    producer.flush(30)
    assert errors == ["MSG_SIZE_TOO_LARGE"]


@pytest.fixture(scope="module")
def with_users(gateway, fake_provider_config):
    users = [
        {"name": "search-app", "password": "${E2E_APP_PASSWORD}", "team": "search"},
        {"name": "ads-app", "password": "${E2E_ADS_PASSWORD}", "team": "ads"},
    ]
    teams = [
        *fake_provider_config["teams"],
        {"name": "ads", "endpoints": ["chat"], "kafka": {"requests": "in.ads", "replies": "out.ads"}},
    ]
    kafka = {"users": users, "partitions": {"default": 2, "usage": 1}}
    return gateway(ENDPOINTS, kafka=kafka, teams=teams, env=PASSWORDS)


@pytest.fixture(scope="module")
def fake_provider_config(_provider):
    return config(_provider, ENDPOINTS)


def test_with_users_nobody_else_gets_in(with_users):
    are_kept_out([with_users.anybody(), login(with_users, "search-app", PASSWORDS["E2E_ADS_PASSWORD"])])
    assert not [secret for secret in PASSWORDS.values() if secret in with_users.log()]


def test_a_user_has_its_teams_topics(with_users):
    app = login(with_users, "search-app", PASSWORDS["E2E_APP_PASSWORD"])
    assert topics_seen(app) == {"in.search", "out.search"}
    assert error_of_produce(app, with_users.topic("in.search")) is None
    assert error_of_produce(app, with_users.topic("in.ads")) in REFUSED
    assert error_of_read(app, with_users.topic("out.ads"), "search.app") == "TOPIC_AUTHORIZATION_FAILED"
    custom_id = uuid.uuid4().hex
    producer = Producer(app)
    producer.produce(with_users.topic("in.search"), json.dumps(job(custom_id)))
    assert producer.flush(30) == 0
    reader = consumer(app, "search.app")
    reader.subscribe([with_users.topic("out.search")])

    def answer():
        record = reader.poll(1)
        return record and not record.error() and json.loads(record.value())["custom_id"] == custom_id

    eventually(answer, "its answer")
    reader.close()


class Attempt:
    """A `tollgate` command that is expected to end by itself."""

    def __init__(self, binary, folder, document, *arguments):
        file = folder / "tollgate.yaml"
        file.write_text(yaml.safe_dump(document))
        command = [binary, *arguments, "--config", str(file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=clean_environment(), cwd=folder)
        self.code, self.said = done.returncode, done.stdout + done.stderr

    def refused(self, *words):
        assert self.code not in (0, 101), self.said
        assert all(word in self.said for word in words), f"not all of {words} in: {self.said}"


def document(**kafka):
    return {
        "listen": f"127.0.0.1:{free_port()}",
        "kafka": {"listen": f"127.0.0.1:{free_port()}", **kafka},
        "providers": {"demo": {"kind": "mock"}},
        "endpoints": [{"name": "chat", "destinations": [{"name": "m", "provider": "demo", "model": "mock-1"}]}],
        "teams": [
            {"name": "search", "endpoints": ["chat"], "kafka": {"requests": "in.search", "replies": "out.search"}}
        ],
    }


def test_beyond_loopback_only_with_users(binary, tmp_path):
    open_to_all = document(listen=f"0.0.0.0:{free_port()}")
    Attempt(binary, tmp_path, open_to_all, "config", "check").refused("error: kafka.listen:", "kafka.users")
    Attempt(binary, tmp_path, open_to_all, "up").refused("kafka.listen", "kafka.users")
    assert not (tmp_path / "tollgate-data").exists(), "nothing was begun"


def test_a_service_alone_needs_a_cluster(binary, tmp_path):
    for service in ("ingress", "guardrail", "router-worker", "usage-aggregator"):
        Attempt(binary, tmp_path, document(), service).refused("tollgate up", "kafka.brokers", "cluster")


def test_a_port_that_is_taken(binary, tmp_path):
    for setting in ("listen", "kafka.listen"):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            given = document(**({"listen": address} if setting == "kafka.listen" else {}))
            if setting == "listen":
                given["listen"] = address
            Attempt(binary, tmp_path, given, "up").refused(setting, address, "--" + setting.replace(".", "-"))


def test_a_folder_that_another_gateway_uses(binary, running, tmp_path):
    given = {**document(), "data_dir": str(running.data_dir)}
    credential = (running.data_dir / "broker" / "credential").read_bytes()
    Attempt(binary, tmp_path, given, "up").refused(str(running.data_dir), "another")
    assert (running.data_dir / "broker" / "credential").read_bytes() == credential
    assert running.chat({"model": "chat", "messages": user("still there?")}).status_code == 200


def test_submit_finds_the_broker_by_itself_and_needs_no_login_by_address(binary, running, tmp_path):
    file = tmp_path / "jobs.jsonl"
    file.write_text("".join(json.dumps(job(f"job-{n}")) + "\n" for n in range(10)))
    config_file = str(running.processes[0].config_file)
    for extra in ([], ["--brokers", running.brokers]):
        command = [binary, "submit", str(file), "--config", config_file, "--team", "search", *extra]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=clean_environment())
        assert done.returncode == 0 and "10 answered, 0 of them with an error" in done.stderr, done.stderr


def test_an_advertised_name_that_only_others_can_reach(gateway):
    """As of a container's host: the services inside must not need it."""
    running = gateway(
        ENDPOINTS, kafka={"advertised": "tollgate.invalid:9092", "partitions": {"default": 2, "usage": 1}}
    )
    assert running.chat({"model": "chat", "messages": user("hello")}).status_code == 200
