"""Figures of the demo's report (matplotlib, without pyplot's global state)."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from parity.demo.score import Scores

_LABELS = {"tensorflow": "TensorFlow", "pytorch": "PyTorch"}


def _show(
    figure: Figure, axes: Any, image: NDArray[Any], title: str, cmap: str, limits: Sequence[float]
) -> None:
    shown = axes.imshow(image, cmap=cmap, vmin=limits[0], vmax=limits[1], interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()
    figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02).ax.tick_params(labelsize=7)


def _limits(images: Sequence[NDArray[Any]]) -> tuple[float, float]:
    low, high = np.percentile(np.concatenate([image.ravel() for image in images]), [0.5, 99.5])
    return float(low), float(high)


def reconstructions(scores: Scores) -> Figure:
    """Draw amplitude and phase (radians) of the reference, both backends and their difference."""
    images = {_LABELS[name]: scores.images[name] for name in _LABELS}
    parts: tuple[Callable[[NDArray[Any]], NDArray[Any]], ...] = (np.abs, np.angle)
    difference = [part(images["PyTorch"]) - part(images["TensorFlow"]) for part in parts]
    # Phases of two aligned images differ by a small angle: wrap, or a jump at pi would dominate.
    difference[1] = np.angle(np.exp(1j * difference[1]))
    if scores.reference is not None:
        images = {"reference": scores.reference, **images}
    figure = Figure(figsize=(3.1 * (len(images) + 1), 6.0), layout="constrained")
    grid = figure.subplots(2, len(images) + 1)
    rows = (("amplitude", "gray"), ("phase", "twilight_shifted"))
    for row, (part, (name, cmap)) in enumerate(zip(parts, rows, strict=True)):
        shown = {title: part(image) for title, image in images.items()}
        limits = _limits(list(shown.values()))
        for axes, (title, image) in zip(grid[row], shown.items(), strict=False):
            _show(figure, axes, image, f"{title}: {name}", cmap, limits)
        largest = float(np.abs(difference[row]).max()) or 1.0
        title = f"PyTorch - TensorFlow: {name}"
        _show(figure, grid[row][-1], difference[row], title, "RdBu", (-largest, largest))
    return figure


def loss_curves(histories: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Draw training and validation loss per epoch of both backends."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    axes = figure.subplots()
    styles = {"tensorflow": ("C1", "-", 3.0), "pytorch": ("C0", "--", 1.5)}
    for name, history in histories.items():
        color, style, width = styles[name]
        for key, alpha in (("loss", 1.0), ("val_loss", 0.45)):
            values = history.get(key)
            if values:
                epochs = range(1, len(values) + 1)
                label = f"{_LABELS[name]} {'training' if key == 'loss' else 'validation'}"
                axes.plot(epochs, values, style, color=color, lw=width, alpha=alpha, label=label)
    axes.set(xlabel="epoch", ylabel="loss", yscale="log")
    axes.legend(fontsize=8)
    return figure


def as_data_uri(figure: Figure) -> str:
    """Return the figure as a PNG data URI, so that the page needs no other file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
