"""The whole forward pass in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends.oracle import physics
from parity.backends.oracle.network import WeightMap, object_patches
from ptycho.config.config import ModelConfig


def evaluate(
    config: ModelConfig, weights: WeightMap, x: NDArray[Any], offsets: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Return ``object`` (B, N, N, 1), ``patches``, ``extracted``, ``amplitude``, ``intensity``.

    ``x`` is s0 * X, (B, N, N, C); ``offsets`` are relative coordinates in pixels, (B, 1, 2, C).
    ``patches`` come before the merge, ``extracted`` after it; float64 and complex128 throughout.
    """
    patches = object_patches(config, weights, np.asarray(x, np.float64))
    return {"patches": patches, **propagate(config, weights, patches, offsets)}


def propagate(
    config: ModelConfig, weights: WeightMap, patches: NDArray[Any], offsets: NDArray[Any]
) -> dict[str, NDArray[Any]]:
    """Return what :func:`evaluate` returns besides ``patches``, for given object patches."""
    coordinates = np.asarray(offsets, np.float64)
    canvases = physics.merge(config, np.asarray(patches, np.complex128), coordinates)
    extracted = physics.extract(config, canvases, coordinates)
    intensity = physics.diffraction_intensity(config, weights["probe"], extracted)
    return {
        "object": physics.centre(canvases, config.N),
        "extracted": extracted,
        **physics.intensity_outputs(float(weights["log_scale"]), intensity),
    }
