"""Running Tollgate as subprocesses: one `tollgate up`, or each service by itself with any number of ingress replicas."""

import copy
import re
import signal
import subprocess
import uuid

import httpx
import openai
import yaml
from confluent_kafka.admin import AdminClient
from support import PROVIDER_KEYS, SEARCH_KEY, clean_environment, eventually, free_port

START_SECONDS = 60
STOP_SECONDS = 40
SERVICES = ("ingress", "guardrail", "router-worker", "usage-aggregator")


class Process:
    """One service, its address and its log."""

    def __init__(self, binary, name, arguments, config, folder, env, popen):
        self.name = name
        self.port = free_port()
        self.config_file = folder / f"{name}.yaml"
        self.config_file.write_text(yaml.safe_dump({**config, "listen": f"127.0.0.1:{self.port}"}, sort_keys=False))
        self.log_file = folder / f"{name}.log"
        self.command = [binary, *arguments, "--config", str(self.config_file)]
        self.folder, self.env, self.popen = folder, env, popen
        self.start()

    def start(self):
        self.is_asked_to_end = False
        with self.log_file.open("ab") as log:
            self.child = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env=self.env,
                **self.popen,
            )

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def is_ready(self):
        assert self.child.poll() is None, (
            f"{self.name} ended with {self.child.returncode} while it started\n{self.tail()}"
        )
        try:
            return httpx.get(self.url + "/health/ready", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def log(self):
        return self.log_file.read_text(errors="replace")

    def tail(self, lines=60):
        return "\n".join(self.log().splitlines()[-lines:])

    def signal(self, number):
        if self.child.poll() is None:
            self.child.send_signal(number)

    def ask_to_end(self):
        """SIGTERM, once: a second one would have it end at once."""
        if not self.is_asked_to_end:
            self.is_asked_to_end = True
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)

    def wait(self):
        """The exit code; a process that does not end is killed and has none."""
        try:
            return self.child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            return None


class Gateway:
    """A running gateway with topics of its own."""

    def __init__(self, binary, brokers, folder, config, separate=False, ingress=1, env=None, wait=True, popen=None, operator=None):
        """`brokers`: a bootstrap address; none if its broker shall be inside. `popen`: how processes are started.
        `operator`: properties of a client that may do everything, if not anybody may."""
        config = copy.deepcopy(config)
        self.folder, self.operator_login = folder, operator or {}
        kafka = config.setdefault("kafka", {})
        self.embedded = brokers is None
        if self.embedded:
            brokers = kafka.setdefault("listen", f"127.0.0.1:{free_port()}")
        self.brokers = brokers
        kafka.setdefault("brokers", "embedded" if self.embedded else brokers)
        self.prefix = kafka.setdefault("topic_prefix", f"e2e-{uuid.uuid4().hex[:10]}.")
        self.data_dir = folder / "data"
        config.setdefault("data_dir", str(self.data_dir))
        self.config = config
        self.binary, self.popen = binary, popen or {}
        self.env = {**clean_environment(), **(env or {})}
        self.processes = []
        for name in [f"ingress-{n}" for n in range(ingress)] + list(SERVICES[1:]) if separate else ["up"]:
            self.add(name)
        try:
            if wait:
                self.wait_until_ready()
        except BaseException:
            print(self.tails())
            self.kill()
            raise

    def add(self, name):
        """Starts one more process: `up`, or a service, whose replicas have a number behind a dash."""
        service = re.sub(r"-\d+$", "", name)
        # A provider's credential is in the router-worker's environment only: the others must start without it.
        env = {**self.env, **(PROVIDER_KEYS if service in ("router-worker", "up") else {})}
        config = self.config_of(name)
        self.processes.append(Process(self.binary, name, [service], config, self.folder, env, self.popen))
        return self.processes[-1]

    def config_of(self, _name):
        """The configuration of one process; for all the same."""
        return self.config

    def wait_until_ready(self):
        for process in self.processes:
            eventually(process.is_ready, f"{process.name} is ready", START_SECONDS)

    def process(self, name):
        return next(p for p in self.processes if p.name == name)

    @property
    def doors(self):
        """The processes that serve the API."""
        return [p for p in self.processes if p.name == "up" or p.name.startswith("ingress")]

    @property
    def url(self):
        return self.doors[0].url

    def openai(self, key=SEARCH_KEY, door=0, client=openai.OpenAI, **options):
        """An official SDK client; without retries, so that a test sees what the gateway said."""
        options = {"max_retries": 0, "timeout": 60, **options}
        return client(base_url=self.doors[door].url + "/v1", api_key=key, **options)

    def http(self, key=SEARCH_KEY, door=0):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.doors[door].url, headers=headers, timeout=60)

    def chat(self, body, **headers):
        """A bare POST to the chat API; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.http() as http:
            return http.post("/v1/chat/completions", json=body, headers=named)

    def anybody(self):
        """How any client reaches Kafka: a team's producers and consumers."""
        return {"bootstrap.servers": self.brokers}

    def operator(self):
        """How a client reaches every topic."""
        if not self.embedded:
            return {**self.anybody(), **self.operator_login}
        lines = (self.data_dir / "broker" / "credential").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    def topic(self, name):
        return self.prefix + name

    def log(self):
        return "\n".join(process.log() for process in self.processes)

    def tails(self):
        return "\n".join(f"--- the end of {p.name}'s log ---\n{p.tail()}" for p in self.processes)

    def restart(self):
        """Ends all in order and starts them again on the same addresses."""
        self.end()
        for process in self.processes:
            process.start()
        self.wait_until_ready()

    def stop(self):
        """Ends all; then the topics go, which keeps the broker that gateways share small."""
        self.end()
        if not self.embedded:
            self.delete_topics()

    def ask_to_end(self):
        for process in self.processes:
            process.ask_to_end()

    def end(self):
        """SIGTERM to all, which must end in order with exit code 0."""
        self.ask_to_end()
        codes = {process.name: process.wait() for process in self.processes}
        assert set(codes.values()) == {0}, f"exit codes after SIGTERM: {codes}\n{self.tails()}"

    def kill(self):
        for process in self.processes:
            process.child.kill()
            process.child.wait()

    def delete_topics(self):
        admin = AdminClient(self.operator())
        mine = [name for name in admin.list_topics(timeout=10).topics if name.startswith(self.prefix)]
        for future in admin.delete_topics(mine).values() if mine else []:
            future.exception(timeout=30)
