"""Rows: training steps, epochs and predictions, out of the figures of ``benchmarks.network``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.network import QUICK, WHOLE, epoch_runs, measure
from benchmarks.rows import Row

_FLOOR = "bare convolutions"


def rows() -> Iterator[Row]:
    """Yield the rows; those of one network and backend are measured together."""
    for N, gridsize, batch in WHOLE:
        quick = (N, gridsize, batch) in QUICK
        for backend in ("tensorflow", "pytorch"):
            case = f"{backend}, N={N}, gridsize {gridsize}, batch {batch}"
            kept: dict[str, Any] = {"together": case, "quick": quick, "count": batch}
            yield Row("train", f"step, {case}", None, _FLOOR, ratio=1.2, **kept)
            yield Row("train", f"epoch, {case}", None, "its steps", ratio=1.05, **kept)
            yield Row("train", f"start, {case}", None, "second start", seconds=5.0, **kept)
            # PyTorch traces nothing.
            traces = {"traces": 0} if backend == "tensorflow" else {}
            yield Row("train", f"second start, {case}", None, "first start", limits=traces, **kept)
            yield Row("predict", f"batch, {case}", None, _FLOOR, ratio=1.2, **kept)


def figures(case: str, runs: int | None, cpu: bool = False) -> dict[str, dict[str, Any]]:
    """Return the results of the rows of one case by their keys.

    Medians of ``runs``, by default of seven for small networks and of five for the others. With
    ``cpu`` in seconds of the processor, but for what a start takes.
    """
    backend, *rest = case.split(", ")
    N, gridsize, batch = (int(part.replace("=", " ").split()[-1]) for part in rest)
    runs = runs or (7 if (N, gridsize, batch) in QUICK else 5)
    found = measure(backend, N, gridsize, batch, runs)
    what = "cpu_" if cpu else ""
    step, prediction = (found[f"{name}_{what}seconds"] for name in ("step", "prediction"))
    first, second = (max(found[f"{n}_training_seconds"], 1e-3) for n in ("first", "second"))
    epoch = 1 + found[f"epoch_{what}overhead"]
    pairs = {
        "train: step": (step, found[f"step_{what}ratio"]),
        "train: epoch": (step * epoch, epoch),
        "train: start": (first, first / second),
        "train: second start": (second, second / first),
        "predict: batch": (prediction, found[f"prediction_{what}ratio"]),
    }
    facts = {
        "train: step": _facts(found, "step"),
        "train: epoch": {"runs": epoch_runs(runs)},
        "train: start": {"runs": 1},
        "train: second start": {"runs": 1, "traces": found["second_training_traces"]},
        "predict: batch": _facts(found, "prediction"),
    }
    return {
        f"{name}, {case}": {
            "seconds": seconds, "ratio": ratio, "floor_seconds": seconds / ratio, "runs": runs,
            **facts[name],
        }
        for name, (seconds, ratio) in pairs.items()
    }  # fmt: skip


def _facts(found: dict[str, Any], name: str) -> dict[str, float]:
    ready, peak = found[f"{name}_mib"]
    facts = {what: found[f"{name}_{what}"] for what in ("gflop", "ratio_carried_out")}
    return facts | {"ready_mib": ready, "peak_mib": peak}
