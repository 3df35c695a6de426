"""What a change touches: the code that says otherwise, checks, deviations, goldens, docs, plans."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from parity.facts.members import Found, mentioned
from parity.ledger.bindings import Binding
from parity.ledger.deviations import Deviation
from parity.redline.changes import Change, Record
from parity.redline.named import judge_clause
from parity.redline.static import Contradiction, judge_row, undescribed
from parity.spec.records import Clause, Row, Spec

#: What contradicts a record; ``None`` where that cannot be told.
Judge = Callable[[Record], list[Contradiction] | None]

OK, BAD, UNTOLD = "ok", "bad", "not judged"

#: Where to look for text that a change makes stale: kind -> patterns from the root.
_PLACES: dict[str, tuple[str, ...]] = {
    "goldens": ("tests/**/*.ambr", "tests/**/golden*/**/*.json", "parity/**/golden*/**/*.json"),
    "docs": ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/**/*"),
    "plans": ("plans/*.md", "plans/active/*/*.md"),
}
_SHOWN = 12
#: Rules whose values are names, beside those of renamed rows.
_NAMING = tuple(f"clause-{what}-changed" for what in ("error", "flag", "member", "symbol"))
#: How a contradiction begins that finds nothing under a name.
NO_SUCH = "no such"
#: Shorter names are words of many other things too.
_SHORTEST = 4


@dataclass(frozen=True)
class Impact:
    """What follows from one change; ``before`` and ``after`` are verdicts on the two texts."""

    before: str = UNTOLD
    after: str = UNTOLD
    contradictions: tuple[Contradiction, ...] = ()
    checks: tuple[str, ...] = ()
    suspect: bool = False
    deviations: tuple[str, ...] = ()
    touched: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def outcome(self) -> str:
        """``ok→ok``, ``ok→bad``, ``bad→ok``, ``bad→bad``, or what could not be judged."""
        return f"{self.before}→{self.after}"

    def to_json(self) -> dict[str, object]:
        """Return it as JSON has it."""
        return {
            "outcome": self.outcome,
            "contradictions": [
                {"spec": c.spec, "says": c.says, "code": c.code, "found": c.found}
                for c in self.contradictions
            ],
            "checks": list(self.checks),
            "suspect": self.suspect,
            "deviations": list(self.deviations),
            **{kind: list(places) for kind, places in self.touched.items()},
        }


def judge_statically(record: Record) -> list[Contradiction] | None:
    """Judge a record from the code's text."""
    return judge_row(record) if isinstance(record, Row) else judge_clause(record)


class Side:
    """One text and the verdicts on its records."""

    def __init__(self, spec: Spec, tables: Iterable[tuple[str, str, str]], judge: Judge) -> None:
        self._judge = judge
        self._missing = {c.record: c for c in undescribed(spec, tables)}

    def verdict(self, record: Record | None, id: str) -> tuple[str, list[Contradiction]]:
        """Judge a record, or that there is none of this id."""
        if record is None:
            missing = self._missing.get(id)
            return (BAD, [missing]) if missing else (OK, [])
        found = self._judge(record)
        if found is None:
            return UNTOLD, []
        return (BAD if found else OK), found


def tables_of(*specs: Spec) -> list[tuple[str, str, str]]:
    """Return name, kind and target of every table whose reverse is judged."""
    kinds = ("fields", "keys", "measures")
    rows = [row for spec in specs for row in spec.rows if row.kind in kinds]
    return list(dict.fromkeys((row.table, row.kind, row.target) for row in rows))


@dataclass(frozen=True)
class Surroundings:
    """What a change may touch: the repository's root, bindings, declared deviations."""

    root: Path
    bindings: Mapping[str, Binding]
    deviations: Sequence[Deviation]
    _texts: dict[str, list[tuple[str, str]]] = field(default_factory=dict, hash=False)

    def texts(self, kind: str) -> list[tuple[str, str]]:
        """Return (path, text) of the files of a kind, read once."""
        if kind not in self._texts:
            paths = {p for pattern in _PLACES[kind] for p in self.root.glob(pattern)}
            self._texts[kind] = [
                (path.relative_to(self.root).as_posix(), text)
                for path in sorted(paths)
                if path.is_file() and (text := _text(path)) is not None
            ]
        return self._texts[kind]


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (UnicodeDecodeError, OSError):
        return None


def _words(record: Record) -> list[str]:
    """Return what a text about this record would mention."""
    if isinstance(record, Clause):
        return [record.id]
    name = next(iter(record.cells.values()))
    if len(name) < _SHORTEST:
        return [record.id]
    # A name such as "loss" is a word of ordinary sentences too: then it counts in quotes alone.
    telling = any(sign in name for sign in "_./-") or name != name.lower()
    return [record.id, *([name] if telling else [f"`{name}`", f"'{name}'", f'"{name}"'])]


def _mentions(texts: Iterable[tuple[str, str]], words: Sequence[str]) -> tuple[str, ...]:
    found = []
    patterns = [re.compile(rf"(?<![\w.-]){re.escape(word)}(?![\w-])") for word in words]
    for path, text in texts:
        if not any(word in text for word in words):
            continue
        hits = {
            text[: hit.start()].count("\n") + 1
            for pattern in patterns
            for hit in pattern.finditer(text)
        }
        found += [f"{path}:{line}" for line in sorted(hits)]
    more = [f"and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
    return tuple(found[:_SHOWN] + more)


def impact_of(change: Change, before: Side, after: Side, around: Surroundings) -> Impact:
    """Return what a change touches."""
    pair = change.pair
    checks: tuple[str, ...] = ()
    suspect = False
    for record in (pair.old, pair.new):
        binding = around.bindings.get(record.id) if record else None
        if binding:
            checks = binding.checks
            suspect = pair.new is None or pair.new.hash != binding.hash
    records = [record for record in (pair.old, pair.new) if record]
    if any(isinstance(r, Row) and r.kind == "text" for r in records):
        return Impact(OK, OK)
    if not checks and isinstance(pair.record, Row):
        checks = (pair.record.id,)
    old, _ = before.verdict(pair.old, pair.record.id)
    new, contradictions = after.verdict(pair.new, (pair.old or pair.record).id)
    # Nothing that was written before can be about a record that is new.
    words = _words(pair.old) if pair.old else []
    return Impact(
        old,
        new,
        tuple(_cited(c, change) for c in contradictions),
        checks,
        suspect,
        tuple(f"{d.id} ({d.check}, {d.subject})" for d in around.deviations if d.check in checks),
        {kind: _mentions(around.texts(kind), words) for kind in _PLACES},
    )


def _cited(contradiction: Contradiction, change: Change) -> Contradiction:
    """Say where the code has the old name, where it has none of the new one."""
    old: Found | None = None
    naming = change.rule.id in _NAMING or change.rule.id.endswith("-renamed")
    if naming and contradiction.found.startswith(NO_SUCH):
        names = [n.removeprefix("--") for n in change.old.split(", ") if n]
        old = next((f for n in names if (f := mentioned(n.replace("-", "_")))), None)
    if old is None:
        return contradiction
    says, spec = contradiction.says, contradiction.spec
    return Contradiction(contradiction.record, spec, says, old.anchor, old.text)
