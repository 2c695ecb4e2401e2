"""Every snippet of README.md works as it stands, but for the addresses and names that a test must choose itself.

Snippets run in order in one folder, as if typed by one reader: variables that one exports are there for the next, and the
gateway is the one that the README itself starts; in a run on Apache Kafka, with `--brokers` added. `snippets.py` says how a fence
is marked.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import shared_broker
import yaml
from ledger import Ledger
from snippets import snippets
from support import ROOT, clean_environment, eventually, free_port

HERE = Path(__file__).parent
README = ROOT / "README.md"


def extracted():
    return snippets(README.read_text()) if README.exists() else []


class Stage:
    """The reader's folder, variables and running programs."""

    def __init__(self, folder, binary, cluster=None):
        """`cluster`: the Apache Kafka to use; none if the gateway brings its own broker."""
        self.folder, self.binary, self.cluster = folder, binary, cluster
        self.address, self.brokers = f"127.0.0.1:{free_port()}", cluster or f"127.0.0.1:{free_port()}"
        self.prefix = f"readme-{os.getpid()}." if cluster else "tollgate."
        self.background = None
        # What a reader types, and what stands for it here. The build is the one that the tests have done anyway, the cluster
        # the one that they have started.
        self.replacements = {
            "127.0.0.1:8080": self.address,
            "127.0.0.1:9092": self.brokers,
            "tollgate.in.": self.prefix + "in.",
            "tollgate.out.": self.prefix + "out.",
            "cargo run --release -- up": f"{binary} up --listen {self.address} --kafka-listen {self.brokers}",
            "cargo run --release -- demo": f"{binary} demo" + (f" --brokers {cluster}" if cluster else ""),
            "cargo run --release --": binary,
            "./target/release/tollgate": binary,
            "scripts/kafka start": "true",
        }
        if cluster:
            self.replacements["up --config my.yaml"] = f"up --config my.yaml --brokers {cluster}"
        programs = folder / "bin"
        programs.mkdir()
        (programs / "tollgate").symlink_to(Path(binary).resolve())
        path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        # The address that commands take by default is another one here.
        self.env = {**clean_environment(), "PATH": path, "TOLLGATE_URL": f"http://{self.address}"}
        shutil.copy(ROOT / "tollgate.example.yaml", folder)

    def run(self, snippet):
        text = snippet.text
        for literal, actual in self.replacements.items():
            text = text.replace(literal, actual)
        if "background" in snippet.options:
            self.start(text)
        else:
            getattr(self, snippet.language)(text, snippet)
        for file in self.folder.glob("*.yaml"):
            self.localise(file)

    def bash(self, text, snippet):
        # Exported variables outlive the snippet, as in a terminal.
        script = text + '\nenv -0 > "$STAGE_VARIABLES"\n'
        variables = self.folder / "variables"
        told = self.finish(["bash", "-euo", "pipefail", "-c", script], snippet, STAGE_VARIABLES=str(variables))
        # What `tollgate init` asks its reader to export.
        asked = re.search(r"export (TOLLGATE_ADMIN_KEY)=(\S+)", told)
        self.env.update([asked.groups()] if asked else [])
        pairs = (entry.partition("=") for entry in variables.read_text().split("\0") if entry)
        self.env.update({name: value for name, _, value in pairs if name.startswith("TOLLGATE_")})

    def python(self, text, snippet):
        self.finish([sys.executable, "-c", text], snippet)

    def js(self, text, snippet):
        file = HERE / f".{snippet.name}.mjs"  # beside node_modules, where Node looks for the SDK
        file.write_text(text)
        try:
            self.finish(["node", str(file)], snippet)
        finally:
            file.unlink()

    def yaml(self, text, snippet):
        file = self.folder / f"{snippet.name}.yaml"
        file.write_text(text)
        self.finish([self.binary, "config", "check", "--config", str(file)], snippet)

    def sql(self, text, snippet):
        eventually(Ledger(self.folder / "tollgate-data").count, "the table has rows", 90)
        query = "import duckdb, sys; assert duckdb.execute(sys.argv[1]).fetchall()"
        self.finish([sys.executable, "-c", query, text], snippet)

    def finish(self, command, snippet, **variables):
        env = {**self.env, **variables}
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, (
            f"README.md:{snippet.line} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stderr

    def start(self, text):
        self.stop()
        child = self.background = subprocess.Popen(["bash", "-euc", "exec " + text], cwd=self.folder, env=self.env)

        def ready():
            assert child.poll() is None, f"it was to go on running, but ended with {child.returncode}"
            try:
                return httpx.get(f"http://{self.address}/health/ready", timeout=5).status_code == 200
            except httpx.TransportError:
                return False

        eventually(ready, "what runs in the background is ready", 60)

    def localise(self, file):
        """Moves a configuration that a snippet has written to this test's addresses and topics."""
        config = yaml.safe_load(file.read_text())
        if (
            not isinstance(config, dict)
            or config.get("listen") != "127.0.0.1:8080"
            or file.name.startswith("tollgate.example")
        ):
            return
        config["listen"] = self.address
        config["kafka"].update(listen=self.brokers, topic_prefix=self.prefix)
        if self.cluster:
            config["kafka"]["partitions"] = {"default": 2, "usage": 1}
        config.setdefault("usage", {"flush": {"after": "1s"}})
        file.write_text(yaml.safe_dump(config))

    def stop(self):
        child, self.background = self.background, None
        if child:
            child.send_signal(signal.SIGTERM)
            assert (code := child.wait(40)) == 0, f"exit code after SIGTERM: {code}"


@pytest.fixture(scope="module")
def stage(request, binary, tmp_path_factory):
    cluster = request.getfixturevalue("kafka") if shared_broker.FLAVOUR == "kafka" else None
    stage = Stage(tmp_path_factory.mktemp("readme"), binary, cluster)
    yield stage
    stage.stop()


def test_the_readme_is_there_and_each_fence_is_marked():
    assert extracted(), "README.md has no snippets"


def parameter(snippet):
    reason = "the README says which broker a snippet is for"
    marks = [
        getattr(pytest.mark, f"only_{name}")(reason=reason) for name in ("embedded", "kafka") if name in snippet.options
    ]
    return pytest.param(snippet, marks=marks, id=snippet.name)


@pytest.mark.parametrize("snippet", [parameter(snippet) for snippet in extracted()])
def test_snippet(stage, snippet):
    if "text" in snippet.options:
        assert snippet.text.strip()
    else:
        stage.run(snippet)


def test_fences_that_break_the_convention_are_errors():
    good = "<!-- test: one -->\n```bash\ntrue\n```\n"
    assert [s.name for s in snippets(good + "text\n" + good.replace("one", "two"))] == ["one", "two"]
    unknown = good.replace(" -->", " x -->")
    for bad in ("```bash\ntrue\n```\n", good + good, good.replace("bash", "perl"), good[:-4], unknown):
        with pytest.raises(ValueError):
            snippets(bad)
