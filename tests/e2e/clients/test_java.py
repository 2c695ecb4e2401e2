"""Apache Kafka's Java client: its console tools with the words that administrators give them, and Verdict.java for what no tool does."""

import json
import re
from pathlib import Path

from kit import Member, read, send, settle, watermarks
from support import eventually

TOOLS = "org.apache.kafka.tools"
GROUPS = f"{TOOLS}.consumer.group.ConsumerGroupCommand"


def test_client(broker, topic, java):
    verdict = json.loads(java(Path(__file__).parent / "Verdict.java", broker, topic(partitions=6)).stdout)
    assert len(verdict) == 15 and all(verdict.values()), verdict


def test_topics(broker, name, tool):
    def topics(*arguments, **more):
        done = tool(f"{TOOLS}.TopicCommand", "--bootstrap-server", broker, *arguments, **more)
        return done.stdout + done.stderr

    create = ["--create", "--topic", name, "--partitions", 2, "--config", "retention.ms=1234567"]
    assert f"Created topic {name}" in topics(*create)
    assert "TopicExistsException" in topics(*create, code=1)
    assert name in topics("--list").split()
    topics("--alter", "--topic", name, "--partitions", 3)
    text = topics("--describe", "--topic", name)
    assert re.search(r"TopicId: [\w-]{22}\s+PartitionCount: 3\s+ReplicationFactor: 1", text)
    assert "retention.ms=1234567" in text and len(re.findall(r"Leader: \d+\s+Replicas: \d+\s+Isr: \d+", text)) == 3
    topics("--delete", "--topic", name)
    assert "does not exist" in topics("--delete", "--topic", name, code=1)


def test_configs(broker, topic, tool):
    to = topic()

    def configs(*arguments, **more):
        where = ["--bootstrap-server", broker, "--entity-type", "topics", "--entity-name", to]
        done = tool("kafka.admin.ConfigCommand", *where, *arguments, **more)
        return done.stdout + done.stderr

    done = configs("--alter", "--add-config", "retention.ms=7777777,cleanup.policy=[delete,compact]")
    assert "Completed updating" in done
    text = configs("--describe")
    assert "retention.ms=7777777" in text and "cleanup.policy=delete,compact" in text
    assert "Completed updating" in configs("--alter", "--delete-config", "retention.ms")
    text = configs("--describe", "--all")
    assert "retention.ms=604800000" in text and "max.message.bytes=" in text
    assert "InvalidConfiguration" in configs("--alter", "--add-config", "retention.ms=-5", code=1)


def test_console_producer_and_consumer(broker, topic, name, java):
    to = topic(partitions=2)
    send(broker, to, [{"value": b"from elsewhere", "key": b"k", "headers": [("h", b"1")]}])
    lines = "".join(f"key{n}:value {n}\n" for n in range(50))
    properties = ["--property", "parse.key=true", "--property", "key.separator=:"]
    where = ["--bootstrap-server", broker, "--topic", to]
    java(f"{TOOLS}.ConsoleProducer", *where, "--compression-codec", "zstd", *properties, stdin=lines)
    assert {(record.key(), record.value()) for record in read(broker, to)} == {
        (b"k", b"from elsewhere"),
        *((b"key%d" % n, b"value %d" % n) for n in range(50)),
    }
    shown = ["--property", "print.key=true", "--property", "print.headers=true", "--property", "print.offset=true"]
    start = ["--from-beginning", "--max-messages", 51, "--timeout-ms", 60_000, "--group", name]
    done = java(f"{TOOLS}.consumer.ConsoleConsumer", *where, *shown, *start)
    assert "Processed a total of 51 messages" in done.stderr
    assert re.search(r"h:1\s+k\s+from elsewhere", done.stdout) and "key49\tvalue 49" in done.stdout


def test_consumer_groups(broker, topic, name, tool):
    to = topic(partitions=2)
    send(broker, to, [{"value": b"%d" % n, "partition": n % 2} for n in range(40)])

    def groups(*arguments, **more):
        done = tool(GROUPS, "--bootstrap-server", broker, *arguments, **more)
        return done.stdout + done.stderr

    member = Member(broker, name, to, client_id="watched")
    settle([member], 2)
    eventually(lambda: member.poll() or len(member.records) >= 40, "40 records")
    member.consumer.commit(asynchronous=False)
    text = groups("--describe", "--group", name)
    assert len(re.findall(rf"{to}\s+\d\s+20\s+20\s+0\s+watched-\S+\s+/?127.0.0.1\s+watched", text)) == 2, text
    assert "range" in groups("--describe", "--group", name, "--state")
    assert "GroupNotEmptyException" in groups("--delete", "--group", name)
    member.close()
    text = groups("--list", "--state")
    assert re.search(rf"{name}\s+(\w+\s+)*Empty", text), text

    text = groups("--reset-offsets", "--group", name, "--topic", f"{to}:1", "--to-offset", 5, "--execute")
    assert re.search(rf"{to}\s+1\s+5", text), text
    text = groups("--reset-offsets", "--group", name, "--all-topics", "--to-earliest", "--dry-run")
    assert len(re.findall(rf"{to}\s+\d\s+0", text)) == 2, text
    groups("--delete-offsets", "--group", name, "--topic", f"{to}:0")
    text = groups("--describe", "--group", name)
    assert re.search(rf"{to}\s+1\s+5\s+20\s+15", text) and not re.search(rf"{to}\s+0\s+20\s", text), text
    assert "was successful" in groups("--delete", "--group", name)
    assert re.search("GroupIdNotFoundException|does not exist", groups("--describe", "--group", name))


def test_offsets_and_deleted_records(broker, topic, tool, tmp_path):
    to = topic(partitions=2)
    send(broker, to, [{"value": b"%d" % n, "partition": n % 2, "timestamp": 1_000_000 + n} for n in range(100)])

    def offsets(time):
        done = tool(f"{TOOLS}.GetOffsetShell", "--bootstrap-server", broker, "--topic", to, "--time", time)
        return sorted(line for line in done.stdout.split() if line.startswith(to))

    assert offsets(-1) == [f"{to}:0:50", f"{to}:1:50"]
    assert offsets(1_000_011) == [f"{to}:0:6", f"{to}:1:5"]
    wanted = tmp_path / "records.json"
    wanted.write_text(json.dumps({"version": 1, "partitions": [{"topic": to, "partition": 1, "offset": 17}]}))
    done = tool(f"{TOOLS}.DeleteRecordsCommand", "--bootstrap-server", broker, "--offset-json-file", wanted)
    assert "low_watermark: 17" in done.stdout
    assert watermarks(broker, to, 1) == (17, 50)
    assert offsets(-2) == [f"{to}:0:0", f"{to}:1:17"]


def test_performance_tools(broker, topic, java):
    to = topic(partitions=3)
    settings = [f"bootstrap.servers={broker}", "acks=all", "compression.type=lz4"]
    load = ["--num-records", 20_000, "--record-size", 500, "--throughput", -1]
    done = java(f"{TOOLS}.ProducerPerformance", "--topic", to, *load, "--producer-props", *settings)
    assert "20000 records sent" in done.stdout
    done = java(f"{TOOLS}.ConsumerPerformance", "--bootstrap-server", broker, "--topic", to, "--messages", 20_000)
    assert re.search(r"\b20000\b", done.stdout)


def test_versions_and_cluster(broker, admin, tool):
    done = tool(f"{TOOLS}.BrokerApiVersionsCommand", "--bootstrap-server", broker)
    versions = re.findall(r"^\t(\w+)\((\d+)\): (\d+)(?: to (\d+))?", done.stdout, re.MULTILINE)
    assert {"Produce", "Fetch", "Metadata", "ApiVersions"} <= {name for name, *_ in versions}
    done = tool(f"{TOOLS}.ClusterTool", "cluster-id", "--bootstrap-server", broker)
    assert admin.describe_cluster().result(30).cluster_id in done.stdout
