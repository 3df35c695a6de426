"""Weights under which no unit of the network stands on a kink, for comparisons of gradients.

A ReLU whose input is rounding noise is on in one judge and off in another, and a whole term of a
gradient comes or goes. Such a place says nothing of the backward pass. So that none is there, the
float64 reference walks the network and draws kernel and bias of a channel anew that has one.

The same holds for the largest of a pooling cell, where the next one is nearly as large. Where both
are the same number, all that the convolution saw there is the same, and so is what either passes
on.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from parity.backends.oracle import network
from parity.checks.samples import Sample
from ptycho.config.config import ModelConfig
from ptycho.core.weights import OUTER_CHANNELS, Weights

__all__ = ["off_kinks"]

Real = NDArray[np.float64]

#: How far from a kink a unit has to stay, in units of its layer's largest input. Rounding of the
#: layers before it has moved none by more than 6e-6.
_MARGIN = 2e-5
_ROUNDS = 40


def _close_race(values: Real, margin: float) -> NDArray[np.bool_]:
    """Return whether a channel has a pooling cell whose two largest values are nearly equal."""
    batch, rows, columns, channels = values.shape
    cells = values.reshape(batch, rows // 2, 2, columns // 2, 2, channels)
    four = cells.transpose(2, 4, 0, 1, 3, 5).reshape(4, batch, rows // 2, columns // 2, channels)
    second, first = np.sort(four, axis=0)[-2:]
    lead = first - second
    return np.asarray(((first > 0) & (lead > 0) & (lead < margin)).any(axis=(0, 1, 2)))


def _settled_conv(
    weights: Weights, name: str, image: Real, rng: np.random.Generator, pooled: bool = False
) -> Real:
    """Return the layer's output before its ReLU, kernel and bias changed in ``weights``."""
    kernel, bias = (weights[f"{name}/{part}"].copy() for part in ("kernel", "bias"))
    limit = math.sqrt(6 / math.prod(kernel.shape[:3]))
    values = network.convolve(image, kernel.astype(np.float64), bias.astype(np.float64))
    for _ in range(_ROUNDS):
        margin = _MARGIN * float(np.abs(values).max())
        near = (np.abs(values) < margin).any(axis=(0, 1, 2))
        if pooled:
            near |= _close_race(values, margin)
        if not near.any():
            weights[f"{name}/kernel"], weights[f"{name}/bias"] = kernel, bias
            return values
        shape = (*kernel.shape[:3], int(near.sum()))
        kernel[..., near] = rng.uniform(-limit, limit, shape).astype(np.float32)
        bias[near] = rng.normal(0, 0.1, shape[-1]).astype(np.float32)
        values[..., near] = network.convolve(
            image, kernel[..., near].astype(np.float64), bias[near].astype(np.float64)
        )
    raise ValueError(f"{name} keeps units on a kink after {_ROUNDS} rounds: use fewer patterns")


def _settled_block(
    weights: Weights, name: str, image: Real, rng: np.random.Generator, pooled: bool = False
) -> Real:
    first = np.maximum(_settled_conv(weights, f"{name}/conv1", image, rng), 0)
    return np.maximum(_settled_conv(weights, f"{name}/conv2", first, rng, pooled), 0)


def off_kinks(config: ModelConfig, given: Sample, rng: np.random.Generator) -> Sample:
    """Return the sample with kernels under which no unit is near a kink.

    Raises ``ValueError`` where a layer has so many units that none of its kernels is.
    """
    weights = dict(given.weights)
    latent = network.scaled_input(weights, given.x)
    for name in network.block_names(weights, "encoder"):
        latent = network.max_pool(_settled_block(weights, name, latent, rng, pooled=True))
    for which in ("amplitude", "phase"):
        features = latent
        for name in network.block_names(weights, f"{which}_decoder"):
            features = network.upsample(_settled_block(weights, name, features, rng))
        if not config.pad_object:
            _settled_block(weights, f"{which}_head/up_block", features, rng)
        elif config.probe_big:
            outer = features[..., -OUTER_CHANNELS:]
            _settled_block(weights, f"{which}_head/outer_block", outer, rng)
    return dataclasses.replace(given, weights=weights)
