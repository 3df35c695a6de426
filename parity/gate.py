"""Run the checks and turn what they observed into verdicts."""

from __future__ import annotations

import dataclasses
import datetime
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.backends import Backend, load_backends
from parity.checks.recorder import PAIR, Measurement, NotRun, Recorder
from parity.checks.registry import Check, CheckResult, Verdict, registered_checks
from parity.clauses import ClauseVerdict, dangling, judge
from parity.ledger import Deviation, Tolerance, load_deviations, load_tolerances
from parity.ledger.bindings import Binding, load_bindings
from parity.matrix import checks_for, floors_below
from parity.spec.parse import load_specification
from parity.spec.records import Spec

LEDGER_ID = "LEDGER"
SPEC_ID = "SPEC"

_NOT_SELECTED = "not selected"

#: Verdicts of clauses whose checks ran.
_EXECUTED = ("pass", "deviates", "fail")

Progress = Callable[[CheckResult], None]


@dataclass
class GateReport:
    """The outcome of a gate run."""

    checks: list[CheckResult] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    clauses: list[ClauseVerdict] = field(default_factory=list)
    backends: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def summary(self) -> dict[str, int]:
        """Verdicts by status, checks that broke, and comparisons made."""
        counts = Counter(v.status for c in self.checks for v in c.verdicts.values())
        return {
            "checks": len(self.checks),
            **{status: counts[status] for status in ("pass", "fail", "deviates", "not-run")},
            "broken": sum(bool(c.error) for c in self.checks),
            "comparisons": sum(c.comparisons for c in self.checks),
            "clauses": len(self.clauses),
            "clauses_red": sum(verdict.red for verdict in self.clauses),
        }

    @property
    def exit_code(self) -> int:
        """0 where parity holds, 1 where a verdict fails, 2 where the harness itself failed.

        A run that gave no passing verdict proves nothing and counts as a failure of the harness.
        """
        summary = self.summary
        if summary["broken"]:
            return 2
        if summary["fail"]:
            return 1
        return 0 if summary["pass"] else 2

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "summary": {**self.summary, "exit_code": self.exit_code, "seconds": self.seconds},
            "backends": self.backends,
            "checks": [_plain(result) for result in self.checks],
            "clauses": [verdict.to_json() for verdict in self.clauses],
        }


def _plain(result: CheckResult) -> dict[str, Any]:
    return {
        "id": result.id,
        "title": result.title,
        "verdicts": {name: verdict.status for name, verdict in result.verdicts.items()},
        "reasons": {n: v.reason for n, v in result.verdicts.items() if v.reason},
        "findings": [dataclasses.asdict(finding) for finding in result.findings],
        "seconds": round(result.seconds, 3),
        "error": result.error,
    }


def _verdict(
    subject: str, recorder: Recorder, reason_not_run: str | None, deviations: list[Deviation]
) -> Verdict:
    if reason_not_run:
        return Verdict("not-run", reason_not_run)
    failures = [f for f in recorder.findings if f.subject == subject]
    if not failures:
        if recorder.observed[subject]:
            return Verdict("pass")
        return Verdict("fail", "the check observed nothing for this subject")
    for entry in deviations:
        covers = entry.check == recorder.check and entry.subject == subject
        if covers and all(entry.symptom in f.what for f in failures):
            return Verdict("deviates", f"{entry.id}: {entry.reason}")
    return Verdict("fail")


def _subjects(check: Check, names: Iterable[str]) -> list[str]:
    subjects = list(names) if "backend" in check.judges else []
    return [*subjects, PAIR] if PAIR in check.judges else subjects


def _no_pair(unavailable: Mapping[str, str]) -> str:
    return "needs two backends; " + "; ".join(f"{k}: {why}" for k, why in unavailable.items())


def run_check(
    check: Check,
    backends: Mapping[str, Backend],
    unavailable: Mapping[str, str],
    tolerances: Mapping[str, Tolerance],
    deviations: Iterable[Deviation] = (),
    seed: int = 0,
    memory: dict[Any, Any] | None = None,
) -> tuple[CheckResult, list[Measurement]]:
    """Run one check on the available ``backends``; ``unavailable`` maps the others to reasons.

    ``memory`` holds what the checks of one gate run share.
    """
    recorder = Recorder(check.id, backends, tolerances, seed, {} if memory is None else memory)
    start = time.perf_counter()
    error = not_run = ""
    if backends or check.framework_free:
        try:
            check.function(recorder)
        except NotRun as reason:
            not_run = str(reason)
        except Exception:
            error = traceback.format_exc()
            not_run = "the check itself broke"
    valid = [d for d in deviations if not d.expired(datetime.date.today())]
    verdicts = {}
    for subject in _subjects(check, [*backends, *unavailable]):
        why = not_run or unavailable.get(subject)
        if subject == PAIR and len(backends) < 2 and not check.framework_free:
            why = why or _no_pair(unavailable)
        verdicts[subject] = _verdict(subject, recorder, why, valid)
    result = CheckResult(
        check.id,
        check.title,
        verdicts,
        recorder.findings,
        time.perf_counter() - start,
        sum(recorder.observed.values()),
        error,
    )
    return result, recorder.measurements


def _choose(ids: Iterable[str] | None) -> list[Check]:
    checks = registered_checks()
    if ids is None:
        return list(checks.values())
    chosen: list[Check] = []
    for wanted in ids:
        matching = [c for c in checks.values() if c.id == wanted or c.id.startswith(f"{wanted}-")]
        if not matching:
            raise KeyError(f"no parity check is called {wanted!r}; known: {', '.join(checks)}")
        chosen += [c for c in matching if c not in chosen]
    return chosen


def _split(
    names: Iterable[str] | None, import_them: bool = True
) -> tuple[dict[str, Backend], dict[str, str], dict[str, str]]:
    """Return available backends, reasons for the others, and a line on each for the report.

    Without ``import_them`` no framework is imported and none counts as available.
    """
    known = load_backends()
    wanted = list(known) if names is None else list(names)
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise KeyError(f"no parity backend is called {unknown[0]!r}; known: {', '.join(known)}")
    available: dict[str, Backend] = {}
    unavailable: dict[str, str] = {}
    for name, backend in known.items():
        reason: str | None = _NOT_SELECTED
        if name in wanted:
            reason = backend.available() if import_them else "not needed by the chosen checks"
        if reason is None:
            available[name] = backend
        else:
            unavailable[name] = reason
    lines = {name: unavailable.get(name, "available") for name in known}
    return available, unavailable, lines


def _selected(lines: Mapping[str, str]) -> set[str]:
    """Return the names of the backends that were selected, whether they can run or not."""
    return {name for name, line in lines.items() if line != _NOT_SELECTED}


def _judge_ledgers(report: GateReport, deviations: list[Deviation], tolerances: set[str]) -> None:
    """Fail deviations that are expired or cover nothing, and tolerances that nothing uses."""
    findings = []
    reasons = [v.reason for c in report.checks for v in c.verdicts.values()]
    for entry in deviations:
        if entry.expired(datetime.date.today()):
            findings.append(f"deviation {entry.id} expired on {entry.expires}: {entry.reason}")
        elif not any(reason.startswith(f"{entry.id}: ") for reason in reasons):
            findings.append(f"deviation {entry.id} covers nothing: remove it")
    unused = tolerances - {m.tolerance for m in report.measurements}
    findings += [f"tolerance {name} is used by no check: remove it" for name in sorted(unused)]
    recorder = Recorder(LEDGER_ID, {}, {})
    for what in findings:
        recorder.fail(PAIR, what)
    verdict = Verdict("fail" if findings else "pass")
    title = "Every declared deviation and tolerance is in use and in date"
    report.checks.append(
        CheckResult(LEDGER_ID, title, {PAIR: verdict}, recorder.findings, comparisons=1)
    )


def _judge_spec(report: GateReport, spec: Spec, bindings: Mapping[str, Binding]) -> None:
    """Fail text that cannot be read, clauses without a check, stale bindings, sunken floors."""
    recorder = Recorder(SPEC_ID, {}, {})
    lines = [str(finding) for finding in spec.findings]
    lines += dangling(spec, bindings, registered_checks())
    lines += [
        f"[{verdict.record.id}] {verdict.worst}: {verdict.reason}; see parity explain"
        for verdict in report.clauses
        if verdict.worst in ("unbound", "suspect")
    ]
    lines += floors_below(
        {
            "parsed": len(report.clauses),
            "bound": sum(verdict.worst != "unbound" for verdict in report.clauses),
            "executed": sum(verdict.worst in _EXECUTED for verdict in report.clauses),
        }
    )
    for line in lines:
        recorder.fail(PAIR, line)
    verdict = Verdict("fail" if lines else "pass")
    title = "The specification reads, every clause is bound to a check, and no floor has sunk"
    report.checks.append(
        CheckResult(SPEC_ID, title, {PAIR: verdict}, recorder.findings, comparisons=1)
    )


def _judge_clauses(report: GateReport, spec: Spec, bindings: Mapping[str, Binding]) -> None:
    results = {result.id: result for result in report.checks}
    report.clauses = judge(spec, bindings, results, report.backends)


def run_gate(
    ids: Iterable[str] | None = None,
    backends: Iterable[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    fast: bool = False,
) -> GateReport:
    """Run the checks and return the report.

    ``ids`` are ids of checks, clauses or rows, or their leading parts ("F" means all F checks);
    ``backends`` names the backends to run. ``fast`` leaves out what needs a framework.
    ``progress`` is called after each check. On a complete run the ledgers and the specification
    are judged as well. Raises ``KeyError`` for unknown ids and names, ``ledger.LedgerError`` for a
    malformed ledger.
    """
    start = time.perf_counter()
    spec, bindings = load_specification(), load_bindings()
    if ids is not None:
        ids = checks_for(ids, spec, bindings, registered_checks())
    checks = [check for check in _choose(ids) if not (fast and check.framework)]
    tolerances, deviations = load_tolerances(), load_deviations()
    needed = any(check.framework for check in checks)
    available, unavailable, lines = _split(backends, import_them=needed)
    report = GateReport(backends=lines)
    memory: dict[Any, Any] = {}
    for check in checks:
        able, unable = available, unavailable
        if not check.framework:
            able = {name: b for name, b in load_backends().items() if name in _selected(lines)}
            unable = {name: why for name, why in unavailable.items() if name not in able}
        result, measured = run_check(check, able, unable, tolerances, deviations, seed, memory)
        report.checks.append(result)
        report.measurements += measured
        if progress is not None:
            progress(result)
    _judge_clauses(report, spec, bindings)
    if ids is None and not unavailable:
        _judge_ledgers(report, deviations, set(tolerances))
        _judge_spec(report, spec, bindings)
        if progress is not None:
            for result in report.checks[-2:]:
                progress(result)
    elif ids is not None:
        ran = {result.id for result in report.checks}
        report.clauses = [v for v in report.clauses if ran.intersection(v.checks)]
    report.seconds = time.perf_counter() - start
    return report
