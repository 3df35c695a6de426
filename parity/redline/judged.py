"""A redline: every change with its impact, and whether it may stand."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff

from parity.ledger.redline import Acceptance, stub
from parity.redline.changes import Change
from parity.redline.classify import Texts, classify, read, version_key
from parity.redline.impact import (
    NO_SUCH,
    Impact,
    Judge,
    Side,
    Surroundings,
    impact_of,
    judge_statically,
    tables_of,
)
from parity.redline.rules import BREAKING, LEVELS, RULES
from parity.redline.static import Contradiction, undescribed


@dataclass(frozen=True)
class Judged:
    """A change, what it touches, and the reason for which it was accepted, if it was."""

    change: Change
    impact: Impact
    accepted: str = ""

    def to_json(self) -> dict[str, object]:
        """Return it as JSON has it."""
        change = self.change
        return {
            "id": change.id,
            "rule": change.rule.id,
            "level": change.level,
            "audience": change.audience,
            "old": change.old,
            "new": change.new,
            "impact": self.impact.to_json(),
            "place": change.place,
            "accepted": self.accepted or None,
        }


@dataclass(frozen=True)
class Redline:
    """Changes, contradictions between the new text and the code, and what must not stand."""

    old: Texts
    new: Texts
    versions: dict[str, tuple[str, str]]
    changes: list[Judged]
    contradictions: list[Contradiction]
    complaints: list[str]
    stubs: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 where a breaking change is not accepted, or the new text contradicts the code."""
        return 1 if self.complaints or self.contradictions else 0

    def count(self, level: str) -> int:
        """Return how many changes have a level."""
        return sum(judged.change.level == level for judged in self.changes)

    @property
    def lines_changed(self) -> dict[str, tuple[int, int]]:
        """Lines added and removed per file."""
        found = {}
        for name in sorted({*self.old, *self.new}):
            a, b = (side.get(name, "").splitlines() for side in (self.old, self.new))
            lines = list(unified_diff(a, b, n=0, lineterm=""))[2:]
            added = sum(line.startswith("+") for line in lines)
            removed = sum(line.startswith("-") for line in lines)
            if added or removed:
                found[name] = (added, removed)
        return found

    def to_json(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "changes": [judged.to_json() for judged in self.changes],
            "contradictions": [
                {"id": c.record, "spec": c.spec, "says": c.says, "code": c.code, "found": c.found}
                for c in self.contradictions
            ],
            "complaints": self.complaints,
            "summary": {
                **{level.lower(): self.count(level) for level in LEVELS},
                "exit_code": self.exit_code,
            },
        }


def redline(
    old: Texts,
    new: Texts,
    around: Surroundings,
    accepted: Sequence[Acceptance] = (),
    *,
    judge: Judge = judge_statically,
    today: datetime.date | None = None,
) -> Redline:
    """Compare two sets of texts (name -> markdown) with each other and with the code."""
    before, after = read(old), read(new)
    tables = tables_of(before, after)
    sides = [Side(spec, tables, judge) for spec in (before, after)]
    docs = [text for _, text in around.texts("docs")]
    changes = [
        Judged(change, impact_of(change, sides[0], sides[1], around))
        for change in classify(old, new, docs)
    ]
    contradictions = [c for row in after.rows for c in judge_statically(row) or ()]
    contradictions += undescribed(after, tables)
    of_rows = {c.record for c in contradictions}
    cited: dict[tuple[str, str], Contradiction] = {}
    for c in (c for judged in changes for c in judged.impact.contradictions):
        # Of one clause's changes one may tell where the code has the old name.
        known = cited.get((c.record, c.says))
        if known is None or known.found.startswith(NO_SUCH):
            cited[c.record, c.says] = c
    contradictions += sorted((c for c in cited.values() if c.record not in of_rows), key=str)
    versions = {
        name: (before.versions.get(name, ""), version) for name, version in after.versions.items()
    }
    day = today or datetime.date.today()
    changes, complaints = _accept(changes, accepted, versions, day)
    complaints += _versions(changes, versions)
    stubs = [
        stub(j.change.rule.id, j.change.id, _next_version(j.change, versions))
        for j in changes
        if j.change.level == BREAKING and not j.accepted
    ]
    return Redline(old, new, versions, changes, contradictions, complaints, stubs)


def _file_of(change: Change) -> str:
    return (change.pair.old or change.pair.record).place.file


def _next_version(change: Change, versions: dict[str, tuple[str, str]]) -> str:
    old, new = versions.get(_file_of(change), ("", ""))
    if old != new:
        return new
    major, *rest = version_key(old) or (0, 0)
    return ".".join(map(str, [major, (rest or [0])[0] + 1]))


def _accept(
    changes: Iterable[Judged],
    accepted: Sequence[Acceptance],
    versions: dict[str, tuple[str, str]],
    today: datetime.date,
) -> tuple[list[Judged], list[str]]:
    complaints, judged, used = [], [], set()
    for entry in accepted:
        if entry.rule not in RULES:
            complaints.append(f"{entry}: there is no such rule")
        elif entry.expired(today):
            complaints.append(f"{entry} expired on {entry.expires}: {entry.reason}")
    for item in changes:
        change, reason = item.change, ""
        for entry in accepted:
            fits = (entry.rule, entry.clause) == (change.rule.id, change.id)
            new = versions.get(change.pair.record.place.file, ("", ""))[1]
            if fits and change.level == BREAKING and entry.version in (None, new):
                used.add((entry.rule, entry.clause))
                reason = "" if entry.expired(today) else entry.reason
        if change.level == BREAKING and not reason:
            complaints.append(
                f"{change.place}: {change.rule.id}: {change.line}; breaks {change.audience}: "
                "take it back, or accept it in parity/ledger/redline.toml"
            )
        judged.append(Judged(change, item.impact, reason))
    unchanged = {new for old, new in versions.values() if old == new}
    for entry in accepted:
        # What a version brought stays on record until the text goes on to the next one.
        settled = entry.version in unchanged and not any(j.change.level == BREAKING for j in judged)
        if (entry.rule, entry.clause) not in used and not settled:
            complaints.append(f"{entry} matches no breaking change: remove it")
    return judged, complaints


def _versions(changes: Iterable[Judged], versions: dict[str, tuple[str, str]]) -> list[str]:
    """Complain of texts that break somebody and keep their version."""
    broken = sorted({_file_of(j.change) for j in changes if j.change.level == BREAKING})
    return [
        f"specs/{name}: a breaking change needs a higher version than {old}"
        for name in broken
        if (pair := versions.get(name)) and version_key(pair[1]) <= version_key(pair[0])
        for old in (pair[0],)
    ]
