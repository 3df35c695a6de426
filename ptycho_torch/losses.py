"""Losses (formula 7 of the architecture page), means over groups, good pixels and channels."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ptycho.config.config import TrainingConfig
from ptycho.core.patterns import pixel_weights
from ptycho.core.training_plan import check_groups

__all__ = ["evaluate_losses", "loss_terms", "mae", "nll", "realspace", "total_loss"]


def nll(intensity: Tensor, x: Tensor, scale: float, weights: Tensor | None = None) -> Tensor:
    """Return mean[l - k + k log(k / l)] / scale^2 for rate l = ``intensity``, counts k = ``x``^2.

    The Poisson negative log-likelihood up to a constant that makes a perfect fit 0; a pixel
    without counts contributes its rate. ``weights`` as in :func:`loss_terms`.
    """
    # Divided by scale^2 first: counts may be millions, and their differences would drown.
    rate = intensity / scale**2
    counts = (x / scale).square()
    # Where k = 0 the logarithm is finite and its product with k vanishes, gradient included.
    ratio = torch.where(counts > 0, counts, 1.0) / rate
    return _mean(rate - counts + counts * torch.log(ratio), weights)


def mae(amplitude: Tensor, x: Tensor, scale: float, weights: Tensor | None = None) -> Tensor:
    """Return mean|amplitude - x| / scale. ``weights`` as in :func:`loss_terms`."""
    return _mean((amplitude - x).abs(), weights) / scale


def _mean(values: Tensor, weights: Tensor | None) -> Tensor:
    return (values if weights is None else values * weights).mean()


def realspace(patches: Tensor, labels: Tensor) -> Tensor:
    """Return mean|patch - label| over the central N/2 square of complex (B, C, N, N) images."""
    N = patches.shape[-1]
    inside = slice(N // 4, N - N // 4)
    return (patches - labels)[..., inside, inside].abs().mean()


def loss_terms(
    scale: float,
    x: Tensor,
    amplitude: Tensor,
    intensity: Tensor,
    patches: Tensor | None = None,
    labels: Tensor | None = None,
    weights: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return the terms ``nll``, ``mae`` and, where there are labels, ``realspace``.

    ``x`` is s0 * X and ``scale`` s0; ``x``, ``amplitude`` and ``intensity`` are alike in shape.
    ``patches`` and ``labels`` are complex (B, C, N, N). ``weights``, which broadcast with ``x``,
    are ``ptycho.core.patterns.pixel_weights`` of the detector's bad pixels.
    """
    terms = {"nll": nll(intensity, x, scale, weights), "mae": mae(amplitude, x, scale, weights)}
    if patches is not None and labels is not None:
        terms["realspace"] = realspace(patches, labels)
    return terms


def total_loss(config: TrainingConfig, terms: dict[str, Tensor]) -> Tensor:
    """Return the loss of ``terms``; ``ValueError`` where it needs labels and there were none.

    A term without weight is left out of the sum, so that no gradient flows through it.
    """
    realspace_weight = config.realspace_weight * config.realspace_mae_weight
    supervised = config.model.model_type == "supervised"
    if (supervised or realspace_weight > 0) and "realspace" not in terms:
        raise ValueError(
            "the loss compares with object patches and there are none: give RawData an "
            "objectGuess or Y, or train a 'pinn' model with realspace_weight=0"
        )
    if supervised:
        return terms["realspace"]
    weights = {"nll": config.nll_weight, "mae": config.mae_weight, "realspace": realspace_weight}
    weighted = [weight * terms[name] for name, weight in weights.items() if weight > 0]
    return torch.stack(weighted).sum()


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
    weights = pixel_weights(bad_pixels)
    tensors = [
        None if array is None else torch.from_numpy(np.moveaxis(array, -1, 1).copy())
        for array in (x, amplitude, intensity, patches, labels)
    ]
    tensors.append(None if weights is None else torch.from_numpy(weights))
    with torch.inference_mode():
        terms = loss_terms(intensity_scale, *tensors)  # type: ignore[arg-type]
        loss = total_loss(config, terms)
    values = {"nll": float("nan"), "mae": float("nan"), "realspace": float("nan")}
    values |= {name: float(term) for name, term in terms.items()}
    return values | {"loss": float(loss)}
