"""The rows, the tests and the page about them say the same."""

import dataclasses

import pytest


def test_every_row_has_a_test_or_a_reason_and_every_test_a_row(table):
    rows = table.read_rows()
    assert table.complaints(rows, table.written_tests()) == []
    assert len(rows) >= 188


def test_the_page_is_up_to_date(table):
    page = table.read_page(table.PAGE.read_text(encoding="utf-8"))
    rows = table.read_rows()
    assert {id: cells for id, (cells, _) in page.items()} == {
        row.id: table.cells(row) for row in rows
    }
    open_tests = {test.node for test in table.written_tests() if test.open}
    for row in rows:
        expected = "open" if open_tests & set(row.tests) else "holds"
        assert page[row.id][1] == (expected if row.tests else "not applicable"), row.id


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tests": ()}, "needs either tests or a reason"),
        ({"reason": "because"}, "needs either tests or a reason"),
        ({"tests": ("test_merge.py::test_of_nothing",)}, "there is no"),
        ({"tests": ("test_table.py::test_the_page_is_up_to_date",)}, "there is no"),
        ({"what": ""}, "says nothing"),
        ({"id": "D-03"}, "is there twice"),
    ],
)
def test_a_broken_row_is_found(table, change, said):
    rows = table.read_rows()
    rows[0] = dataclasses.replace(rows[0], **change)
    assert any(said in line for line in table.complaints(rows, table.written_tests()))


def test_a_test_without_a_row_is_found(table):
    written = [*table.written_tests(), table.Written("test_merge.py::test_more", (), False)]
    assert table.complaints(table.read_rows(), written) == ["test_merge.py::test_more names no row"]


def test_outcomes_become_verdicts(table):
    row = table.read_rows()[0]
    for outcome, word in (
        ("passed", "holds"), ("failed", "fails"), ("xfailed", "open"), ("not run", "not run")
    ):  # fmt: skip
        seen = {node: {"passed", outcome} for node in row.tests}
        assert table.verdicts([row], seen) == {row.id: word}
    assert table.verdicts([row], {}) == {row.id: "not run"}
