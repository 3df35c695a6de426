"""Records of what changed."""

from __future__ import annotations

from dataclasses import dataclass

from parity.redline.rules import RULES, Rule
from parity.spec.records import Clause, Row

Record = Clause | Row


@dataclass(frozen=True)
class Pair:
    """A record before and after; ``None`` where there is none. ``how`` they were matched."""

    old: Record | None
    new: Record | None
    how: str = "id"

    @property
    def record(self) -> Record:
        """The record after, or the one before where it is gone."""
        found = self.new or self.old
        assert found is not None
        return found


@dataclass(frozen=True)
class Change:
    """One change of one record: rule, the values that differ, whom it concerns."""

    rule: Rule
    pair: Pair
    old: str
    new: str
    audience: str

    @property
    def id(self) -> str:
        """The id of the record, as callers know it: that of the old text if it had one."""
        return (self.pair.old or self.pair.record).id

    @property
    def level(self) -> str:
        """BREAKING, REVIEW or COMPATIBLE."""
        return self.rule.level

    @property
    def place(self) -> str:
        """``specs/file:line`` in the new text, or in the old one where the record is gone."""
        return self.pair.record.place.path

    @property
    def line(self) -> str:
        """The change in one line."""
        return f"{self.id}: {self.rule.title}: {shown(self.old)} → {shown(self.new)}"


def shown(value: str) -> str:
    """Return a value as reports show it."""
    return value or "(nothing)"


def change(rule: str, pair: Pair, old: str, new: str, audience: str = "") -> Change:
    """Return a change by the id of its rule."""
    return Change(RULES[rule], pair, old, new, audience or RULES[rule].audience)
