"""LiteLLM's own proxy as a process, with models that it mocks by itself: it reads a request, does all it does with one, and calls nobody.

It runs without a database, so it knows no key but its master key, and without the parts that have a licence of their own.

Source: https://docs.litellm.ai/docs/proxy/configs, and `mock_completion` in https://github.com/BerriAI/litellm/blob/main/litellm/main.py
"""

import json
import os
import sys

import yaml
from foreign_server import ForeignServer
from support import free_port

TEXT = "LiteLLM's own words: “naïve” – 12 €."
COLOUR = {"colour": "red"}
CALLS = [
    {"id": f"call_{said}", "type": "function", "function": {"name": "look_up", "arguments": json.dumps({"said": said})}}
    for said in ("weather", "time")
]
# Only of an answer that is given as a whole does it take the usage; all others have 10 and 20, streams what it counts.
TOOLED = {
    "choices": [
        {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": None, "tool_calls": CALLS}}
    ],
    "usage": {"prompt_tokens": 31, "completion_tokens": 17, "total_tokens": 48, "prompt_tokens_details": {"cached_tokens": 11}},
}
MODELS = {
    "plain": TEXT,
    "claude": ("anthropic/claude-3-haiku-20240307", TEXT),
    "tooled": TOOLED,
    "coloured": json.dumps(COLOUR),
    "vectors": ("openai/text-embedding-3-small", [0.25, -0.5, 0.125]),
    # By these words it raises its own exceptions.
    "throttled": "litellm.RateLimitError",
    "broken": "litellm.InternalServerError",
    "small": "litellm.ContextWindowExceededError",
    "overloaded": "Exception: mock_streaming_error",
}
COMMAND = "import sys; from litellm_cli.main import proxy_server; sys.exit(proxy_server())"


class LiteLlm(ForeignServer):
    """Its start takes longest: it begins at once, and whoever needs it waits until it is ready."""

    name, health, path = "LiteLLM's proxy", "/health/liveliness", "/v1"

    def __init__(self, folder, key):
        self.key, port = key, free_port()
        config = folder / "litellm.yaml"
        config.write_text(yaml.safe_dump(self.config()))
        command = [sys.executable, "-c", COMMAND, "--config", config, "--host", "127.0.0.1", "--port", str(port)]
        # Nothing from the network, and no pages.
        local = {f"LITELLM_LOCAL_{what}": "True" for what in ("MODEL_COST_MAP", "ANTHROPIC_BETA_HEADERS", "BLOG_POSTS", "POLICY_TEMPLATES")}
        env = {**os.environ, **local, "DISABLE_ADMIN_UI": "True", "NO_DOCS": "True"}
        super().__init__(folder, port, command, cwd=folder, env=env)

    def config(self):
        def model(name, mock):
            model, mock = mock if isinstance(mock, tuple) else ("openai/gpt-4o", mock)
            return {"model_name": name, "litellm_params": {"model": model, "api_key": "none", "mock_response": mock}}

        return {
            "model_list": [model(name, mock) for name, mock in MODELS.items()],
            "general_settings": {"master_key": self.key},
            # It compares its own answers with the schema that the caller sent.
            "litellm_settings": {"enable_json_schema_validation": True},
            "router_settings": {"num_retries": 0, "disable_cooldowns": True},
        }
