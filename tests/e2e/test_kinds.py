"""Every kind of provider with one and the same list of features, by the official SDKs: what comes of each, in one table.

`test_feature` asks a kind for a feature and asserts that the caller has it in OpenAI's words, or is refused by the field's name. What
it saw (passed through, translated, refused, nothing) is compared with the table of docs/providers.md at the end; see
`provider_matrix.py`. The fake of every kind is `fake_kinds.py`. Credentials that are asked for, and paths, come after that.
"""

import base64
import json

import anthropic
import fake_bedrock
import openai
import provider_matrix
import pytest
from fake_google import FakeGoogle
from fake_kinds import FakeKinds
from fake_model import LOGPROB, REFUSAL, SHORT, THOUGHT
from fake_wire import vector
from ledger import ledger_of
from provider_matrix import NOTHING, PASSED, REFUSED, TRANSLATED
from support import SEARCH_KEY, endpoint, eventually, text_of_stream, user
from test_http_door import TOOLS

KEY = "sk-canary-kinds-4d1f"
BEARER, API_KEY, MODEL = ("authorization", f"Bearer {KEY}"), ("api-key", KEY), "fake-large"
VERTEX = "/v1/projects/a-project/locations/europe-west4/publishers/google/models/gemini-3.5-flash:generateContent"
# Kind: the path of a chat, and the header that shows the credential (of some of them its beginning).
KINDS = {
    "openai": ("/v1/chat/completions", BEARER),
    "azure": ("/openai/v1/chat/completions", API_KEY),
    "anthropic": ("/v1/messages", ("x-api-key", KEY)),
    "gemini": ("/v1beta/models/gemini-3.5-flash:generateContent", ("x-goog-api-key", KEY)),
    "vertex": (VERTEX, ("authorization", "Bearer token-canary-")),
    "bedrock": (f"/model/{MODEL}/converse", ("authorization", "AWS4-HMAC-SHA256 ")),
    "databricks": (f"/serving-endpoints/{MODEL}/invocations", BEARER),
    "mistral": ("/v1/chat/completions", BEARER),
    "cohere": ("/v2/chat", BEARER),
}
DATED = "/openai/deployments/fake%20large/chat/completions?api-version=2024-10-21"
GOOGLE = ("gemini", "vertex")
# Where embeddings are made, first of each kind that has them: provider and model, texts per call, and the tokens that are counted.
VECTORS = {
    "openai": ("openai small", 2, 16),
    "azure": ("azure small", 2, 16),
    "dated": ("dated small", 2, 16),
    "gemini": ("gemini gemini-embedding-001", 2, 16),
    "vertex": ("vertex text-embedding-005", 2, 16),
    "vertex-content": ("vertex gemini-embedding-2", 1, 8),
    "bedrock": ("bedrock amazon.titan-embed-text-v2:0", 1, 8),
    # Bedrock tells no counts of Cohere's in the answer: five characters are estimated.
    "bedrock-cohere": ("bedrock cohere.embed-v4:0", 2, 1),
    "databricks": ("databricks small", 2, 16),
    "mistral": ("mistral small", 2, 16),
    "cohere": ("cohere small", 2, 16),
}
TEXTS = ["a", "four"]
# Feature: kinds that cannot say it, and the field that is named.
CANNOT = {
    # Cohere tells what it said with, and not what else was likely.
    "logprobs": {**dict.fromkeys(("anthropic", "bedrock", "mistral"), "logprobs"), "cohere": "top_logprobs"},
    "n": dict.fromkeys(("anthropic", "bedrock", "cohere"), "n"),
    "seed": dict.fromkeys(("anthropic", "bedrock"), "seed"),
    "embeddings": dict.fromkeys([kind for kind in KINDS if kind not in VECTORS], "model"),
}
# Feature: kinds that have no such thing and answer all the same.
WITHOUT = {
    "content-filter": ("cohere", "mistral"),
    "refusal": ("bedrock", "cohere", "mistral"),
    "prompt-cache-key": ("anthropic", "bedrock", "cohere", *GOOGLE),
    "cache-control": ("cohere", "mistral", *GOOGLE),
}
PNG = "iVBORw0KGgo="
# What the gateway itself says otherwise to a provider of the same API, and to the caller of its answers.
OWN_FIELDS, OWN_ANSWERS = {"model", "stream", "stream_options", "store"}, {"model", "usage", "prompt_filter_results"}


@pytest.fixture(scope="module")
def fake():
    fake = FakeKinds().start()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def running(gateway, fake, tmp_path_factory):
    def provider(kind, below="", name=None, key=KEY, **more):
        return {"kind": kind, "base_url": fake.url(kind, name, below), "api_key": key, **more}

    account = tmp_path_factory.mktemp("secrets") / "vertex.json"
    account.write_text(json.dumps({**FakeGoogle().key_file(), "token_uri": fake.url("vertex", below="/token")}))
    place = {"project": "a-project", "location": "europe-west4"}
    models = dict.fromkeys(GOOGLE, "gemini-3.5-flash")
    # A deployment's name may hold what a path may not.
    dated = {"name": "main", "provider": "dated", "model": "fake large"}
    return gateway(
        [
            *[endpoint(kind, [f"main {kind} {models.get(kind, MODEL)}"]) for kind in KINDS],
            *[endpoint(f"vectors-{name}", [f"main {to}"], task="embeddings") for name, (to, *_) in VECTORS.items()],
            endpoint("vectors-anthropic", [f"main anthropic {MODEL}"], task="embeddings"),
            endpoint("dated", [dated]),
            endpoint("principal", [f"main principal {MODEL}"]),
        ],
        providers={
            "openai": provider("openai", "/v1", preset="openai"),
            "azure": provider("azure"),
            "anthropic": provider("anthropic", "/v1"),
            "gemini": provider("gemini", "/v1beta"),
            "vertex": provider("vertex", "/v1", key="${file:%s}" % account, **place),
            "bedrock": provider("bedrock", key=":".join(fake_bedrock.KEY), region=fake_bedrock.REGION),
            "databricks": provider("databricks"),
            "mistral": provider("mistral", "/v1"),
            "cohere": provider("cohere", "/v2"),
            "dated": provider("azure", name="dated", api_version="2024-10-21"),
            "principal": provider("databricks", name="principal", key="app-1:s3cret-canary"),
        },
    )


@pytest.fixture(scope="module")
def clients(running):
    """OpenAI's SDK and Anthropic's."""
    return running.openai(), anthropic.Anthropic(base_url=running.url, api_key=SEARCH_KEY, max_retries=0)


class Caller:
    """A caller of one kind, and whether what it said and heard was the provider's own format."""

    def __init__(self, kind, fake, client, claude):
        self.kind, self.fake, self.client, self.claude, self.is_same = kind, fake, client, claude, True

    def chat(self, said, **more):
        return self.whole(self.client.chat.completions, {"messages": said if isinstance(said, list) else user(said), **more})

    def whole(self, api, body, model=None):
        """A whole answer of one of the SDKs' resources."""
        raw = api.with_raw_response.create(model=model or self.kind, **body)
        self.compare(body, raw.http_response.json(), self.fake.calls[-1]["answer"], {"model"})
        return raw.parse()

    def stream(self, said, **more):
        """The chunks of a chat."""
        body = {"messages": user(said), **more}
        chunks = list(self.client.chat.completions.create(model=self.kind, stream=True, **body))
        sent = [event for event in self.fake.calls[-1]["answer"] if isinstance(event, dict) and event.get("choices")]
        # Chunks without a choice are about usage and filters; they come to those who ask.
        self.compare(body, [c.to_dict() for c in chunks if c.choices], sent, OWN_ANSWERS)
        return chunks

    def compare(self, asked, heard, answered, but):
        sent = self.fake.calls[-1]["body"]
        self.is_same &= without(asked, OWN_FIELDS) == without(sent, OWN_FIELDS)
        self.is_same &= without(heard, but) == without(answered, but)

    @property
    def outcome(self):
        return PASSED if self.is_same else TRANSLATED


def without(document, names):
    if isinstance(document, list):
        return [without(each, names) for each in document]
    return {name: value for name, value in document.items() if name not in names}


def has(caller, feature):
    return caller.kind not in WITHOUT.get(feature, ())


def chat(caller):
    answer = caller.chat("hello")
    (choice,) = answer.choices
    assert (answer.model, answer.object, choice.message.role) == (caller.kind, "chat.completion", "assistant")
    assert (choice.message.content, choice.finish_reason) == ("echo: hello", "stop")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (1000, 200, 1200)


def stream(caller):
    for wants_usage in (True, False):
        more = {"stream_options": {"include_usage": True}} if wants_usage else {}
        chunks = caller.stream("one two three", **more)
        assert text_of_stream(chunks) == "echo: one two three"
        assert {(c.model, c.object) for c in chunks} == {(caller.kind, "chat.completion.chunk")} and len({c.id for c in chunks}) == 1
        finishes = [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason]
        counted = [(c.usage.prompt_tokens, c.usage.completion_tokens) for c in chunks if c.usage]
        assert (finishes, counted) == (["stop"], [(1000, 200)] if wants_usage else [])
        # Without usage a caller need not expect a chunk that has no choice, whatever Azure's filters say.
        assert sum(not c.choices for c in chunks) == len(counted)


def system_prompt(caller):
    said = [{"role": "system", "content": "be kind"}, *user("hello"), {"role": "assistant", "content": "hi"}]
    answer = caller.chat([*said, *user("and now?")])
    assert answer.choices[0].message.content == "echo: and now? [system be kind]"


def temperature(caller):
    assert caller.chat("hello", temperature=0.5).choices[0].message.content == "echo: hello [temperature 0.5]"


def stop(caller):
    choice = caller.chat("one END two", stop=["END"]).choices[0]
    assert (choice.message.content, choice.finish_reason) == ("echo: one ", "stop")


def length(caller):
    choice = caller.chat("hello", max_completion_tokens=SHORT, user="u-1").choices[0]
    assert (choice.message.content, choice.finish_reason) == ("echo: h", "length")


def seed(caller):
    assert caller.chat("hello", seed=7).choices[0].message.content == "echo: hello [seed 7]"


def n(caller):
    choices = caller.chat("hello", n=2).choices
    assert [(choice.index, choice.message.content) for choice in choices] == [(0, "echo: hello"), (1, "echo: hello (2)")]


def tools(caller):
    """Two calls at once, and the results of both."""
    asked = user("the weather")
    choice = caller.chat(asked, tools=TOOLS).choices[0]
    calls = choice.message.tool_calls
    assert choice.finish_reason == "tool_calls" and len({call.id for call in calls}) == 2
    said = [(call.function.name, json.loads(call.function.arguments)) for call in calls]
    assert said == [("look_up", {"said": "the weather"}), ("look_up", {"said": "more"})]
    results = [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in zip(calls, ("rain", "wind"))]
    # What another provider's answer has beside the calls stays behind.
    foreign = {"reasoning": "hm", "thinking_blocks": [{"type": "thinking", "thinking": "hm"}]}
    answer = caller.chat([*asked, {**foreign, **choice.message.to_dict()}, *results], tools=TOOLS)
    assert answer.choices[0].message.content == "tools said: rain, wind"


def streamed_tools(caller):
    calls, deltas = {}, 0
    for chunk in caller.stream("the weather", tools=TOOLS):
        for part in [part for choice in chunk.choices for part in choice.delta.tool_calls or []]:
            call = calls.setdefault(part.index, {"id": part.id, "name": part.function.name, "arguments": ""})
            call["arguments"] += part.function.arguments or ""
            deltas += bool(part.function.arguments)
    assert [json.loads(calls[index]["arguments"]) for index in (0, 1)] == [{"said": "the weather"}, {"said": "more"}]
    assert len({call["id"] for call in calls.values()}) == 2 and {call["name"] for call in calls.values()} == {"look_up"}
    # Google's arguments come whole.
    assert deltas == 2 if caller.kind in GOOGLE else deltas > 2


def images(caller):
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
    assert caller.chat(user(parts)).choices[0].message.content == f"echo: look [images {PNG}]"


def json_schema(caller):
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
    answer = caller.chat("where?", response_format=form).choices[0].message
    assert json.loads(answer.content) == {"city": "Oslo"}


def reasoning(caller):
    """An effort, and what the model thinks, whole and in a stream."""
    message = caller.chat("hello", reasoning_effort="high").choices[0].message
    assert (message.content, message.reasoning_content) == ("echo: hello [effort high]", THOUGHT)
    deltas = [c.choices[0].delta for c in caller.stream("hello", reasoning_effort="high") if c.choices]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == THOUGHT
    assert "".join(delta.content or "" for delta in deltas) == "echo: hello [effort high]"


def content_filter(caller):
    choice = caller.chat("forbidden").choices[0]
    assert choice.message.content == "echo: forbidden"
    assert choice.finish_reason == ("content_filter" if has(caller, "content-filter") else "stop")


def refusal(caller):
    message = caller.chat("refuse").choices[0].message
    told = (message.refusal, message.content) if has(caller, "refusal") else (message.content, message.refusal)
    assert told[0] == REFUSAL and not told[1]


def logprobs(caller):
    choice = caller.chat("hello", logprobs=True, top_logprobs=1).choices[0]
    tokens = choice.logprobs.content
    assert "".join(token.token for token in tokens) == choice.message.content == "echo: hello"
    assert {token.logprob for token in tokens} == {LOGPROB} and tokens[0].top_logprobs[0].token == tokens[0].token


def prompt_cache_key(caller):
    came = " [key k-1]" if has(caller, "prompt-cache-key") else ""
    assert caller.chat("hello", prompt_cache_key="k-1").choices[0].message.content == "echo: hello" + came


def cache_control(caller):
    """Claude's mark at a part of a message."""
    parts = [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]
    came = " [marks 1]" if has(caller, "cache-control") else ""
    assert caller.chat(user(parts)).choices[0].message.content == "echo: hello" + came


def cached_tokens(caller):
    usage = caller.chat("hello").usage
    if caller.kind == "mistral":
        # It is counted in the row, and shown by the name that the provider gave it.
        assert (usage.prompt_tokens_details, usage.num_cached_tokens) == (None, 300)
    else:
        assert usage.prompt_tokens_details.cached_tokens == 300


def embeddings(caller):
    _, texts, tokens = VECTORS.get(caller.kind, (None, 1, None))
    body = {"input": TEXTS[:texts], "encoding_format": "float"}
    answer = caller.whole(caller.client.embeddings, body, f"vectors-{caller.kind}")
    assert [item.embedding for item in answer.data] == [vector(text) for text in TEXTS[:texts]]
    assert (answer.model, answer.usage.prompt_tokens) == (f"vectors-{caller.kind}", tokens)


def messages(caller):
    body = {"max_tokens": 100, "messages": user("hello"), "system": "be kind"}
    message = caller.whole(caller.claude.messages, body)
    assert [block.text for block in message.content] == ["echo: hello [system be kind]"]
    assert (message.model, message.stop_reason) == (caller.kind, "end_turn")
    used = message.usage
    read_and_written = used.cache_read_input_tokens + used.cache_creation_input_tokens
    assert (used.input_tokens + read_and_written, used.output_tokens) == (1000, 200)


def responses(caller):
    answer = caller.whole(caller.client.responses, {"input": "hello"})
    assert (answer.output_text, answer.model, answer.status) == ("echo: hello", caller.kind, "completed")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (1000, 200)


ALL = [
    chat,
    stream,
    system_prompt,
    temperature,
    stop,
    length,
    seed,
    n,
    tools,
    streamed_tools,
    images,
    json_schema,
    reasoning,
    content_filter,
    refusal,
    logprobs,
    prompt_cache_key,
    cache_control,
    cached_tokens,
    embeddings,
    messages,
    responses,
]
FEATURES = {each.__name__.replace("_", "-"): each for each in ALL}


@pytest.fixture(scope="module")
def cells():
    """What was seen so far: `(feature, kind) → outcome`."""
    return {}


@pytest.mark.parametrize("feature", FEATURES)
@pytest.mark.parametrize("kind", KINDS)
def test_feature(clients, fake, cells, record_property, kind, feature):
    caller, ask, before = Caller(kind, fake, *clients), FEATURES[feature], len(fake.calls)
    field = CANNOT.get(feature, {}).get(kind)
    if field:
        with pytest.raises(openai.BadRequestError) as refused:
            ask(caller)
        assert (refused.value.param, refused.value.body["code"]) == (field, "invalid_request_error")
        assert f"`{field}`" in refused.value.message and len(fake.calls) == before, "it is refused without a call"
        outcome = f"{REFUSED}: `{field}`"
    else:
        ask(caller)
        outcome = caller.outcome if has(caller, feature) else NOTHING
    cells[feature, kind] = outcome
    for name, value in (("feature", feature), ("kind", kind), ("outcome", outcome)):
        record_property(name, value)


def test_the_table_in_the_docs_is_what_was_seen(cells, request):
    whole = len(cells) == len(FEATURES) * len(KINDS)
    if request.config.getoption("--write-provider-matrix"):
        assert whole, "some were not asked or failed: nothing is written"
        provider_matrix.write(provider_matrix.table(FEATURES, KINDS, cells))
    # Of a part of the suite (`-k`) that part is compared; the rest is taken as it stands.
    known = provider_matrix.cells_of(provider_matrix.written())
    differ = {place: (known.get(place), seen) for place, seen in cells.items() if known.get(place) != seen}
    assert not differ, "feature, kind: what docs/providers.md says, what was seen; --write-provider-matrix writes it"
    cells = {(feature, kind): known.get((feature, kind), "?") for feature in FEATURES for kind in KINDS}
    assert provider_matrix.written() == provider_matrix.table(FEATURES, KINDS, cells)


@pytest.mark.parametrize("stream", [False, True])
def test_coheres_log_probabilities(clients, stream):
    answer = clients[0].chat.completions.create(model="cohere", messages=user("hello"), logprobs=True, stream=stream)
    choices = [choice for chunk in (answer if stream else [answer]) for choice in chunk.choices]
    tokens = [token for choice in choices if choice.logprobs for token in choice.logprobs.content]
    assert "".join(token.token for token in tokens) == "echo: hello"
    # Pieces of two tokens count as one.
    assert {token.logprob for token in tokens} == {2 * LOGPROB}


@pytest.mark.parametrize("kind", KINDS)
def test_anthropics_sdk_works_with_every_kind_behind_it(clients, kind):
    """A picture, and a stream with two calls at once, whose results are sent."""
    _, claude = clients
    tool = {"name": "look_up", "description": "Looks up", "input_schema": {"type": "object", "properties": {}}}
    ask = {"model": kind, "max_tokens": 100}
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    answer = claude.messages.create(messages=user([{"type": "text", "text": "look"}, picture]), **ask)
    assert answer.content[0].text == f"echo: look [images {PNG}]"
    with claude.messages.stream(messages=user("the weather"), tools=[tool], **ask) as stream:
        first = stream.get_final_message()
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [(call.name, call.input["said"]) for call in calls] == [("look_up", "the weather"), ("look_up", "more")]
    assert (first.stop_reason, first.model, len({call.id for call in calls})) == ("tool_use", kind, 2)
    results = [{"type": "tool_result", "tool_use_id": call.id, "content": text} for call, text in zip(calls, ("rain", "wind"))]
    turns = [*user("the weather"), {"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    answer = claude.messages.create(messages=turns, tools=[tool], **ask)
    assert answer.content[0].text == "tools said: rain, wind"


@pytest.mark.parametrize("name", [*KINDS, "dated"])
def test_a_call_goes_where_the_kind_has_it_and_shows_the_credential(running, fake, name):
    path, (header, value) = KINDS.get(name) or (DATED, API_KEY)
    streamed = running.chat({"model": name, "messages": user("hello"), "stream": True})
    assert "echo: h" in streamed.text and streamed.text.rstrip().endswith("[DONE]")
    assert running.chat({"model": name, "messages": user("hello")}).json()["choices"][0]["message"]["content"] == "echo: hello"
    call = fake.calls[-1]
    assert (call["name"], call["path"]) == (name, path) and call["headers"][header].startswith(value)
    shown = {"authorization", "api-key", "x-api-key", "x-goog-api-key"} & call["headers"].keys()
    assert shown == {header}
    if name == "anthropic":
        assert call["headers"]["anthropic-version"] and call["body"]["max_tokens"] > SHORT
    assert SEARCH_KEY not in json.dumps(call["headers"])


def test_a_service_principal_shows_a_token_that_is_asked_for_once(running, fake):
    for _ in range(3):
        assert running.chat({"model": "principal", "messages": user("hello")}).status_code == 200
    [asked] = [token for token in fake.tokens if token["name"] == "principal"]
    basic = base64.b64encode(b"app-1:s3cret-canary").decode()
    assert asked["headers"]["authorization"] == f"Basic {basic}"
    assert asked["form"] == {"grant_type": "client_credentials", "scope": "all-apis"}
    shown = {call["headers"]["authorization"] for call in fake.calls if call["name"] == "principal"}
    assert shown == {f"Bearer {asked['token']}"}
    assert "canary" not in running.log()


@pytest.mark.parametrize("name", VECTORS)
def test_embeddings_are_openais_whoever_makes_them(running, name):
    _, texts, tokens = VECTORS[name]
    create = running.openai().embeddings.with_raw_response.create
    wanted = {"model": f"vectors-{name}", "input": TEXTS[:texts], "dimensions": 2, "user": "u-1"}
    if name == "databricks":  # whose reference knows neither
        wanted = {key: wanted[key] for key in ("model", "input")}
    # The SDK asks for base64 unless it is told otherwise, and makes numbers of it.
    for told, kind in (({}, str), ({"encoding_format": "float"}, list)):
        raw = create(**wanted, **told)
        assert {type(item["embedding"]) for item in raw.http_response.json()["data"]} == {kind}
        answer = raw.parse()
        assert [item.embedding for item in answer.data] == [vector(text) for text in wanted["input"]]
        assert [item.index for item in answer.data] == list(range(texts))
        assert (answer.model, answer.usage.prompt_tokens, answer.usage.total_tokens) == (wanted["model"], tokens, tokens)


def test_embeddings_of_every_kind_are_counted(running):
    create, ids = running.openai().embeddings.with_raw_response.create, {}
    for name, (_, texts, tokens) in VECTORS.items():
        raw = create(model=f"vectors-{name}", input=TEXTS[:texts])
        ids[raw.headers["x-request-id"]] = (tokens, 0, "estimated" if name == "bedrock-cohere" else "provider")
    listed = ", ".join(f"'{request_id}'" for request_id in ids)
    sql = f"SELECT request_id, input_tokens, output_tokens, token_source FROM usage WHERE request_id IN ({listed})"
    rows = eventually(lambda: len(rows := ledger_of(running).query(sql)) == len(ids) and rows, "every row", 60)
    assert {row["request_id"]: (row["input_tokens"], row["output_tokens"], row["token_source"]) for row in rows} == ids


@pytest.mark.parametrize(("name", "texts"), [("cohere", [1, 2]), ("bedrock", ["a", "b"])])
def test_an_input_that_a_kind_does_not_take_is_refused_by_name(running, name, texts):
    with pytest.raises(openai.BadRequestError) as caught:
        running.openai().embeddings.create(model=f"vectors-{name}", input=texts)
    assert caught.value.param == "input"
