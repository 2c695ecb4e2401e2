"""Precision and recall of Tollgate's recognisers beside Presidio's analyzer, on labelled and on generated texts.

    cargo build --release -p tollgate-pii --example evaluate
    python -m venv .venv-pii && .venv-pii/bin/pip install -r tests/pii/requirements.txt
    .venv-pii/bin/python tests/pii/evaluate.py [--write]
    python3 tests/pii/evaluate.py --without-presidio --check

A span is found if a finding of the same type covers at least half of it and lies at least half inside it. Both see the same texts and
the same telephone regions. Presidio runs with a blank English model, so nothing but its patterns, checks and context words speaks;
its recognisers for other countries are told that their texts are English. `--write` puts the tables into docs/guardrails.md.
`--check` fails if any figure of Tollgate's is lower than there, which CI asks; the texts are the same everywhere, so there is no margin.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

from presidio_engine import analyzer

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
DOCUMENT = ROOT / "docs/guardrails.md"
BEGIN, END = "<!-- evaluation: written by tests/pii/evaluate.py -->", "<!-- end of evaluation -->"
REGIONS = ["US", "GB", "DE"]
THRESHOLDS = [0.35, 0.6]
OVERLAP = 0.5

# Presidio's names for ours, where they differ; what it has no recogniser for is left out of its columns.
PRESIDIO_NAMES = {"EU_VAT": ["IT_VAT_CODE", "DE_VAT_ID", "DE_VAT_CODE"], "SECRET": [], "DATE_OF_BIRTH": []}
# The labelled set's names for ours.
LABELS = {"DOMAIN_NAME": "URL"}
# Czechia and Slovakia go on with the numbers of one country: what a number is, but not of which of the two, can be found.
SAME_NUMBER = {"SK_RODNE_CISLO": "CZ_RODNE_CISLO"}


def read(path):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        rename(row["spans"], LABELS)
    return rows


def rename(spans, names):
    for span in spans:
        span["type"] = names.get(span["type"], span["type"])


def generated():
    run = subprocess.run([sys.executable, HERE / "generate.py"], check=True, capture_output=True, text=True)
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    for row in rows:
        rename(row["spans"], SAME_NUMBER)
    return rows


def ours(rows, program):
    """Findings per text, and seconds per megabyte."""
    texts = "".join(json.dumps({"text": row["text"]}) + "\n" for row in rows)
    run = subprocess.run([program, ",".join(REGIONS)], input=texts, check=True, capture_output=True, text=True)
    *findings, took = [json.loads(line) for line in run.stdout.splitlines()]
    for line in findings:
        rename(line["findings"], SAME_NUMBER)
    return [line["findings"] for line in findings], took["seconds"] / took["bytes"] * 1e6


def presidio(rows, entities):
    engine = analyzer(REGIONS)
    known = set(engine.get_supported_entities("en"))
    names = {theirs: ours for ours in entities for theirs in PRESIDIO_NAMES.get(ours, [ours]) if theirs in known}
    engine.analyze("warm up a@b.com", language="en", entities=list(names))
    found, took, size = [], 0.0, 0
    for row in rows:
        begun = time.perf_counter()
        results = engine.analyze(row["text"], language="en", entities=list(names))
        took += time.perf_counter() - begun
        size += len(row["text"].encode())
        found.append([{"type": names[r.entity_type], "start": r.start, "end": r.end, "score": r.score} for r in results])
    return found, took / size * 1e6, set(names.values())


def wilson(hits, count, z=1.96):
    if not count:
        return None
    share = hits / count
    middle = share + z * z / (2 * count)
    spread = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return tuple((middle + sign * spread) / (1 + z * z / count) for sign in (-1, 1))


def matches(a, b):
    common = min(a["end"], b["end"]) - max(a["start"], b["start"])
    return common > 0 and all(common >= OVERLAP * (span["end"] - span["start"]) for span in (a, b))


def score(rows, found, threshold=0.0):
    """For each type: spans, spans found, findings, findings that are a span."""
    counts = defaultdict(lambda: [0, 0, 0, 0])
    for row, findings in zip(rows, found, strict=True):
        findings = [finding for finding in findings if finding["score"] >= threshold]
        for span in row["spans"]:
            hit = any(span["type"] == finding["type"] and matches(span, finding) for finding in findings)
            counts[span["type"]][0] += 1
            counts[span["type"]][1] += hit
        for finding in findings:
            hit = any(span["type"] == finding["type"] and matches(span, finding) for span in row["spans"])
            counts[finding["type"]][2] += 1
            counts[finding["type"]][3] += hit
    return counts


def f1(counts):
    spans, found, findings, right = counts
    precision, recall = right / findings if findings else 0.0, found / spans if spans else 0.0
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def cells(counts):
    spans, found, findings, right = counts

    def share(hits, count):
        if not count:
            return "–"
        low, high = wilson(hits, count)
        return f"{hits / count:.3f} ({low:.2f}–{high:.2f})"

    return [share(right, findings), share(found, spans), f"{f1(counts):.3f}"]


def table(title, rows, program, without_presidio):
    mine, speed = ours(rows, program)
    columns = [("Tollgate", score(rows, mine), None)]
    entities = sorted({span["type"] for row in rows for span in row["spans"]} & known_entities(program))
    lines = [f"**{title}**: {len(rows)} texts. Tollgate takes {speed * 1000:.1f} ms per MB for all its entities"]
    if not without_presidio:
        theirs, their_speed, can = presidio(rows, known_entities(program))
        columns += [(f"Presidio ≥ {threshold}", score(rows, theirs, threshold), can) for threshold in THRESHOLDS]
        lines[0] += f", Presidio {their_speed:.1f} s per MB for those that it has"
    lines[0] += "."
    head = ["entity", "n"] + [f"{name}: {what}" for name, _, _ in columns for what in ("precision", "recall", "F1")]
    lines += ["", "| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    behind = []
    for entity in entities:
        row = [f"`{entity}`", str(columns[0][1][entity][0])]
        for _, counts, can in columns:
            row += cells(counts[entity]) if can is None or entity in can else ["–"] * 3
        lines.append("| " + " | ".join(row) + " |")
        behind += [f"{entity} < {name}" for name, counts, can in columns[1:] if entity in can and f1(counts[entity]) > f1(columns[0][1][entity])]
    others = {name: counts[2] for name, counts in columns[0][1].items() if name not in entities and counts[2]}
    if others:
        lines += ["", "Findings of types that the set does not label: " + ", ".join(f"{name} {count}" for name, count in sorted(others.items())) + "."]
    return "\n".join(lines), behind


def known_entities(program):
    run = subprocess.run([program, "--entities"], check=True, capture_output=True, text=True)
    return set(run.stdout.split())


def figures(text):
    """What tables say of Tollgate, by set and entity: how many spans there are, precision, recall and F1; a dash is nothing."""
    found, title = {}, None
    for line in text.splitlines():
        if line.startswith("**"):
            title = line.split("**")[1]
        elif line.startswith("| `"):
            entity, count, *shares = (cell.strip() for cell in line.strip("|").split("|"))
            found[title, entity.strip("`")] = (int(count), *(0.0 if share == "–" else float(share.split()[0]) for share in shares[:3]))
    return found


def worse(measured, stated):
    """What is lower than stated, a line each; sets and entities that are not the same are no better."""
    lines = []
    for at in sorted({*measured, *stated}):
        now, then = measured.get(at), stated.get(at)
        if now is None or then is None or now[0] != then[0]:
            lines.append(f"{', '.join(at)}: {now and now[0]} spans, and {then and then[0]} in the table: not the same texts")
            continue
        names = ("precision", "recall", "F1")
        lower = [f"{name} {new:.3f}, was {old:.3f}" for name, new, old in zip(names, now[1:], then[1:], strict=True) if new < old]
        lines += [f"{', '.join(at)}: {'; '.join(lower)}"] if lower else []
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target/release/examples/evaluate", help="the example `evaluate`, built")
    parser.add_argument("--labelled", type=Path, default=HERE / "pii_labelled.jsonl", help="texts with their spans, as JSONL")
    parser.add_argument("--without-presidio", action="store_true", help="only Tollgate's columns, in seconds")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/guardrails.md")
    parser.add_argument("--check", action="store_true", help="fail if a figure of Tollgate's is lower than in docs/guardrails.md")
    options = parser.parse_args()
    tables, behind = [], []
    for title, rows in [("Labelled texts", read(options.labelled)), ("Generated texts", generated())]:
        text, lost = table(title, rows, options.program, options.without_presidio)
        tables.append(text)
        behind += [f"{title}: {entity}" for entity in lost]
    text = "\n\n".join(tables)
    print(text)
    if not options.without_presidio:
        print("\nbehind Presidio in F1:", ", ".join(behind) or "nowhere")
    before, rest = DOCUMENT.read_text().split(BEGIN, 1)
    stated, after = rest.split(END, 1)
    if options.check and (lower := worse(figures(text), figures(stated))):
        what = "recognisers find less, or more that is wrong, than docs/guardrails.md says"
        sys.exit("\n".join([f"\n{what}:", *lower, "mend them, or say so there: tests/pii/README.md"]))
    if options.write:
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    main()
