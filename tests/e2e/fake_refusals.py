"""Answers of the fake provider that say no more than that the model will not speak of it, with status 200.

`REFUSALS` is kind → function from a request to the whole answer and to the events of its stream.
"""

import json

import fake_responses
import fake_wire as wire


def openai(request):
    message = {"role": "assistant", "content": None, "refusal": "I will not."}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "content_filter"}
    whole = {**wire.openai_whole(request, ("text", "")), "choices": [choice]}
    # Role, end, counts and `[DONE]`, of which the end is made anew: an empty text has no pieces.
    role, end, *rest = wire.openai_events(request, ("text", ""))
    said = role.replace('"content": "", "refusal": null', '"refusal": "I will not."')
    return whole, [role, said, end.replace('"finish_reason": "stop"', '"finish_reason": "content_filter"'), *rest]


def anthropic(request):
    whole = {**wire.anthropic_whole(request, ("text", "")), "content": [], "stop_reason": "refusal"}
    events = [event for event in wire.anthropic_events(request, ("text", "")) if "content_block" not in event]
    return whole, [event.replace('"end_turn"', '"refusal"') for event in events]


def responses(request):
    filtered = {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}, "output": []}
    whole = {**fake_responses.whole(request), **filtered}
    told = [("response.created", fake_responses.begun(request)), ("response.incomplete", whole)]
    documents = [{"type": kind, "sequence_number": at, "response": response} for at, (kind, response) in enumerate(told)]
    return whole, [f"event: {document['type']}\ndata: {json.dumps(document)}\n\n" for document in documents]


REFUSALS = {wire.OPENAI: openai, wire.ANTHROPIC: anthropic, wire.RESPONSES: responses}
