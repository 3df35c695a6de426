"""Rows that change in more than one way, or in cells that cannot be read."""

from __future__ import annotations

import pytest

from parity.redline.classify import classify

COLUMNS = {
    "fields": "Field | Type | Default | Allowed | Meaning",
    "flags": "Flag | Type | Default | Field",
    "shapes": "Name | Shape | Dtype | Meaning",
    "signatures": "Function | Parameters",
    "measures": "Measure | Unit | Range | Meaning",
    "decisions": "Topic | Decision | Why",
    "layers": "Layer | Shape (N=64, gridsize 1, n=1)",
    "errors": "Situation | Error | Phrase",
    "taps": "Tap | Shape | Unit | Where",
}


def table(kind, row, columns=""):
    columns = columns or COLUMNS[kind]
    rule = "|".join("---" for _ in columns.split("|"))
    return f"<!-- table: t kind={kind} target=m:C -->\n| {columns} |\n|{rule}|\n| {row} |\n"


def changes(kind, old, new, known="", columns=("", "")):
    texts = [f"{known}\n\n{table(kind, *pair)}" for pair in zip((old, new), columns, strict=True)]
    before, after = ({"demo.md": text} for text in texts)
    found = classify(before, after)
    assert {c.pair.record.kind for c in found} <= {kind}
    return [(c.rule.id, c.old, c.new) for c in found]


@pytest.mark.parametrize(
    ("old", "new", "rules"),
    [
        ("[1, 8]", "some", ["allowed-changed"]),
        ("some", "[1, 8]", ["allowed-changed"]),
        ("some", "any", ["allowed-changed"]),
        ("{1 2}", "{1}", ["allowed-changed"]),
        ("[1, 8]", "any", ["allowed-changed"]),
        ("any", "[1, 8]", ["allowed-changed"]),
        ("any", "{1, 2}", ["allowed-changed"]),
        ("any", "any or None", ["none-allowed"]),
        ("any or None", "[1, 8]", ["none-refused", "allowed-changed"]),
        ("[1, 8] or None", "[2, 8]", ["none-refused", "range-narrowed"]),
        ("{1, 2}", "{1, 2, 3} or None", ["none-allowed", "enum-widened"]),
        ("{1, 2}", "{2, 1}", []),
        ("{1}", "{True}", ["enum-changed"]),
        ("[1, 8]", "[ 1.0, 8 ]", []),
        ("(1, 8)", "[1, 8]", ["range-widened"]),
        ("(1, 8]", "[1, 8)", ["range-moved"]),
        ("[-inf, 8]", "[0, 8]", ["range-narrowed"]),
    ],
)
def test_allowed_values_narrow_widen_or_turn_into_others(old, new, rules):
    row = "`width` | int | `2` | {} | width"
    assert changes("fields", row.format(old), row.format(new)) == [
        (f"field-{rule}", old, new) for rule in rules
    ]


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("[0, 1]", "[0, 1)", "narrowed"),
        ("[0, 1]", "[0, 2]", "widened"),
        ("[0, 1]", "[0.5, 2]", "widened"),
        ("[0, 1]", "any", "widened"),
        ("any", "[0, 1]", "narrowed"),
        ("any", "{0, 1}", "narrowed"),
        ("[0, 1]", "{0, 1}", "narrowed"),
        ("[0, 1]", "{0, 2}", "widened"),
        ("{0, 1}", "{1}", "narrowed"),
        ("{0, 1}", "{0, 1, 2}", "widened"),
        ("{0, 1}", "[0, 1]", "widened"),
        ("{0, 1}", "any", "widened"),
        ("{0, 1}", "{0} or None", "widened"),
        ("[0, 1] or None", "[0, 1]", "narrowed"),
        ("[0, 1]", "some", "widened"),
        ("some", "[0, 1]", "widened"),
    ],
)
def test_a_measure_may_take_fewer_values_and_no_other_ones(old, new, rule):
    row = "`gap` | pixels | {} | largest"
    assert changes("measures", row.format(old), row.format(new)) == [
        (f"measure-range-{rule}", old, new)
    ]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "a, b",
            "a, c, d",
            [("removed", "b", ""), ("added-required", "", "c"), ("added-required", "", "d")],
        ),
        ("a, b", "c, d", [("renamed", "a", "c"), ("renamed", "b", "d")]),
        ("a, b=1", "a, c=2", [("removed", "b", ""), ("added", "", "c")]),
        (
            "a, b, c",
            "a, d",
            [("removed", "b", ""), ("removed", "c", ""), ("added-required", "", "d")],
        ),
        ("a", "a, b=1, c=2", [("added", "", "b"), ("added", "", "c")]),
        ("a", "b, a", [("added-required", "", "b")]),
        ("a=1", "b=1, a=1", [("moved", "", "b")]),
        ("a, b, c", "c, b", [("removed", "a", ""), ("moved", "a, b, c", "c, b")]),
        ("a, b, c", "b, a, d", [("renamed", "c", "d"), ("moved", "a, b, c", "b, a, d")]),
        ("a=3, b=1", "b=2, a=3", [("default-changed", "b=1", "b=2"), ("moved", "a, b", "b, a")]),
        ("a, b", "a=2, b=1", [("became-optional", "a", "a=2"), ("became-optional", "b", "b=1")]),
        # No list of parameters: what has no default stands before what has one.
        ("a, b=1", "a=2, b", [("row", "a, b=1", "a=2, b")]),
        ("a=2, b", "a, b=1", [("row", "a=2, b", "a, b=1")]),
        (
            "a, *, b=1",
            "a, b=2",
            [("default-changed", "b=1", "b=2"), ("kind-changed", "keyword-only b", "b")],
        ),
        ("a, *b", "a, **b", [("kind-changed", "*b", "**b")]),
        ("a, b", "a,  b", []),
    ],
)
def test_parameters_are_matched_by_name_and_then_by_place(old, new, told):
    expected = [("row-changed" if r == "row" else f"parameter-{r}", a, b) for r, a, b in told]
    assert changes("signatures", f"`f` | `{old}`", f"`f` | `{new}`") == expected


def test_every_cell_that_differs_is_told():
    assert changes(
        "fields", "`w` | int | `2` | [1, 8] | width", "`w` | float | `3` | [1, 9] | breadth"
    ) == [
        ("field-type-widened", "int", "float"),
        ("field-default-changed", "2", "3"),
        ("field-range-widened", "[1, 8]", "[1, 9]"),
        ("field-meaning-changed", "width", "breadth"),
    ]
    assert changes("decisions", "sign | plus | it is", "sign | minus | it was") == [
        ("decision-changed", "plus", "minus"),
        ("decision-changed", "it is", "it was"),
    ]
    assert changes("taps", "`t` | (N,) | m | `m:a`", "`t` | (N, 2) | um | `m:b`") == [
        ("row-changed", "(N,)", "(N, 2)"),
        ("row-changed", "m", "um"),
        ("row-changed", "m:a", "m:b"),
    ]


def test_columns_come_and_go():
    old, new = "`w` | int | `2` | any | width", "`w` | int | `2` | any"
    fewer = COLUMNS["fields"].removesuffix(" | Meaning")
    assert changes("fields", old, new, columns=("", fewer)) == [
        ("field-meaning-changed", "width", "")
    ]
    assert changes("fields", new, old, columns=(fewer, "")) == [
        ("field-meaning-changed", "", "width")
    ]
    note = f"{COLUMNS['errors']} | Note"
    assert changes("errors", "no | KeyError | x", "no | KeyError | x | y", columns=("", note)) == [
        ("row-changed", "", "y")
    ]
    assert changes("layers", "`a` | (1,)", "`a` | (2,)", columns=("Layer | Shape", "")) == [
        ("layer-shape-changed", "(1,)", "(2,)")
    ]


@pytest.mark.parametrize(
    ("kind", "row", "known"),
    [
        ("fields", "`w` | int | `2` | any | width of {} things", "temporary"),
        ("flags", "`--w` | int | `2` | {} width", "temporary"),
        ("decisions", "sign | {} | why", "temporary"),
        ("decisions", "sign | plus | {}", "temporary"),
        ("decisions", "{} | plus | why", "temporary"),
    ],
)
def test_a_slip_in_words_is_no_change_and_another_word_is(kind, row, known):
    old, slip, other = row.format("temporary"), row.format("temporay"), row.format("lasting")
    assert changes(kind, old, slip, known) == changes(kind, slip, old, known) == []
    assert len(changes(kind, old, other, known)) == 1
    # What follows a slip is compared too.
    old, new = "sign | temporary | it is", "sign | temporay | it was"
    assert changes("decisions", old, new, known) == [("decision-changed", "it is", "it was")]


@pytest.mark.parametrize(
    ("kind", "row", "rule"),
    [
        ("fields", "`{}` | int | `2` | any | width", "field-renamed"),
        ("fields", "`w` | int | `'{}'` | any | width", "field-default-changed"),
        ("errors", "no scan | KeyError | {}", "error-phrase-changed"),
        ("flags", "`--w` | {} | `2` | width", "flag-type-changed"),
        ("shapes", "`X` | (B, {}) | int | x", "shape-changed"),
    ],
)
def test_a_slip_in_a_name_or_value_is_a_change(kind, row, rule):
    old, new = row.format("temporary"), row.format("temporay")
    ((found, *_),) = changes(kind, old, new, "temporary")
    assert found == rule


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("(B, N)", "(B,N,)", None),
        ("(B, N)", "( B , N )", None),
        ("(B, N)", "(B N)", "shape-rank-changed"),
        ("(B, h(N))", "(B, h(M))", "shape-changed"),
        ("()", "(1,)", "shape-rank-changed"),
        ("(X, N)", "(N)", "shape-rank-changed"),
    ],
)
def test_axes_are_what_commas_part(old, new, rule):
    found = changes("shapes", f"`X` | {old} | int | x", f"`X` | {new} | int | x")
    assert [line[0] for line in found] == ([rule] if rule else [])
