"""Verdicts of clauses: what the checks that are bound to a clause say of each backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from parity.backends import CONTRACTED
from parity.checks.recorder import PAIR
from parity.checks.registry import Check, CheckResult
from parity.ledger.bindings import Binding
from parity.spec.records import INFORMATIVE_KINDS, Clause, Row, Spec

#: Worst first; a clause is as good as the worst of its checks.
_ORDER = ("unbound", "suspect", "fail", "not-run", "deviates", "pass")

#: Levels that have to be bound; advice may go without a check.
_BINDING_LEVELS = frozenset({"MUST", "MUST NOT", "SHALL", "SHALL NOT"})


@dataclass
class ClauseVerdict:
    """One clause or row with its verdicts, by backend and for the pair, and its checks."""

    record: Clause | Row
    verdicts: dict[str, str] = field(default_factory=dict)
    checks: tuple[str, ...] = ()
    reason: str = ""

    @property
    def worst(self) -> str:
        """The worst verdict of all."""
        return min(self.verdicts.values(), key=_ORDER.index, default="unbound")

    @property
    def contracted(self) -> str:
        """The worst verdict of the backends of the contract and of the pair."""
        known = [v for name, v in self.verdicts.items() if name in CONTRACTED or name == PAIR]
        return min(known, key=_ORDER.index, default="unbound")

    @property
    def red(self) -> bool:
        """Tell whether the clause fails the gate."""
        return self.worst in ("unbound", "suspect", "fail")

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        level = self.record.level if isinstance(self.record, Clause) else "ROW"
        return {
            "id": self.record.id,
            "section": self.record.place.section,
            "level": level,
            "text": self.record.text,
            "place": self.record.place.path,
            "verdicts": self.verdicts,
            "checks": list(self.checks),
            "reason": self.reason,
        }


def records(spec: Spec) -> list[Clause | Row]:
    """Return the clauses that need a verdict and the rows that state facts, in order."""
    clauses = [c for c in spec.clauses if c.level in _BINDING_LEVELS]
    return [*clauses, *(row for row in spec.rows if row.kind not in INFORMATIVE_KINDS)]


def checks_of(record: Clause | Row, bindings: Mapping[str, Binding]) -> tuple[str, ...]:
    """Return the ids of the checks of a record: its own for a row, the bound ones for a clause."""
    if isinstance(record, Row):
        return (record.id,)
    binding = bindings.get(record.id)
    return binding.checks if binding else ()


def clauses_by_check(spec: Spec, bindings: Mapping[str, Binding]) -> dict[str, list[str]]:
    """Return the ids of the clauses and rows that each check proves."""
    proved: dict[str, list[str]] = {}
    for record in records(spec):
        for check in checks_of(record, bindings):
            proved.setdefault(check, []).append(record.id)
    return proved


def _combine(results: Iterable[CheckResult], subject: str) -> str | None:
    found = [r.verdicts[subject].status for r in results if subject in r.verdicts]
    return min(found, key=_ORDER.index) if found else None


def judge(
    spec: Spec,
    bindings: Mapping[str, Binding],
    results: Mapping[str, CheckResult],
    subjects: Iterable[str],
) -> list[ClauseVerdict]:
    """Return a verdict for every clause and row; checks that were left out give ``not-run``.

    ``subjects`` are the backends' names. Where no bound check compares the backends with each
    other, ``pair`` repeats the worse of their verdicts.
    """
    subjects = list(subjects)
    verdicts = []
    for record in records(spec):
        ids = checks_of(record, bindings)
        judged = ClauseVerdict(record, checks=ids)
        columns = [*subjects, PAIR]
        binding = bindings.get(record.id)
        if not ids:
            judged.verdicts = dict.fromkeys(columns, "unbound")
            judged.reason = "no check is bound to this clause"
        elif isinstance(record, Clause) and binding and binding.hash != record.hash:
            judged.verdicts = dict.fromkeys(columns, "suspect")
            judged.reason = f"the text has changed (hash {record.hash}, checked {binding.hash})"
        else:
            found = [results[id] for id in ids if id in results]
            for subject in subjects:
                judged.verdicts[subject] = _combine(found, subject) or "not-run"
            judged.verdicts[PAIR] = _combine(found, PAIR) or judged.contracted
            missing = [id for id in ids if id not in results]
            if missing:
                judged.reason = f"not run: {', '.join(missing)}"
        verdicts.append(judged)
    return verdicts


def chosen_records(verdicts: Iterable[ClauseVerdict], ids: Iterable[str]) -> list[ClauseVerdict]:
    """Return the verdicts of the clauses that were named, or of which a check was."""
    named = set(ids)
    several = tuple(f"{id}{mark}" for id in named for mark in "-/")
    return [
        v
        for v in verdicts
        if v.record.id in named
        or any(check in named or check.startswith(several) for check in v.checks)
    ]


def dangling(spec: Spec, bindings: Mapping[str, Binding], checks: Mapping[str, Check]) -> list[str]:
    """Return complaints about bindings and decisions that name what does not exist."""
    known = {record.id for record in records(spec)}
    lines = []
    for binding in bindings.values():
        if binding.clause not in known:
            lines.append(f"binding of {binding.clause}: the specification has no such clause")
        lines += [
            f"binding of {binding.clause}: there is no check {id}"
            for id in binding.checks
            if id not in checks
        ]
    for row in spec.rows:
        held = row.cells.get("Held by") if row.kind == "decisions" else None
        lines += [
            f"{row.place.path}: decision {row.cells['Topic']!r} is held by {id!r}, which is "
            "neither a clause, a row nor a check"
            for id in ([] if held is None else held.split(", "))
            if id not in known and id not in checks
        ]
    return lines
