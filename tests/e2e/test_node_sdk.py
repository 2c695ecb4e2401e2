"""The official OpenAI SDK for Node, unchanged but for its base URL."""

import json
import subprocess
from pathlib import Path

from support import SEARCH_KEY, endpoint

HERE = Path(__file__).parent


def test_the_node_sdk(gateway, fake_provider):
    running = gateway(
        [
            endpoint("chat", ["main alpha fake-large"]),
            endpoint("claude", ["main claude fake-claude"]),
            endpoint("failing", ["main alpha fault-500"], retry={"attempts": 1, "max_attempts": 1}),
            endpoint("cut", ["main alpha fault-truncate"]),
            endpoint("vectors", ["main alpha fake-embed"], task="embeddings"),
        ]
    )
    assert (HERE / "node_modules" / "openai").is_dir(), "run `npm ci` in tests/e2e first"
    command = ["node", "node_sdk.mjs", running.url + "/v1", SEARCH_KEY]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["answer"] == seen["streamed"] == "echo: hello"
    assert seen["requestId"]
    assert (seen["tool"]["name"], json.loads(seen["tool"]["arguments"])) == ("look_up", {"said": "hello"})
    assert (seen["looked"], seen["response"], seen["parsed"]) == ("echo: look", "echo: hello", {"said": "hello"})
    assert seen["vector"] == [0.125, 0.25]
    bodies = [call["body"] for call in fake_provider.calls]
    assert any("iVBORw0KGgo=" in body for body in bodies) and any('"json_schema"' in body for body in bodies)
    assert set(seen["models"]) == {"chat", "claude", "failing", "cut", "vectors"}
    assert seen["errors"].pop("cut") == {"name": "APIError", "code": "provider_error"}
    not_found, failed = seen["errors"]["no-such-model"], seen["errors"]["failing"]
    assert not_found == {"name": "NotFoundError", "status": 404, "code": "model_not_found"}
    assert failed == {"name": "InternalServerError", "status": 502, "code": "provider_error"}
    assert len(fake_provider.calls_of(model="fault-500")) == 1, "x-should-retry: false holds the SDK's own retries back"
