"""The files of ``ptycho_overlap``: measures with their units, and a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.cli.results import table_csv, values_json
from ptycho.core.coverage import measure_coverage
from ptycho.core.overlap import UNITS, area_overlap, intensity_overlap

__all__ = ["overlap_csv", "overlap_json", "overlap_png"]

FloatArray = NDArray[np.float64]


def overlap_json(measures: Mapping[str, float], facts: Mapping[str, Any]) -> bytes:
    """Return ``facts``, the units and the measures as JSON; what is undefined is null."""
    return values_json({**facts, "units": UNITS}, "measures", measures)


def overlap_csv(measures: Mapping[str, float]) -> bytes:
    """Return the measures as CSV, one per row: name, value, unit."""
    return table_csv(
        [("measure", "value", "unit"), *((k, v, UNITS[k]) for k, v in measures.items())]
    )


def overlap_png(positions: FloatArray, probe: NDArray[Any], measures: Mapping[str, float]) -> bytes:
    """Return a PNG: coverage with the positions, its histogram, and overlap over distance."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(1, 3, width_ratios=(1.25, 1, 1))
    _coverage(figure, grid[0], grid[1], positions, measures["probe_diameter"])
    _curves(grid[2], probe, measures)
    buffer = io.BytesIO()
    # The version of the plotting library would make equal pictures differ.
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


def _coverage(figure: Any, image: Any, bars: Any, positions: FloatArray, diameter: float) -> None:
    coverage = measure_coverage(positions, diameter)
    height, width = coverage.counts.shape
    x, y = coverage.origin
    extent = (x - 0.5, x + width - 0.5, y + height - 0.5, y - 0.5)
    shown = image.imshow(coverage.counts, cmap="viridis", extent=extent, interpolation="nearest")
    size = min(4.0, 200 / math.sqrt(len(positions)))
    image.plot(positions[:, 0], positions[:, 1], ".", ms=size, color="white", alpha=0.7)
    if coverage.field.any() and not coverage.field.all():
        border = (np.arange(x, x + width), np.arange(y, y + height))
        image.contour(*border, coverage.field, levels=[0.5], colors="tab:red", linewidths=1)
    image.set(title="patterns per pixel; red: field", xlabel="x (pixels)", ylabel="y (pixels)")
    figure.colorbar(shown, ax=image, fraction=0.046)
    inside = coverage.counts[coverage.field]
    bars.set(title="coverage of the field", xlabel="patterns per pixel", ylabel="pixels")
    if len(inside):
        number = np.bincount(inside)
        bars.bar(np.arange(len(number)), number, width=0.9, color="tab:blue")
        bars.set_xlim(inside.min() - 1, inside.max() + 1)
    else:
        bars.text(0.5, 0.5, "the positions span no area", ha="center", transform=bars.transAxes)


def _curves(axes: Any, probe: NDArray[Any], measures: Mapping[str, float]) -> None:
    diameter = measures["probe_diameter"]
    distance = np.linspace(0, 1.25 * diameter, 200)
    # The intensity overlap depends on direction: the mean over all of them.
    angle = np.linspace(0, 2 * math.pi, 64, endpoint=False)
    turned = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    lit = intensity_overlap(probe, distance[:, None, None] * turned).mean(axis=1)
    axes.plot(distance, np.maximum(0, 1 - distance / diameter), label="linear", color="tab:gray")
    axes.plot(distance, area_overlap(distance, diameter), label="area", color="tab:blue")
    axes.plot(distance, lit, label="intensity", color="tab:orange")
    if math.isfinite(measures["spacing"]):
        axes.axvline(measures["spacing"], ls="--", lw=1, color="k", label="spacing")
    axes.set(
        title="overlap of two patterns", xlabel="distance (pixels)", ylim=(0, 1.02), xlim=(0, None)
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
