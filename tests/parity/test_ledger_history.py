"""Ledgers become looser only with a reason; the past is that of git."""

from __future__ import annotations

import subprocess

import pytest

from parity import cli
from parity.ledger.history import load_floors, sunk_since, tolerances_at
from parity.redline.revisions import RevisionError
from parity.tolerances_command import history_lines

_TOLERANCE = """[[tolerance]]
id = "forward.pair"
value = {value}
reason = "{reason}"
owner = "harness"
measured = {{ p50 = 1e-07, p99 = 1e-06, max = 1e-06, samples = 9, date = 2026-01-01 }}
"""
_FLOOR = '[[floor]]\nid = "parsed"\nvalue = {value}\nreason = "{reason}"\n'


def _git(root, *arguments):
    name = ["-c", "user.name=someone", "-c", "user.email=someone@example.org"]
    subprocess.run(["git", "-C", str(root), *name, *arguments], check=True, capture_output=True)


def _write(root, value, reason="rounding", floor=10, floor_reason="all of them"):
    folder = root / "parity" / "ledger"
    folder.mkdir(parents=True, exist_ok=True)
    text = _TOLERANCE.format(value=value, reason=reason)
    (folder / "tolerances.toml").write_text(text)
    (folder / "floors.toml").write_text(_FLOOR.format(value=floor, reason=floor_reason))


@pytest.fixture
def root(tmp_path):
    _git(tmp_path, "init", "-q", "-b", "main")
    _write(tmp_path, 3e-6)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "a.md").write_text("# A\n")
    _git(tmp_path, "add", "-A")
    _git(tmp_path, "commit", "-qm", "first")
    return tmp_path


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"value": 3e-6}, None),
        ({"value": 2e-6}, None),
        ({"value": 4e-6}, "forward.pair grew from 3.0e-06 to 4.0e-06 without a reason"),
        ({"value": 4e-6, "reason": "the sum runs the other way round"}, None),
        ({"value": 3e-6, "floor": 9}, "floor parsed sank from 10 to 9 without a reason"),
        ({"value": 3e-6, "floor": 9, "floor_reason": "a clause was merged"}, None),
        ({"value": 3e-6, "floor": 11}, None),
    ],
)
def test_looser_needs_a_reason(root, changes, says):
    _write(root, **changes)
    for base in (None, "HEAD"):
        _, lines = history_lines(root, base)
        assert [says in line for line in lines] == ([True] if says else [])


def test_a_floor_that_went_away_has_sunk():
    assert sunk_since({"bound": (3, "x")}, {}) == ["floor bound sank from 3 to 0 without a reason"]


def test_a_ledger_that_was_not_there_yet_is_empty(root):
    (root / "parity" / "ledger" / "floors.toml").unlink()
    _git(root, "rm", "-q", "--cached", "parity/ledger/floors.toml")
    _git(root, "commit", "-qm", "second")
    tolerances, floors = tolerances_at(root, "HEAD")
    assert (list(tolerances), floors) == (["forward.pair"], {})
    _write(root, 3e-6)
    assert load_floors(root / "parity" / "ledger" / "floors.toml") == {
        "parsed": (10, "all of them")
    }


def test_outside_git_there_is_no_past(tmp_path):
    _write(tmp_path, 1.0)
    remark, lines = history_lines(tmp_path, None)
    assert "no git repository" in remark
    assert lines == []


def test_an_unknown_revision_is_bad_input(root):
    with pytest.raises(RevisionError, match="no-such"):
        history_lines(root, "no-such")
    assert cli.main(["tolerances", "--history", "--base", "no-such"]) == 2


def test_the_command_of_this_checkout(capsys):
    assert cli.main(["tolerances", "--history"]) == 0
    assert "0 loosened without a reason (" in capsys.readouterr().out
