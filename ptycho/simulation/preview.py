"""A picture of a scan: object with positions, probe, and some patterns."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.raw_data import RawData

_PATTERNS = 4


def preview_png(raw: RawData) -> bytes:
    """Return a PNG of a scan that has an object and a probe; ``ValueError`` if one is missing."""
    if raw.objectGuess is None or raw.probeGuess is None:
        raise ValueError("a preview needs the scan's objectGuess and probeGuess")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 6.4), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, _PATTERNS)
    probe = raw.probeGuess if raw.probeGuess.ndim == 2 else raw.probeGuess[0]
    mode = "" if raw.probeGuess.ndim == 2 else f" (mode 1 of {len(raw.probeGuess)})"
    _show(figure, upper[0], np.abs(raw.objectGuess), "object amplitude", "gray")
    _show(figure, upper[1], np.angle(raw.objectGuess), "object phase (rad)", "gray")
    upper[1].plot(raw.xcoords, raw.ycoords, ".", ms=2, color="tab:red")
    _show(figure, upper[2], np.abs(probe), f"probe amplitude{mode}", "viridis")
    _show(figure, upper[3], np.angle(probe), "probe phase (rad)", "twilight")
    amplitude = raw.amplitude()
    for axes, i in zip(lower, np.linspace(0, len(raw) - 1, _PATTERNS).astype(int), strict=True):
        counts = amplitude[i].astype(np.float64) ** 2
        title = f"pattern {i}, log10(1 + photons)"
        _show(figure, axes, np.log10(1 + counts), title, "magma")
    buffer = io.BytesIO()
    # The version of the plotting library would make equal pictures differ.
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


def _show(figure: Any, axes: Any, image: NDArray[Any], title: str, colours: str) -> None:
    shown = axes.imshow(image, cmap=colours, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.tick_params(labelsize=7)
    figure.colorbar(shown, ax=axes, fraction=0.046).ax.tick_params(labelsize=7)
