"""The lint of the specification finds each kind of mistake, and none in the project's own text."""

from __future__ import annotations

from pathlib import Path

import pytest

from parity import cli
from parity.lint.specs import lint
from parity.spec.parse import specification_folder

ROOT = Path(__file__).parents[3]
HEAD = "# Demo\n\nVersion: 1.0\n\n"
BODY = (
    "## 1. First\n\n### 1.1 Inner\n\n### 1.2 Other\n\n## 2. Second\n\n- **[2-1]** Work MUST end.\n"
)
FIELDS = """
<!-- table: demo kind=fields target=m:C -->
| Field | Type | Default | Allowed |
|---|---|---|---|
"""
DESCRIBED = """
<!-- table: demo kind=fields target=m:C -->
| Field | Type | Default | Allowed | Meaning |
|---|---|---|---|---|
"""


def messages(text, root=ROOT):
    return [finding.message for finding in lint({"demo.md": HEAD + text}, root)]


def test_the_projects_own_specification_is_clean():
    texts = {
        path.name: path.read_text(encoding="utf-8")
        for path in sorted(specification_folder().glob("*.md"))
        if path.name != "README.md"
    }
    assert [str(finding) for finding in lint(texts, ROOT)] == []


def test_a_sound_text_has_no_findings():
    text = BODY + "\nSee §1.2, `docs/architecture.md` §3 and [2-1]; `parity/cli.py:3` says how.\n"
    assert messages(text + FIELDS + "| `a` | int | `1` | [1, 5] |\n") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BODY.replace("## 2. S", "## 3. S"), "heading 3 follows a gap: expected 2"),
        (BODY.replace("### 1.2", "### 1.3"), "heading 1.3 follows a gap: expected 1.2"),
        (BODY.replace("### 1.2", "### 1.1"), "heading 1.1 follows a gap: expected 1.2"),
        (BODY.replace("### 1.1", "## 1.1"), "heading 1.1 has 2 #; expected 3"),
        (BODY + "### 4.1 Lost\n", "heading 4.1 stands outside a section 4"),
        (BODY + "- **[2-1]** Rest MUST follow.\n", "id 2-1 is also at specs/demo.md:13"),
        (BODY + "\n<!-- withdrawn: 1-4, 2-1 -->\n", "id 2-1 was withdrawn (demo.md): take another"),
        (BODY + "\nSee §2.7.\n", "demo.md has no section 2.7"),
        (BODY + "\nSee `docs/architecture.md` §99.\n", "docs/architecture.md has no section 99"),
        (BODY + "\nSee `nowhere.md` §1.\n", "nowhere.md §1: no such file"),
        (BODY + "\nAs [2-9] says.\n", "[2-9] is no clause"),
        (
            BODY + DESCRIBED + "| `a` | int | `1` | any |\n",
            "the row has 4 cells; the table has 5 columns",
        ),
        (
            BODY + FIELDS + "| `a` | int | `1` | any | more |\n",
            "the row has 5 cells; the table has 4 columns",
        ),
        (BODY + FIELDS + "| `a` | int | `'x'` | any |\n", "demo/a: default 'x' is no int"),
        (BODY + FIELDS + "| `a` | int | `True` | any |\n", "demo/a: default True is no int"),
        (
            BODY + FIELDS + "| `a` | int | oops | any |\n",
            "demo/a: default 'oops' is not a Python literal",
        ),
        (
            BODY + FIELDS + "| `a` | int | `9` | [1, 5] |\n",
            "demo/a: default 9 is not allowed: [1, 5]",
        ),
        (
            BODY + FIELDS + "| `a` | int | `1` | some |\n",
            "demo/a: allowed values 'some' are neither a set, an interval nor 'any'",
        ),
        (BODY + "\nWork MUST end.\n", "normative sentence without an id: Work MUST end."),
        (BODY + "\nWork must end.\n", "normative sentence without an id: Work must end."),
        (
            BODY + "- **[2-2]** Work MUST end and shall rest.\n",
            "clause 2-2 has a lower-case must or shall",
        ),
        (BODY + "\nSee `parity/nowhere.py`.\n", "there is no file parity/nowhere.py"),
        (BODY + "\nSee `parity/nowhere.py:3`.\n", "there is no file parity/nowhere.py"),
        (
            BODY + "\nSee `ptycho.nowhere.at_all`.\n",
            "ptycho.nowhere.at_all names nothing in the code",
        ),
        (
            BODY + "\nSee `ptycho.config.config:NoConfig`.\n",
            "ptycho.config.config:NoConfig names nothing in the code",
        ),
        (
            BODY + "\nSee `ptycho.config.config:ModelConfig.nothing`.\n",
            "ptycho.config.config:ModelConfig.nothing names nothing in the code",
        ),
        (BODY + "\nThe exitwave.\n", "write 'exit wave', not 'exitwave'"),
        (BODY + "\nNormalization matters.\n", "write 'Normalisation', not 'Normalization'"),
        (BODY + "\nTensorflow it is.\n", "write 'TensorFlow', not 'Tensorflow'"),
    ],
)
def test_each_mistake_is_found_and_nothing_else(text, message):
    assert messages(text) == [message]


def test_a_line_past_the_end_of_a_file_is_found(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("one\ntwo\n")
    assert messages(BODY + "\nSee `docs/a.md:2`.\n", tmp_path) == []
    (message,) = messages(BODY + "\nSee `docs/a.md:3`.\n", tmp_path)
    assert message == "docs/a.md:3 lies outside the file, which has 2 lines"
    (message,) = messages(BODY + "\nSee `docs/a.md:1-4`.\n", tmp_path)
    assert "has 2 lines" in message


def test_code_is_left_alone():
    fence = "```\n### 9.9 No heading\n| a |\n§77 `parity/nowhere.py`\n```\n"
    assert messages(BODY + "\n" + fence + "\nThe key `color` and `neighbor_count`.\n") == []


def test_findings_name_the_line(tmp_path, capsys):
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "demo.md").write_text(HEAD + BODY + "\nSee §7.\n")
    assert cli.main(["lint", "specs", "--root", str(tmp_path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "specs/demo.md:15: demo.md has no section 7",
        "1 texts, 1 findings",
    ]
    assert cli.main(["lint", "specs", "--format", "github", "--root", str(tmp_path)]) == 1
    line = "::error file=specs/demo.md,line=15::demo.md has no section 7"
    assert capsys.readouterr().out.splitlines() == [line]


def test_a_folder_without_specifications_is_an_error_of_use(tmp_path, capsys):
    assert cli.main(["lint", "specs", "--root", str(tmp_path)]) == 2
    assert "--root" in capsys.readouterr().err
