"""What a row of the suite is, and how one is measured."""

from __future__ import annotations

import gc
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks import resident

Action = Callable[[], Any]


@dataclass
class Work:
    """What a row does once its data stand ready: the step, its floor, and further facts.

    ``floor`` is the least that the same data asks of the machine. ``facts`` are numbers that are
    kept with the row, such as the size of a file.
    """

    step: Action
    floor: Action
    facts: Callable[[], dict[str, float]] = dict


@dataclass(frozen=True)
class Row:
    """One line of the table.

    ``prepare`` is called in the row's own process; rows without it are measured ``together``, in
    one process for all that have the same text there. ``seconds`` is the target of the step,
    ``ratio`` that of step over floor, ``above`` that of their difference in seconds; ``limits``
    bound facts. ``count`` is how many patterns, positions or patches the step handles, for cost
    per item. Rows that are not ``quick`` are left out by ``--quick``.
    """

    group: str
    name: str
    prepare: Callable[[], Work] | None
    floor: str
    seconds: float | None = None
    ratio: float | None = None
    above: float | None = None
    limits: dict[str, float] = field(default_factory=dict)
    count: int = 0
    series: str = ""
    runs: int = 7
    quick: bool = True
    together: str = ""

    @property
    def key(self) -> str:
        """Name of the row in results and on the command line."""
        return f"{self.group}: {self.name}"


def processor_seconds() -> float:
    """Return what this process and its children have used of the processors."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def measure(
    row: Row, runs: int | None = None, clock: Callable[[], float] = time.perf_counter
) -> dict[str, Any]:
    """Return medians of step and floor in seconds, taken in turns, and the peak memory in MiB.

    The peak is that of the step's first run alone; ``ready_mib`` is what the process, with its
    imports and data, held before it. That run is for warming up, unless it is to be the only one.
    """
    assert row.prepare is not None, row.key
    work = row.prepare()
    gc.collect()
    ready = resident.now()
    resident.forget_peak()
    first = _seconds(work.step, clock)
    peak = resident.peak()
    runs = runs or row.runs
    steps, floors = [first] * (runs == 1), []
    for _ in range(runs):
        if runs > 1:
            steps.append(_seconds(work.step, clock))
        floors.append(_seconds(work.floor, clock))
    step, floor = statistics.median(steps), statistics.median(floors)
    return {
        "seconds": step,
        "floor_seconds": floor,
        "ratio": step / floor if floor else None,
        "first_seconds": first,
        "spread": (max(steps) - min(steps)) / step if step else 0.0,
        "runs": len(steps),
        "ready_mib": ready,
        "peak_mib": peak,
        **work.facts(),
    }


def _seconds(action: Action, clock: Callable[[], float]) -> float:
    start = clock()
    action()
    return clock() - start


def missed(row: Row, result: dict[str, Any]) -> list[str]:
    """Return what the result misses of the row's targets, in words."""
    found = []
    if row.seconds is not None and result["seconds"] > row.seconds:
        found.append(f"{result['seconds']:.3g} s, target {row.seconds:g} s")
    if row.ratio is not None and result["ratio"] > row.ratio:
        found.append(f"{result['ratio']:.2f} x floor, target {row.ratio:g} x")
    above = result["seconds"] - result["floor_seconds"]
    if row.above is not None and above > row.above:
        found.append(f"{above:.2f} s above its floor, target {row.above:g} s")
    for name, limit in row.limits.items():
        if result[name] > limit:
            found.append(f"{name} {result[name]:.3g}, target {limit:g}")
    return found
