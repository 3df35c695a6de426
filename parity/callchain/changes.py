"""What changed between two canonical chains: calls added, removed, moved, repeated otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

from parity.callchain.chain import CanonicalCall, symbols_of

__all__ = ["Change", "changes", "describe"]

_TOP = "the scenario"


@dataclass(frozen=True)
class Change:
    """One difference: ``kind`` is added, removed, moved or repeated; ``path`` leads to it."""

    kind: str
    symbol: str
    path: tuple[str, ...]
    detail: str = ""

    def __str__(self) -> str:
        where = " > ".join(self.path) or _TOP
        return f"{self.kind} {self.symbol}{self.detail} in {where}"


def _name(call: CanonicalCall) -> str:
    """Return what a call is matched by; a block by its first call."""
    return call["call"] if "call" in call else f"block of {next(symbols_of(call['calls']))}"


def _times(call: CanonicalCall) -> int:
    return int(call.get("times") or call.get("repeat") or 1)


def _compare(
    old: Sequence[CanonicalCall], new: Sequence[CanonicalCall], path: tuple[str, ...]
) -> list[Change]:
    found: list[Change] = []
    matcher = SequenceMatcher(a=[_name(c) for c in old], b=[_name(c) for c in new], autojunk=False)
    for what, i, j, k, m in matcher.get_opcodes():
        if what == "equal":
            for left, right in zip(old[i:j], new[k:m], strict=True):
                found += _inside(left, right, path)
            continue
        found += [Change("removed", _name(call), path) for call in old[i:j]]
        found += [Change("added", _name(call), path) for call in new[k:m]]
    return found


def _inside(old: CanonicalCall, new: CanonicalCall, path: tuple[str, ...]) -> list[Change]:
    name = _name(old)
    found = []
    if _times(old) != _times(new):
        found.append(Change("repeated", name, path, f" {_times(old)} -> {_times(new)} times"))
    return found + _compare(old.get("calls", ()), new.get("calls", ()), (*path, name))


def changes(old: Sequence[CanonicalCall], new: Sequence[CanonicalCall]) -> list[Change]:
    """Return the differences of two chains; none where they are equal.

    What is removed in one place and added in another has moved. Only what differs is named, a
    call that is new with everything below it by its own name.
    """
    found = _compare(old, new, ())
    removed = Counter(each.symbol for each in found if each.kind == "removed")
    added = {each.symbol: each for each in found if each.kind == "added"}
    moved = {symbol for symbol, each in added.items() if removed[symbol]}
    kept = []
    for each in found:
        if each.symbol in moved and each.kind == "removed":
            target = added[each.symbol].path
            detail = (
                " to another place" if target == each.path else f" to {' > '.join(target) or _TOP}"
            )
            kept.append(Change("moved", each.symbol, each.path, detail))
        elif each.symbol not in moved or each.kind != "added":
            kept.append(each)
    return kept


def describe(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return the differences of two goldens as lines, and which bodies were edited."""
    lines = [str(change) for change in changes(old["chain"], new["chain"])]
    if lines:
        bodies = old.get("bodies", {})
        edited = [s for s, body in new["bodies"].items() if bodies.get(s, body) != body]
        lines += [f"(edited: {symbol})" for symbol in edited]
    return lines
