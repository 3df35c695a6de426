"""What the gate says of a failure, and what it holds against ledgers and specification."""

from __future__ import annotations

import datetime
import json

import pytest

from parity.checks.recorder import PAIR, Finding, Recorder
from parity.checks.registry import Check, CheckResult, Verdict
from parity.clauses import clauses_by_check, dangling, judge
from parity.failures import red_lines
from parity.gate import GateReport
from parity.ledger import Deviation
from parity.ledger.bindings import Binding
from parity.matrix import explain
from parity.spec.parse import parse_texts
from parity.standing import judge_ledgers, judge_specification

_TEXT = """# Demo

Version: 0.1

## 1. Demo

- **[1-1]** Work MUST end.
- **[1-2]** Rest MUST follow.

<!-- table: decisions kind=decisions -->
| Topic | Decision | Held by |
|---|---|---|
| end | always | 1-1, X-1 |
"""
_SUBJECTS = ("tensorflow", "pytorch")


def _spec(text=_TEXT):
    return parse_texts({"demo.md": text})


def _bindings(spec, *clauses):
    hashes = {clause.id: clause.hash for clause in spec.clauses}
    return {
        id: Binding(id, hashes.get(id, ""), (f"X-{id[-1]}",), "parity/ledger/bindings_demo.toml")
        for id in clauses
    }


def _checks():
    names = ("X-1", "X-2")
    return {n: Check(n, "made up", lambda run: None, frozenset({"backend"})) for n in names}


def _results(**red):
    results = {}
    for name in ("X-1", "X-2"):
        findings = red.get(name.replace("-", ""), [])
        failing = {finding.subject for finding in findings}
        verdicts = {s: Verdict("fail" if s in failing else "pass") for s in _SUBJECTS}
        results[name] = CheckResult(name, "made up", verdicts, findings, comparisons=1)
    return results


_FINDINGS = [
    Finding("pytorch", "object[x=1]: 1 vs 2", "N=32"),
    Finding("pytorch", "object[x=2]: 1 vs 3", "N=64"),
]


def test_a_red_clause_has_one_line_with_everything():
    spec, results = _spec(), _results(X1=_FINDINGS)
    verdicts = judge(spec, _bindings(spec, "1-1", "1-2"), results, _SUBJECTS)
    (line,) = red_lines(verdicts, results, 7)
    for part in (
        "[1-1] pytorch",
        "object[x=1]: 1 vs 2 (in N=32)",
        "specs/demo.md:7",
        "parity check --id 1-1 --backend pytorch --seed 7",
        'check = "X-1", subject = "pytorch", symptom = "object[x="',
        "parity/ledger/deviations.toml",
    ):
        assert part in line
    symptom = json.loads(line.rpartition("symptom = ")[2])
    assert all(symptom in finding.what for finding in _FINDINGS)


def test_an_unbound_clause_and_a_changed_one_say_what_to_do():
    spec = _spec()
    bindings = _bindings(_spec(_TEXT.replace("Work MUST end", "Work MUST stop")), "1-1")
    verdicts = judge(spec, bindings, _results(), _SUBJECTS)
    report = GateReport(list(_results().values()), clauses=verdicts)
    assert report.exit_code == 1
    suspect, unbound = red_lines(verdicts, _results())
    assert suspect.startswith("[1-1] is suspect: the text has changed (hash ")
    assert "parity explain 1-1" in suspect
    assert unbound.startswith("[1-2] is unbound: ")
    told = "\n".join(explain("1-1", spec, bindings, _checks()))
    assert f'hash = "{spec.clauses[0].hash}" in parity/ledger/bindings_demo.toml' in told
    stub = "\n".join(explain("1-2", spec, bindings, _checks()))
    assert f'clause = "1-2"\nhash = "{spec.clauses[1].hash}"' in stub


def test_a_check_without_a_clause_has_a_line_too():
    results = _results(X2=[Finding("tensorflow", "surplus has no row", "")])
    (line,) = red_lines([], results)
    assert line.startswith(
        "[X-2] tensorflow: surplus has no row | reproduce: parity check --id X-2"
    )


def test_a_broken_check_is_named():
    broken = CheckResult("X-1", "made up", {}, error="Traceback\nKeyError: 'here'\n")
    assert red_lines([], {"X-1": broken}) == ["[X-1] the check itself broke: KeyError: 'here'"]


def _deviation(**changes):
    fields = {
        "id": "D-1",
        "check": "X-1",
        "subject": "pytorch",
        "symptom": "1 vs 2",
        "reason": "known",
        "owner": "someone",
        "expires": datetime.date.today() + datetime.timedelta(days=1),
    }
    return Deviation(**{**fields, **changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"expires": datetime.date(2026, 1, 1)}, "expired on 2026-01-01"),
        ({"check": "X-2"}, "covers nothing"),
        ({"check": "X-9"}, "there is no check X-9"),
        ({"symptom": "4 vs 5"}, "records the symptom '4 vs 5'; found: object[x=1]: 1 vs 2"),
    ],
)
def test_a_deviation_that_does_not_hold_is_a_finding(changes, says):
    results = _results(X1=_FINDINGS[:1]).values()
    result = judge_ledgers(results, [_deviation(**changes)], {}, [], _checks(), {})
    assert result.verdicts[PAIR].status == "fail"
    (finding,) = result.findings
    assert says in finding.what


def test_a_deviation_in_use_and_one_of_a_check_that_did_not_run_are_fine():
    used = _results()["X-1"]
    used.verdicts["pytorch"] = Verdict("deviates", "D-1: known")
    for results in ([used], []):
        assert not judge_ledgers(results, [_deviation()], {}, [], _checks(), {}).findings


def _judged(spec, bindings, monkeypatch, floors=None):
    counted = {"parsed": 2, "bound": 2, "executed": 2, **(floors or {})}
    entries = [("floors.toml", {"id": k, "value": v, "reason": "x"}) for k, v in counted.items()]
    monkeypatch.setattr("parity.matrix.read_entries", lambda path, table: entries)
    verdicts = judge(spec, bindings, _results(), _SUBJECTS)
    result = judge_specification(verdicts, spec, bindings, _checks(), complete=True)
    return [finding.what for finding in result.findings]


def test_a_whole_specification_has_no_finding(monkeypatch):
    assert _judged(_spec(), _bindings(_spec(), "1-1", "1-2"), monkeypatch) == []


def test_a_clause_that_vanishes_sinks_a_floor(monkeypatch):
    spec = _spec(_TEXT.replace("- **[1-2]** Rest MUST follow.\n", ""))
    said = _judged(spec, _bindings(spec, "1-1"), monkeypatch)
    assert [line.partition(";")[0] for line in said] == [
        "1 parsed",
        "1 bound",
        "1 executed",
    ]


def test_a_normative_sentence_without_an_id_is_a_finding(monkeypatch):
    spec = _spec(_TEXT.replace("## 1. Demo", "## 1. Demo\n\nAll must be well."))
    (line,) = _judged(spec, _bindings(spec, "1-1", "1-2"), monkeypatch)
    assert line.startswith("specs/demo.md:7: normative sentence without an id")


def test_a_decision_held_by_nothing_is_a_finding():
    spec = _spec(_TEXT.replace("1-1, X-1", "1-1, 9-9"))
    (line,) = dangling(spec, _bindings(spec, "1-1"), _checks())
    assert "'end' is held by '9-9'" in line
    assert not dangling(_spec(), _bindings(_spec(), "1-1"), _checks())


def test_clauses_by_check():
    spec = _spec()
    assert clauses_by_check(spec, _bindings(spec, "1-1", "1-2")) == {"X-1": ["1-1"], "X-2": ["1-2"]}


def test_a_third_backend_that_cannot_run_sinks_no_floor():
    spec = _spec()
    results = _results()
    for result in results.values():
        result.verdicts["jax"] = Verdict("not-run", "no training")
    verdicts = judge(spec, _bindings(spec, "1-1", "1-2"), results, (*_SUBJECTS, "jax"))
    assert [v.worst for v in verdicts] == ["not-run", "not-run"]
    assert [v.contracted for v in verdicts] == ["pass", "pass"]
    assert [v.verdicts[PAIR] for v in verdicts] == ["pass", "pass"]


def test_a_row_that_cannot_be_read_is_a_finding_and_breaks_nothing():
    from parity.checks import rows, rows_config

    table = (
        "<!-- table: t kind=fields target=ptycho.config.config:ModelConfig -->\n"
        "| Field | Type | Default | Allowed |\n|---|---|---|---|\n| `N` | int | `6 4` | any |\n"
    )
    (row,) = _spec(_TEXT + "\n" + table).of_table("t")
    run = Recorder("t/N", {"tensorflow": None, "pytorch": None}, {})
    rows._check_row(rows_config.check_field, row, run)
    assert {finding.subject for finding in run.findings} == {"tensorflow", "pytorch"}
    assert "default '6 4' is not a Python literal" in run.findings[0].what
