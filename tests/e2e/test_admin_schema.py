"""The admin API against its own description: whatever is asked, no server error, and every answer is one that is described."""

import subprocess
import sys

import pytest
from support import endpoint
from test_admin import ADMIN, KEK, ROOT_KEY

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.timeout(600)
@pytest.mark.only_embedded(reason="the admin API says the same on both brokers")
def test_every_answer_is_one_that_the_description_has(gateway):
    running = gateway([endpoint("chat", ["main alpha fake-large"])], admin=ADMIN, env={"E2E_KEK": KEK})
    command = [sys.executable, "-m", "schemathesis.cli", "run", running.url + "/admin/v1/openapi.json"]
    command += ["-H", f"authorization: Bearer {ROOT_KEY}", "--phases", "coverage", "--workers", "2"]
    command += ["--continue-on-failure", "--checks", CHECKS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, cwd=running.folder)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "panicked" not in running.log()
