"""Upstreams that nobody here wrote: llama.cpp's server with a tiny model, by both of its APIs.

What a caller hears and what the usage table counts are compared with what the server says when it is asked without a gateway.
"""

import json

import anthropic
import openai
import pytest
import tiny_llama
from ledger import ledger_of
from support import SEARCH_KEY, endpoint, eventually, text_of_stream, user

WORDS = "Is this a real one?"
# Greedy, so that the same question has the same answer.
GREEDY = {"temperature": 0, "max_tokens": 24}
# Anthropic's SDK has no word for the temperature any more; the API has.
GREEDY_CLAUDE = {"max_tokens": 24, "extra_body": {"temperature": 0}}
SCHEMA = {"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"], "additionalProperties": False}


@pytest.fixture(scope="module")
def running(gateway, chat_server, embedding_server):
    def at(server, kind="openai", key="E2E_ALPHA_KEY"):
        preset = {"preset": "llama_cpp"} if kind == "openai" else {}
        return {"kind": kind, **preset, "base_url": server.url + "/v1", "api_key": "${%s}" % key}

    longer = {"name": "longer", "provider": "demo", "model": "mock-1", "on": ["context_window"]}
    return gateway(
        [
            endpoint("completions", ["main llama tiny"]),
            endpoint("messages", ["main llama-messages tiny"]),
            endpoint("longer", ["main llama tiny"], fallbacks=[longer]),
            endpoint("refused", ["main stranger tiny"], fallbacks=["second llama tiny"]),
            endpoint("vectors", ["main llama-vectors tiny"], task="embeddings"),
        ],
        providers={
            "llama": at(chat_server),
            "llama-messages": at(chat_server, "anthropic"),
            "llama-vectors": at(embedding_server),
            "stranger": at(chat_server, key="E2E_BETA_KEY"),
        },
    )


@pytest.fixture
def claude(running):
    return anthropic.Anthropic(base_url=running.url, api_key=SEARCH_KEY, max_retries=0)


@pytest.fixture(scope="module")
def expected(chat_server):
    """What the server answers by itself: its text, and the tokens it counts."""
    answer = chat_server.post("/v1/chat/completions", {"model": "tiny", "messages": user(WORDS), **GREEDY})
    counted = answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]
    assert counted == (1 + len(tiny_llama.rendered(*user(WORDS))), GREEDY["max_tokens"])
    text = answer["choices"][0]["message"]["content"]
    assert len(set(text)) > 1, "the model does not say one letter only"
    return text, counted


def completion(running, model, stream):
    chats = running.openai().chat.completions
    if not stream:
        raw = chats.with_raw_response.create(model=model, messages=user(WORDS), **GREEDY)
        (choice,), usage = raw.parse().choices, raw.parse().usage
        return raw, choice.message.content, choice.finish_reason, (usage.prompt_tokens, usage.completion_tokens)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    raw = chats.with_raw_response.create(model=model, messages=user(WORDS), **options, **GREEDY)
    chunks = list(raw.parse())
    (reason,) = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
    assert len(chunks) > GREEDY["max_tokens"] / 2, "it comes in pieces"
    usage = chunks[-1].usage
    return raw, text_of_stream(chunks), reason, (usage.prompt_tokens, usage.completion_tokens)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["completions", "messages"])
def test_a_completion_is_the_servers_own(running, expected, model, stream):
    raw, text, reason, counted = completion(running, model, stream)
    assert (text, counted, reason) == (*expected, "length")
    row = ledger_of(running).row(raw.headers["x-request-id"])
    assert ((row["input_tokens"], row["output_tokens"]), row["token_source"]) == (expected[1], "provider")
    assert (row["destination_model"], row["finish_reason"], row["stream"]) == ("tiny", "length", stream)


@pytest.mark.parametrize("model", ["completions", "messages"])
def test_a_message_is_the_servers_own(claude, expected, model):
    for stream in (False, True):
        if stream:
            with claude.messages.stream(model=model, messages=user(WORDS), **GREEDY_CLAUDE) as events:
                message = events.get_final_message()
        else:
            message = claude.messages.create(model=model, messages=user(WORDS), **GREEDY_CLAUDE)
        (block,), used = message.content, message.usage
        assert (block.text, (used.input_tokens, used.output_tokens)) == expected
        assert (message.model, message.stop_reason) == (model, "max_tokens")


def test_the_table_counts_what_the_server_counts(running, chat_server):
    before, ids = chat_server.counted(), []
    for number, model in enumerate(["completions", "messages"] * 3):
        body = {"model": model, "messages": user("a" * number), "temperature": 0, "max_tokens": number + 1, "stream": number > 3}
        response = running.chat(body)
        assert response.status_code == 200, response.text
        ids.append(response.headers["x-request-id"])
    after = chat_server.counted()
    listed = ", ".join(f"'{request_id}'" for request_id in ids)
    sql = f"SELECT count(*) AS n, sum(input_tokens) AS i, sum(output_tokens) AS o FROM usage WHERE request_id IN ({listed})"
    (row,) = eventually(lambda: (rows := ledger_of(running).query(sql)) and rows[0]["n"] == len(ids) and rows, "all rows", 60)
    assert (row["i"], row["o"]) == (after[0] - before[0], after[1] - before[1])


def test_an_answer_by_schema(running):
    wanted = {"type": "json_schema", "json_schema": {"name": "colour", "schema": SCHEMA, "strict": True}}
    asked = {"messages": user("?"), "extra_body": {"temperature": 0}, "max_tokens": 200}
    answer = running.openai().chat.completions.create(model="completions", response_format=wanted, **asked)
    assert json.loads(answer.choices[0].message.content)["colour"] in ("red", "blue")


def test_vectors_are_the_servers_own(running, embedding_server):
    texts = ["one", "and another"]
    expected = embedding_server.post("/v1/embeddings", {"model": "tiny", "input": texts})
    # The SDK asks for them in base64.
    raw = running.openai().embeddings.with_raw_response.create(model="vectors", input=texts)
    answer = raw.parse()
    assert [one.embedding for one in answer.data] == [pytest.approx(one["embedding"], abs=1e-6) for one in expected["data"]]
    assert len(answer.data[0].embedding) == tiny_llama.EMBEDDING and answer.data[0].embedding != answer.data[1].embedding
    assert answer.usage.prompt_tokens == expected["usage"]["prompt_tokens"] == sum(1 + len(text) for text in texts)
    row = ledger_of(running).row(raw.headers["x-request-id"])
    assert (row["input_tokens"], row["token_source"]) == (answer.usage.prompt_tokens, "provider")


@pytest.mark.parametrize("stream", [False, True])
def test_what_is_too_long_for_the_model_is_known_as_that(running, stream):
    too_long = user("a" * tiny_llama.CONTEXT)
    for model in ("completions", "messages"):
        with pytest.raises(openai.BadRequestError) as refused:
            list(running.openai().chat.completions.create(model=model, messages=too_long, stream=stream))
        assert refused.value.code == "context_length_exceeded" and str(tiny_llama.CONTEXT) in refused.value.message
    response = running.chat({"model": "longer", "messages": too_long, "stream": stream})
    assert (response.status_code, response.headers["x-tollgate-destination"]) == (200, "longer")


def test_a_refused_credential_is_not_the_callers(running):
    response = running.chat({"model": "refused", "messages": user("hi"), "max_tokens": 1})
    assert (response.status_code, response.headers["x-tollgate-destination"]) == (200, "second")
    first, second = ledger_of(running).row(response.headers["x-request-id"])["attempts"]
    assert (first["status_code"], first["error_code"], second["status_code"]) == (401, "authentication_error", 200)
