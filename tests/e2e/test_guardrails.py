"""Keyword and PII checks, on what goes in and on what comes out, blocking and masking, whole and streamed."""

import base64
import json

import pytest
from kafka_tools import read
from support import endpoint, text_of_stream, user

WORDS = ["project orion"]
EMAIL, CARD, NO_CARD = "jane.roe@example.com", "4111 1111 1111 1111", "4111 1111 1111 1112"
PII = {"entities": ["EMAIL_ADDRESS", "CREDIT_CARD"]}
BLOCKING = {"keywords": {"action": "block", "words": WORDS}, "pii": {"action": "block", **PII}}


def guarded(name, where, **checks):
    return endpoint(name, ["main alpha fake-large"], guardrails={where: checks})


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(
        [
            guarded("in-block", "input", keywords={"action": "block", "words": WORDS}, pii={"action": "block", **PII}),
            guarded("in-mask", "input", keywords={"action": "mask", "words": WORDS}, pii={"action": "mask", **PII}),
            # In parts it would have gone out up to there: see test_guardrail_streams.py.
            endpoint("out-block", ["main alpha fake-large"], guardrails={"output": BLOCKING, "stream": "whole"}),
            guarded("out-mask", "output", keywords={"action": "mask", "words": WORDS}, pii={"action": "mask", **PII}),
            guarded("in-log", "input", keywords={"action": "log", "words": WORDS}),
            guarded("in-read", "input", unreadable="block"),
        ]
    )


@pytest.fixture
def client(running, fake_provider):
    return running.openai()


def check_block(running, response, check, secret):
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["code"] == "guardrail_blocked" and error["type"] == "invalid_request_error"
    assert check in json.dumps(error), "the error names the check"
    assert response.headers["x-request-id"]
    assert secret.lower() not in response.text.lower() and secret not in running.log()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("check", "secret"), [("keywords", "Project Orion"), ("pii", EMAIL), ("pii", CARD)])
def test_input_is_blocked(running, fake_provider, check, secret, stream):
    response = running.chat({"model": "in-block", "messages": user(f"tell me of {secret} now"), "stream": stream})
    check_block(running, response, check, secret)
    assert fake_provider.calls == [], "nothing reached a provider"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("check", "secret"), [("keywords", "project orion"), ("pii", EMAIL), ("pii", CARD)])
def test_output_is_blocked_before_any_byte_of_it_leaves(running, fake_provider, check, secret, stream):
    text = f"say: some harmless words first, and then {secret} at last"
    response = running.chat({"model": "out-block", "messages": user(text), "stream": stream})
    check_block(running, response, check, secret)
    assert "harmless" not in response.text
    assert len(fake_provider.calls) == 1


@pytest.mark.parametrize("secret", ["project orion", EMAIL, CARD])
def test_input_is_masked_before_it_reaches_a_provider(client, fake_provider, secret):
    messages = [{"role": "system", "content": f"note {secret}"}]
    messages += [{"role": "user", "content": [{"type": "text", "text": f"tell me of {secret} now"}]}]
    client.chat.completions.create(model="in-mask", messages=messages)
    (call,) = fake_provider.calls
    assert secret not in call["body"]
    assert "tell me of " in call["body"] and " now" in call["body"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("secret", ["project orion", EMAIL, CARD])
def test_output_is_masked_also_where_chunks_cut_it(client, secret, stream):
    """The provider sends seven characters at a time, so no chunk holds the whole of what must not leave."""
    asked = {"model": "out-mask", "messages": user(f"say: write to {secret} today")}
    if stream:
        with client.chat.completions.create(**asked, stream=True) as chunks:
            text = text_of_stream(chunks)
    else:
        text = client.chat.completions.create(**asked).choices[0].message.content
    assert secret not in text
    assert text.startswith("write to ") and text.endswith(" today")


def test_a_number_that_fails_its_checksum_is_no_card(client, fake_provider):
    answer = client.chat.completions.create(model="in-block", messages=user(f"order {NO_CARD}"))
    assert answer.choices[0].message.content == f"echo: order {NO_CARD}"


def test_tool_arguments_are_checked_too(running, fake_provider):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    body = {"model": "out-block", "messages": user(f"send it to {EMAIL}"), "tools": tools}
    check_block(running, running.chat(body), "pii", EMAIL)


def test_harmless_text_passes_every_check(client):
    for model in ("in-block", "in-mask", "out-block", "out-mask", "in-log"):
        answer = client.chat.completions.create(model=model, messages=user("the weather, please"))
        assert answer.choices[0].message.content == "echo: the weather, please"


def test_an_answer_that_must_be_checked_never_stands_on_replies_unchecked(running, fake_provider):
    """Invariant: no byte of an answer reaches a caller before its checks; the replies topic is the way to a caller."""
    body = {"model": "out-mask", "messages": user(f"say: hide {EMAIL} well"), "stream": True}
    assert running.chat(body).status_code == 200
    values = [record.value() or b"" for record in read(running, [running.topic("replies")])]
    assert any(b"hide" in value for value in values)
    assert not any(EMAIL.encode() in value for value in values)


def test_a_log_action_changes_nothing(client, fake_provider):
    answer = client.chat.completions.create(model="in-log", messages=user("about project orion"))
    assert answer.choices[0].message.content == "echo: about project orion"


def _file(text):
    return "data:text/csv;base64," + base64.b64encode(text.encode()).decode()


def test_files_of_text_tools_and_metadata_are_masked_too(running, fake_provider):
    file = {"type": "file", "file": {"filename": "people.csv", "file_data": _file(f"id,mail\n1,{EMAIL}\n")}}
    tool = {"name": "look_up", "description": f"ask {EMAIL}", "parameters": {"type": "object", "properties": {}}}
    body = {"model": "in-mask", "messages": [{"role": "user", "content": [{"type": "text", "text": "read"}, file]}]}
    body |= {"tools": [{"type": "function", "function": tool}], "metadata": {"owner": EMAIL}}
    assert running.chat(body).status_code == 200
    (call,) = fake_provider.calls
    assert EMAIL not in call["body"] and "ask [EMAIL_ADDRESS_1]" in call["body"]
    assert _file("id,mail\n1,[EMAIL_ADDRESS_1]\n") in call["body"], "the file is a file still"


@pytest.mark.parametrize(
    "texts",
    [
        ["about pr\u043eject \U0001d428rion"],
        ["decode " + base64.b64encode(b"tell me about project orion").decode()],
        ["about project", "orion, please"],
    ],
)
def test_disguises_hide_no_keyword(running, fake_provider, texts):
    messages = [message for text in texts for message in (*user(text), {"role": "assistant", "content": "ok"})][:-1]
    response = running.chat({"model": "in-block", "messages": messages})
    check_block(running, response, "keywords", "orion")
    assert fake_provider.calls == []


def test_what_no_check_can_read_is_blocked_where_the_policy_says_so(running, fake_provider):
    png = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": png}}]
    response = running.chat({"model": "in-read", "messages": [{"role": "user", "content": content}]})
    error = response.json()["error"]
    assert (response.status_code, error["checks"], error["categories"]) == (400, ["input.unreadable"], ["image"])
    assert fake_provider.calls == []
    for model, said in (("in-read", user("hello")), ("in-mask", [{"role": "user", "content": content}])):
        assert running.chat({"model": model, "messages": said}).status_code == 200
