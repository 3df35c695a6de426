"""The ``cnn`` network in float64 NumPy (architecture page, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import ModelConfig

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]
WeightMap = Mapping[str, NDArray[Any]]

_OUTER_FEATURES = 4


def _logistic(x: Real) -> Real:
    # Two branches, so that exp never overflows.
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + small), small / (1 + small))


def _relu(x: Real) -> Real:
    return np.maximum(x, 0.0)


def _swish(x: Real) -> Real:
    return x * _logistic(x)


def _softplus(x: Real) -> Real:
    return np.logaddexp(0.0, x)


def _phase(x: Real) -> Real:
    return np.pi * np.tanh(x)


AMPLITUDE_ACTIVATIONS: dict[str, Callable[[Real], Real]] = {
    "sigmoid": _logistic,
    "swish": _swish,
    "softplus": _softplus,
    "relu": _relu,
}


def convolve(image: Real, kernel: Real, bias: Real) -> Real:
    """Correlate (B, H, W, I) with a (3, 3, I, O) kernel, zeros outside, and add the bias."""
    height, width = image.shape[1:3]
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    total = np.zeros((*image.shape[:3], kernel.shape[-1])) + bias
    for dy in range(3):
        for dx in range(3):
            total += padded[:, dy : dy + height, dx : dx + width] @ kernel[dy, dx]
    return total


def max_pool(image: Real) -> Real:
    """Return the maximum of each 2 x 2 cell."""
    rows = np.maximum(image[:, 0::2], image[:, 1::2])
    return np.maximum(rows[:, :, 0::2], rows[:, :, 1::2])


def upsample(image: Real) -> Real:
    """Repeat every pixel 2 x 2 times."""
    return image.repeat(2, axis=1).repeat(2, axis=2)


def _conv(weights: WeightMap, name: str, image: Real) -> Real:
    kernel = np.asarray(weights[f"{name}/kernel"], np.float64)
    return convolve(image, kernel, np.asarray(weights[f"{name}/bias"], np.float64))


def _block(weights: WeightMap, name: str, image: Real) -> Real:
    return _relu(_conv(weights, f"{name}/conv2", _relu(_conv(weights, f"{name}/conv1", image))))


def scaled_input(weights: WeightMap, x: NDArray[Any]) -> Real:
    """Return what enters the encoder: x / exp(log_scale)."""
    return np.asarray(x, np.float64) / np.exp(float(weights["log_scale"]))


def block(weights: WeightMap, name: str, image: NDArray[Any]) -> Real:
    """Return the features after a block and the change of size that follows it."""
    after = max_pool if name.startswith("encoder") else upsample
    return after(_block(weights, name, np.asarray(image, np.float64)))


def block_names(weights: WeightMap, prefix: str) -> list[str]:
    """Return ``prefix/block1``, ``prefix/block2``, ... as far as there are weights."""
    names: list[str] = []
    while f"{prefix}/block{len(names) + 1}/conv1/kernel" in weights:
        names.append(f"{prefix}/block{len(names) + 1}")
    return names


def head(weights: WeightMap, config: ModelConfig, name: str, features: NDArray[Any]) -> Real:
    """Return the image of the ``amplitude`` or ``phase`` head, (B, N, N, C)."""
    activation = _phase if name == "phase" else AMPLITUDE_ACTIVATIONS[config.amp_activation]
    return _head(weights, config, f"{name}_head", np.asarray(features, np.float64), activation)


def _head(
    weights: WeightMap,
    config: ModelConfig,
    name: str,
    features: Real,
    activation: Callable[[Real], Real],
) -> Real:
    if not config.pad_object:
        full = upsample(_block(weights, f"{name}/up_block", features))
        return activation(_conv(weights, f"{name}/inner", full))
    side, quarter = config.N, config.N // 4
    inner_features = features[..., :-_OUTER_FEATURES] if config.probe_big else features
    inner = activation(_conv(weights, f"{name}/inner", inner_features))
    image = np.zeros((inner.shape[0], side, side, inner.shape[-1]))
    if config.probe_big:
        grown = upsample(_block(weights, f"{name}/outer_block", features[..., -_OUTER_FEATURES:]))
        image += _swish(_conv(weights, f"{name}/outer", grown))
    image[:, quarter : side - quarter, quarter : side - quarter] = inner
    return image


def object_patches(config: ModelConfig, weights: WeightMap, x: Real) -> Complex:
    """Return the object patches O, (B, N, N, C) complex, of scaled amplitudes x (B, N, N, C)."""
    latent = scaled_input(weights, x)
    for name in block_names(weights, "encoder"):
        latent = block(weights, name, latent)
    heads = {}
    for which in ("amplitude", "phase"):
        features = latent
        for name in block_names(weights, f"{which}_decoder"):
            features = block(weights, name, features)
        heads[which] = head(weights, config, which, features)
    return heads["amplitude"] * np.exp(1j * heads["phase"])
