"""Which record of one text is which of the other."""

from __future__ import annotations

import pytest

from parity.redline.match import match, similarity
from parity.spec.parse import parse_texts

COLUMNS = {"fields": "Field | Type | Default | Allowed", "keys": "Field | Legacy key"}


def clauses(**those):
    return "## 1. One\n\n" + "".join(f"- **[1-{id[1:]}]** {text}\n" for id, text in those.items())


def keys(*rows, name="k", kind="keys", more=""):
    columns = COLUMNS[kind] + more
    rule = "|".join("---" for _ in columns.split("|"))
    lines = [f"| {columns} |", f"|{rule}|", *(f"| {row} |" for row in rows)]
    return f"<!-- table: {name} kind={kind} target=m:C -->\n" + "\n".join(lines) + "\n"


def matched(old, new):
    pairs = match(parse_texts({"a.md": old}), parse_texts({"a.md": new}))
    return [(p.old and p.old.id, p.new and p.new.id, p.how) for p in pairs]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("one two three four", "`one`  two three **four**.", 1),
        ("one two three four", "one two three five", 0.75),
        ("one two three four", "four three two one", 0.25),
        ("one two", "three", 0),
        # No word is too frequent to count.
        ("all" + " of" * 250, "each" + " of" * 250, 250 / 251),
    ],
)
def test_similarity_is_the_part_of_the_words_that_two_texts_share(a, b, expected):
    assert similarity(a, b) == pytest.approx(expected)


def test_pairs_come_in_the_order_of_the_new_text_and_then_what_is_gone():
    old = clauses(c1="Work MUST end.", c2="Rest MUST come.", c3="Play MUST be fun.")
    new = clauses(c4="Tea MUST be hot.", c3="Play MUST be fun.", c1="Work MUST end.")
    assert matched(old, new) == [
        (None, "1-4", "none"),
        ("1-3", "1-3", "id"),
        ("1-1", "1-1", "id"),
        ("1-2", None, "none"),
    ]


FOUR = "What a reader takes"


@pytest.mark.parametrize(
    ("old", "new", "how"),
    [
        # A subject of four words is a title, if half of the words are the same.
        (f"{FOUR} MUST be kept as it is.", f"{FOUR} MAY be left as it was.", "title"),
        (f"{FOUR} MUST p q r s t.", f"{FOUR} MUST u v w x y.", "title"),
        (f"{FOUR} MUST p q r s t u.", f"{FOUR} MUST v w x y z a.", None),
        # A shorter one is none; then the whole text counts, layout aside.
        ("What it takes MUST be kept there.", "What it takes MAY be put here.", None),
        ("What it takes MUST be `kept`.", "What it takes MUST be kept", "text"),
        # Or four fifths of it.
        ("a b MUST d e f g h i j", "a x MUST d e f g y i j", "similarity"),
        ("a b MUST d e f g h i j", "a x MUST d e f g y i z", None),
    ],
)
def test_a_clause_under_another_id_is_found_by_title_text_or_likeness(old, new, how):
    found = matched(clauses(c1=old), clauses(c2=new))
    if how is None:
        assert found == [(None, "1-2", "none"), ("1-1", None, "none")]
    else:
        assert found == [("1-1", "1-2", how)]


def test_the_most_alike_are_matched_first_and_each_once():
    text = "a b MUST d e f g h i j k l m n o p q r s t"
    old = clauses(c1=text, c2=text.replace(" h ", " x "), c3="Something else MUST be here.")
    new = clauses(
        c4=text.replace(" h ", " x ").replace(" p ", " z "), c5=text.replace(" r ", " w ")
    )
    assert matched(old, new) == [
        ("1-2", "1-4", "similarity"),
        ("1-1", "1-5", "similarity"),
        ("1-3", None, "none"),
    ]
    # Both are like the first; the nearer one has it, and the other is new.
    old, new = clauses(c1=text), clauses(c2=text.replace(" b ", " y ").replace(" r ", " w "))
    assert matched(old, new) == [("1-1", "1-2", "similarity")]
    assert matched(old, new + f"- **[1-3]** {text.replace(' h ', ' x ')}\n") == [
        (None, "1-2", "none"),
        ("1-1", "1-3", "similarity"),
    ]


def test_of_two_that_are_like_one_new_text_the_nearer_is_it():
    text = "a b MUST d e f g h i j k l m n o p q r s t"
    old = clauses(c1=text, c2=text.replace(" h ", " x "))
    assert matched(old, clauses(c3=text.replace(" r ", " w "))) == [
        ("1-1", "1-3", "similarity"),
        ("1-2", None, "none"),
    ]


def test_two_of_one_title_are_nobodys_like():
    text = "What a reader takes MUST be kept as it is {}."
    old = clauses(c1=text.format("now and then, or so"))
    new = clauses(c2=text.format("in a b c d"), c3=text.format("for e f g h"))
    assert [pair[2] for pair in matched(old, new)] == ["none"] * 3


@pytest.mark.parametrize(
    ("kind", "more", "old", "new", "how"),
    [
        # Told from other rows by what describes it, or by a name that is like the other.
        (
            "fields",
            " | Meaning",
            "`a` | int | 1 | any | here",
            "`b` | int | 1 | any | here",
            "text",
        ),
        ("fields", " | Meaning", "`a` | int | 1 | any |", "`b` | int | 1 | any |", None),
        ("fields", " | Meaning", "`a` | | | | here", "`b` | | | | here", "text"),
        (
            "fields",
            " | Meaning",
            "`width` | int | 1 | any | ",
            "`widths` | int | 1 | any | ",
            "text",
        ),
        ("keys", "", "`a` | w", "`b` | w", None),
        ("keys", "", "`abcde` | w", "`abcxy` | w", "text"),  # a likeness of 0.6
        ("keys", "", "`abcd` | w", "`abxy` | w", None),
        ("keys", "", "`abcde` | w", "`abcde` | v", "id"),
        ("keys", "", "`abcde` | ", "`abcdef` | ", None),
        ("keys", "", "`abcde` | w", "`abcdef` | v", None),
    ],
)
def test_a_row_of_another_name_is_found_by_its_other_cells(kind, more, old, new, how):
    found = matched(keys(old, kind=kind, more=more), keys(new, kind=kind, more=more))
    assert [pair[2] for pair in found] == ([how] if how else ["none", "none"])


def test_a_row_of_the_same_name_in_another_table_of_its_kind_is_the_same():
    assert matched(keys("`a` | w"), keys("`a` | v", name="l")) == [("k/a", "l/a", "title")]
    fields = keys("`a` | int | 1 | any", name="f", kind="fields")
    assert matched(keys("`a` | w"), fields) == [(None, "f/a", "none"), ("k/a", None, "none")]
    # Equal rows of two tables are nothing to each other.
    assert matched(keys("`abcde` | w"), keys("`abcdf` | w", name="l")) == [
        (None, "l/abcdf", "none"),
        ("k/abcde", None, "none"),
    ]


def test_of_two_records_under_one_id_the_first_counts():
    old = clauses(c1="Work MUST end.") + "- **[1-1]** Rest MUST come.\n"
    assert matched(old, old) == [("1-1", "1-1", "id")]
    assert matched(keys("`a` | w", "`a` | v"), keys("`a` | v")) == [("k/a", "k/a", "id")]


def test_a_clause_and_a_row_are_never_the_same():
    row = keys("Work MUST end | now or then or here", name="x")
    clause = clauses(c1="Work MUST end \\| now or then or here")
    ends = ("x/Work MUST end", "1-1")
    assert matched(clause, row) == [(None, ends[0], "none"), (ends[1], None, "none")]
    assert matched(row, clause) == [(None, ends[1], "none"), (ends[0], None, "none")]
