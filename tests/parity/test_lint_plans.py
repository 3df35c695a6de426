"""`parity lint plans`: each rule turns red, alone, where it is broken."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from parity.cli import main
from parity.lint.plans import lint_plans

pytestmark = pytest.mark.parity

_ROOT = Path(__file__).resolve().parents[2]
_STAMP = "2026-01-31T120000Z"
_PLAN = """# X-1

| ID | State | Task | Artifact |
|---|---|---|---|
| A | [x] | trace | `plans/active/X-1/reports/2026-01-31T120000Z/dynamic.txt` |
| B | [P] | write | |
| C | [ ] | read | |

- [x] see `code/room.py:Door.open` and `code/room.py:2` and [the rules](../../README.md)
"""


@pytest.fixture
def root(tmp_path):
    report = tmp_path / "plans" / "active" / "X-1" / "reports" / _STAMP
    (report / "env").mkdir(parents=True)
    (report / "dynamic.txt").write_text("chain\n")
    (report / "env" / "trace_env.json").write_text('{"system": "Linux"}')
    (tmp_path / "plans" / "README.md").write_text("# Plans\n")
    (tmp_path / "plans" / "findings.md").write_text("# Findings\n")
    (tmp_path / "plans" / "fix_plan.md").write_text("# Fix plan\n\nX-1, 2026-01-31T12:00:00Z\n")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "room.py").write_text("class Door:\n    def open(self): ...\n")
    (tmp_path / "plans" / "active" / "X-1" / "plan.md").write_text(_PLAN)
    return tmp_path


def test_a_sound_plan_has_no_finding(root):
    assert lint_plans(root) == (4, [])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("| [P] |", "| [y] |", "state '[y]'"),
        ("dynamic.txt`", "none.txt`", "names no artifact"),
        ("room.py:Door.open", "room.py:Door.shut", "has no symbol Door.shut"),
        ("room.py:2", "room.py:3", "no line 3"),
        ("code/room.py:Door.open", "code/hall.py:Door.open", "code/hall.py does not exist"),
        ("../../README.md", "../../RULES.md", "RULES.md, which does not exist"),
        ("| C | [ ] | read | |", "| C | [ ] | read |", "3 cells in a table of 4"),
        ("|---|---|---|---|\n", "", "without a line |---|---|"),
        ("- [x] see", "- [z] see", "state '[z]'"),
        ("- [x] see", "- [x] 2026-02-31T12:00:00Z", "2026-02-31T12:00:00Z is no time"),
        ("- [x] see", "- [x] 2999-01-01T120000Z", "in the future"),
    ],
)
def test_a_broken_plan_is_found(root, old, new, message):
    path = root / "plans" / "active" / "X-1" / "plan.md"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    messages = [str(finding) for finding in lint_plans(root)[1]]
    assert messages
    assert any(message in each for each in messages), messages


def test_a_report_speaks_of_the_lines_of_its_day(root):
    report = root / "plans" / "active" / "X-1" / "reports" / _STAMP / "callchain.md"
    report.write_text("`code/room.py:99` and `code/room.py:Door.gone`\n")
    assert lint_plans(root)[1] == []
    report.write_text("`code/cellar.py:1`\n")
    assert [str(finding).rpartition(": ")[2] for finding in lint_plans(root)[1]] == [
        "code/cellar.py does not exist"
    ]


def test_fenced_text_is_left_alone(root):
    (root / "plans" / "README.md").write_text("```\n| a |\n- [q] `code/none.py:1`\n```\n")
    assert lint_plans(root)[1] == []


def _break_required(root):
    (root / "plans" / "findings.md").unlink()


def _break_plan(root):
    (root / "plans" / "active" / "X-2").mkdir()
    (root / "plans" / "fix_plan.md").write_text("X-1 X-2\n")


def _break_listing(root):
    (root / "plans" / "fix_plan.md").write_text("# Fix plan\n")


def _break_folder(root):
    reports = root / "plans" / "active" / "X-1" / "reports"
    (reports / "yesterday").mkdir()


def _break_environment(root):
    (path,) = root.rglob("trace_env.json")
    path.write_text('{"python": ["/usr/bin/python"]}')


@pytest.mark.parametrize(
    ("breaking", "message"),
    [
        (_break_required, "plans/findings.md:1: is missing"),
        (_break_plan, "an initiative without plan.md"),
        (_break_listing, "not in plans/fix_plan.md"),
        (_break_folder, "yesterday is no time"),
        (_break_environment, "names a path of the host: /usr/bin/python"),
    ],
)
def test_a_broken_folder_is_found(root, breaking, message):
    breaking(root)
    assert [message in str(finding) for finding in lint_plans(root)[1]] == [True]


def test_the_project_s_own_plans_are_sound_and_quickly_read(capsys):
    started = time.perf_counter()
    code = main(["lint", "plans"])
    seconds = time.perf_counter() - started
    assert code == 0, capsys.readouterr().out
    assert seconds < 2


def test_findings_are_printed_and_fail(root, capsys):
    _break_required(root)
    assert main(["lint", "plans", "--root", str(root)]) == 1
    assert "3 texts, 1 findings" in capsys.readouterr().out
