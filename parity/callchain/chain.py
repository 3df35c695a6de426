"""A recorded call chain in canonical form: repeats collapsed, as plain values.

A canonical call is ``{"call": symbol}``, with ``"times"`` where it repeats and ``"calls"`` where
it calls; ``{"repeat": n, "calls": [...]}`` stands for a block that repeats.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from parity.callchain.recorder import Call

__all__ = ["CanonicalCall", "canonical", "events_of", "symbols_of"]

CanonicalCall = dict[str, Any]

#: The longest block that is looked for.
_LONGEST = 24

#: Below these a framework draws a graph, calling layers as its version likes: only calls into
#: their own module and those it makes are the job's.
DRAWING = frozenset({"ptycho.model:build_models"})


def canonical(calls: Iterable[Call]) -> list[CanonicalCall]:
    """Return calls in canonical form."""
    return _collapsed([_one(call) for call in calls])


def _one(call: Call) -> CanonicalCall:
    below = call.calls
    if call.symbol in DRAWING:
        module = call.symbol.partition(":")[0]
        below = [inner for inner in below if inner.symbol.partition(":")[0] == module]
    inner = canonical(below)
    return {"call": call.symbol, "calls": inner} if inner else {"call": call.symbol}


def _collapsed(calls: list[CanonicalCall]) -> list[CanonicalCall]:
    """Write neighbouring equal blocks once, the shortest blocks first."""
    for size in range(1, _LONGEST + 1):
        done: list[CanonicalCall] = []
        position = 0
        while position < len(calls):
            block = calls[position : position + size]
            times = 1
            while calls[position + times * size : position + (times + 1) * size] == block:
                times += 1
            if times == 1:
                done.append(calls[position])
                position += 1
                continue
            if size == 1:
                rest = {"calls": block[0]["calls"]} if "calls" in block[0] else {}
                done.append({"call": block[0]["call"], "times": times, **rest})
            else:
                done.append({"repeat": times, "calls": block})
            position += times * size
        calls = done
    return calls


def symbols_of(calls: Iterable[CanonicalCall]) -> Iterator[str]:
    """Yield every symbol of a canonical chain in order, repeats once."""
    for call in calls:
        if "call" in call:
            yield call["call"]
        yield from symbols_of(call.get("calls", ()))


def events_of(calls: Iterable[CanonicalCall]) -> Iterator[str]:
    """Yield every symbol and mark in order, as often as it occurred."""
    for call in calls:
        for _ in range(int(call.get("times") or call.get("repeat") or 1)):
            if "call" in call:
                yield call["call"]
            yield from events_of(call.get("calls", ()))
