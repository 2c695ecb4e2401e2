"""Streams that are checked while they are produced: how late they are, what is masked where chunks cut it, how a block ends them, judges part by part.

The provider stops in front of its last events until a gate is opened, so what is read before that was sent before the answer was whole.
"""

import json
import time

import pytest
from fake_judges import SECRET, Judges
from kafka_tools import produce_all, read
from ledger import ledger_of
from support import endpoint, eventually, user

EMAIL, MASKED = "jane.roe@example.com", "[EMAIL_ADDRESS_1]"
PROSE = "and so it goes on in plain words, as people write them to each other, one sentence after the other. "
FINE = f"write to {EMAIL} now, " + PROSE * 5 + f"and once more to {EMAIL} at last."
BAD = PROSE * 5 + "this is project orion."
ORION = {"keywords": {"action": "block", "words": ["project orion"]}}
MASK = {"output": {"pii": {"action": "mask"}}}
GATED = "fault-gate-tail"


@pytest.fixture(scope="module")
def judges():
    server = Judges().start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def running(gateway, judges):
    own = {"kind": "webhook", "url": judges.url + "/judge", "secret": SECRET, "allow_private": True}
    tone = {"custom": [{"name": "tone", "action": "block", "judge": "own"}]}
    main = [f"main alpha {GATED}"]
    return gateway(
        [
            endpoint("masked", main, guardrails=MASK),
            endpoint("native", [f"main claude {GATED}"], guardrails=MASK),
            endpoint("texts", main, task="completions", guardrails=MASK),
            endpoint("blocked", main, guardrails={"output": ORION}),
            endpoint("filtered", main, guardrails={"output": ORION, "on_block": "content_filter"}),
            endpoint("judged", main, guardrails={"output": tone, "stream_window": 100}),
            endpoint("whole", main, guardrails={**MASK, "stream": "whole"}),
            endpoint("jobs", ["main alpha fake-large"], guardrails=MASK),
        ],
        separate=True,
        judges={"own": own},
    )


def said(text):
    return f"say: {text}"


def chat(model, text):
    return "/v1/chat/completions", {"model": model, "messages": user(said(text))}


def messages(model, text):
    return "/v1/messages", {"model": model, "messages": user(said(text)), "max_tokens": 1000}


def responses(model, text):
    return "/v1/responses", {"model": model, "input": said(text)}


def texts(model, text):
    return "/v1/completions", {"model": model, "prompt": said(text)}


def google(model, text):
    body = {"contents": [{"role": "user", "parts": [{"text": said(text)}]}]}
    return f"/v1beta/models/{model}:streamGenerateContent?alt=sse", body


DOORS = {"chat": chat, "messages": messages, "responses": responses, "texts": texts, "google": google}


class Stream:
    """A stream that is read line by line, up to the gate and behind it."""

    def __init__(self, running, path, body):
        self.running, self.path = running, path
        self.body = body if "contents" in body else {**body, "stream": True}
        self.lines = []

    def __enter__(self):
        self.http = self.running.http()
        self.context = self.http.stream("POST", self.path, json=self.body)
        self.response = self.context.__enter__()
        assert self.response.status_code == 200, self.response.read()
        self.id = self.response.headers["x-request-id"]
        self.each = self.response.iter_lines()
        return self

    def __exit__(self, *raised):
        self.context.__exit__(*raised)
        self.http.close()

    def until(self, text):
        """Reads up to a line with this text."""
        for line in self.each:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(f"{text} did not come: {self.lines}")

    def rest(self):
        self.lines += list(self.each)
        return self.lines

    def events(self):
        data = [line.removeprefix("data:").strip() for line in self.lines if line.startswith("data:")]
        return [json.loads(each) for each in data if each != "[DONE]"]

    def content(self):
        """The text of a chat completion."""
        choices = [choice for event in self.events() for choice in event.get("choices", [])]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


@pytest.mark.parametrize(("door", "model"), [
    ("chat", "masked"), ("messages", "native"), ("messages", "masked"), ("responses", "masked"), ("google", "masked"), ("texts", "texts"),
])  # fmt: skip
def test_a_checked_stream_begins_before_its_provider_has_ended_and_is_masked_all_the_same(running, fake_provider, door, model):
    with Stream(running, *DOORS[door](model, FINE)) as stream:
        stream.until(MASKED)
        fake_provider.open_gate(GATED)
        stream.rest()
    text = "\n".join(stream.lines)
    assert EMAIL not in text and "example" not in text and "jane" not in text
    assert text.count(MASKED) >= 2, "the same value has the same placeholder to the end"


def test_what_is_kept_and_billed_is_what_was_streamed(running, fake_provider, measured):
    begun = time.monotonic()
    with Stream(running, *chat("masked", FINE)) as stream:
        stream.until("write")
        measured(f"first text of a checked stream after {(time.monotonic() - begun) * 1000:.0f} ms, its provider waiting with the last of it")
        fake_provider.open_gate(GATED)
        assert "data: [DONE]" in stream.rest()
    expected = FINE.replace(EMAIL, MASKED)
    assert stream.content() == expected
    with running.http() as http:
        kept = eventually(lambda: http.get(f"/v1/requests/{stream.id}").json().get("response"), "the kept answer")
    assert kept["body"]["choices"][0]["message"]["content"] == expected
    row = ledger_of(running).row(stream.id)
    assert (row["status_code"], row["guardrail_outcome"], row["total_tokens"]) == (200, "masked", 1200)
    assert [(check["check"], check["outcome"]) for check in row["guardrails"]] == [("output.pii", "masked")]


def test_no_part_of_it_stands_on_replies_unmasked(running, fake_provider):
    fake_provider.open_gate(GATED)
    with Stream(running, *chat("masked", FINE)) as stream:
        stream.rest()
    values = b"".join(record.value() or b"" for record in read(running, [running.topic("replies")]))
    assert EMAIL.encode() not in values and b"jane.r" not in values


def test_a_block_ends_it_with_the_error_and_what_was_produced_is_billed(running, fake_provider):
    with Stream(running, *chat("blocked", BAD)) as stream:
        stream.until("plain")
        fake_provider.open_gate(GATED)
        stream.rest()
    error = stream.events()[-1]["error"]
    assert (error["code"], error["checks"]) == ("guardrail_blocked", ["output.keywords"])
    assert "data: [DONE]" not in stream.lines and "orion" not in "".join(stream.lines)
    assert PROSE in stream.content()
    row = ledger_of(running).row(stream.id)
    assert (row["status_code"], row["error_code"], row["guardrail_outcome"]) == (400, "guardrail_blocked", "blocked")
    assert row["output_tokens"] > 0


@pytest.mark.parametrize("door", ["chat", "messages", "responses", "google"])
def test_a_block_ends_it_as_a_content_filter_does(running, fake_provider, door):
    with Stream(running, *DOORS[door]("filtered", BAD)) as stream:
        stream.until("plain")
        fake_provider.open_gate(GATED)
        lines = stream.rest()
    assert "orion" not in "".join(lines) and "guardrail_blocked" not in "".join(lines)
    events = stream.events()
    if door == "chat":
        assert events[-1]["choices"][0]["finish_reason"] == "content_filter" and "data: [DONE]" in lines
    elif door == "messages":
        assert [event["type"] for event in events[-3:]] == ["content_block_stop", "message_delta", "message_stop"]
        assert events[-2]["delta"]["stop_reason"] == "refusal"
    elif door == "responses":
        assert events[-1]["type"] == "response.incomplete"
        assert events[-1]["response"]["incomplete_details"] == {"reason": "content_filter"}
    else:
        assert events[-1]["candidates"][0]["finishReason"] == "SAFETY"
    assert ledger_of(running).row(stream.id)["guardrail_outcome"] == "blocked"


def test_judges_are_asked_part_by_part(running, fake_provider, judges):
    judges.asked.clear()
    with Stream(running, *chat("judged", PROSE * 5 + "and now I shout.")) as stream:
        stream.until("plain")
        assert judges.asked, "nothing goes out unjudged"
        fake_provider.open_gate(GATED)
        stream.rest()
    assert stream.events()[-1]["error"]["checks"] == ["output.custom.tone"]
    assert "shout" not in stream.content() and PROSE in stream.content()
    asked = [" ".join(asked["texts"]) for _, _, asked in judges.asked]
    assert len(asked) >= 2 and all(later.startswith(earlier) for earlier, later in zip(asked, asked[1:]))
    (check,) = ledger_of(running).row(stream.id)["guardrails"]
    assert (check["outcome"], check["judge"]) == ("blocked", "own")


def test_an_endpoint_may_want_its_streams_whole(running, fake_provider):
    fake_provider.open_gate(GATED)
    with Stream(running, *chat("whole", FINE)) as stream:
        stream.rest()
    assert stream.content() == FINE.replace(EMAIL, MASKED)
    assert sum(bool(choice["delta"].get("content")) for event in stream.events() for choice in event["choices"]) == 1


def test_a_job_is_checked_as_a_whole(running, fake_provider):
    job = {"custom_id": "masked-job", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "jobs", "messages": user(said(FINE))}}
    produce_all(running, running.topic("in.search"), [(job, None, None)])

    def answer():
        lines = [json.loads(record.value()) for record in read(running, [running.topic("out.search")])]
        return next((line for line in lines if line["custom_id"] == "masked-job"), None)

    body = eventually(answer, "the answer", 60)["response"]["body"]
    assert body["choices"][0]["message"]["content"] == FINE.replace(EMAIL, MASKED)


def test_a_guardrail_that_is_killed_in_the_middle_ends_it_honestly(running, fake_provider):
    """Whoever has it next knows nothing of what was sent: the rest follows if it goes on with that, or an error says that it does not."""
    guardrail = running.process("guardrail")
    with Stream(running, *chat("masked", FINE)) as stream:
        stream.until(MASKED)
        guardrail.child.kill()
        guardrail.child.wait()
        guardrail.start()
        fake_provider.open_gate(GATED)
        stream.rest()
    last = stream.events()[-1]
    if "error" in last:
        assert last["error"]["code"] == "stream_interrupted"
        assert FINE.replace(EMAIL, MASKED).startswith(stream.content())
    else:
        assert stream.content() == FINE.replace(EMAIL, MASKED)
    assert EMAIL not in "".join(stream.lines)
    eventually(guardrail.is_ready, "the guardrail is ready", 60)
    assert ledger_of(running).row(stream.id)["guardrail_outcome"] == "masked"
