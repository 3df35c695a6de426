"""What stands behind the checks: ledgers in use and in date, every clause bound, floors kept."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence

from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import Check, CheckResult, Verdict
from parity.clauses import ClauseVerdict, dangling
from parity.harness import RunCheck, complaints
from parity.ledger import Deviation, Noise, Tolerance, below_noise
from parity.ledger.bindings import Binding
from parity.ledger.tolerances import loosened
from parity.matrix import floors_below
from parity.spec.records import Spec

LEDGER_ID = "LEDGER"
SPEC_ID = "SPEC"
HARNESS_ID = "HARNESS"

#: Verdicts of clauses whose checks ran.
_EXECUTED = ("pass", "deviates", "fail")


def _result(id: str, title: str, complaints: Iterable[str]) -> CheckResult:
    recorder = Recorder(id, {}, {})
    for what in complaints:
        recorder.fail(PAIR, what)
    verdict = Verdict("fail" if recorder.findings else "pass")
    return CheckResult(id, title, {PAIR: verdict}, recorder.findings, comparisons=1)


def _complaint(entry: Deviation, results: Mapping[str, CheckResult], today: datetime.date) -> str:
    """Return what is wrong with a declared deviation, or an empty text."""
    place = f"deviation {entry.id} (deviations.toml, check {entry.check}, {entry.subject})"
    if entry.expired(today):
        return f"{place} expired on {entry.expires}: {entry.reason}; owner {entry.owner}"
    result = results.get(entry.check)
    verdict = result.verdicts.get(entry.subject) if result else None
    if result is None or verdict is None or verdict.status == "not-run":
        return ""
    if verdict.status == "fail":
        found = [f.what for f in result.findings if f.subject == entry.subject]
        other = next((what for what in found if entry.symptom not in what), verdict.reason)
        return f"{place} records the symptom {entry.symptom!r}; found: {other}"
    if not verdict.reason.startswith(f"{entry.id}: "):
        return f"{place} covers nothing: remove it"
    return ""


def judge_harness(run_check: RunCheck) -> CheckResult:
    """Fail a harness that does not tell right from wrong on made-up cases."""
    title = "Comparison, verdicts and clauses tell right from wrong on made-up cases"
    return _result(HARNESS_ID, title, complaints(run_check))


def judge_ledgers(
    results: Iterable[CheckResult],
    deviations: Iterable[Deviation],
    tolerances: Mapping[str, Tolerance],
    unused_tolerances: Iterable[str],
    checks: Mapping[str, Check],
    noise: Mapping[str, Noise],
) -> CheckResult:
    """Fail deviations that are expired, cover nothing or name no check, and tolerances.

    Those that no check uses, those far beyond what they are meant to cover, and those below the
    noise of one backend.
    """
    by_id = {result.id: result for result in results}
    today = datetime.date.today()
    lines = []
    for entry in deviations:
        if entry.check in checks:
            lines.append(_complaint(entry, by_id, today))
        else:
            lines.append(f"deviation {entry.id}: there is no check {entry.check}")
    lines += [f"tolerance {name} is used by no check: remove it" for name in unused_tolerances]
    lines += [loosened(tolerance) for tolerance in tolerances.values()]
    lines += below_noise(tolerances, noise)
    title = "Every declared deviation and tolerance is in use, in date and as wide as measured"
    return _result(LEDGER_ID, title, filter(None, lines))


def judge_specification(
    verdicts: Sequence[ClauseVerdict],
    spec: Spec,
    bindings: Mapping[str, Binding],
    checks: Mapping[str, Check],
    complete: bool,
) -> CheckResult:
    """Fail text that cannot be read, bindings to nothing, clauses without a check, sunken floors.

    Unless the run was ``complete`` the floor of executed clauses is left alone.
    """
    lines = [str(finding) for finding in spec.findings]
    lines += dangling(spec, bindings, checks)
    standing = [verdict.worst for verdict in verdicts]
    lines += [
        f"[{verdict.record.id}] is {verdict.worst}: {verdict.reason}"
        for verdict in verdicts
        if verdict.worst in ("unbound", "suspect")
    ]
    counted = {
        "parsed": len(standing),
        "bound": sum(worst != "unbound" for worst in standing),
        "executed": sum(verdict.contracted in _EXECUTED for verdict in verdicts),
        "taps": len(spec.of_table("taps")),
    }
    lines += floors_below(counted, () if complete else ("executed",))
    title = "The specification reads, every clause is bound to a check, and no floor has sunk"
    return _result(SPEC_ID, title, lines)
