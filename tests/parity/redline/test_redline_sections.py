"""Texts section by section, and their rows side by side."""

from __future__ import annotations

from parity.redline.render import side_by_side
from parity.redline.sections import Section, changed_sections

OLD = """intro
## 1. One
same
a
## 2. Two
gone
## 2. Two
b
## 4. Four
same
"""
NEW = """intro
## 4. Four
same
## 1. One
same
A, see §2 and §§ 3.1
more, see § 2.10 and §2
## 2. Two
gone
## 2. Two
c
## 5. Five
d
"""


def told(old, new):
    return [(s.file, s.title, s.before, s.after) for s in changed_sections(old, new)]


def test_sections_come_in_the_order_of_the_new_text_and_then_those_that_are_gone():
    old = OLD + "## 3. Three\nx\n"
    assert told({"a.md": old, "z.md": "p\n"}, {"a.md": NEW, "b.md": "q\n"}) == [
        ("a.md", "1. One", ["a"], ["A, see §2 and §§ 3.1", "more, see § 2.10 and §2"]),
        # The second of two sections under one title.
        ("a.md", "2. Two", ["b"], ["c"]),
        ("a.md", "5. Five", [], ["## 5. Five", "d"]),
        ("a.md", "3. Three", ["## 3. Three", "x"], []),
        ("b.md", "(beginning)", [], ["q"]),
        ("z.md", "(beginning)", ["p"], []),
    ]
    assert told({"a.md": OLD}, {"a.md": OLD}) == []


def test_new_lines_refer_to_sections():
    (first, *_) = changed_sections({"a.md": OLD}, {"a.md": NEW})
    assert first.references == ["§ 2.10", "§2", "§§ 3.1"]


def test_lines_that_stand_often_are_compared_too():
    line = "| a | b |"
    old = {"a.md": "\n".join(["x"] + [line] * 250)}
    ((_, _, before, after),) = told(old, {"a.md": "\n".join(["y"] + [line] * 250)})
    assert (before, after) == (["x"], ["y"])


def rows(*blocks):
    return [
        (str(a), str(b), changed) for a, b, changed in side_by_side(Section("a", "t", [*blocks]))
    ]


def equal(text):
    return ("equal", list(text), list(text))


def test_of_equal_lines_two_stay_on_each_side_of_a_change():
    change = ("replace", ["x"], ["y"])
    marked = ("<del>x</del>", "<ins>y</ins>", True)
    cut = ("⋯", "⋯", False)

    def kept(text):
        return [(c, c, False) for c in text]

    assert rows(equal("abcde"), change, equal("fghij"), change, equal("klmno")) == [
        cut, *kept("de"), marked, *kept("fg"), cut, *kept("ij"), marked, *kept("kl"), cut
    ]  # fmt: skip
    assert rows(equal("ab"), change, equal("fghi"), change, equal("kl")) == [
        *kept("ab"), marked, *kept("fghi"), marked, *kept("kl")
    ]  # fmt: skip
    assert rows(equal("a"), change, equal("f"), change) == [
        *kept("a"), marked, *kept("f"), marked
    ]  # fmt: skip


def test_lines_are_paired_and_words_that_differ_are_marked_and_escaped():
    assert rows(("replace", ["a b  c & d", "e"], ["a x  c & D"])) == [
        ("a <del>b</del>  c &amp; <del>d</del>", "a <ins>x</ins>  c &amp; <ins>D</ins>", True),
        ("<del>e</del>", "", True),
    ]
    assert rows(("insert", [], ["<b> it"])) == [("", "<ins>&lt;b&gt; it</ins>", True)]
    assert rows(("replace", ["a b"], ["a"])) == [("a <del>b</del>", "a", True)]
    assert rows(("replace", ["a c d"], ["a x c D"])) == [
        ("a c <del>d</del>", "a <ins>x</ins> c <ins>D</ins>", True)
    ]
    assert rows(("replace", ["x" + " of" * 250], ["y" + " of" * 250])) == [
        ("<del>x</del>" + " of" * 250, "<ins>y</ins>" + " of" * 250, True)
    ]
    assert rows(equal(["<i>"])) == [("⋯", "⋯", False)]
    assert rows(("equal", ["<i>"], ["<i>"]), ("delete", ["x"], [])) == [
        ("&lt;i&gt;", "&lt;i&gt;", False),
        ("<del>x</del>", "", True),
    ]
