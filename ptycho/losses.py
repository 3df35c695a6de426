"""Losses (formula 7 of the architecture page), means over groups, good pixels and channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ptycho.config.config import TrainingConfig
from ptycho.core.patterns import pixel_weights
from ptycho.core.training_plan import check_groups
from ptycho.physics import central

__all__ = ["NO_LABELS", "evaluate_losses", "loss_terms", "mae", "nll", "realspace", "total_loss"]

NO_LABELS = (
    "the loss compares with object patches and there are none: give RawData an objectGuess or Y, "
    "or train a 'pinn' model with realspace_weight=0"
)


def nll(
    intensity: tf.Tensor, x: tf.Tensor, scale: Any, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Return mean[l - k + k log(k / l)] / scale^2 for rate l = ``intensity``, counts k = ``x``^2.

    The Poisson negative log-likelihood up to a constant that makes a perfect fit 0; a pixel
    without counts contributes its rate. ``weights`` as in :func:`loss_terms`.
    """
    # Divided by scale^2 first, so that float32 sees values near 1 whatever nphotons is.
    rate = intensity / tf.cast(scale**2, tf.float32)
    counts = tf.square(x / tf.cast(scale, tf.float32))
    # One logarithm of the ratio: a difference of two would lose digits. Where k = 0 it is finite
    # and its product with k vanishes, gradient included.
    ratio = tf.where(counts > 0, counts, 1.0) / rate
    return _mean(rate - counts + counts * tf.math.log(ratio), weights)


def mae(
    amplitude: tf.Tensor, x: tf.Tensor, scale: Any, weights: tf.Tensor | None = None
) -> tf.Tensor:
    """Return mean|amplitude - x| / scale. ``weights`` as in :func:`loss_terms`."""
    return _mean(tf.abs(amplitude - x), weights) / tf.cast(scale, tf.float32)


def _mean(values: tf.Tensor, weights: tf.Tensor | None) -> tf.Tensor:
    return tf.reduce_mean(values if weights is None else values * weights)


def realspace(patches: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Return mean|patch - label| over the central N/2 square of complex (B, C, N, N) images."""
    return tf.reduce_mean(tf.abs(central(patches - labels, int(patches.shape[-1]) // 2)))


def loss_terms(
    scale: Any,
    x: tf.Tensor,
    amplitude: tf.Tensor,
    intensity: tf.Tensor,
    patches: tf.Tensor | None = None,
    labels: tf.Tensor | None = None,
    weights: tf.Tensor | None = None,
) -> dict[str, tf.Tensor]:
    """Return the terms ``nll``, ``mae`` and, where there are labels, ``realspace``.

    ``x`` is s0 * X and ``scale`` s0, a number or a tensor of type float64; ``x``, ``amplitude`` and
    ``intensity`` are alike in shape. ``patches`` and ``labels`` are complex (B, C, N, N).
    ``weights``, which broadcast with ``x``, are ``ptycho.core.patterns.pixel_weights`` of the
    detector's bad pixels.
    """
    terms = {"nll": nll(intensity, x, scale, weights), "mae": mae(amplitude, x, scale, weights)}
    if patches is not None and labels is not None:
        terms["realspace"] = realspace(patches, labels)
    return terms


def total_loss(config: TrainingConfig, terms: dict[str, tf.Tensor]) -> tf.Tensor:
    """Return the loss of ``terms``; ``ValueError`` where it needs labels and there were none.

    A term without weight is left out of the sum, so that no gradient flows through it.
    """
    realspace_weight = config.realspace_weight * config.realspace_mae_weight
    supervised = config.model.model_type == "supervised"
    if (supervised or realspace_weight > 0) and "realspace" not in terms:
        raise ValueError(NO_LABELS)
    if supervised:
        return terms["realspace"]
    weights = {"nll": config.nll_weight, "mae": config.mae_weight, "realspace": realspace_weight}
    return tf.add_n([weight * terms[name] for name, weight in weights.items() if weight > 0])


def evaluate_losses(
    config: TrainingConfig,
    intensity_scale: float,
    x: NDArray[np.float32],
    amplitude: NDArray[np.float32],
    intensity: NDArray[np.float32],
    patches: NDArray[np.complex64] | None = None,
    labels: NDArray[np.complex64] | None = None,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> dict[str, float]:
    """Return ``nll``, ``mae``, ``realspace`` (NaN without labels) and ``loss`` of NumPy arrays.

    All arrays are (B, N, N, C); ``patches`` are the object patches at the members' positions.
    ``bad_pixels`` (N, N), True where nothing was measured, have no part in ``nll`` and ``mae``.
    Raises ``ValueError`` for no groups.
    """
    check_groups(len(x), "batch")
    tensors = [
        None if array is None else tf.constant(np.moveaxis(array, -1, 1))
        for array in (x, amplitude, intensity, patches, labels)
    ]
    tensors.append(pixel_weights(bad_pixels))
    terms = loss_terms(intensity_scale, *tensors)
    values = {"nll": float("nan"), "mae": float("nan"), "realspace": float("nan")}
    values |= {name: float(term) for name, term in terms.items()}
    return values | {"loss": float(total_loss(config, terms))}
