"""The files of an evaluation: scores, ring correlations, and a picture."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.metrics import Evaluation, half_bit_threshold, phase_images

__all__ = ["comparison_png", "frc_csv", "metrics_csv", "metrics_json"]


def metrics_json(evaluation: Evaluation, facts: Mapping[str, Any]) -> bytes:
    """Return ``facts``, the scored area and the scores as JSON; what is not finite is null."""
    rows, columns = evaluation.alignment.area
    scores = {k: v if math.isfinite(v) else None for k, v in evaluation.scores.items()}
    area = {"rows": [rows.start, rows.stop], "columns": [columns.start, columns.stop]}
    content = {**facts, "area": area, "scores": scores}
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def metrics_csv(evaluation: Evaluation) -> bytes:
    """Return the scores as CSV, one per row: name, value."""
    return _csv([("metric", "value"), *evaluation.scores.items()])


def frc_csv(evaluation: Evaluation) -> bytes:
    """Return the Fourier ring correlations as CSV, one ring per row."""
    first = next(iter(evaluation.rings.values()))
    header = ("cycles_per_pixel", "pixels", "half_bit", *evaluation.rings)
    curves = [rings.correlation for rings in evaluation.rings.values()]
    columns = (first.frequency, first.pixels, half_bit_threshold(first.pixels), *curves)
    return _csv([header, *zip(*(column.tolist() for column in columns), strict=True)])


def _csv(rows: list[Any]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def comparison_png(evaluation: Evaluation) -> bytes:
    """Return a PNG: truth, aligned reconstruction, difference, and ring correlations."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    aligned = evaluation.alignment
    amplitudes = np.abs(aligned.truth), np.abs(aligned.reconstruction)
    phases = phase_images(aligned.reconstruction, aligned.truth)[::-1]
    figure = Figure(figsize=(14, 6.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 4)
    for row, name, pair in ((grid[0], "amplitude", amplitudes), (grid[1], "phase", phases)):
        _images(figure, row, name, pair)
    _curves(grid[0][3], evaluation)
    _text(grid[1][3], evaluation.scores)
    buffer = io.BytesIO()
    # The version of the plotting library would make equal pictures differ.
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


def _images(
    figure: Any, row: Any, name: str, pair: tuple[NDArray[np.float64], NDArray[np.float64]]
) -> None:
    truth, image = pair
    unit = " (rad)" if name == "phase" else ""
    low, high = float(truth.min()), float(truth.max())
    difference = image - truth
    limit = float(np.percentile(np.abs(difference), 99.5)) or 1.0
    panels = (
        (truth, f"truth: {name}{unit}", "gray", (low, high)),
        (image, f"reconstruction: {name}{unit}", "gray", (low, high)),
        (difference, f"difference{unit}", "RdBu", (-limit, limit)),
    )
    for axes, (content, title, colours, (bottom, top)) in zip(row, panels, strict=False):
        shown = axes.imshow(content, cmap=colours, vmin=bottom, vmax=top, interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set_axis_off()
        figure.colorbar(shown, ax=axes, fraction=0.046).ax.tick_params(labelsize=7)


def _curves(axes: Any, evaluation: Evaluation) -> None:
    for name, rings in evaluation.rings.items():
        axes.plot(rings.frequency, rings.correlation, label=name)
    first = next(iter(evaluation.rings.values()))
    axes.plot(first.frequency, half_bit_threshold(first.pixels), "k--", lw=1, label="half-bit")
    axes.set(xlabel="cycles per pixel", title="Fourier ring correlation", xlim=(0, 0.5))
    axes.set_ylim(-0.2, 1.05)
    axes.legend(fontsize=8)


def _text(axes: Any, scores: Mapping[str, float]) -> None:
    shown = (
        "amplitude_ssim", "phase_ssim", "amplitude_correlation", "phase_correlation",
        "amplitude_psnr", "phase_psnr", "amplitude_mae", "phase_mae", "complex_nrmse",
        "object_frc50", "object_frc_half_bit", "shift_y", "shift_x",
    )  # fmt: skip
    lines = [f"{name:<22}{scores[name]:>9.4f}" for name in shown]
    axes.set_axis_off()
    axes.text(0, 1, "\n".join(lines), va="top", family="monospace", fontsize=8)
