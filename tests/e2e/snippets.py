"""Finds the fenced snippets of a Markdown file and how each is to be run.

Each fence has an HTML comment on the line before it:

    <!-- test: NAME -->             the snippet is run by its language: bash, python, js, sql, yaml
    <!-- test: NAME background -->  a bash snippet that goes on running, until the next such one or the end
    <!-- test: NAME text -->        nothing to run: a picture, or output shown for reading
    <!-- test: NAME embedded -->    only run where the gateway's broker is inside; `kafka`: only where it is an Apache Kafka

A fence without a comment is an error, so that no snippet goes untested by oversight.
"""

import re
from dataclasses import dataclass

MARK = re.compile(r"<!-- test: ([a-z0-9-]+)((?: [a-z]+)*) -->")
FENCE = re.compile(r"^(`{3,})([a-z]*)\s*$")
OPTIONS = {"background", "text", "embedded", "kafka"}
LANGUAGES = {"bash", "python", "js", "sql", "yaml"}


@dataclass
class Snippet:
    name: str
    language: str
    text: str
    line: int
    options: frozenset


def snippets(markdown):
    """The snippets in order; raises ValueError, with the line, for a fence that breaks the convention."""
    lines = markdown.splitlines()
    found, at = [], 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        if not fence:
            at += 1
            continue
        ticks, language = fence.groups()
        end = next((n for n in range(at + 1, len(lines)) if lines[n].rstrip() == ticks), None)
        if end is None:
            raise ValueError(f"line {at + 1}: the fence is never closed")
        mark = MARK.fullmatch(lines[at - 1].strip()) if at else None
        if not mark:
            raise ValueError(f"line {at + 1}: no `<!-- test: NAME -->` before the fence")
        name, options = mark[1], frozenset(mark[2].split())
        if options - OPTIONS:
            raise ValueError(f"line {at}: unknown options {sorted(options - OPTIONS)}")
        if "text" not in options and language not in LANGUAGES:
            raise ValueError(f"line {at + 1}: nobody can run the language `{language}`")
        if any(other.name == name for other in found):
            raise ValueError(f"line {at}: the name {name} is used twice")
        found.append(Snippet(name, language, "\n".join(lines[at + 1 : end]) + "\n", at + 1, options))
        at = end + 1
    return found
