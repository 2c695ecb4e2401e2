"""The model behind `fake_kinds.py`: what a request asks for, whatever its wire format, and what is answered.

The wires (`fake_kinds_openai.py`, `fake_kinds_own.py`) read a request into `Wanted` and write `Said`. The answer is `echo: ` and the
last user's text, and behind it in brackets what else of the request has come through, so that a caller sees in the answer that a
field had its effect:

    tools offered            two calls of the first one at once, `{"said": TEXT}` and `{"said": "more"}`
    results of tools         `tools said: ` and the results
    a JSON schema            an object with `Oslo` for each property
    an effort                a thought, `hm`, before the answer
    stop sequences           the text ends before the first of them
    a maximum up to SHORT    the first piece of the text, and `length`
    `forbidden` in the text  `content_filter`, with the text
    `refuse` in the text     a refusal, where the wire has a word for it; else it is the text
"""

import json
from dataclasses import dataclass, field

from fake_wire import pieces

SHORT = 4
REFUSAL = "I would rather not."
THOUGHT = "hm"
LOGPROB = -0.25


@dataclass
class Wanted:
    """A request, as far as it changes the answer."""

    said: str
    system: str = ""
    images: list = field(default_factory=list)
    tools: list = field(default_factory=list)
    results: list = field(default_factory=list)
    schema: dict | None = None
    effort: str | None = None
    most: int | None = None
    choices: int = 1
    seed: int | None = None
    temperature: float | None = None
    stop: list = field(default_factory=list)
    logprobs: bool = False
    key: str | None = None
    marks: int = 0


@dataclass
class Said:
    """An answer; its end in OpenAI's words."""

    text: str = ""
    calls: list = field(default_factory=list)
    thought: str = ""
    refusal: str | None = None
    finish: str = "stop"
    logprobs: list | None = None


def answers(wanted):
    """One for each choice."""
    return [answer(wanted, index) for index in range(wanted.choices)]


def answer(wanted, index):
    thought = THOUGHT if wanted.effort else ""
    if wanted.results:
        return Said("tools said: " + ", ".join(wanted.results), thought=thought)
    if wanted.tools:
        inputs = ({"said": wanted.said}, {"said": "more"})
        calls = [(f"call_{at}", wanted.tools[0], said) for at, said in enumerate(inputs)]
        return Said(calls=calls, thought=thought, finish="tool_calls")
    if "refuse" in wanted.said:
        return Said(refusal=REFUSAL, finish="content_filter")
    text, finish = text_of(wanted), "content_filter" if "forbidden" in wanted.said else "stop"
    for stop in wanted.stop:
        text = text.split(stop)[0]
    if wanted.most is not None and wanted.most <= SHORT:
        text, finish = pieces(text)[0], "length"
    if index:
        text += f" ({index + 1})"
    logprobs = [(piece, LOGPROB) for piece in pieces(text)] if wanted.logprobs else None
    return Said(text, thought=thought, finish=finish, logprobs=logprobs)


def text_of(wanted):
    if wanted.schema is not None:
        return json.dumps({name: "Oslo" for name in wanted.schema["properties"]})
    came = {
        "system": wanted.system,
        "images": " ".join(wanted.images),
        "seed": wanted.seed,
        "temperature": wanted.temperature,
        "effort": wanted.effort,
        "key": wanted.key,
        "marks": wanted.marks,
    }
    return "echo: " + wanted.said + "".join(f" [{name} {value}]" for name, value in came.items() if value)
