"""Generated edits of the project's own specification: each is classified as it was made."""

from __future__ import annotations

import re
import textwrap

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from parity.redline.classify import classify
from parity.spec.parse import load_specification, specification_folder

TEXTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in sorted(specification_folder().glob("*.md"))
    if path.name != "README.md"
}
SPEC = load_specification()
STRONG = [c for c in SPEC.clauses if c.level == "MUST"]
LONG = [c for c in STRONG if len(c.text.split()) >= 14]
#: Clauses in which a number stands alone, not in code or in a name.
NUMBERED = [c for c in LONG if re.search(r"(?<= )\d+(?= )", re.sub(r"`[^`]*`|'[^']*'", "", c.text))]


def _rows(kind, fits=lambda cells: True):
    return [row for row in SPEC.rows if row.kind == kind and fits(row.cells)]


def _lines(record):
    return TEXTS[record.place.file].splitlines(keepends=True)


def _edited(record, change):
    """Return the texts with the lines of a record replaced by ``change`` of them."""
    lines = _lines(record)
    first, last = record.place.line - 1, record.place.last_line
    lines[first:last] = [change("".join(lines[first:last]))]
    return {**TEXTS, record.place.file: "".join(lines)}


def _with_cell(row, column, value):
    """Return the texts with one cell of a row changed."""

    def change(line):
        cells = line.split("|")
        cells[1 + list(row.cells).index(column)] = f" {value} "
        return "|".join(cells)

    return _edited(row, change)


def _other_number(text):
    return re.sub(r"(?<= )(\d+)(?= )", lambda m: str(int(m.group()) + 7), text, count=1)


def _enumeration(row):
    return re.findall(r"'[^']*'|\d+", row.cells["Allowed"])


# Each edit: what may be edited, how, and the rule that must come of it.
def drop_clause(data):
    clause = data.draw(st.sampled_from(STRONG))
    return _edited(clause, lambda line: ""), clause.id, "clause-removed-must"


def add_clause(data):
    clause = data.draw(st.sampled_from(STRONG))
    new = "- **[99-1]** Zebras and okapis alike MUST graze on quiet hills.\n"
    return _edited(clause, lambda line: line + new), "99-1", "clause-added-must"


def lower_level(data):
    clause = data.draw(st.sampled_from(STRONG))
    level = data.draw(st.sampled_from(["SHOULD", "MAY"]))
    return (
        _edited(clause, lambda line: line.replace("MUST", level)),
        clause.id,
        "clause-level-lowered",
    )


def reverse_level(data):
    clause = data.draw(st.sampled_from(STRONG))
    edit = _edited(clause, lambda line: line.replace("MUST", "MUST NOT"))
    return edit, clause.id, "clause-level-reversed"


def renumber_clause(data):
    clause = data.draw(st.sampled_from(LONG))
    edit = _edited(clause, lambda line: line.replace(f"[{clause.id}]", "[99-1]"))
    return edit, clause.id, "clause-renamed"


def reword_clause(data):
    clause = data.draw(st.sampled_from(LONG))
    edit = _edited(clause, lambda line: line.rstrip("\n") + " Zebras graze.\n")
    return edit, clause.id, "clause-text-changed"


def change_number(data):
    clause = data.draw(st.sampled_from(NUMBERED))
    plain = re.search(r"(?<= )\d+(?= )", clause.text)
    assume(plain is not None and clause.text.count("`", 0, plain.start()) % 2 == 0)
    return _edited(clause, _other_number), clause.id, "clause-value-changed"


def reflow(data):
    clause = data.draw(st.sampled_from(LONG))
    width = data.draw(st.integers(60, 90))

    def change(line):
        wrapped = textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False)
        return "\n  ".join(wrapped) + "\n"

    return _edited(clause, change), clause.id, None


def pad(data):
    row = data.draw(st.sampled_from(SPEC.rows))
    spaces = " " * data.draw(st.integers(2, 9))
    return _edited(row, lambda line: line.replace(" | ", f"{spaces}|{spaces}")), row.id, None


def other_line_endings(data):
    name = data.draw(st.sampled_from(sorted(TEXTS)))
    return {**TEXTS, name: TEXTS[name].replace("\n", "\r\n")}, name, None


def misspell(data):
    clause = data.draw(st.sampled_from(LONG))
    everything = " ".join(TEXTS.values()).lower()
    words = [
        word
        for word in re.findall(r"(?<= )[a-z]{8,}(?= )", re.sub(r"`[^`]*`", "", clause.text))
        if len(re.findall(rf"\b{word}\b", everything)) > clause.text.count(word)
    ]
    assume(words)
    word = data.draw(st.sampled_from(words))
    wrong = word[:3] + word[4] + word[3] + word[5:]
    assume(wrong != word)
    edit = _edited(clause, lambda line: re.sub(rf"\b{word}\b", wrong, line, count=1))
    return edit, clause.id, None


def _literals(cells):
    return cells["Default"] not in ("required", "None")


def change_default(data):
    row = data.draw(st.sampled_from(_rows("fields", _literals) + _rows("flags", _literals)))
    kind = row.kind.removesuffix("s")
    return _with_cell(row, "Default", "`4711`"), row.id, f"{kind}-default-changed"


def change_type(data):
    row = data.draw(st.sampled_from(_rows("fields") + _rows("flags")))
    kind = row.kind.removesuffix("s")
    return _with_cell(row, "Type", "complex"), row.id, f"{kind}-type-changed"


def _enumerated(cells):
    allowed = cells["Allowed"]
    return allowed.startswith("{") and "," in allowed and "True" not in allowed


def swap_enum(data):
    row = data.draw(st.sampled_from(_rows("fields", _enumerated)))
    values = _enumeration(row)
    at = data.draw(st.integers(0, len(values) - 1))
    old = row.cells["Allowed"]
    new = old.replace(values[at], "'zebra'", 1)
    return _with_cell(row, "Allowed", new), row.id, "field-enum-changed"


def drop_enum(data):
    row = data.draw(st.sampled_from(_rows("fields", _enumerated)))
    value = _enumeration(row)[0]
    new = row.cells["Allowed"].replace(f"{value}, ", "", 1)
    return _with_cell(row, "Allowed", new), row.id, "field-enum-narrowed"


def grow_enum(data):
    row = data.draw(st.sampled_from(_rows("fields", _enumerated)))
    new = row.cells["Allowed"].replace("}", ", 'zebra'}", 1)
    return _with_cell(row, "Allowed", new), row.id, "field-enum-widened"


def _unbounded(cells):
    return cells["Allowed"].startswith(("[0, inf)", "[1, inf)", "(0, inf)"))


def narrow_range(data):
    row = data.draw(st.sampled_from(_rows("fields", _unbounded)))
    new = row.cells["Allowed"].replace("inf)", "9999]")
    return _with_cell(row, "Allowed", new), row.id, "field-range-narrowed"


def widen_range(data):
    row = data.draw(st.sampled_from(_rows("fields", _unbounded)))
    new = "[-5" + row.cells["Allowed"][2:]
    return _with_cell(row, "Allowed", new), row.id, "field-range-widened"


DROPPED = {
    "fields": "field",
    "flags": "flag",
    "keys": "key",
    "shapes": "shape",
    "members": "member",
    "npz": "npz",
    "measures": "measure",
    "layers": "layer",
    "stages": "stage",
    "constants": "constant",
    "signatures": "function",
}


def drop_row(data):
    rows = [row for kind in DROPPED for row in _rows(kind)]
    row = data.draw(st.sampled_from(rows))
    return _edited(row, lambda line: ""), row.id, f"{DROPPED[row.kind]}-removed"


def rename_flag(data):
    row = data.draw(st.sampled_from(_rows("flags")))
    return _with_cell(row, "Flag", "`--zebra`"), row.id, "flag-renamed"


def change_key(data):
    row = data.draw(st.sampled_from(_rows("keys")))
    return _with_cell(row, "Legacy key", "`zebra.key`"), row.id, "key-changed"


def change_shape(data):
    row = data.draw(st.sampled_from(_rows("shapes", lambda cells: "N" in cells["Shape"])))
    new = row.cells["Shape"].replace("N", "Z", 1)
    return _with_cell(row, "Shape", new), row.id, "shape-changed"


def change_rank(data):
    row = data.draw(st.sampled_from(_rows("shapes")))
    new = row.cells["Shape"].replace(")", ", 7)")
    return _with_cell(row, "Shape", new), row.id, "shape-rank-changed"


def change_member(data):
    row = data.draw(st.sampled_from(_rows("members")))
    return _with_cell(row, "Kind", "zebra"), row.id, "member-kind-changed"


def narrow_member(data):
    both = _rows("members", lambda cells: cells["Required"] == "both")
    row = data.draw(st.sampled_from(both))
    return _with_cell(row, "Required", "pytorch"), row.id, "member-required-lowered"


def add_parameter(data):
    row = data.draw(st.sampled_from(_rows("signatures", lambda cells: cells["Parameters"])))
    new = f"`{row.cells['Parameters']}, zebra=None`"
    return _with_cell(row, "Parameters", new), row.id, "parameter-added"


def _several(cells):
    return "," in cells["Parameters"] and "*" not in cells["Parameters"]


def drop_parameter(data):
    row = data.draw(st.sampled_from(_rows("signatures", _several)))
    new = row.cells["Parameters"].rpartition(", ")[0]
    return _with_cell(row, "Parameters", f"`{new}`"), row.id, "parameter-removed"


def require_key(data):
    row = data.draw(st.sampled_from(_rows("npz")))
    needed = row.cells["Required"] == "yes"
    rule = "npz-became-optional" if needed else "npz-became-required"
    return _with_cell(row, "Required", "no" if needed else "yes"), row.id, rule


EDITS = [
    drop_clause,
    add_clause,
    lower_level,
    reverse_level,
    renumber_clause,
    reword_clause,
    change_number,
    reflow,
    pad,
    other_line_endings,
    misspell,
    change_default,
    change_type,
    swap_enum,
    drop_enum,
    grow_enum,
    narrow_range,
    widen_range,
    drop_row,
    rename_flag,
    change_key,
    change_shape,
    change_rank,
    change_member,
    narrow_member,
    add_parameter,
    drop_parameter,
    require_key,
]


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
@settings(
    max_examples=4,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(data=st.data())
def test_a_generated_edit_is_classified_as_it_was_made(edit, data):
    texts, id, rule = edit(data)
    assert texts != TEXTS
    found = [(change.id, change.rule.id) for change in classify(TEXTS, texts)]
    assert found == ([(id, rule)] if rule else [])


def test_there_are_a_hundred_of_them():
    assert len(EDITS) * 4 >= 100
