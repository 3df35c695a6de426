"""Rows: the most memory that whole commands take on a large scan (``benchmarks.memory``)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.memory import FEW, SMALL, N, peak_of_inference, peak_of_training, write_scan
from benchmarks.rows import Row, Work

_PATTERNS = 20_000
_STEPS = {"training": peak_of_training, "inference": peak_of_inference}


def rows() -> Iterator[Row]:
    """Yield the rows; the target is 1.3 times the scan and 0.7 GB."""
    target = (1.3 * 4 * N**2 * _PATTERNS + 0.7e9) / 2**20
    for backend in ("tensorflow", "pytorch"):
        for gridsize in (1, 2, 3):
            for step in _STEPS:
                yield Row(
                    "memory", f"{step}, {backend}, gridsize {gridsize}, {_PATTERNS} patterns",
                    partial(work, backend, gridsize, step), f"the same for {FEW} patterns",
                    limits={"peak_mib": round(target)}, count=_PATTERNS, runs=1, quick=False,
                )  # fmt: skip


def work(backend: str, gridsize: int, step: str, patterns: int = _PATTERNS) -> Work:
    """Return a command on a large scan and, as its floor, on a small one.

    Their peaks of resident memory take the place of this process's.
    """
    place = Path(tempfile.mkdtemp())
    few, scan = place / "few.npz", place / "scan.npz"
    write_scan(few, FEW)
    write_scan(scan, patterns)
    if step == "inference":
        # What an inference holds of the scan is the same, and the default network takes minutes.
        peak_of_training(backend, few, gridsize, place, SMALL)
    found: dict[Path, float] = {}

    def measured(path: Path) -> None:
        found[path] = _STEPS[step](backend, path, gridsize, place)

    def facts() -> dict[str, float]:
        shutil.rmtree(place)
        return {"peak_mib": found[scan], "ready_mib": found[few]}

    return Work(partial(measured, scan), partial(measured, few), facts)
