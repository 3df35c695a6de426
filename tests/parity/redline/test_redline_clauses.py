"""Clauses that change in more than one way, at the edges of their rules, or in two texts."""

from __future__ import annotations

import pytest

from parity.redline.classify import classify, version_key

HEAD = "# Demo\n\nVersion: 1.0\n\n## 4. First\n\n### 4.{} Part\n\n"


def changes(old, new, section=1, words=()):
    """Return (rule, before, after, readers) of the changes of one clause's text."""
    texts = [f"{HEAD.format(section)}- **[4-1]** {text}\n" for text in (old, new)]
    before, after = ({"demo.md": text} for text in texts)
    return [(c.rule.id, c.old, c.new, c.audience) for c in classify(before, after, words)]


def both(rule, old, new, audience="callers"):
    return [(rule, old, new, audience)]


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("MUST NOT", "SHOULD NOT", "lowered"),
        ("SHOULD NOT", "SHALL NOT", "raised"),
        ("MUST", "SHOULD NOT", "reversed"),
        ("MAY", "MUST NOT", "reversed"),
        ("SHALL", "SHOULD", "lowered"),
        ("MAY", "SHOULD", "raised"),
    ],
)
def test_levels_have_an_order_and_a_sign(old, new, rule):
    text = "A backend {} keep what it was given."
    readers = "backend authors" if rule == "raised" else "callers"
    assert changes(text.format(old), text.format(new)) == [
        (f"clause-level-{rule}", old, new, readers)
    ]


@pytest.mark.parametrize(("a", "b"), [("MUST", "SHALL"), ("MUST NOT", "SHALL NOT")])
def test_two_words_for_one_level_are_no_change(a, b):
    text = "A backend {} keep what it was given."
    assert changes(text.format(a), text.format(b)) == []


@pytest.mark.parametrize(
    ("section", "readers"),
    [("6", "archive readers"), ("6.2", "archive readers"), ("61", "callers")],
)
def test_what_breaks_in_the_section_on_archives_breaks_readers(section, readers):
    text = "The weights of a bundle {} be {} kept for ever in it."
    for old, new, rule in (
        (("MUST", "`7`"), ("MAY", "`7`"), "clause-level-lowered"),
        (("MUST", "`7`"), ("MUST", "`8`"), "clause-value-changed"),
    ):
        ((found, *_, audience),) = changes(text.format(*old), text.format(*new), section)
        assert (found, audience) == (rule, readers)
    ((found, *_, audience),) = changes(text.format("MUST", ""), "Grouping MUST draw.", section)
    assert (found, audience) == ("clause-replaced", readers)
    error = text.format("MUST", "{}")
    ((found, *_, audience),) = changes(error.format("KeyError"), error.format("OSError"), section)
    assert (found, audience) == ("clause-error-changed", "callers")
    for level, usual in (("SHOULD", "callers"), ("MAY", "backend authors")):
        old = HEAD.format(section) + f"- **[4-1]** {text.format(level, '')}\n"
        (gone,) = classify({"demo.md": old}, {"demo.md": HEAD.format(section)})
        assert (gone.rule.id, gone.audience) == (f"clause-removed-{level.lower()}", usual)
    ((found, *_, audience),) = changes(text.format("MAY", ""), text.format("MUST", ""), section)
    assert (found, audience) == ("clause-level-raised", "backend authors")


WHAT = "Each scan of a backend MUST give {} in the end of it."


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        # Values of one kind that both sides name are left out; if only their order differs, none.
        ("1, 2 and 3", "1, 4 and 3", both("clause-value-changed", "2", "4")),
        ("2, 2 and 3", "2, 3 and 3", both("clause-value-changed", "2", "3")),
        ("1 and 2", "2 and 1", both("clause-value-changed", "1, 2", "2, 1")),
        ("1, 2 and 3", "4, 5 and 3", both("clause-value-changed", "1, 2", "4, 5")),
        (
            "`a.b` and `c.d`",
            "`c.d` and `a.b`",
            both("clause-symbol-changed", "a.b, c.d", "c.d, a.b"),
        ),
        # One value more of the same words.
        ("a KeyError", "a KeyError ValueError", both("clause-error-changed", "", "ValueError")),
        ("--one --two", "--one", both("clause-flag-changed", "--two", "")),
        ("`a.b` `c.d`", "`a.b`", both("clause-symbol-changed", "c.d", "")),
        # Words besides.
        (
            "a KeyError",
            "a KeyError or ValueError",
            [
                ("clause-error-changed", "", "ValueError", "callers"),
                ("clause-text-changed", "", "or ValueError", "backend authors"),
            ],
        ),
        (
            "7 of `a.b`",
            "8 of `a.c`",
            [
                ("clause-value-changed", "7", "8", "callers"),
                ("clause-symbol-changed", "a.b", "a.c", "callers"),
            ],
        ),
        # From the first word that differs to the last.
        (
            "back what a caller put in",
            "back that a caller put on",
            both(
                "clause-text-changed",
                "what a caller put in",
                "that a caller put on",
                "backend authors",
            ),
        ),
        # A value at another place among the same words.
        (
            "one `a.b` more",
            "one more `a.b`",
            [("clause-text-changed", "`a.b` more", "more `a.b`", "backend authors")],
        ),
        ("it", "it all", both("clause-text-changed", "", "all", "backend authors")),
    ],
)
def test_values_are_told_apart_from_words(old, new, told):
    assert changes(WHAT.format(old), WHAT.format(new)) == told


def test_a_subject_is_what_changed_only_where_the_rest_is_equal():
    text = "{} of one scan MUST leave the file of the {} as it was."
    assert changes(text.format("Training", "scan"), text.format("Inference", "scan")) == [
        (
            "clause-subject-changed",
            "Training of one scan",
            "Inference of one scan",
            "backend authors",
        )
    ]
    twice = "{} of one scan MUST end {} and MUST leave all as it was."
    ((rule, *_),) = changes(twice.format("Training", "soon"), twice.format("Inference", "late"))
    assert rule == "clause-text-changed"
    ((rule, old, new, _),) = changes(text.format("Training", "scan"), text.format("Work", "probe"))
    assert (rule, old.split()[0], new.split()[0]) == ("clause-text-changed", "Training", "Work")


def test_a_slip_is_judged_by_the_words_of_all_texts_and_of_those_given():
    old, new = "All of the positions MUST be real.", "All of the postions MUST be real."
    assert [rule for rule, *_ in changes(old, new)] == ["clause-subject-changed"]
    assert changes(old, new, words=["Scan positions."]) == []
    assert changes(new, old, words=["Scan positions."]) == []
    both_written = ["Scan positions.", "The postions."]
    assert [rule for rule, *_ in changes(old, new, words=both_written)] == [
        "clause-subject-changed"
    ]


def test_less_than_a_third_of_the_words_in_common_is_another_requirement():
    # 3 of 10 words in common are a similarity of 0.3, the least that two wordings of one have.
    alike = ("one two three MUST a b c d e f", "one two nine MUST p q r s t u")
    (rule, *_), *_ = changes(*alike)
    assert rule == "clause-text-changed"
    (rule, *_), *_ = changes(alike[0], alike[1].replace("two", "ten"))
    assert rule == "clause-replaced"


def told(old, new):
    return [(c.rule.id, c.id, c.place, c.old, c.new) for c in classify(old, new)]


def test_only_the_first_two_texts_stages_in_another_order_are_told_once():
    head = "<!-- table: s kind=stages -->\n| Stage | Taps |\n|---|---|\n"
    row = "| `{}` | x |\n"
    old = head + "".join(row.format(n) for n in "gabcd")
    new = head + "".join(row.format(n) for n in "acbdn")
    assert told({"s.md": old}, {"s.md": new}) == [
        ("stage-added", "s/n", "specs/s.md:8", "", "n | x"),
        ("stage-removed", "s/g", "specs/s.md:4", "g | x", ""),
        ("stage-moved", "s/b", "specs/s.md:5", "a, b, c, d", "a, c, b, d"),
    ]
    assert told({"s.md": old}, {"s.md": old.replace("| `g` | x |\n", "")})[0][0] == "stage-removed"


def test_sections_are_known_by_titles_that_stand_once_in_either_text():
    old = "# T\n\n## 1. One\n\n## 2. Two  words #\n\n### 2.1 Twice\n\n### 2.2 Twice\n\n## 3 Three\n"
    new = "\r\n# T\r\n## 1. One\r\n\r\n## 3. Two words #\r\n\r\n### 3.1 Twice\r\n\r\n## 4 Three\r\n"
    assert told({"a.md": old}, {"a.md": new}) == [
        ("section-renumbered", "a.md/§2", "specs/a.md:5", "2", "3"),
        ("section-renumbered", "a.md/§3", "specs/a.md:9", "3", "4"),
    ]
    assert told({"a.md": old}, {"b.md": new}) == []


def test_the_versions_of_all_texts_are_compared_as_numbers():
    old = {name: f"Version: {was}\n" for name, was in (("a", "1.9"), ("b", "2.0"), ("c", "1.0"))}
    new = {name: f"Version: {now}\n" for name, now in (("a", "1.10"), ("b", "1.9"), ("d", "7"))}
    new["c"] = "Version: v1.0\n"
    assert told(old, new) == [
        ("version-raised", "a/version", "specs/a:1", "1.9", "1.10"),
        ("version-lowered", "b/version", "specs/b:1", "2.0", "1.9"),
    ]
    assert version_key("10.2-rc1") == (10, 2, 1)


def test_a_row_is_compared_where_its_place_target_or_text_differs():
    head = "## 1. One\n\n<!-- table: k kind=keys target={} -->\n| Field | Legacy key |\n|---|---|\n"
    old = head.format("m:A") + "| `a` | `b` |\n"
    assert told({"k.md": old}, {"k.md": "\n\n" + old}) == []
    assert told({"k.md": old}, {"k.md": old.replace("m:A", "m:B")}) == [
        ("table-target-changed", "k/a", "specs/k.md:6", "m:A", "m:B")
    ]
    other = old.replace("table: k", "table: l")
    assert told({"k.md": old}, {"k.md": other}) == [("row-moved", "k/a", "specs/k.md:6", "k", "l")]
    assert told({"k.md": old}, {"l.md": old}) == [
        ("row-moved", "k/a", "specs/l.md:6", "k.md §1", "l.md §1")
    ]


def test_of_a_long_clause_the_words_that_differ_are_told():
    text = "Each one MUST be {}" + " of" * 250
    assert changes(text.format("one"), text.format("two")) == [
        ("clause-text-changed", "one", "two", "backend authors")
    ]
