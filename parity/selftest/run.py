"""Plant every defect, run the gate, and judge whether it saw it, and nothing else.

The unmodified tree is judged once, with every check that any defect uses; it has to be green.
Then each defect is planted alone in a copy of the tree.
"""

from __future__ import annotations

import queue
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parity.checks.recorder import PAIR
from parity.selftest.defects import Defect, DefectError
from parity.selftest.gates import Outcome, run_gate_on
from parity.selftest.tree import DamagedTree

__all__ = ["RedBaseline", "Row", "SelftestReport", "judge_baseline", "run_selftest", "try_defect"]

#: Names ``parity selftest --json`` documents.
SCHEMA_ID = "ptychopinn-parity-selftest-1"


class RedBaseline(RuntimeError):
    """The gate is red without any defect: nothing can be learnt from planting one."""


@dataclass(frozen=True)
class Row:
    """What became of one defect: ``why`` it was missed, empty where the gate killed it."""

    defect: Defect
    outcome: Outcome
    why: tuple[str, ...]
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether the gate went red as demanded."""
        return not self.why

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        defect = self.defect
        return {
            "id": defect.id,
            "what": defect.what,
            "where": defect.where,
            "kind": defect.kind,
            "gate": defect.gate,
            "clause": defect.clause,
            "expected": {check: list(subjects) for check, subjects in defect.red.items()},
            "peer": defect.peer,
            "exit_code": self.outcome.exit_code,
            "red": {check: list(subjects) for check, subjects in self.outcome.red.items()},
            "red_clauses": sorted(self.outcome.clauses),
            "killed": self.killed,
            "why_not": list(self.why),
            "seconds": round(self.seconds, 1),
        }


@dataclass
class SelftestReport:
    """All rows, in the order in which they were planted."""

    rows: list[Row] = field(default_factory=list)
    baseline_seconds: float = 0.0
    seconds: float = 0.0
    witnesses: tuple[str, ...] = ()

    @property
    def killed(self) -> int:
        """How many defects turned the gate red as demanded."""
        return sum(row.killed for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        from parity import process

        return {
            "schema": SCHEMA_ID,
            "planted": len(self.rows),
            "killed": self.killed,
            "seconds": round(self.seconds, 1),
            "baseline_seconds": round(self.baseline_seconds, 1),
            "settings": process.in_force(),
            "witnesses": list(self.witnesses),
            "defects": [row.to_json() for row in self.rows],
        }


def _checks_of(defect: Defect, witnesses: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*defect.red, *witnesses]))


def judge_baseline(tree: DamagedTree, defects: Iterable[Defect], witnesses: Sequence[str]) -> None:
    """Run what the defects need on the unmodified tree; :class:`RedBaseline` unless it is green."""
    defects = list(defects)
    for gate in dict.fromkeys(defect.gate for defect in defects):
        of_gate = [defect for defect in defects if defect.gate == gate]
        checks = dict.fromkeys(check for d in of_gate for check in _checks_of(d, witnesses))
        outcome = run_gate_on(tree.folder, gate, list(checks))
        if outcome.exit_code != 0 or outcome.red:
            red = ", ".join(outcome.red) or outcome.said.strip()[-400:]
            raise RedBaseline(
                f"without any defect the gate ({gate}) ends with exit code {outcome.exit_code}: "
                f"{red}. Make it green first"
            )
        if gate != "chains":
            wanted = {check for defect in of_gate for check in defect.red}
            unknown = sorted(wanted - outcome.known)
            if unknown:
                raise DefectError(f"defects name checks that do not exist: {', '.join(unknown)}")


def _misses(defect: Defect, outcome: Outcome) -> list[str]:
    """Return why a defect does not count as killed."""
    lines = []
    if outcome.exit_code != defect.exit_code:
        end = "" if outcome.red else f": {outcome.said.strip()[-300:]}"
        lines.append(f"the gate ended with {outcome.exit_code}, not {defect.exit_code}{end}")
    for check, subjects in defect.red.items():
        found = outcome.red.get(check, ())
        if set(found) != set(subjects):
            lines.append(
                f"{check} is red for {', '.join(found) or 'nobody'}, not {', '.join(subjects)}"
            )
    if defect.clause and defect.clause not in outcome.clauses:
        lines.append(f"clause {defect.clause} is not red")
    unrelated = [check for check in outcome.red if not defect.allows(check)]
    touched = {subject for subjects in defect.red.values() for subject in subjects} | {PAIR}
    unrelated += [
        f"{check} for {subject}"
        for check, subjects in outcome.red.items()
        for subject in subjects
        if defect.allows(check) and subject not in touched
    ]
    if unrelated:
        lines.append(f"unrelated: {', '.join(sorted(unrelated))}")
    said = [what for check in defect.red for what in outcome.findings.get(check, ())]
    if defect.says and not any(defect.says in what for what in [*said, outcome.said]):
        lines.append(f"no finding says {defect.says!r}")
    return lines


def try_defect(tree: DamagedTree, defect: Defect, witnesses: Sequence[str]) -> Row:
    """Plant one defect in ``tree``, run its gate, take it out again, and judge."""
    started = time.perf_counter()
    with tree.damaged(defect.edits):
        outcome = run_gate_on(tree.folder, defect.gate, _checks_of(defect, witnesses))
        created = [e.file for e in defect.edits if e.remove and (tree.folder / e.file).exists()]
    why = _misses(defect, outcome)
    why += [f"{file} was made again by the gate" for file in created]
    return Row(defect, outcome, tuple(why), time.perf_counter() - started)


def run_selftest(
    source: Path,
    defects: Sequence[Defect],
    witnesses: Sequence[str],
    jobs: int = 2,
    progress: Callable[[Row], None] | None = None,
) -> SelftestReport:
    """Judge the unmodified tree, then every defect, ``jobs`` at a time.

    Raises :class:`RedBaseline` where the tree is red already, ``DefectError`` where a defect does
    not fit the tree.
    """
    started = time.perf_counter()
    report = SelftestReport(witnesses=tuple(witnesses))
    with tempfile.TemporaryDirectory(prefix="parity-selftest-") as name:
        free: queue.Queue[DamagedTree] = queue.Queue()
        for number in range(jobs):
            free.put(DamagedTree(source, Path(name) / str(number)))
        first = free.get()
        for defect in defects:  # all have to fit before the first is tried
            with first.damaged(defect.edits):
                pass
        judge_baseline(first, defects, witnesses)
        free.put(first)
        report.baseline_seconds = time.perf_counter() - started

        def work(defect: Defect) -> Row:
            tree = free.get()
            try:
                return try_defect(tree, defect, witnesses)
            finally:
                free.put(tree)

        with ThreadPoolExecutor(jobs) as pool:
            running = [pool.submit(work, defect) for defect in defects]
            try:
                for done in as_completed(running):
                    if progress is not None:
                        progress(done.result())
            except BaseException:
                for future in running:
                    future.cancel()
                raise
            report.rows = [future.result() for future in running]
    report.seconds = time.perf_counter() - started
    return report
