"""Files of a finished run: two pictures, the reconstruction, and the training history."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho.io.atomic import write_bytes

__all__ = ["save_outputs"]


def save_outputs(
    amplitude: ArrayLike | None,
    phase: ArrayLike | None,
    results: Mapping[str, Any],
    output_prefix: str | Path,
) -> None:
    """Write what a run produced into the directory ``output_prefix``, creating it.

    ``amplitude`` and ``phase`` (radians) are images (S, S) or (S, S, 1), or both ``None`` when
    nothing was stitched. Written are ``reconstructed_amplitude.png``,
    ``reconstructed_phase.png``, ``reconstruction.npz`` (``object`` complex64 (S, S) and
    ``centre`` float64 (2,) = mean scan position [x, y] in object pixels, on which canvas pixel
    S/2 sits) and, where ``results`` has a ``history``, ``history.json``. Each file is written
    beside its place and renamed, so none is ever half there. Of several processes that trained
    together (``results["process"]``) only the first writes.

    Raises ``ValueError`` if one image is missing, is not two-dimensional, or has another shape
    than the other, or if ``results`` has no ``global_offsets`` to tell where the images lie.
    """
    if results.get("process"):
        return
    directory = Path(output_prefix)
    files: dict[str, bytes] = {}
    if amplitude is not None or phase is not None:
        modulus, angle = _image(amplitude, "amplitude"), _image(phase, "phase")
        if modulus.shape != angle.shape:
            raise ValueError(f"amplitude is {modulus.shape} but phase is {angle.shape}")
        files["reconstructed_amplitude.png"] = _picture(modulus, "Amplitude")
        files["reconstructed_phase.png"] = _picture(angle, "Phase (rad)")
        files["reconstruction.npz"] = _reconstruction(modulus, angle, results)
    if results.get("history"):
        files["history.json"] = _history(results["history"])
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_bytes(directory / name, content)


def _image(values: ArrayLike | None, name: str) -> NDArray[np.float64]:
    if values is None:
        raise ValueError(f"{name} is None but the other image is not: give both or neither")
    image = np.asarray(values, np.float64)
    if image.ndim == 3 and image.shape[-1] == 1:
        image = image[..., 0]
    if image.ndim != 2:
        raise ValueError(f"{name} has shape {image.shape}; expected an image (S, S)")
    return image


def _picture(image: NDArray[np.float64], title: str) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    shown = axes.imshow(image, cmap="gray")
    axes.set(title=title, xlabel="x (canvas pixels)", ylabel="y (canvas pixels)")
    figure.colorbar(shown, ax=axes, shrink=0.8)
    buffer = io.BytesIO()
    # The version of the plotting library would make equal pictures differ.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _reconstruction(
    modulus: NDArray[np.float64], angle: NDArray[np.float64], results: Mapping[str, Any]
) -> bytes:
    offsets = results.get("global_offsets")
    if offsets is None:
        raise ValueError(
            "results has no 'global_offsets': pass the results that came with the images"
        )
    centre = np.asarray(offsets, np.float64).reshape(-1, 2).mean(axis=0)
    buffer = io.BytesIO()
    obj = (modulus * np.exp(1j * angle)).astype(np.complex64)
    np.savez(buffer, object=obj, centre=centre)
    return buffer.getvalue()


def _history(history: Mapping[str, Any]) -> bytes:
    plain = {name: [_number(value) for value in values] for name, values in history.items()}
    return (json.dumps(plain, indent=1, allow_nan=False) + "\n").encode()


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None
