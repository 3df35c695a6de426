"""Run the checks and turn what they observed into verdicts."""

from __future__ import annotations

import dataclasses
import datetime
import difflib
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parity import process
from parity.backends import CONTRACTED, ON_REQUEST, Backend, NotOffered, load_backends
from parity.blame import to_blame
from parity.checks.recorder import PAIR, Measurement, NotRun, Recorder, summary_of
from parity.checks.registry import Check, CheckResult, Verdict, registered_checks
from parity.clauses import ClauseVerdict, chosen_records, judge
from parity.ledger import Deviation, Tolerance, load_deviations, load_noise, load_tolerances
from parity.ledger.bindings import load_bindings
from parity.matrix import checks_for
from parity.spec.parse import load_specification
from parity.standing import judge_harness, judge_ledgers, judge_specification

#: Names ``report.schema.json``; the number grows when readers of a report have to change.
SCHEMA_ID = "ptychopinn-parity-report-1"

_NOT_SELECTED = "not selected"

Progress = Callable[[CheckResult], None]
Memory = dict[Any, Any]


@dataclass
class GateReport:
    """The outcome of a gate run."""

    checks: list[CheckResult] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    clauses: list[ClauseVerdict] = field(default_factory=list)
    backends: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    seed: int = 0

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
        if summary["fail"] or summary["clauses_red"]:
            return 1
        return 0 if summary["pass"] else 2

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain values, as ``parity/report.schema.json`` describes them."""
        return {
            "schema": SCHEMA_ID,
            "summary": {**self.summary, "exit_code": self.exit_code, "seconds": self.seconds},
            "seed": self.seed,
            "settings": process.in_force(),
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
    subject: str, recorder: Recorder, not_run: str | None, deviations: list[Deviation]
) -> Verdict:
    if not_run:
        return Verdict("not-run", not_run)
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


def _run_guest(
    check: Check, backend: Backend, tolerances: Mapping[str, Tolerance], seed: int, memory: Memory
) -> tuple[Recorder, str]:
    """Run a check on a third backend alone: whatever it does, only its own column changes."""
    own = memory.setdefault(("guest", backend.name), {})
    recorder = Recorder(check.id, {backend.name: backend}, tolerances, seed, own)
    not_run = ""
    try:
        check.function(recorder)
    except (NotRun, NotOffered) as reason:
        not_run = str(reason)
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}:{place.lineno}"
        recorder.fail(backend.name, f"raised {type(error).__name__}: {error} at {where}")
    recorder.findings = [f for f in recorder.findings if f.subject == backend.name]
    if recorder.findings:
        not_run = ""
    elif not recorder.observed[backend.name]:
        not_run = not_run or "the check does not look at this backend"
    return recorder, not_run


def run_check(
    check: Check,
    backends: Mapping[str, Backend],
    unavailable: Mapping[str, str],
    tolerances: Mapping[str, Tolerance],
    deviations: Iterable[Deviation] = (),
    seed: int = 0,
    memory: Memory | None = None,
    guests: Mapping[str, Backend] | None = None,
) -> tuple[CheckResult, list[Measurement]]:
    """Run one check on the available ``backends``; ``unavailable`` maps the others to reasons.

    The backends are compared with each other; each of the ``guests`` runs alone and has no part
    in the pair. ``memory`` holds what the checks of one gate run share.
    """
    memory = {} if memory is None else memory
    recorder = Recorder(check.id, backends, tolerances, seed, memory)
    start = time.perf_counter()
    error = not_run = ended = ""
    subjects = _subjects(check, [*backends, *unavailable])
    if backends or check.framework_free:
        try:
            check.function(recorder)
        except (NotRun, NotOffered) as reason:
            not_run = str(reason)
        except Exception as raised:
            guilty = to_blame(raised, [s for s in subjects if s not in unavailable])
            for subject in guilty:
                recorder.fail(subject, f"ended the check: {summary_of(raised)}")
            if guilty:
                ended = f"the check ended at a failure of {', '.join(guilty)}"
            else:
                error = traceback.format_exc()
                not_run = "the check itself broke"
    valid = [d for d in deviations if not d.expired(datetime.date.today())]
    verdicts = {}
    for subject in subjects:
        why = not_run or unavailable.get(subject)
        if ended and not any(f.subject == subject for f in recorder.findings):
            why = why or ended
        if subject == PAIR and len(backends) < 2 and not check.framework_free:
            why = why or _no_pair(unavailable)
        verdicts[subject] = _verdict(subject, recorder, why, valid)
    findings, comparisons = list(recorder.findings), sum(recorder.observed.values())
    for name, guest in (guests or {}).items():
        if "backend" in check.judges:
            alone, why = _run_guest(check, guest, tolerances, seed, memory)
            verdicts[name] = _verdict(name, alone, why, valid)
            findings += alone.findings
            comparisons += alone.observed[name]
    result = CheckResult(
        check.id,
        check.title,
        verdicts,
        findings,
        time.perf_counter() - start,
        comparisons,
        error,
        frozenset(recorder.unnamed),
    )
    return result, recorder.measurements


def _choose(ids: Iterable[str] | None) -> list[Check]:
    checks = registered_checks()
    if ids is None:
        return list(checks.values())
    chosen: list[Check] = []
    for wanted in ids:
        several = (f"{wanted}-", f"{wanted}/")
        matching = [c for c in checks.values() if c.id == wanted or c.id.startswith(several)]
        if not matching:
            near = ", ".join(difflib.get_close_matches(wanted, checks))
            hint = f"near it: {near}; " if near else ""
            raise KeyError(f"no parity check is called {wanted!r}; {hint}parity list shows all")
        chosen += [c for c in matching if c not in chosen]
    return chosen


@dataclass(frozen=True)
class _Present:
    """The backends of a gate run: those that can run, and why the others cannot."""

    known: dict[str, Backend]
    able: dict[str, Backend]
    unable: dict[str, str]

    @classmethod
    def of(cls, names: Iterable[str] | None, import_them: bool) -> _Present:
        """Select by name. Without ``import_them`` no framework is imported and none is able."""
        known = load_backends()
        wanted = set(known) - ON_REQUEST if names is None else set(names)
        unknown = sorted(wanted - set(known))
        if unknown:
            raise KeyError(f"no parity backend is called {unknown[0]!r}; known: {', '.join(known)}")
        known = {n: b for n, b in known.items() if n in wanted or n not in ON_REQUEST}
        able, unable = {}, {}
        for name, backend in known.items():
            reason: str | None = _NOT_SELECTED
            if name in wanted:
                reason = backend.available() if import_them else "not needed by the chosen checks"
            if reason is None:
                able[name] = backend
            else:
                unable[name] = reason
        return cls(known, able, unable)

    @property
    def lines(self) -> dict[str, str]:
        """A line on each for the report."""
        return {name: self.unable.get(name, "available") for name in self.known}

    @property
    def complete(self) -> bool:
        """Tell whether both backends of the contract can run."""
        return set(self.able) >= CONTRACTED

    def for_check(
        self, check: Check
    ) -> tuple[dict[str, Backend], dict[str, Backend], dict[str, str]]:
        """Return those that the check compares, its guests, and why the others do not run."""
        unable = self.unable
        if not check.framework:
            unable = {name: why for name, why in unable.items() if why == _NOT_SELECTED}
        able = {name: b for name, b in self.known.items() if name not in unable}
        guests = {name: able.pop(name) for name in list(able) if name not in CONTRACTED}
        return able, guests, unable


def run_gate(
    ids: Iterable[str] | None = None,
    backends: Iterable[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    fast: bool = False,
) -> GateReport:
    """Run the checks and return the report.

    ``ids`` are ids of checks, clauses or rows, or their leading parts ("F" means all F checks);
    ``backends`` names the backends to run. ``fast`` leaves out what needs a framework,
    or seconds.
    ``progress`` is called after each check. Without ``ids`` the ledgers and the specification are
    judged as well, as far as what ran can tell. Raises ``KeyError`` for unknown ids and names,
    ``ledger.LedgerError`` for a malformed ledger.
    """
    start = time.perf_counter()
    spec, bindings = load_specification(), load_bindings()
    ids = None if ids is None else list(ids)
    wanted = None if ids is None else checks_for(ids, spec, bindings, registered_checks())
    checks = [check for check in _choose(wanted) if not fast or check.quick and not check.framework]
    tolerances, deviations = load_tolerances(), load_deviations()
    present = _Present.of(backends, import_them=any(check.framework for check in checks))
    report = GateReport(backends=present.lines, seed=seed)
    memory: Memory = {c.prepare: c.prepare(seed) for c in checks if c.prepare is not None}
    for check in checks:
        able, guests, unable = present.for_check(check)
        result, measured = run_check(
            check, able, unable, tolerances, deviations, seed, memory, guests
        )
        report.checks.append(result)
        report.measurements += measured
        if progress is not None:
            progress(result)
    results = {result.id: result for result in report.checks}
    report.clauses = judge(spec, bindings, results, report.backends)
    if ids is None:
        complete = present.complete and not fast
        used = {m.tolerance for m in report.measurements if not m.noise}
        unused = sorted(set(tolerances) - used) if complete else []
        standing = [
            judge_harness(run_check),
            judge_ledgers(
                results.values(), deviations, tolerances, unused, registered_checks(), load_noise()
            ),
            judge_specification(report.clauses, spec, bindings, registered_checks(), complete),
        ]
        report.checks += standing
        if progress is not None:
            for result in standing:
                progress(result)
    else:
        report.clauses = chosen_records(report.clauses, ids)
    report.seconds = time.perf_counter() - start
    return report
