"""What is said of a failure: what differs, where it is written, how to see and declare it."""

from __future__ import annotations

import json
import os.path
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from parity.checks.recorder import PAIR
from parity.checks.registry import CheckResult
from parity.clauses import ClauseVerdict
from parity.ledger.deviations import DEFAULT_PATH
from parity.standing import LEDGER_ID, SPEC_ID

_SYMPTOM_LENGTH = 60


@dataclass(frozen=True)
class _Difference:
    """The first failing verdict of a clause's checks, and who fails with it."""

    check: str
    subject: str
    subjects: tuple[str, ...]
    what: str
    symptom: str

    @classmethod
    def of(cls, results: Iterable[CheckResult]) -> _Difference:
        """Look at results of which one fails at least."""
        failing = [
            (result, name)
            for result in results
            for name, verdict in result.verdicts.items()
            if verdict.status == "fail"
        ]
        result, subject = failing[0]
        findings = [f for f in result.findings if f.subject == subject]
        what = symptom = result.verdicts[subject].reason
        if findings:
            first = findings[0]
            what = first.what + (f" (in {first.case})" if first.case else "")
            # A declared symptom has to be in every finding of the verdict.
            common = os.path.commonprefix([f.what for f in findings])
            symptom = common if common.strip() else first.what
        subjects = tuple(dict.fromkeys(name for _, name in failing))
        return cls(result.id, subject, subjects, what, symptom[:_SYMPTOM_LENGTH])

    def line(self, id: str, place: str, seed: int) -> str:
        """Return the line on clause or check ``id``."""
        only = "" if PAIR in self.subjects else "".join(f" --backend {s}" for s in self.subjects)
        declare = (
            f"declare in parity/ledger/{DEFAULT_PATH.name}: "
            f"check = {json.dumps(self.check)}, subject = {json.dumps(self.subject)}, "
            f"symptom = {json.dumps(self.symptom, ensure_ascii=False)}"
        )
        parts = [
            f"[{id}] {', '.join(self.subjects)}: {' '.join(self.what.split())}",
            place,
            f"reproduce: parity check --id {id}{only} --seed {seed}",
            declare,
        ]
        return " | ".join(part for part in parts if part)


def red_lines(
    verdicts: Iterable[ClauseVerdict], results: Mapping[str, CheckResult], seed: int = 0
) -> list[str]:
    """Return one line for each red clause, and one for each failing check without a clause.

    What is wrong with the ledgers and with the specification has a line for each finding.
    """
    lines: list[str] = []
    told: set[str] = set()
    for verdict in verdicts:
        told |= set(verdict.checks)
        if verdict.red:
            lines.append(_clause_line(verdict, results, seed))
    for id in (LEDGER_ID, SPEC_ID):
        found = results[id].findings if id in results else []
        lines += [f"[{id}] {f.what}" for f in found if not _is_told(f.what, verdicts=lines)]
    for result in results.values():
        if result.error:
            lines.append(f"[{result.id}] the check itself broke: {result.error.splitlines()[-1]}")
        fails = "fail" in {verdict.status for verdict in result.verdicts.values()}
        if fails and result.id not in told | {LEDGER_ID, SPEC_ID}:
            lines.append(_Difference.of([result]).line(result.id, "", seed))
    return lines


def _is_told(what: str, verdicts: Sequence[str]) -> bool:
    """Tell whether a finding repeats the line of an unbound or suspect clause."""
    return what.startswith("[") and any(line.startswith(what) for line in verdicts)


def _clause_line(verdict: ClauseVerdict, results: Mapping[str, CheckResult], seed: int) -> str:
    id, place = verdict.record.id, verdict.record.place.path
    if verdict.worst in ("unbound", "suspect"):
        what = f"[{id}] is {verdict.worst}: {verdict.reason}"
        return f"{what} | {place} | what to do: parity explain {id}"
    found = [results[check] for check in verdict.checks if check in results]
    return _Difference.of(found).line(id, place, seed)
