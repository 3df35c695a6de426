"""The list of seeded defects: it fits the tree, covers what it has to, and is judged honestly."""

from __future__ import annotations

import dataclasses
import json
import subprocess

import pytest

from parity import cli
from parity.checks.registry import registered_checks
from parity.clauses import records
from parity.selftest import gates, run
from parity.selftest.defects import KINDS, DefectError, Edit, chosen, load_defects, load_witnesses
from parity.selftest.gates import Outcome
from parity.selftest.run import Row, run_selftest
from parity.selftest.tree import DamagedTree, checkout
from parity.spec.parse import load_specification

_DEFECTS = load_defects()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return DamagedTree(checkout(), tmp_path_factory.mktemp("tree"))


@pytest.mark.parametrize("defect", _DEFECTS, ids=lambda defect: defect.id)
def test_each_defect_fits_the_tree_and_comes_out_again(defect, tree):
    """Where this fails, the text that the defect damages has changed: move the defect along."""
    files = [tree.folder / edit.file for edit in defect.edits]
    before = [path.read_bytes() if path.exists() else None for path in files]
    with tree.damaged(defect.edits):
        during = [path.read_bytes() if path.exists() else None for path in files]
        for path, text in zip(files, during, strict=True):
            if path.suffix == ".py":
                compile(text, path, "exec")
    assert during != before
    assert [path.read_bytes() if path.exists() else None for path in files] == before


def test_there_are_enough_of_each_kind():
    assert len(_DEFECTS) >= 60
    assert {defect.kind for defect in _DEFECTS} == set(KINDS)
    assert sum(bool(defect.peer) for defect in _DEFECTS) >= 9


def test_what_has_to_turn_red_exists():
    checks, clauses = registered_checks(), {r.id for r in records(load_specification())}
    standing = {"LEDGER", "SPEC", "HARNESS"}
    for defect in _DEFECTS:
        if defect.gate != "chains":
            assert set(defect.red) - standing <= set(checks), defect.id
        assert not defect.clause or defect.clause in clauses or defect.id == "clause-unbound"
        if defect.kind in ("code", "archive"):
            assert defect.clause, f"{defect.id} names no clause"
    assert all(any(c == w or c.startswith(f"{w}/") for c in checks) for w in load_witnesses())


def test_every_family_of_numeric_checks_has_a_defect():
    """The checks of what both backends compute, one by one."""
    letters = tuple(f"{letter}-" for letter in "WFLGUTSACI")
    red = {check for defect in _DEFECTS for check in defect.red}
    assert {name for name in registered_checks() if name.startswith(letters)} <= red


def test_an_edit_that_no_longer_fits_says_so():
    edit = Edit("a.py", "one", "two")
    assert edit.applied("one") == "two"
    for text in ("nothing there", "one and one", None):
        with pytest.raises(DefectError, match=r"a\.py"):
            edit.applied(text)
    with pytest.raises(DefectError, match="already"):
        Edit("a.py", replace="new").applied("old")
    assert Edit("a.py", remove=True).applied("old") is None
    assert Edit("a.py", replace="b", append=True).applied("a") == "ab"


@pytest.mark.parametrize(
    "spoil",
    [
        "kind = 'mood'",
        "gate = 'open'",
        "surplus = 1",
        "[[defect.edits]]\nfile = 'a'\nfind = 'b'\nreplace = 'b'",
        "[[defect.edits]]\nfile = 'a'\nlost = 1",
    ],
)
def test_malformed_data_is_refused(tmp_path, spoil):
    sound = {"id": "x", "what": "x", "kind": "code", "gate": "fast", "clause": "1-1"}
    lines = [f"{k} = {v!r}" for k, v in sound.items() if not spoil.startswith(f"{k} ")]
    edit = "" if "edits" in spoil else "[[defect.edits]]\nfile = 'a'\nremove = true\n"
    top = "" if "edits" in spoil else spoil
    text = "\n".join(["[[defect]]", *lines, top, "red = { W-1 = ['pair'] }", edit])
    (tmp_path / "defects_x.toml").write_text(text + (spoil if "edits" in spoil else ""))
    with pytest.raises(DefectError, match=r"defects_x\.toml, entry 1 \(x\)"):
        load_defects(tmp_path)
    (tmp_path / "defects_x.toml").write_text(text.replace(top, "") + edit * ("edits" in spoil))


def _outcome(**changes):
    fields = {
        "exit_code": 1,
        "red": {"W-1": ("pair", "pytorch")},
        "findings": {"W-1": ("1 vs 2",)},
        "clauses": frozenset({"12-1"}),
        "said": "",
    }
    return Outcome(**{**fields, **changes})


_MADE_UP = dataclasses.replace(
    _DEFECTS[0],
    clause="12-1",
    red={"W-1": ("pair", "pytorch")},
    further=("U-*",),
    says="1 vs 2",
    exit_code=1,
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, ""),
        ({"red": {"W-1": ("pair", "pytorch"), "U-1": ("pair",)}}, ""),
        ({"exit_code": 0}, "ended with 0"),
        ({"exit_code": 2}, "ended with 2"),
        ({"red": {}}, "red for nobody"),
        ({"red": {"W-1": ("pair", "tensorflow")}}, "red for pair, tensorflow"),
        ({"red": {"W-1": ("pair", "pytorch"), "F-1": ("pair",)}}, "unrelated: F-1"),
        ({"clauses": frozenset()}, "clause 12-1 is not red"),
        ({"findings": {}}, "no finding says"),
    ],
)
def test_a_defect_is_killed_by_its_own_check_alone(monkeypatch, tree, changes, why):
    monkeypatch.setattr(run, "run_gate_on", lambda *given: _outcome(**changes))
    row = run.try_defect(tree, _MADE_UP, [])
    assert row.killed == (not why)
    assert any(why in line for line in row.why) or not why
    plain = json.loads(json.dumps(row.to_json()))
    assert plain["killed"] == row.killed
    assert plain["id"] == _MADE_UP.id


def test_a_red_baseline_stops_the_selftest(monkeypatch):
    monkeypatch.setattr(run, "run_gate_on", lambda *given: _outcome())
    with pytest.raises(run.RedBaseline, match="W-1"):
        run_selftest(checkout(), [_MADE_UP], [], jobs=1)


def test_a_golden_that_the_gate_makes_again_is_a_miss(monkeypatch, tree):
    (missing,) = [d for d in _DEFECTS if d.id == "golden-missing"]
    path = tree.folder / missing.edits[0].file
    text = path.read_text(encoding="utf-8")

    def make(folder, *given):
        path.write_text(text, encoding="utf-8")
        red = {check: tuple(subjects) for check, subjects in missing.red.items()}
        return _outcome(red=red, clauses=frozenset())

    monkeypatch.setattr(run, "run_gate_on", make)
    row = run.try_defect(tree, missing, [])
    assert row.why == (f"{missing.edits[0].file} was made again by the gate",)
    assert path.read_text(encoding="utf-8") == text


def test_reports_of_the_gate_are_read(monkeypatch, tmp_path):
    verdicts = {"tensorflow": "fail", "pytorch": "pass", "pair": "not-run"}
    check = {"id": "F-1", "verdicts": verdicts, "reasons": {"pair": "no pair"}, "error": ""}
    report = {
        "checks": [{**check, "findings": [{"what": "1 vs 2"}]}],
        "clauses": [{"id": "12-6", "verdicts": verdicts}, {"id": "1-1", "verdicts": {"x": "pass"}}],
    }

    def fake(arguments, **named):
        assert named["env"]["PYTHONPATH"] == str(tmp_path)
        file = arguments[arguments.index("--json") + 1]
        with open(file, "w", encoding="utf-8") as stream:
            json.dump(report, stream)
        return subprocess.CompletedProcess(arguments, 1, "", "")

    monkeypatch.setattr(gates.subprocess, "run", fake)
    outcome = gates.run_gate_on(tmp_path, "checks", ["F-1"])
    assert outcome.red == {"F-1": ("tensorflow",)}
    assert outcome.findings["F-1"] == ("1 vs 2", "no pair")
    assert outcome.clauses == {"12-6"}


def test_defects_are_chosen_by_id_kind_and_pattern():
    assert [d.id for d in chosen(_DEFECTS, ["shift-sign"])] == ["shift-sign"]
    assert {d.kind for d in chosen(_DEFECTS, ["golden"])} == {"golden"}
    assert len(chosen(_DEFECTS, ["adam-*"])) == 2
    assert chosen(_DEFECTS, None) == _DEFECTS
    with pytest.raises(KeyError, match="nothing-like-it"):
        chosen(_DEFECTS, ["nothing-like-it"])


def _rows(killed):
    return [Row(_MADE_UP, _outcome(), () if killed else ("missed",), 1.0)]


@pytest.mark.parametrize(("killed", "code"), [(True, 0), (False, 1)])
def test_the_command_prints_writes_and_leaves_a_code(monkeypatch, tmp_path, capsys, killed, code):
    def fake(source, defects, witnesses, jobs, progress):
        rows = _rows(killed)
        progress(rows[0])
        return run.SelftestReport(rows, 1.0, 2.0, tuple(witnesses))

    monkeypatch.setattr(run, "run_selftest", fake)
    file = tmp_path / "out" / "selftest.json"
    assert cli.main(["selftest", "--id", "shift-sign", "--json", str(file)]) == code
    out = capsys.readouterr().out
    assert ("killed" if killed else "MISSED") in out
    assert f"1 planted, {int(killed)} killed" in out
    report = json.loads(file.read_text())
    assert (report["planted"], report["killed"]) == (1, int(killed))
    assert report["settings"]["OMP_NUM_THREADS"]
    assert report["defects"][0]["id"] == _MADE_UP.id


def test_bad_input_and_a_broken_selftest_leave_2(monkeypatch, capsys):
    assert cli.main(["selftest", "--jobs", "0"]) == 2
    assert cli.main(["selftest", "--id", "nothing-like-it"]) == 2
    monkeypatch.setattr(run, "run_gate_on", lambda *given: _outcome())
    assert cli.main(["selftest", "--id", "shift-sign"]) == 2
    assert "without any defect" in capsys.readouterr().err


def test_the_list_is_shown_without_planting(capsys):
    assert cli.main(["selftest", "--list"]) == 0
    out = capsys.readouterr().out
    assert f"{len(_DEFECTS)} seeded defects" in out
    assert "patches move the wrong way" in out
