"""What an evaluation shows: scores as text and files, ring correlations, and a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.cli.results import table_csv, values_json
from ptycho.core.alignment import Area
from ptycho.core.metrics import UNITS, Evaluation, phase_images

__all__ = ["comparison_png", "frc_csv", "metrics_csv", "metrics_json", "summary"]

FloatArray = NDArray[np.float64]

#: Scales of the multi-scale structural similarity where the images are large enough.
_ALL_SCALES = 5

#: The scores that are shown for amplitude and phase, with their labels.
_SHOWN = {
    "ssim": "SSIM",
    "ms_ssim": "MS-SSIM",
    "correlation": "correlation",
    "psnr": "PSNR (dB)",
    "data_range": "PSNR's range",
    "mae": "MAE",
    "mse": "MSE",
    "frc50": "FRC = 1/2 at (1/pixel)",
    "frc_half_bit": "FRC = half-bit at",
    "frc_one_seventh": "FRC = 1/7 at",
}


def summary(evaluation: Evaluation) -> str:
    """Return the main scores as a few lines of text."""
    height, width = evaluation.alignment.truth.shape
    return "\n".join([f"scored {height} x {width} pixels", *_score_lines(evaluation.scores)])


def _score_lines(scores: Mapping[str, float]) -> list[str]:
    lines = [f"{'':<24}{'amplitude':>10}{'phase':>10}"]
    for key, label in _SHOWN.items():
        cells = (_text_of(key, scores[f"{name}_{key}"]) for name in ("amplitude", "phase"))
        lines.append(f"{label:<24}" + "".join(f"{cell:>10}" for cell in cells))
    if scores["ms_ssim_scales"] < _ALL_SCALES:
        lines.append(f"(MS-SSIM at {scores['ms_ssim_scales']:.0f} of {_ALL_SCALES} scales)")
    lines.append(f"complex error {scores['complex_nrmse']:.4f}")
    return lines


def _text_of(key: str, value: float) -> str:
    """Return a score as text; a ring correlation that never falls below reaches Nyquist."""
    if "frc" in key:
        return "> 0.5" if math.isnan(value) else f"{value:.3f}"
    if math.isnan(value):
        return "-"
    return f"{value:.2f}" if key == "psnr" else f"{value:.3g}" if key == "mse" else f"{value:.4f}"


def metrics_json(evaluation: Evaluation, facts: Mapping[str, Any]) -> bytes:
    """Return ``facts``, the scored area, units and scores as JSON; what is not finite is null."""
    rows, columns = evaluation.alignment.area
    area = {"rows": [rows.start, rows.stop], "columns": [columns.start, columns.stop]}
    return values_json({**facts, "area": area, "units": UNITS}, "scores", evaluation.scores)


def metrics_csv(evaluation: Evaluation) -> bytes:
    """Return the scores as CSV, one per row: name, value, unit."""
    scores = evaluation.scores.items()
    return table_csv([("metric", "value", "unit"), *((k, v, UNITS[k]) for k, v in scores)])


def frc_csv(evaluation: Evaluation) -> bytes:
    """Return the Fourier ring correlations as CSV, one ring per row, without frequency 0."""
    first = next(iter(evaluation.rings.values()))
    header = ("cycles_per_pixel", "pixels", "half_bit", *evaluation.rings)
    curves = [rings.correlation for rings in evaluation.rings.values()]
    columns = (first.frequency, first.pixels, first.thresholds()["frc_half_bit"], *curves)
    return table_csv([header, *zip(*(column[1:].tolist() for column in columns), strict=True)])


def comparison_png(evaluation: Evaluation) -> bytes:
    """Return a PNG: truth, aligned reconstruction, difference, ring correlations, scores."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    aligned = evaluation.alignment
    amplitudes = np.abs(aligned.truth), np.abs(aligned.reconstruction)
    phases = phase_images(aligned.reconstruction, aligned.truth)[::-1]
    figure = Figure(figsize=(17, 7.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(2, 4, width_ratios=(1, 1, 1, 1.25))
    for row, name, pair in ((grid[0], "amplitude", amplitudes), (grid[1], "phase", phases)):
        _images(figure, row, name, pair, aligned.area)
    _curves(grid[0][3], evaluation)
    _scores(grid[1][3], evaluation.scores)
    buffer = io.BytesIO()
    # The version of the plotting library would make equal pictures differ.
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


def _images(
    figure: Any, row: Any, name: str, pair: tuple[FloatArray, FloatArray], area: Area
) -> None:
    truth, image = pair
    unit = " (rad)" if name == "phase" else ""
    low, high = float(truth.min()), float(truth.max())
    difference = image - truth
    limit = float(np.percentile(np.abs(difference), 99.5)) or 1.0
    outside = float(((image < low) | (image > high)).mean())
    beyond = f"\n{100 * outside:.1f} % beyond the truth's range" if outside > 0.005 else ""
    panels = (
        (truth, f"truth: {name}{unit}", "gray", (low, high), "neither"),
        (image, f"reconstruction: {name}{unit}{beyond}", "gray", (low, high), "both"),
        (difference, f"difference: {name}{unit}", "RdBu", (-limit, limit), "both"),
    )
    rows, columns = area
    extent = (columns.start - 0.5, columns.stop - 0.5, rows.stop - 0.5, rows.start - 0.5)
    for axes, (content, title, colours, (bottom, top), ends) in zip(row, panels, strict=False):
        shown = axes.imshow(
            content, cmap=colours, vmin=bottom, vmax=top, extent=extent, interpolation="nearest"
        )
        axes.set_title(title, fontsize=10)
        axes.tick_params(labelsize=7)
        bar = figure.colorbar(shown, ax=axes, fraction=0.046, extend=ends)
        bar.ax.tick_params(labelsize=8)


def _curves(axes: Any, evaluation: Evaluation) -> None:
    first = next(iter(evaluation.rings.values()))
    styles = {"frc50": "-.", "frc_one_seventh": ":", "frc_half_bit": "--"}
    names = {"frc50": "1/2", "frc_one_seventh": "1/7", "frc_half_bit": "half-bit"}
    for key, threshold in first.thresholds().items():
        axes.plot(
            first.frequency[1:], threshold[1:], color="k", ls=styles[key], lw=1, label=names[key]
        )
    for name, rings in evaluation.rings.items():
        (line,) = axes.plot(rings.frequency[1:], rings.correlation[1:], label=name)
        for threshold in rings.thresholds().values():
            crossing = rings.crossing(threshold)
            if crossing > 0:
                level = np.interp(crossing, rings.frequency, threshold)
                axes.plot(crossing, level, "o", ms=4, color=line.get_color())
    axes.set_title("Fourier ring correlation", fontsize=10)
    axes.set_xlabel("cycles per pixel (Nyquist: 0.5)", fontsize=9)
    axes.set(xlim=(0, 0.5), ylim=(-0.2, 1.05))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncol=2)


def _scores(axes: Any, scores: Mapping[str, float]) -> None:
    shift = f"shift removed {scores['shift_x']:.2f}, {scores['shift_y']:.2f} pixels (x, y)"
    slope = f"ramp removed {scores['ramp_x']:.4f}, {scores['ramp_y']:.4f} rad/pixel (x, y)"
    axes.set_axis_off()
    lines = "\n".join([*_score_lines(scores), shift, slope])
    axes.text(0, 1, lines, va="top", family="monospace", fontsize=9, linespacing=1.35)
