"""Verdicts, exit codes and the report, on made-up checks and backends."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pytest

from parity import gate
from parity.backends import load_backends
from parity.checks.recorder import PAIR, NotRun
from parity.checks.registry import Check, CheckResult, Verdict, check
from parity.compare import compare
from parity.gate import GateReport, run_check
from parity.ledger import Deviation, Tolerance

_TODAY = datetime.date.today()


class _Backend:
    def __init__(self, name, value):
        self.name = name
        self.value = value

    def answer(self):
        if isinstance(self.value, Exception):
            raise self.value
        return np.asarray(self.value)


def _tolerance(value=1e-3):
    return {"t": Tolerance("t", value, 0.0, 0.0, 0.0, 1, _TODAY, "because", "someone")}


def _agree(run):
    answers = run.collect(lambda backend: backend.answer())
    for name, answer in answers.items():
        run.judge(name, [compare(answer, np.array(1.0), "answer")], "t", "the case")
    for left, right in run.pairs(answers):
        run.judge(PAIR, [compare(left, right, "answer")], "t")


def _run(function, values, judges=("backend", "pair"), unavailable=None, deviations=()):
    backends = {name: _Backend(name, value) for name, value in values.items()}
    made_up = Check("X-1", "made up", function, frozenset(judges))
    result, measured = run_check(made_up, backends, unavailable or {}, _tolerance(), deviations)
    return result, {name: verdict.status for name, verdict in result.verdicts.items()}, measured


def test_agreement_passes_and_is_measured():
    _, verdicts, measured = _run(_agree, {"a": 1.0, "b": 1.0001})
    assert verdicts == {"a": "pass", "b": "pass", PAIR: "pass"}
    assert [(m.subject, m.tolerance, round(m.value, 6)) for m in measured] == [
        ("a", "t", 0.0),
        ("b", "t", 0.0001),
        (PAIR, "t", 0.0001),
    ]


def test_the_red_one_is_the_one_that_is_wrong():
    result, verdicts, _ = _run(_agree, {"a": 1.0, "b": 1.1})
    assert verdicts == {"a": "pass", "b": "fail", PAIR: "fail"}
    assert {f.subject for f in result.findings} == {"b", PAIR}
    (finding,) = [f for f in result.findings if f.subject == "b"]
    assert "1.1 vs 1" in finding.what
    assert "tolerance t = 1.0e-03" in finding.what
    assert finding.case == "the case"


def test_a_backend_that_raises_fails_alone_and_leaves_no_pair():
    result, verdicts, _ = _run(_agree, {"a": 1.0, "b": ValueError("broken pipe")})
    assert verdicts == {"a": "pass", "b": "fail", PAIR: "fail"}
    assert any("ValueError: broken pipe at " in f.what for f in result.findings)
    assert result.verdicts[PAIR].reason == "the check observed nothing for this subject"


def test_nan_on_one_side_fails():
    _, verdicts, _ = _run(_agree, {"a": 1.0, "b": float("nan")})
    assert verdicts == {"a": "pass", "b": "fail", PAIR: "fail"}


def test_comparing_zeros_or_nothing_is_a_failure():
    def zeros(run):
        for name in run.backends:
            run.judge(name, [compare(np.zeros(3), np.zeros(3), "zeros")], "t")

    assert set(_run(zeros, {"a": 1, "b": 1})[1].values()) == {"fail"}
    assert set(_run(lambda run: None, {"a": 1, "b": 1})[1].values()) == {"fail"}


def test_an_unknown_tolerance_breaks_the_check():
    def made_up_tolerance(run):
        run.judge("a", [compare(1.0, 1.0)], "no.such.tolerance")

    result, verdicts, _ = _run(made_up_tolerance, {"a": 1.0}, ("backend",))
    assert "no.such.tolerance" in result.error
    assert verdicts == {"a": "not-run"}


def test_absent_backends_are_not_run_with_their_reason():
    result, verdicts, _ = _run(_agree, {"a": 1.0}, unavailable={"b": "install b"})
    assert verdicts == {"a": "pass", "b": "not-run", PAIR: "not-run"}
    assert result.verdicts["b"].reason == "install b"
    assert "install b" in result.verdicts[PAIR].reason
    nobody = _run(_agree, {}, unavailable={"a": "no", "b": "no"})
    assert set(nobody[1].values()) == {"not-run"}


def test_a_check_of_what_is_shared_runs_without_any_backend():
    def shared(run):
        run.require(PAIR, True, "")

    assert _run(shared, {}, (PAIR,), {"a": "no", "b": "no"})[1] == {PAIR: "pass"}


def test_a_check_may_say_that_it_cannot_run():
    def cannot(run):
        raise NotRun("no file here")

    result, verdicts, _ = _run(cannot, {"a": 1.0, "b": 1.0})
    assert set(verdicts.values()) == {"not-run"}
    assert result.verdicts["a"].reason == "no file here"


def _deviation(**changes):
    fields = {
        "id": "D-1",
        "check": "X-1",
        "subject": "b",
        "symptom": "1.1 vs 1",
        "reason": "known",
        "owner": "someone",
        "expires": _TODAY,
    }
    return Deviation(**{**fields, **changes})


def test_a_declared_deviation_covers_its_own_verdict_only():
    _, verdicts, _ = _run(_agree, {"a": 1.0, "b": 1.1}, deviations=[_deviation()])
    assert verdicts == {"a": "pass", "b": "deviates", PAIR: "fail"}


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "a"},
        {"check": "X-2"},
        {"symptom": "1.2 vs 1"},
        {"expires": _TODAY - datetime.timedelta(days=1)},
    ],
)
def test_another_symptom_subject_check_or_an_expired_entry_covers_nothing(changes):
    _, verdicts, _ = _run(_agree, {"a": 1.0, "b": 1.1}, deviations=[_deviation(**changes)])
    assert verdicts["b"] == "fail"


def test_a_deviation_must_cover_every_finding_of_its_verdict():
    def twice(run):
        run.fail("b", "1.1 vs 1")
        run.fail("b", "something new")

    assert _run(twice, {"b": 1}, ("backend",), deviations=[_deviation()])[1] == {"b": "fail"}


def _report(*statuses, error=""):
    verdicts = {str(i): Verdict(status) for i, status in enumerate(statuses)}
    return GateReport([CheckResult("X-1", "made up", verdicts, error=error)])


def test_exit_codes():
    assert _report("pass", "deviates", "not-run").exit_code == 0
    assert _report("pass", "fail").exit_code == 1
    assert _report("fail", error="Traceback").exit_code == 2
    assert _report("not-run", "not-run").exit_code == 2
    assert GateReport().exit_code == 2


def test_the_json_report_has_plain_verdicts_and_findings():
    result, _, _ = _run(_agree, {"a": 1.0, "b": 1.1})
    document = json.loads(json.dumps(GateReport([result]).to_json()))
    (entry,) = document["checks"]
    assert entry["verdicts"] == {"a": "pass", "b": "fail", PAIR: "fail"}
    assert entry["findings"][0].keys() == {"subject", "what", "case"}
    assert document["summary"]["fail"] == 2
    assert entry["seconds"] >= 0


def test_an_id_is_registered_once():
    from parity.checks.registry import registered_checks

    registered_checks()
    with pytest.raises(ValueError, match="W-1"):
        check("W-1", "again")(lambda run: None)


def test_unknown_ids_and_backends_are_named():
    with pytest.raises(KeyError, match="Q-9"):
        gate.run_gate(["Q-9"])
    with pytest.raises(KeyError, match="jax"):
        gate.run_gate(["C-1"], ["jax"])


def test_two_backends_cannot_share_a_name(monkeypatch):
    class Entry:
        def load(self):
            return lambda: _Backend("tensorflow", 1)

    monkeypatch.setattr("parity.backends.entry_points", lambda group: [Entry()])
    with pytest.raises(ValueError, match="tensorflow"):
        load_backends()


def test_an_entry_point_adds_a_backend(monkeypatch):
    class Entry:
        def load(self):
            return lambda: _Backend("jax", 1)

    monkeypatch.setattr("parity.backends.entry_points", lambda group: [Entry()])
    assert list(load_backends()) == ["tensorflow", "pytorch", "numpy", "jax"]
