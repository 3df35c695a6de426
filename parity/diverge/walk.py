"""Walk the stages of a scenario in order and find the first at which a judge is off.

Shared: every stage of every judge is given the same values of the stages before it, those of the
float64 reference rounded to single precision, or of the first backend where the reference has
none; what differs then is that stage. Free: what the programs themselves had at their taps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.compare import Comparison, compare
from parity.diverge.judges import REFERENCE

__all__ = ["Divergence", "Stage", "StageResult", "Statistics", "first_divergence", "judge_values"]

Array = NDArray[Any]
Values = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage: its name, the names of its axes, how far judges may be apart, and who computes it.

    ``limit`` is None for values that have to be equal. ``compute(judge, values)`` returns a
    judge's value from those of earlier stages, or None where the judge has no such stage.
    """

    name: str
    dims: tuple[str, ...]
    limit: float | None
    compute: Callable[[str, Mapping[str, Any]], Any] = lambda judge, values: None
    tolerance: str = "equal"


@dataclass(frozen=True)
class Statistics:
    """What an array looks like."""

    shape: tuple[int, ...]
    dtype: str
    least: float
    mean: float
    largest: float
    spread: float
    not_finite: int

    @classmethod
    def of(cls, value: Any) -> Statistics:
        """Return the statistics of an array; of a complex one those of its modulus."""
        array = np.asarray(value)
        sizes = np.abs(array) if np.iscomplexobj(array) else array.astype(np.float64)
        finite = sizes[np.isfinite(sizes)]
        if finite.size == 0:
            finite = np.full(1, math.nan)
        return cls(
            array.shape,
            str(array.dtype),
            float(finite.min()),
            float(finite.mean()),
            float(finite.max()),
            float(finite.std()),
            int(sizes.size - np.isfinite(sizes).sum()),
        )

    def __str__(self) -> str:
        kind = "modulus " if self.dtype.startswith("complex") else ""
        lost = f", {self.not_finite} not finite" if self.not_finite else ""
        return (
            f"{self.dtype} {list(self.shape)} {kind}min {self.least:.6g} mean {self.mean:.6g} "
            f"max {self.largest:.6g} std {self.spread:.6g}{lost}"
        )


@dataclass
class StageResult:
    """What was found at one stage: distances of judges, who is to blame, statistics.

    ``culprits`` is empty where nothing is off. A single backend is to blame where it alone is off
    the reference; without a reference two that differ are both named.
    """

    stage: Stage
    distances: dict[tuple[str, str], Comparison]
    culprits: tuple[str, ...] = ()
    statistics: dict[str, Statistics | str] = field(default_factory=dict)
    differences: list[str] = field(default_factory=list)

    @property
    def worst(self) -> Comparison | None:
        """The largest distance that involves a culprit, or the largest of all."""
        of = [c for pair, c in self.distances.items() if set(pair) & set(self.culprits)]
        return max(of or self.distances.values(), key=lambda c: c.scale_relative, default=None)


@dataclass
class Divergence:
    """The stages of one walk, in order."""

    mode: str
    results: list[StageResult]

    @property
    def first(self) -> StageResult | None:
        """The first stage at which somebody is off."""
        return next((result for result in self.results if result.culprits), None)


def _agrees(stage: Stage, found: Comparison) -> bool:
    return found.within(0.0 if stage.limit is None else stage.limit)


def judge_values(stage: Stage, values: Mapping[str, Any]) -> StageResult:
    """Compare one stage's values, judge by judge."""
    distances = {
        (left, right): compare(
            values[left],
            values[right],
            stage.name,
            stage.dims,
            same_dtype=REFERENCE not in (left, right),
        )
        for left, right in itertools.combinations(values, 2)
    }
    backends = [name for name in values if name != REFERENCE]
    off = []
    for name in backends:
        against = [c for pair, c in distances.items() if set(pair) == {name, REFERENCE}]
        # Against the reference nothing is bit-equal: the limit of equal values is single precision.
        limit = stage.limit if stage.limit is not None else 4 * float(np.finfo(np.float32).eps)
        if against and not against[0].within(limit):
            off.append(name)
    apart = [
        pair for pair, c in distances.items() if REFERENCE not in pair and not _agrees(stage, c)
    ]
    if apart and not off:
        off = _farther(apart, distances) if REFERENCE in values else sorted(set(sum(apart, ())))
    looks: dict[str, Statistics | str] = {}
    if off:
        looks = {name: Statistics.of(value) for name, value in values.items()}
    return StageResult(stage, distances, tuple(off), looks)


def _farther(
    apart: Sequence[tuple[str, str]], distances: Mapping[tuple[str, str], Comparison]
) -> list[str]:
    """Return which of two that differ lies farther from the reference."""
    far = {
        name: c.scale_relative
        for name in apart[0]
        for pair, c in distances.items()
        if set(pair) == {name, REFERENCE}
    }
    return [max(far, key=lambda name: far[name])]


def walk_shared(
    stages: Sequence[Stage], judges: Sequence[str], given: Mapping[str, Any] | None = None
) -> Divergence:
    """Compute every stage by every judge from shared values of the stages before it.

    ``given`` are the values that the first stage starts from.
    """
    shared: Values = dict(given or {})
    results = []
    for stage in stages:
        values = {judge: stage.compute(judge, shared) for judge in judges}
        values = {judge: value for judge, value in values.items() if value is not None}
        results.append(judge_values(stage, values))
        shared[stage.name] = _rounded(values)
    return Divergence("shared", results)


def _rounded(values: Mapping[str, Any]) -> Any:
    """Return the value that everybody is given: the reference's, as a backend would hold it."""
    if REFERENCE not in values:
        return next(iter(values.values()))
    exact = np.asarray(values[REFERENCE])
    return exact.astype(np.complex64 if np.iscomplexobj(exact) else np.float32)


def first_divergence(walks: Sequence[Divergence]) -> tuple[Divergence, StageResult] | None:
    """Return the first walk in which somebody is off, and the stage."""
    for walk in walks:
        if walk.first is not None:
            return walk, walk.first
    return None
