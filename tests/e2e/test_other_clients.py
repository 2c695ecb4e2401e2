"""Callers that stand between an application and the gateway: LangChain and LiteLLM."""

import json
import os

import openai
import pytest
from pydantic import BaseModel
from support import SEARCH_KEY, endpoint, user

# Else it fetches its list of prices from the network when it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm  # noqa: E402
from langchain_core.messages import HumanMessage, ToolMessage  # noqa: E402
from langchain_openai import ChatOpenAI, OpenAIEmbeddings  # noqa: E402
# LiteLLM's own types.
pytestmark = pytest.mark.filterwarnings("ignore:Item.* on TypedDict class:UserWarning")


@pytest.fixture(scope="module")
def running(gateway):
    return gateway(
        [
            endpoint("chat", ["main alpha fake-large"]),
            endpoint("claude", ["main claude fake-claude"]),
            endpoint("cut", ["main alpha fault-truncate"]),
            endpoint("vectors", ["main alpha fake-embed"], task="embeddings"),
        ]
    )


@pytest.fixture
def chain(running, fake_provider):
    def make(model, **more):
        return ChatOpenAI(model=model, base_url=running.url + "/v1", api_key=SEARCH_KEY, max_retries=0, **more)

    return make


PNG = "iVBORw0KGgo="
LOOK = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]
# LiteLLM's name of a model, and where it finds it here: OpenAI's API with OpenAI's format behind it, Anthropic's with either.
LITELLM = [("openai/chat", "/v1"), ("anthropic/claude", ""), ("anthropic/chat", "")]


class Said(BaseModel):
    """What was said."""

    said: str


@pytest.mark.parametrize("model", ["chat", "claude"])
def test_langchain_asks_and_streams(chain, model):
    answer = chain(model, max_tokens=50).invoke("hello")
    assert answer.content == "echo: hello"
    assert (answer.usage_metadata["input_tokens"], answer.usage_metadata["output_tokens"]) == (1000, 200)
    pieces = list(chain(model, max_tokens=50, stream_usage=True).stream("hello you"))
    assert "".join(piece.content for piece in pieces) == "echo: hello you" and len(pieces) > 2
    assert sum((piece.usage_metadata or {}).get("output_tokens", 0) for piece in pieces) == 200


@pytest.mark.parametrize("model", ["chat", "claude"])
def test_langchain_calls_tools_and_reads_their_results(chain, model):
    tooled = chain(model, max_tokens=50).bind_tools([Said])
    first = tooled.invoke("weather")
    (call,) = first.tool_calls
    assert (call["name"], call["args"]) == ("Said", {"said": "weather"})
    turns = [HumanMessage("weather"), first, ToolMessage("sunny", tool_call_id=call["id"])]
    assert tooled.invoke(turns).content == "tool said: sunny"


def test_langchain_wants_a_structure(chain, fake_provider):
    assert chain("chat").with_structured_output(Said, method="function_calling").invoke("hi") == Said(said="hi")
    by_schema = chain("chat").with_structured_output(Said, method="json_schema")
    assert by_schema.invoke('say: {"said": "hi"}') == Said(said="hi")
    assert json.loads(fake_provider.calls[-1]["body"])["response_format"]["json_schema"]["name"] == "Said"


@pytest.mark.parametrize("model", ["chat", "claude"])
def test_langchain_shows_a_picture(chain, fake_provider, model):
    assert chain(model, max_tokens=50).invoke([HumanMessage(LOOK)]).content == "echo: look"
    assert PNG in fake_provider.calls[-1]["body"]


def test_langchain_raises_the_sdks_errors(chain):
    with pytest.raises(openai.NotFoundError):
        chain("nothing").invoke("hi")
    with pytest.raises(openai.APIError) as broken:
        list(chain("cut").stream("hello"))
    assert broken.value.code == "provider_error"


def test_langchain_embeds(running, fake_provider):
    vectors = OpenAIEmbeddings(
        model="vectors", base_url=running.url + "/v1", api_key=SEARCH_KEY, check_embedding_ctx_length=False
    )
    assert len(vectors.embed_documents(["one", "two"])) == 2


def litellm_at(running, model, path):
    return {"model": model, "api_base": running.url + path, "api_key": SEARCH_KEY, "max_tokens": 50, "num_retries": 0}


@pytest.mark.parametrize(("model", "path"), LITELLM)
def test_litellm_asks_and_streams(running, fake_provider, model, path):
    ours = litellm_at(running, model, path)
    answer = litellm.completion(messages=user("hello"), **ours)
    assert answer.choices[0].message.content == "echo: hello" and answer.usage.completion_tokens == 200
    stream = litellm.completion(messages=user("hello"), stream=True, **ours)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "echo: hello"


@pytest.mark.parametrize(("model", "path"), LITELLM)
def test_litellm_calls_tools_and_shows_a_picture(running, fake_provider, model, path):
    ours = litellm_at(running, model, path)
    tool = {"name": "look_up", "description": "Looks up", "parameters": {"type": "object", "properties": {}}}
    asked, tools = user("weather"), [{"type": "function", "function": tool}]
    message = litellm.completion(messages=asked, tools=tools, **ours).choices[0].message
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("look_up", {"said": "weather"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    answer = litellm.completion(messages=[*asked, message.model_dump(exclude_none=True), result], tools=tools, **ours)
    assert answer.choices[0].message.content == "tool said: sunny"
    assert litellm.completion(messages=user(LOOK), **ours).choices[0].message.content == "echo: look"
    assert PNG in fake_provider.calls[-1]["body"]


def test_litellm_wants_a_schema(running, fake_provider):
    schema = {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "said", "schema": schema, "strict": True}}
    litellm.completion(messages=user("hi"), response_format=form, **litellm_at(running, "openai/chat", "/v1"))
    assert json.loads(fake_provider.calls[-1]["body"])["response_format"] == form


def test_litellm_knows_the_errors(running, fake_provider):
    ours = {"api_base": running.url + "/v1", "num_retries": 0, "messages": user("hi")}
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(model="openai/chat", api_key="tg-wrong", **ours)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(model="openai/nothing", api_key=SEARCH_KEY, **ours)
