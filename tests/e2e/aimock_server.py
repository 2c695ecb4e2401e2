"""Providers' wire formats as somebody else reads them: CopilotKit's aimock, which many projects test against, as a process.

It compares its formats with the real APIs every day (its DRIFT.md). What it answers stands in ANSWERS; every API of it shares them.

Source: https://github.com/CopilotKit/aimock
"""

import json
from pathlib import Path

import httpx
from foreign_server import ForeignServer
from support import free_port

COMMAND = Path(__file__).parent / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
TEXT = "A longer answer, so that it comes in several pieces: “naïve” – 12 €."
# Each API reads the names that are its own.
USAGE = {
    **{"prompt_tokens": 31, "completion_tokens": 17, "total_tokens": 48},
    **{"input_tokens": 31, "output_tokens": 17},
    **{"promptTokenCount": 31, "candidatesTokenCount": 17, "totalTokenCount": 48},
}
CALL = {"name": "look_up", "arguments": json.dumps({"said": "weather – “now”"})}
GEMINI = "gemini-2.5-flash"
ANSWERS = [
    {"match": {"hasToolResult": True}, "response": {"content": "It is sunny.", "usage": USAGE}},
    # Unless it is told to stop, its Gemini ends with FUNCTION_CALL, which Google's API has no such reason for: calls end with STOP there.
    {"match": {"userMessage": "weather", "model": GEMINI}, "response": {"toolCalls": [CALL], "finishReason": "stop", "usage": USAGE}},
    {"match": {"userMessage": "weather"}, "response": {"toolCalls": [CALL], "usage": USAGE}},
    {
        "match": {"userMessage": "too much"},
        "response": {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}, "status": 429},
    },
    {"match": {"userMessage": "hello"}, "response": {"content": TEXT, "usage": USAGE}},
]


class AiMock(ForeignServer):
    name, health = "aimock", "/ready"

    def __init__(self, folder):
        assert COMMAND.is_file(), "run `npm ci` in tests/e2e first"
        answers, port = folder / "answers.json", free_port()
        answers.write_text(json.dumps({"fixtures": ANSWERS}))
        super().__init__(folder, port, ["node", COMMAND, "--port", str(port), "--fixtures", answers, "--chunk-size", "7", "--strict"])
        self.wait_until_ready()

    def heard(self):
        """The last request as it understood it: in OpenAI's words, whatever the API; with its path."""
        last = httpx.get(self.url + "/__aimock/journal", timeout=10).json()[-1]
        return last["path"], last["body"]
