"""What was measured beside the ledgers: one row for each tolerance, for terminal and file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from parity.checks.recorder import Measurement
from parity.ledger import Noise, Tolerance
from parity.ledger.tolerances import LOOSE_LIMIT, NOISE_FACTOR

__all__ = ["Slack", "slack_lines", "slack_rows"]

_HEADS = ("value", "ledger max", "p50", "p99", "max", "n", "slack", "noise")


@dataclass(frozen=True)
class Slack:
    """Figures of one tolerance.

    ``measured`` are differences that it bounds, ``noise`` those of one backend from itself; each is
    empty where the chosen checks measure none.
    """

    tolerance: Tolerance
    recorded: Noise | None
    measured: tuple[float, ...]
    noise: tuple[float, ...]

    @property
    def largest(self) -> float:
        """The largest difference that it bounds."""
        return max(self.measured, default=0.0)

    @property
    def exceeded(self) -> bool:
        """Tell whether a difference, or the noise, lies above the tolerance."""
        return max((*self.measured, *self.noise)) > self.tolerance.value

    @property
    def remark(self) -> str:
        """What is to be done about it, or nothing."""
        if self.exceeded:
            return "exceeded"
        if self.measured and self.tolerance.slack(self.largest) > LOOSE_LIMIT:
            return f"could be tightened to {NOISE_FACTOR * self.largest:.1e}"
        if self.largest > self.tolerance.maximum:
            return "above the ledger's maximum"
        recorded = self.recorded.maximum if self.recorded else None
        if self.noise and (recorded is None or max(self.noise) > recorded):
            return "above the ledger's noise"
        return ""

    def _quantiles(self) -> tuple[float, float]:
        with np.errstate(invalid="ignore"):  # what cannot be compared is infinitely far apart
            p50, p99 = np.quantile(self.measured, (0.5, 0.99))
        return float(p50), float(p99)

    def line(self) -> str:
        """Return the row as text."""
        tolerance, figures = self.tolerance, ["", "", "", "0", ""]
        if self.measured:
            p50, p99 = self._quantiles()
            slack = tolerance.slack(self.largest)
            figures = [f"{v:.1e}" for v in (p50, p99, self.largest)]
            figures += [str(len(self.measured)), f"{slack:.1f}"]
        recorded = self.recorded.maximum if self.recorded else None
        noise = max(self.noise) if self.noise else recorded
        cells = [f"{tolerance.value:.1e}", f"{tolerance.maximum:.1e}", *figures]
        cells.append("-" if noise is None else f"{noise:.1e}")
        row = "".join(f"{cell:>11}" for cell in cells)
        return f"{tolerance.id:<28}{row}  {self.remark}".rstrip()

    def to_json(self) -> dict[str, Any]:
        """Return the row as plain values; what was not measured, or is not finite, is null."""
        p50, p99 = self._quantiles() if self.measured else (None, None)
        figures = {
            "value": self.tolerance.value,
            "ledger_max": self.tolerance.maximum,
            "ledger_noise": self.recorded.maximum if self.recorded else None,
            "p50": p50,
            "p99": p99,
            "max": self.largest if self.measured else None,
            "noise_max": max(self.noise, default=None),
        }
        return {
            "id": self.tolerance.id,
            **{
                n: float(v) if v is not None and np.isfinite(v) else None
                for n, v in figures.items()
            },
            "samples": len(self.measured),
            "noise_samples": len(self.noise),
            "exceeded": self.exceeded,
            "remark": self.remark,
        }


def slack_rows(
    tolerances: Mapping[str, Tolerance],
    noise: Mapping[str, Noise],
    measurements: Iterable[Measurement],
) -> list[Slack]:
    """Return a row for each tolerance that was measured, in the order of the ledger."""
    values: dict[tuple[str, bool], list[float]] = defaultdict(list)
    for measurement in measurements:
        values[measurement.tolerance, measurement.noise].append(measurement.value)
    return [
        Slack(tolerance, noise.get(name), tuple(values[name, False]), tuple(values[name, True]))
        for name, tolerance in tolerances.items()
        if values[name, False] or values[name, True]
    ]


def slack_lines(rows: Iterable[Slack]) -> list[str]:
    """Return the table of the rows under its heads."""
    head = f"{'tolerance':<28}" + "".join(f"{name:>11}" for name in _HEADS)
    return [head, *(row.line() for row in rows)]
