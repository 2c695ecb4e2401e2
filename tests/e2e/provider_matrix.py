"""The table of docs/providers.md, kind × feature, made of what `test_kinds.py` saw.

Pure but for the file: `cells` are `(feature, kind) → outcome`. The suite fails if the table says otherwise; `pytest
tests/e2e/test_kinds.py --write-provider-matrix` writes it anew.
"""

from support import ROOT

FILE = ROOT / "docs" / "providers.md"
BEGIN = "<!-- begin of what tests/e2e/test_kinds.py writes with --write-provider-matrix -->"
END = "<!-- end of what tests/e2e/test_kinds.py writes -->"
TEST = "tests/e2e/test_kinds.py::test_feature[KIND-FEATURE]"
# What may become of a feature; `refused` is followed by the field.
PASSED, TRANSLATED, REFUSED, NOTHING = "passed through", "translated", "refused", "—"
LEGEND = f"""\
*{PASSED}*: request and answer are the caller's and the provider's own, but for the model's name. *{TRANSLATED}*: one of them is put
into other words. *{REFUSED}*: 400 `invalid_request_error`, with that field in `param`. *{NOTHING}*: the provider has no such thing, and
the request is served without it, because the answer does not depend on it. Each cell is what the test `{TEST}` saw."""


def table(features, kinds, cells):
    """The lines between the marks."""
    rows = [["feature", *(f"`{kind}`" for kind in kinds)], ["---"] * (len(kinds) + 1)]
    rows += [[f"`{feature}`", *(cells[feature, kind] for kind in kinds)] for feature in features]
    return "\n".join(["| " + " | ".join(row) + " |" for row in rows] + ["", LEGEND])


def written():
    """What stands between the marks now."""
    text = FILE.read_text()
    assert text.count(BEGIN) == text.count(END) == 1, f"{FILE.name} has lost its marks"
    return text.split(BEGIN)[1].split(END)[0].strip()


def write(lines):
    before, rest = FILE.read_text().split(BEGIN)
    FILE.write_text(f"{before}{BEGIN}\n\n{lines}\n\n{END}{rest.split(END)[1]}")


def cells_of(lines):
    """The cells of a table, as `table` takes them."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.splitlines() if line.startswith("|")]
    (_, *kinds), _, *rest = rows
    named = [(feature.strip("`"), zip(kinds, row, strict=True)) for feature, *row in rest]
    return {(feature, kind.strip("`")): cell for feature, row in named for kind, cell in row}
