"""franz-go, which asks for the newest version of each request: franz/main.go does it all and says what came true."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

FRANZ = Path(__file__).parent / "franz"


@pytest.fixture(scope="module")
def franz(tmp_path_factory):
    assert shutil.which("go"), "needs Go (see franz/go.mod for the version) as `go`"
    program = tmp_path_factory.mktemp("franz") / "franz"
    subprocess.run(["go", "build", "-o", program, "."], cwd=FRANZ, check=True, timeout=600)
    return program


@pytest.mark.timeout(900)  # the first build fetches and compiles the client
def test_client(broker, topic, franz):
    done = subprocess.run([franz, broker, topic(partitions=4)], capture_output=True, text=True, timeout=170)
    assert done.returncode == 0, done.stdout + done.stderr
    verdict = json.loads(done.stdout)
    assert len(verdict) == 17 and all(verdict.values()), verdict
