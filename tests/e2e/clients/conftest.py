"""The broker that other people's clients are tried on: an Apache Kafka, or any other that wants to pass for one.

`TOLLGATE_E2E_BROKER_COMMAND`, as in `serve --port {port} --dir {dir}`, starts one in the foreground that ends on
SIGTERM; the folder above sets it for the embedded broker. Without it, it is the broker that the folder above shares.
Anonymous clients may do everything on it.
"""

import itertools
import os
import subprocess

import java_tools
import pytest
from commanded import Commanded
from confluent_kafka.admin import AdminClient, NewTopic
from support import eventually

COMMAND = os.environ.get("TOLLGATE_E2E_BROKER_COMMAND")
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def broker(request, tmp_path_factory):
    """Bootstrap address of a broker."""
    if COMMAND and not os.environ.get("TOLLGATE_E2E_BROKERS"):
        running = Commanded(COMMAND, tmp_path_factory.mktemp("broker"))
        running.start()
        yield running.address
        running.clean()
    else:
        yield request.getfixturevalue("kafka")


@pytest.fixture
def restartable_broker(tmp_path):
    """A broker for one test that can be stopped, killed and started on the same port and data."""
    running = Commanded(COMMAND, tmp_path)
    running.start()
    yield running
    running.clean()


@pytest.fixture(scope="session")
def admin(broker):
    return AdminClient({"bootstrap.servers": broker})


@pytest.fixture
def name(request):
    """A name that nothing else on this broker has, for topics and groups."""
    readable = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    return f"{readable}-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def topic(admin, name):
    """Creates topics: `topic()`, `topic(partitions=3, **{"retention.ms": "1"})`; gives the name."""
    made = itertools.count()

    def create(partitions=1, **config):
        new = f"{name}-{next(made)}"
        config = {"retention.ms": "-1", **config}  # many records here are as old as 1970
        for result in admin.create_topics([NewTopic(new, partitions, 1, config=config)]).values():
            result.result(30)
        # Apache Kafka's own metadata learns of it a moment later.
        eventually(lambda: admin.list_topics(new, timeout=30).topics[new].error is None, f"metadata of {new}")
        return new

    return create


@pytest.fixture(scope="session")
def java():
    """Runs a class or a source file with Apache Kafka's jars; gives the finished process."""

    def run(main, *arguments, stdin=None, code=0, seconds=120):
        command = [*java_tools.command(main), *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds)
        assert done.returncode == code, f"{main} {arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="module")
def tool():
    """Runs one of Apache Kafka's console tools by its class, as `java` does and in a tenth of the time."""
    tools = java_tools.Tools()
    yield tools.run
    tools.end()
