"""Checks generated from the tables of scenarios and taps: they trace both backends."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np

from parity.callchain.scenario import package_of, stage_symbols
from parity.callchain.stages import misplaced, read_stages, stage_events
from parity.callchain.taps import TAPS, in_common
from parity.callchain.traces import Trace, traces_of
from parity.checks.recorder import PAIR, Recorder
from parity.compare import compare_named
from parity.spec.parse import load_specification
from parity.spec.records import Row

#: Symbols whose values the scenarios fix: patch side, members of a group, probe modes.
_FIXED = {"N": 32, "C": 4, "P": 1}
_PLAIN: dict[str, type] = {"mapping": dict, "list": list}


def traces(run: Recorder) -> dict[str, dict[str, Trace]]:
    """Return backend -> scenario -> trace, made once in a run."""
    for subject in run.backends:
        package_of(subject)
    names = tuple(run.backends)
    return run.once(("traces", names), lambda: traces_of(names))


def stages_in(trace: Trace) -> list[str]:
    """Return the stages that a trace enters, in order."""
    rows = load_specification().of_table("stages")
    of = {symbol: name for name, symbol in stage_symbols(rows, package_of(trace.backend)).items()}
    return stage_events(trace.events, of)


def check_chain(row: Row, run: Recorder) -> None:
    """Judge one scenario: the stages of its row, in order and as often as it allows."""
    name, expected = row.cells["Scenario"], read_stages(row.cells["Stages"])
    for subject, found in traces(run).items():
        if name not in found:
            run.fail(subject, f"there is no scenario {name}")
            continue
        wrong = misplaced(stages_in(found[name]), expected)
        run.require(subject, not wrong, "; ".join(wrong), name)


def wrong_shape(value: Any, text: str) -> str:
    """Return why a value has not the shape ``text`` says, or an empty text."""
    if text in _PLAIN:
        return "" if isinstance(value, _PLAIN[text]) else f"is a {type(value).__name__}, no {text}"
    symbols = re.findall(r"\w+", text)
    shape = np.shape(value)
    bound: dict[str, int] = dict(_FIXED)
    fits = len(shape) == len(symbols) and all(
        side == (int(symbol) if symbol.isdigit() else bound.setdefault(symbol, side))
        for symbol, side in zip(symbols, shape, strict=True)
    )
    return "" if fits else f"has shape {shape}; {text}"


def check_tap(row: Row, run: Recorder) -> None:
    """Judge one tap: taken in each backend, of its shape, and alike in both."""
    name, scenario, tolerance = (row.cells[c] for c in ("Tap", "Scenario", "Tolerance"))
    values: dict[str, Any] = {}
    for subject, found in traces(run).items():
        taken = scenario in found and name in found[scenario].taps and name in TAPS
        run.require(subject, taken, f"{name} was not taken at {row.cells['Where']}", scenario)
        if taken:
            values[subject] = found[scenario].taps[name]
            wrong = wrong_shape(values[subject], row.cells["Shape"])
            run.require(subject, not wrong, f"{name} {wrong}", scenario)
    for left, right in itertools.combinations(values.values(), 2):
        if tolerance in ("equal", "shared"):
            same = np.array_equal(left, right) if tolerance == "equal" else _alike(left, right)
            run.require(PAIR, bool(same), f"{name} differs between the backends", scenario)
        else:
            compared = compare_named({name: left}, {name: right}, [name])
            run.judge(PAIR, compared, tolerance, scenario)


def _alike(left: Any, right: Any) -> bool:
    return bool(in_common(left) == in_common(right))
