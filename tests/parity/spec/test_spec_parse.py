"""The specification parser: what it reads, and what it refuses to read silently."""

from __future__ import annotations

import doctest
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import parity.spec.parse
import parity.spec.values
from parity.spec.parse import load_specification, parse_text, parse_texts, specification_folder
from parity.spec.records import Finding, Place, text_hash
from parity.spec.values import parse_allowed, parse_literal

HEAD = "# Demo\n\nVersion: 1.0\n\n## 1. First\n\n### 1.2 Second\n\n"

TABLE = """\
<!-- table: demo kind=fields target=m:C -->
| Field | Type | Default | Allowed |
|---|---|---|---|
| `a` | int | `1` | [1, 5] |
| `b` | str | `'x'` | {'x', 'y'} |
"""


def messages(text: str) -> list[str]:
    return [finding.message for finding in parse_text("demo.md", HEAD + text).findings]


def test_a_clause_has_id_level_section_text_and_lines() -> None:
    spec = parse_text("demo.md", HEAD + "- **[1.2-1]** One\n  MUST NOT end.\n")
    (clause,) = spec.clauses
    assert (clause.id, clause.level, clause.text) == ("1.2-1", "MUST NOT", "One MUST NOT end.")
    assert (clause.place.section, clause.place.line, clause.place.last_line) == ("1.2", 9, 10)
    assert spec.findings == ()
    assert spec.versions == {"demo.md": "1.0"}


def test_a_row_has_the_tables_name_kind_target_and_cells() -> None:
    rows = parse_text("demo.md", HEAD + TABLE).rows
    assert [row.id for row in rows] == ["demo/a", "demo/b"]
    assert (rows[0].kind, rows[0].target) == ("fields", "m:C")
    assert rows[1].cells == {"Field": "b", "Type": "str", "Default": "'x'", "Allowed": "{'x', 'y'}"}
    assert rows[1].place.line == 13


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Work MUST end.\n", "without an id"),
        ("- work shall end.\n", "without an id"),
        ("- **[1.2]** Work MUST end.\n", "unreadable clause id"),
        ("- **[1.2-1]** Work ends.\n", "clause 1.2-1 has no MUST"),
        ("- **[1.2-1]** Work MUST end and it must rest.\n", "clause 1.2-1 has a lower-case"),
        ("- **[1.2-1]** Work MUST end and MUST rest.\n", "clause 1.2-1 has 2 requirements"),
        ("- **[1.2-1]** It MUST end.\n- **[1.2-1]** It MUST rest.\n", "id 1.2-1 is also at"),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n", "table without a name"),
        (TABLE.replace("kind=fields", "kind=felds"), "unknown kind"),
        (TABLE.replace("| Type", "| Kind"), "columns begin"),
        (TABLE.replace("`b`", "`a`"), "id demo/a is also at"),
        ("<!-- table demo -->\n\nText.\n", "unreadable table comment"),
    ],
)
def test_normative_text_that_cannot_be_read_is_a_finding(text: str, message: str) -> None:
    found = messages(text)
    assert any(message in finding for finding in found), found


def test_a_file_without_a_version_is_a_finding() -> None:
    (found,) = parse_text("demo.md", "# Demo\n").findings
    assert found == Finding(Place("demo.md", 1, 1, ""), "no 'Version: X.Y' line")


def test_ids_are_unique_across_files() -> None:
    clause = "- **[1.2-1]** It MUST end.\n"
    spec = parse_texts({"a.md": HEAD + clause, "b.md": HEAD + clause})
    assert [str(finding) for finding in spec.findings] == [
        "specs/b.md:9: id 1.2-1 is also at specs/a.md:9"
    ]


def test_a_finding_says_where_it_stands_and_what_to_do() -> None:
    spec = parse_text("demo.md", HEAD + "| a | b |\n|---|---|\n| 1 | 2 |\n")
    assert [str(finding) for finding in spec.findings] == [
        "specs/demo.md:9: table without a name: put <!-- table: NAME kind=KIND --> above it"
    ]


def test_sections_are_told_from_the_first_line_on_and_after_tables() -> None:
    clauses = [f"- **[{section}-1]** It MUST end.\n\n" for section in ("1", "2")]
    named = TABLE.replace(" target=m:C", "")
    spec = parse_text(
        "demo.md", f"## 1. First\n\n{clauses[0]}{named}\n## 2. Second\n\n{clauses[1]}"
    )
    assert [clause.place for clause in spec.clauses] == [
        Place("demo.md", 3, 3, "1"),
        Place("demo.md", 13, 13, "2"),
    ]
    assert {row.target for row in spec.of_table("demo")} == {""}
    assert len(spec.of_table("demo")) == 2
    assert spec.of_table("other") == ()
    assert parse_text("demo.md", clauses[0]).clauses[0].place.section == ""


def test_the_specification_of_a_checkout_comes_before_the_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, checkout = tmp_path / "parity", tmp_path / "specs"
    monkeypatch.setattr(parity.spec.parse, "__file__", str(package / "spec" / "parse.py"))
    checkout.mkdir()
    assert specification_folder() == package / "specs"
    (checkout / "ptychodus_api_spec.md").touch()
    assert specification_folder() == checkout


def test_a_folder_without_a_specification_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_specification(tmp_path)
    assert str(caught.value) == (
        f"no specification (*.md) in {tmp_path}; run parity in a checkout, or install a wheel "
        "that was built from one"
    )


def test_layout_does_not_change_a_hash_and_words_do() -> None:
    assert text_hash("It  `must`\nend.") == text_hash("It must end.")
    assert text_hash("It must end.") != text_hash("It must rest.")
    # The first digits of `printf 'It must end.' | sha256sum`; ledgers keep them.
    assert text_hash("It `must` end.") == "9167e533c631"


def test_the_projects_specification_reads_without_findings() -> None:
    spec = load_specification()
    assert [str(finding) for finding in spec.findings] == []
    assert len(spec.ids()) >= 250
    assert "decisions/accelerator default" not in spec.ids()
    assert {"CONFIG-001", "CONFIG-002", "POLICY-001", "DATA-001"} <= set(spec.ids())


@pytest.mark.parametrize(
    ("cell", "inside", "outside"),
    [
        ("[1, 5]", [1, 5], [0, 6, None]),
        ("(0, inf) or None", [0.1, None], [0, -1]),
        ("{'a', 'b'}", ["a"], ["c", None]),
        ("{True, False, 'warn'}", [True, "warn"], [1, 0, "off"]),
        ("any", [1, "x"], [None]),
        ("[0, 1)", [0, 0.9], [1]),
        ("{'a'} or None", ["a", None], ["b"]),
    ],
)
def test_allowed_values(cell: str, inside: list[object], outside: list[object]) -> None:
    allowed = parse_allowed(cell)
    assert [allowed.accepts(value) for value in inside] == [True] * len(inside)
    assert [allowed.accepts(value) for value in outside] == [False] * len(outside)


@pytest.mark.parametrize("cell", ["[1, 5", "a or b", "1..5"])
def test_unreadable_allowed_values_are_refused(cell: str) -> None:
    with pytest.raises(ValueError, match="neither a set"):
        parse_allowed(cell)


def test_a_default_that_is_no_literal_is_refused() -> None:
    with pytest.raises(ValueError, match="not a Python literal"):
        parse_literal("os.getcwd()")


@pytest.mark.parametrize("module", [parity.spec.parse, parity.spec.values])
def test_documented_examples(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]  # a module object
    assert result.attempted > 0
    assert result.failed == 0


def test_parsing_imports_no_framework() -> None:
    code = """
        import sys
        from parity.spec.parse import load_specification
        load_specification()
        print(sorted({"tensorflow", "torch", "keras", "numpy"} & set(sys.modules)))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
