"""Amazon Bedrock: chat translated to and from Converse, streams in Amazon's framing, signatures as botocore makes them, and a guardrail."""

import json
from decimal import Decimal

import boto3
import fake_bedrock
import openai
import pytest
from fake_provider import FakeProvider
from kafka_tools import everything
from ledger import ledger_of
from support import endpoint, eventually, text_of_stream, user
from test_http_door import TOOLS

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"  # in the built-in price list
COST = Decimal("0.0057915")  # 600 at $3.30, 300 read at $0.33, 100 written at $4.125, 200 at $16.50 per million
FAULTS = ["429", "503", "500", "early", "corrupt"]
FALLBACKS = [(fault, stream) for fault in FAULTS for stream in (False, True) if fault.isdigit() or stream]
PNG, PDF = "data:image/png;base64,iVBORw0KGgo=", "data:application/pdf;base64,JVBERi0="


@pytest.fixture(scope="module")
def server():
    server = FakeProvider(handler=fake_bedrock.Handler).start()
    yield server
    server.stop()


@pytest.fixture
def bedrock(server):
    server.reset()
    return server


def url(server, name):
    return f"http://127.0.0.1:{server.port}/p/{name}"


@pytest.fixture(scope="module")
def running(gateway, server):
    def provider(name, key):
        return {"kind": "bedrock", "region": fake_bedrock.REGION, "base_url": url(server, name), "api_key": key}

    keys = {
        "signed": ":".join(fake_bedrock.KEY),
        "temporary": ":".join(fake_bedrock.TEMPORARY),
        "bearer": fake_bedrock.API_KEY,
        "wrong": fake_bedrock.KEY[0] + ":canary/Wrong",
        "halved": fake_bedrock.KEY[0] + ":",
    }
    safety = {"safety": {"action": "block", "judge": "amazon"}}
    return gateway(
        [
            *(endpoint(name, [f"main {name} {CLAUDE}"]) for name in keys),
            *(endpoint(f"back-{fault}", [f"first signed fault-{fault}"], fallbacks=["second alpha fake-large"]) for fault in FAULTS),
            endpoint("bad", ["first signed fault-400"]),
            endpoint("late", ["first signed fault-late"], fallbacks=["second alpha fake-large"]),
            endpoint("guarded", ["main alpha fake-large"], guardrails={"input": safety}),
        ],
        providers={name: provider(name, key) for name, key in keys.items()},
        judges={"amazon": {"kind": "bedrock_guardrail", "provider": "signed", "model": "abc123/1"}},
    )


@pytest.fixture
def client(running, bedrock, fake_provider):
    return running.openai()


def test_the_fake_is_read_by_amazons_own_client(bedrock):
    id, secret, token = fake_bedrock.TEMPORARY
    keys = {"aws_access_key_id": id, "aws_secret_access_key": secret, "aws_session_token": token}
    client = boto3.client("bedrock-runtime", endpoint_url=url(bedrock, "boto"), region_name=fake_bedrock.REGION, **keys)
    asked = {"modelId": CLAUDE, "messages": [{"role": "user", "content": [{"text": "hello"}]}]}
    assert client.converse(**asked)["output"]["message"]["content"] == [{"text": "echo: hello"}]
    events = [*client.converse_stream(**asked)["stream"]]
    assert events[-1]["metadata"]["usage"] == fake_bedrock.USAGE and len(events) == 9
    asked = {"guardrailIdentifier": "abc123", "guardrailVersion": "1", "source": "INPUT"}
    actions = [client.apply_guardrail(**asked, content=[{"text": {"text": text}}])["action"] for text in ("hello", "a bomb")]
    assert actions == ["NONE", "GUARDRAIL_INTERVENED"]


def test_a_guardrail_of_amazons_judges(running, bedrock, fake_provider):
    """The fake refuses a call that is not in Amazon's model of ApplyGuardrail, or not signed."""
    answer = running.chat({"model": "guarded", "messages": user("hello")})
    assert answer.json()["choices"][0]["message"]["content"] == "echo: hello"
    refused = running.chat({"model": "guarded", "messages": user("how to build a bomb")})
    error = refused.json()["error"]
    assert (refused.status_code, error["checks"], error["categories"]) == (400, ["input.safety"], ["violence"])
    assert "bomb" not in refused.text and len(fake_provider.calls) == 1
    assert [call["model"] for call in bedrock.calls] == ["abc123/version/1"] * 2


@pytest.mark.parametrize("model", ["signed", "temporary", "bearer"])
def test_chat_for_bedrock(client, bedrock, model):
    messages = [{"role": "system", "content": "be kind"}, *user("hello"), {"role": "assistant", "content": "hi"}]
    messages += user("and now?")
    answer = client.chat.completions.create(model=model, messages=messages, temperature=0.5, stop=["END"], max_tokens=9)
    assert answer.choices[0].message.content == "echo: and now?"
    assert answer.choices[0].finish_reason == "stop" and answer.model == model and answer.id.startswith("chatcmpl-")
    usage = answer.usage
    # Converse counts cached tokens beside the others, OpenAI among them.
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (1000, 200, 1200)
    assert usage.prompt_tokens_details.cached_tokens == 300
    (call,) = bedrock.calls
    assert (call["name"], call["model"]) == (model, CLAUDE)
    sent = json.loads(call["body"])
    assert sent["system"] == [{"text": "be kind"}] and len(sent["messages"]) == 3
    assert sent["inferenceConfig"] == {"temperature": 0.5, "stopSequences": ["END"], "maxTokens": 9}


def test_tools_with_bedrock(client, bedrock):
    asked = user("the weather")
    message = client.chat.completions.create(model="signed", messages=asked, tools=TOOLS).choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("look_up", {"said": "the weather"})
    asked += [message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "rain"}]
    answer = client.chat.completions.create(model="signed", messages=asked, tools=TOOLS)
    assert answer.choices[0].message.content == "tool said: rain"
    with client.chat.completions.stream(model="signed", messages=user("the sea"), tools=TOOLS) as stream:
        choice = stream.get_final_completion().choices[0]
    assert choice.finish_reason == "tool_calls"
    assert json.loads(choice.message.tool_calls[0].function.arguments) == {"said": "the sea"}


def test_everything_that_is_sent_is_in_amazons_model_of_the_api(running, bedrock):
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
    parts = [
        {"type": "text", "text": "look", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "image_url", "image_url": {"url": PNG}},
        {"type": "file", "file": {"filename": "a_b.pdf", "file_data": PDF}},
    ]
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = {
        "model": "signed",
        "messages": [*user("hi"), {"role": "assistant", "content": "yes?", "thinking_blocks": [thinking]}, *user(parts)],
        "response_format": {"type": "json_schema", "json_schema": {"name": "w", "schema": schema}},
        "reasoning_effort": "high",
        "thinking": {"type": "adaptive"},
        "top_p": 0.9,
        "service_tier": "flex",
    }
    response = running.chat(body)
    assert response.json()["choices"][0]["message"]["content"] == "echo: look", response.text
    response = running.chat({**body, "messages": user([{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}])})
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (
        400, "invalid_request_error", "messages[0].content[0].image_url.url",
    )  # fmt: skip
    assert len(bedrock.calls) == 1


@pytest.mark.parametrize(("fault", "stream"), FALLBACKS)
def test_falls_back(running, bedrock, fake_provider, fault, stream):
    response = running.chat({"model": f"back-{fault}", "messages": user("hello"), "stream": stream})
    assert response.status_code == 200 and "echo" in response.text, response.text
    # One that has just throttled may be left alone the second time.
    assert len(bedrock.calls) <= 1 and len(fake_provider.calls_of("alpha")) == 1


def test_an_exception_after_the_first_content_ends_the_stream_with_an_error(client, bedrock, fake_provider):
    seen = []
    with pytest.raises(openai.APIError) as caught:
        with client.chat.completions.create(model="late", messages=user("one two three"), stream=True) as stream:
            for chunk in stream:
                seen.append(chunk)
                if text_of_stream(seen):
                    bedrock.open_gate("fault-late")
    assert caught.value.code == "provider_error" and text_of_stream(seen) == "echo: o"
    assert not fake_provider.calls, "what was seen is not replaced"


def test_a_bad_request_and_a_bad_credential(client, bedrock):
    for model, code in [("bad", "provider_rejected"), ("wrong", "provider_error"), ("halved", "provider_error")]:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model=model, messages=user("hello"))
        assert caught.value.code == code, model
    assert [call["name"] for call in bedrock.calls] == ["signed", "wrong"], "half a key pair goes nowhere"


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_and_cost_are_exact(running, bedrock, stream):
    response = running.chat({"model": "temporary", "messages": user("hello"), "stream": stream})
    id = response.headers["x-request-id"]
    eventually(lambda: ledger_of(running).query(f"SELECT 1 FROM usage WHERE request_id = '{id}'"), "the row", 60)
    row = ledger_of(running).row(id)
    assert (row["input_tokens"], row["output_tokens"], row["total_tokens"]) == (1000, 200, 1200)
    assert (row["cost_usd"], row["price_status"], row["token_source"]) == (COST, "priced", "provider")
    (attempt,) = row["attempts"]
    assert (attempt["provider_request_id"], attempt["cost_usd"]) == ("req_bedrock", COST)


def test_no_credential_leaves_the_router(running, client):
    client.chat.completions.create(model="temporary", messages=user("hello"))
    seen = everything(running) + running.log().encode()
    assert b"hello" in seen, "the topics were read"
    assert not [secret for secret in fake_bedrock.SECRETS if secret.encode() in seen]
    assert b"canary/Wrong" not in seen
