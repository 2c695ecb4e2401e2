"""Callers that stand between an application and the gateway: LangChain and LiteLLM."""

import os

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
            endpoint("vectors", ["main alpha fake-embed"], task="embeddings"),
        ]
    )


@pytest.fixture
def chain(running, fake_provider):
    def make(model, **more):
        return ChatOpenAI(model=model, base_url=running.url + "/v1", api_key=SEARCH_KEY, max_retries=0, **more)

    return make


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


def test_langchain_wants_a_structure(chain):
    assert chain("chat").with_structured_output(Said, method="function_calling").invoke("hi") == Said(said="hi")


def test_langchain_embeds(running, fake_provider):
    vectors = OpenAIEmbeddings(
        model="vectors", base_url=running.url + "/v1", api_key=SEARCH_KEY, check_embedding_ctx_length=False
    )
    assert len(vectors.embed_documents(["one", "two"])) == 2


@pytest.mark.parametrize(("model", "path"), [("openai/chat", "/v1"), ("anthropic/claude", ""), ("anthropic/chat", "")])
def test_litellm_asks_and_streams(running, fake_provider, model, path):
    ours = {"model": model, "api_base": running.url + path, "api_key": SEARCH_KEY, "max_tokens": 50, "num_retries": 0}
    answer = litellm.completion(messages=user("hello"), **ours)
    assert answer.choices[0].message.content == "echo: hello" and answer.usage.completion_tokens == 200
    stream = litellm.completion(messages=user("hello"), stream=True, **ours)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "echo: hello"


def test_litellm_knows_the_errors(running, fake_provider):
    ours = {"api_base": running.url + "/v1", "num_retries": 0, "messages": user("hi")}
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(model="openai/chat", api_key="tg-wrong", **ours)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(model="openai/nothing", api_key=SEARCH_KEY, **ours)
