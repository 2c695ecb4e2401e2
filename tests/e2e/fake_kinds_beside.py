"""What the providers of `fake_kinds.py` answer beside chats: embeddings of every kind that has them, and OpenAI's Responses.

Vectors are as in `fake_wire.py`, always as numbers, whatever a request's `encoding_format` says. Google's and Bedrock's are made where
the rest of their wire format is.
"""

import re
import urllib.parse

import fake_bedrock
import fake_google
import fake_responses
import fake_wire

# Kind: the paths of its embeddings, with the model and Google's method where they are in the path. Databricks asks at the path of chats.
EMBEDDINGS = {
    "openai": r"/v1/embeddings",
    "azure": r"/openai/(?:v1|deployments/[^/]+)/embeddings(?:\?api-version=[\d-]+)?",
    "databricks": r"/serving-endpoints/[^/]+/invocations",
    "mistral": r"/v1/embeddings",
    "cohere": r"/v2/embed",
    "gemini": r"/v1beta/models/([^/]+):(batchEmbedContents)",
    "vertex": r"/v1/projects/[^/]+/locations/[^/]+/publishers/google/models/([^/]+):(predict|embedContent)",
    "bedrock": r"/model/([^/]+)/invoke",
}
RESPONSES = {"openai": r"/v1/responses", "azure": r"/openai/v1/responses"}
# The fields that a kind knows; those of OpenAI and of Azure are OpenAI's.
KNOWN = {
    "databricks": {"input", "instruction"},
    "mistral": {"model", "input", "output_dimension", "output_dtype", "encoding_format"},
    "cohere": {"model", "texts", "input_type", "embedding_types", "output_dimension", "truncate", "max_tokens"},
}


def answer(kind, path, request):
    """Status and document; `None` if a chat is asked for."""
    found = re.fullmatch(EMBEDDINGS.get(kind, ""), path)
    if found and "messages" not in request:
        unknown = sorted(request.keys() - KNOWN.get(kind, request.keys()))
        if unknown:
            return 422, {"message": f"{path}: {unknown}"}
        return 200, vectors(kind, [urllib.parse.unquote(part) for part in found.groups()], request)
    if re.fullmatch(RESPONSES.get(kind, ""), path):
        return 200, fake_responses.whole(request)
    return None


def vectors(kind, parts, request):
    if kind in ("gemini", "vertex"):
        return fake_google.embed(*parts, request)
    if kind == "bedrock":
        return fake_bedrock.embed(*parts, request)
    if kind != "cohere":
        return fake_wire.embeddings({"model": "fake", **request})
    assert request["embedding_types"] == ["float"] and request["input_type"] in ("search_document", "search_query")
    of = [fake_wire.vector(text) for text in request["texts"]]
    meta = {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 8 * len(of)}}
    return {"id": "e-1", "embeddings": {"float": of}, "texts": request["texts"], "meta": meta}
