"""The noise ledger, ``noise.toml``: by how much a backend differs from itself.

Every tolerance has an entry: the largest difference of one backend under one and under two
threads, in the tolerance's own figure, or why that is not measured. No tolerance lies below it.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.ledger.tolerances import LedgerError, Tolerance, entries_by_id, require_fields

__all__ = ["DEFAULT_PATH", "Noise", "below_noise", "load_noise"]

DEFAULT_PATH = Path(__file__).with_name("noise.toml")

_MEASURED = {"id", "max", "samples", "date"}


@dataclass(frozen=True)
class Noise:
    """One entry; ``maximum`` is None where nothing was measured, and ``why`` says why."""

    id: str
    maximum: float | None
    samples: int
    why: str


def _parse(entry: Mapping[str, Any], place: str) -> Noise:
    if "why" in entry:
        require_fields(entry, {"id", "why"}, place)
        if not isinstance(entry["why"], str) or not entry["why"].strip():
            raise LedgerError(f"{place}: why is {entry['why']!r}; expected text")
        return Noise(entry["id"], None, 0, entry["why"])
    require_fields(entry, _MEASURED, place)
    for key in ("max", "samples"):
        value = entry[key]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise LedgerError(f"{place}: {key} is {value!r}; expected a number")
        if not 0 <= value < math.inf or (key == "samples" and value < 1):
            raise LedgerError(f"{place}: {key} is {value!r}; expected a finite number >= 0, or 1")
    if not isinstance(entry["date"], datetime.date):
        raise LedgerError(f"{place}: date is {entry['date']!r}; expected YYYY-MM-DD")
    return Noise(entry["id"], float(entry["max"]), int(entry["samples"]), "")


def load_noise(path: Path = DEFAULT_PATH) -> dict[str, Noise]:
    """Return the ledger by tolerance; :class:`LedgerError` for anything malformed or twice."""
    return entries_by_id(path, "noise", _parse)


def below_noise(tolerances: Mapping[str, Tolerance], noise: Mapping[str, Noise]) -> list[str]:
    """Return what is wrong: tolerances below their noise or without any, noise of nothing."""
    lines = [f"noise {name} is of no tolerance: remove it" for name in noise.keys() - tolerances]
    for name, tolerance in tolerances.items():
        entry = noise.get(name)
        if entry is None:
            lines.append(
                f"tolerance {name} has no noise: say in noise.toml how far a backend is from "
                "itself, or why that is not measured"
            )
        elif entry.maximum is not None and tolerance.value < entry.maximum:
            lines.append(
                f"tolerance {name} = {tolerance.value:.1e} lies below the noise of one backend, "
                f"{entry.maximum:.1e} between one and two threads"
            )
    return sorted(lines)
