"""A gateway that two teams share, each with a Kafka user of its own: on the embedded broker by `kafka.users`, on an Apache Kafka that
denies by default by the commands that `tollgate kafka acls` prints."""

import os
import subprocess
from pathlib import Path

import java_tools
import shared_broker
import yaml
from support import ROOT, clean_environment, config, endpoint

ENDPOINTS = [
    endpoint("chat", ["main demo mock-1"]),
    # Its answers take the way over `completions`.
    endpoint("guarded", ["main demo mock-1"], guardrails={"output": {"keywords": {"action": "block", "words": ["orion"]}}}),
]
SERVICES = ("tollgate", "services-secret")  # only on Apache Kafka: the embedded broker makes its own
PASSWORDS = {"search-app": "canary-app-4e1b", "ads-app": "canary-ads-90aa"}


def plain(name, password):
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": name,
        "sasl.password": password,
    }


def client(running, name, password=None):
    """How a team's user reaches Kafka."""
    return {**running.anybody(), **plain(name, password or PASSWORDS[name])}


def document(provider, **kafka):
    base = config(provider, ENDPOINTS)
    ads = {"name": "ads", "endpoints": ["chat"], "kafka": {"requests": "in.ads", "replies": "out.ads"}}
    users = [
        {"name": name, "password": password, "team": name.removesuffix("-app")} for name, password in PASSWORDS.items()
    ]
    return {
        "teams": [*base["teams"], ads],
        "kafka": {"partitions": {"default": 2, "usage": 1}, "users": users, **kafka},
    }


def start(gateway, binary, provider, folder):
    """The gateway; and what is to be done at the end."""
    if shared_broker.FLAVOUR == "embedded":
        return gateway(ENDPOINTS, **document(provider)), lambda: None
    users = [f"--user={name}:{password}" for name, password in (SERVICES, *PASSWORDS.items())]
    port, clean = shared_broker.start_kafka(*(word for user in users for word in user.split("=", 1)))
    address = f"127.0.0.1:{port}"
    try:
        sections = document(
            provider, brokers=address, topic_prefix=f"locked-{port}.", properties=plain(*SERVICES)
        )
        run_acls(binary, folder, address, port, {**config(provider, ENDPOINTS), **sections})
        admin = plain("admin", "admin-secret")
        return gateway(ENDPOINTS, brokers=address, operator=admin, **sections), clean
    except BaseException:
        clean()
        raise


def run_acls(binary, folder, address, port, whole):
    """Runs exactly what `tollgate kafka acls` prints. Its kafka-acls.sh notes what the shell makes of each line, and Apache Kafka's tool
    then runs with that: in one JVM, because a dozen take a minute to start."""
    state = Path(os.environ.get("KAFKA_STATE", ROOT / ".kafka"))
    tool, noted = folder / "kafka-acls.sh", folder / "noted"
    tool.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$#\" \"$@\" >>'{noted}'\n")
    tool.chmod(0o755)
    file = folder / "tollgate.yaml"
    file.write_text(yaml.safe_dump(whole))
    command = [binary, "kafka", "acls", "--config", str(file), "--services", f"User:{SERVICES[0]}"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=clean_environment()).stdout
    env = {
        **clean_environment(),
        "PATH": f"{folder}:{os.environ['PATH']}",
        "BOOTSTRAP": address,
        "ADMIN_CONFIG": str(state / str(port) / "admin.properties"),
    }
    done = subprocess.run(["sh", "-eu"], input=printed, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, printed + done.stdout + done.stderr
    words, tools = noted.read_text().split("\0")[:-1], java_tools.Tools()
    while words:
        count = 1 + int(words[0])
        done = tools.run("org.apache.kafka.tools.AclCommand", *words[1:count])
        assert "Adding ACLs" in done.stdout, done.stdout + done.stderr
        words = words[count:]
    tools.end()
