"""What is audited: services as processes of their own on Apache Kafka, or one `tollgate up` with its broker inside.

A process that ends by itself is started again, as any supervisor would; when each began and ended is written down,
because the accounts need it.
"""

import copy
import re
import signal
import subprocess
import threading
import time

import shared_broker
from gateway import Gateway
from ledger import ledger_of, ledger_of_bucket
from support import ROOT, config, endpoint, eventually

from .storage import BUCKET, Storage

REPLICAS = {"ingress": 2, "guardrail": 2, "router-worker": 2, "usage-aggregator": 1}
REPLICAS_MAX = {"ingress": 3, "guardrail": 3, "router-worker": 3, "usage-aggregator": 2}
READY_SECONDS = 120
RETRY = {"attempts": 2, "max_attempts": 4, "backoff": "50ms"}
TIMEOUT = {"connect": "2s", "first_byte": "20s", "between_chunks": "20s", "total": "90s"}
LONG = {"first_byte": "1h", "total": "1h"}
FORBIDDEN = "never said"
CHECKS = {"input": {"keywords": {"action": "block", "words": [FORBIDDEN]}}, "output": {"pii": {"action": "mask"}}}
ENDPOINTS = [
    endpoint("plain", ["main alpha fake-large"], fallbacks=["second beta fake-small"], retry=RETRY, timeout=TIMEOUT),
    endpoint("lone", ["main beta fake-small"], retry=RETRY, timeout=TIMEOUT, on_disconnect="finish"),
    endpoint("checked", ["main alpha fake-large"], retry=RETRY, timeout=TIMEOUT, guardrails=CHECKS),
    # Of `--mode backpressure`: one whose provider stalls for longer than anything else may last, and one beside it.
    endpoint("stalling", ["main gamma fake-large"], timeout=LONG, on_disconnect="finish"),
    endpoint("steady", ["main delta fake-large"], timeout=TIMEOUT),
    # Of jobs alone, which are parked there.
    endpoint("throttled", ["main epsilon fake-large"], retry=RETRY, timeout=TIMEOUT),
]
PROVIDERS = ("alpha", "beta", "gamma", "delta", "epsilon")


def configuration(provider):
    more = {name: {"kind": "openai", "api_key": "${E2E_ALPHA_KEY}"} for name in PROVIDERS[2:]}
    return config(
        provider,
        ENDPOINTS,
        providers=more,
        kafka={"partitions": {"default": 4, "usage": 2}},
        usage={"flush": {"rows": 200, "after": "2s"}},
    )


class Timeline:
    """What was done to the fleet and when, for the accounts and for a person who looks for a cause."""

    def __init__(self):
        self.began, self.events, self.lock = time.time(), [], threading.Lock()

    def note(self, what, name, **more):
        event = {"time": time.time(), "what": what, "name": name, **more}
        with self.lock:
            self.events.append(event)
        extra = " ".join(f"{key}={value}" for key, value in more.items())
        print(f"[{event['time'] - self.began:7.1f} s] {what} {name} {extra}".rstrip(), flush=True)

    def of(self, *whats, name=None):
        with self.lock:
            return [e for e in self.events if e["what"] in whats and name in (None, e["name"])]


def image_env():
    """What the image sets: the audit's figures of memory are those of containers."""
    line = re.search(r"^ENV (.+)$", (ROOT / "Dockerfile").read_text(), re.M)
    return dict(pair.split("=") for pair in line.group(1).split())


class Fleet(Gateway):
    """The processes; `wanted` are those that ought to run now."""

    def __init__(self, binary, flavour, folder, provider):
        self.provider, self.timeline, self.wanted = provider, Timeline(), set()
        self.storage, self.clean_kafka, self.processes = None, None, []
        try:
            self.begin(binary, flavour, folder, provider)
        except BaseException:
            print(self.tails())
            self.clean()
            raise

    def begin(self, binary, flavour, folder, provider):
        brokers, more = None, {}
        if flavour == "kafka":
            self.kafka_port, self.clean_kafka = shared_broker.start_kafka()
            brokers = f"127.0.0.1:{self.kafka_port}"
            self.storage = Storage()
            more["storage"] = self.storage.section
        separate = flavour == "kafka"
        base = {**configuration(provider), **more}
        super().__init__(binary, brokers, folder, base, separate, REPLICAS["ingress"], wait=False, env=image_env())
        if separate:
            for service, count in REPLICAS.items():
                for number in range(1, count if service != "ingress" else 1):
                    self.add(f"{service}-{number}")
        self.wanted = {process.name for process in self.processes}
        self.wait_until_ready()

    def config_of(self, name):
        own = copy.deepcopy(self.config)
        for provider in PROVIDERS:
            own["providers"][provider]["base_url"] = self.provider.base_url(provider, name)
        return own

    def wait_until_ready(self):
        for process in self.processes:
            if process.name in self.wanted:
                eventually(lambda process=process: self.is_up(process), f"{process.name} is ready", READY_SECONDS)

    def is_up(self, process):
        """Ready; one that ended by itself (its broker or storage was away) is started again first."""
        self.revive(process)
        return process.child.poll() is None and process.is_ready()

    def revive(self, process):
        code = process.child.poll()
        if code is not None and process.name in self.wanted:
            self.timeline.note("ended by itself", process.name, code=code)
            process.start()

    def kill_one(self, process):
        self.wanted.discard(process.name)
        if process.child.poll() is None:
            process.child.send_signal(signal.SIGKILL)
            process.child.wait()
            self.timeline.note("killed", process.name)

    def start_one(self, process):
        if process.child.poll() is not None:
            process.start()
        self.wanted.add(process.name)
        self.timeline.note("started", process.name)

    def end_one(self, process):
        """Asks one process to end and waits for it."""
        self.wanted.discard(process.name)
        self.timeline.note("asked to end", process.name)
        process.signal(signal.SIGTERM)
        self.timeline.note("ended", process.name, code=process.wait())

    def one_of(self, service):
        """The process that runs the service; of several replicas the first."""
        return next(p for p in self.processes if p.name == "up" or re.fullmatch(service + r"(-\d+)?", p.name))

    def doors_open(self):
        return [process for process in list(self.processes) if self.is_door(process) and process.name in self.wanted]

    @staticmethod
    def is_door(process):
        return process.name == "up" or process.name.startswith("ingress")

    def kafka(self, verb):
        """scripts/kafka for this broker, running."""
        command = [str(ROOT / "scripts" / "kafka"), verb, "--port", str(self.kafka_port)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def tables(self):
        """The usage table and that of superseded rows, as they are now."""
        if self.storage is None:
            table = ledger_of(self)
        else:
            table = ledger_of_bucket(self.storage.client, BUCKET, "audit", self.folder / "s3")
        return table, table.superseded()

    def end_all(self):
        """Asks all to end; their exit codes."""
        running = [p for p in self.processes if p.child.poll() is None]
        for process in running:
            process.signal(signal.SIGCONT)
            process.signal(signal.SIGTERM)
        return {process.name: process.wait() for process in running}

    def clean(self):
        self.kill()
        if self.storage:
            self.storage.stop()
        if self.clean_kafka:
            self.clean_kafka()
