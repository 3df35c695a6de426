"""What a check function is given: the backends, the reference, and a place to record."""

from __future__ import annotations

import itertools
import traceback
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from parity.backends import Backend
from parity.compare import Comparison, Figure, compare_named
from parity.ledger import Tolerance

T = TypeVar("T")

PAIR = "pair"


class NotRun(Exception):
    """Raised by a check that cannot run here, saying why; its verdicts become ``not-run``."""


@dataclass(frozen=True)
class Finding:
    """One thing that does not hold: who, what, in which case."""

    subject: str
    what: str
    case: str


@dataclass(frozen=True)
class Measurement:
    """A difference that was measured against a tolerance, whether it held or not.

    ``noise`` is one of a backend from itself, which is no use of the tolerance.
    """

    tolerance: str
    value: float
    check: str
    subject: str
    case: str
    noise: bool = False


@dataclass
class Recorder:
    """Collects what a check observes.

    A verdict passes only if something was observed for it: a check that compared nothing, or
    only zeros with zeros, is a failure and not a success. ``unnamed`` has the names of compared
    arrays whose axes have none.
    """

    check: str
    backends: Mapping[str, Backend]
    tolerances: Mapping[str, Tolerance]
    seed: int = 0
    memory: dict[Any, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)
    observed: Counter[str] = field(default_factory=Counter)
    vacuous: list[str] = field(default_factory=list)
    unnamed: set[str] = field(default_factory=set)

    def fail(self, subject: str, what: str, case: str = "") -> None:
        """Record a finding against ``subject``."""
        self.observed[subject] += 1
        self.findings.append(Finding(subject, what, case))

    def require(self, subject: str, holds: bool, what: str, case: str = "") -> None:
        """Record an observation; a finding saying ``what`` if it does not hold."""
        if holds:
            self.observed[subject] += 1
        else:
            self.fail(subject, what, case)

    def collect(self, measure: Callable[[Backend], T], case: str = "") -> dict[str, T]:
        """Return ``measure`` of each backend; one that raises gets a finding and no entry."""
        results: dict[str, T] = {}
        for name, backend in self.backends.items():
            try:
                results[name] = measure(backend)
            except Exception as error:
                self.fail(name, f"raised {summary_of(error)}", case)
        return results

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return ``make()``, computed once in a gate run and shared by its checks under ``key``."""
        if key not in self.memory:
            self.memory[key] = make()
        kept: T = self.memory[key]
        return kept

    def prepared(self, start: Callable[[int], T]) -> T:
        """Return what ``start(seed)`` started before the first check, or starts now."""
        return self.once(start, lambda: start(self.seed))

    def judge(
        self,
        subject: str,
        comparisons: Iterable[Comparison],
        tolerance: str,
        case: str = "",
        figure: Figure = "scale_relative",
        noise: bool = False,
    ) -> None:
        """Record comparisons against the tolerance of that id (``KeyError`` if unknown).

        ``noise`` says that they are of one backend with itself.
        """
        limit = self.tolerances[tolerance]
        for comparison in comparisons:
            self._look(comparison)
            value = comparison.figure(figure)
            measured = Measurement(tolerance, value, self.check, subject, case, noise)
            self.measurements.append(measured)
            if comparison.vacuous:
                self.vacuous.append(f"{subject}: {comparison.name} is zero on both sides ({case})")
            elif comparison.within(limit.value, figure):
                self.observed[subject] += 1
            else:
                bound = f"tolerance {limit.id} = {limit.value:.1e} ({figure})"
                self.fail(subject, f"{comparison.describe()}; {bound}", case)

    def judge_equal(self, subject: str, comparisons: Iterable[Comparison], case: str = "") -> None:
        """Record comparisons that must show no difference at all, zeros included."""
        for comparison in comparisons:
            self._look(comparison)
            self.require(subject, comparison.within(0.0), comparison.describe(), case)

    def _look(self, comparison: Comparison) -> None:
        """Remember what would be reported without the names of its axes."""
        if comparison.nameless:
            self.unnamed.add(comparison.name)

    def judge_against(
        self,
        results: Mapping[str, Mapping[str, Any]],
        reference: Mapping[str, Any],
        tolerance: str,
        case: str,
        dims: Mapping[str, Sequence[str]] | None = None,
        figure: Figure = "scale_relative",
    ) -> None:
        """Compare each backend's named arrays with the reference, and the backends pairwise.

        The names of the reference decide; a backend may return more. Between the backends the
        dtypes must be equal too.
        """
        names = list(reference)
        for name, result in results.items():
            found = compare_named(result, reference, names, dims, same_dtype=False)
            self.judge(name, found, tolerance, case, figure)
        for left, right in self.pairs(results):
            self.judge(PAIR, compare_named(left, right, names, dims), tolerance, case, figure)

    def pairs(self, results: Mapping[str, T]) -> list[tuple[T, T]]:
        """Return the unordered pairs of results, for verdicts about the pair."""
        return list(itertools.combinations(results.values(), 2))


def summary_of(error: BaseException) -> str:
    """Return type, text and place of an error in one line."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}: {str(error)[:500]}{place}"
