"""Losses in float64 (section 3.7), element by element where the formula has cases."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import xlogy

from parity.backends.oracle.model import evaluate
from parity.backends.oracle.network import WeightMap
from ptycho.config.config import TrainingConfig

Real = NDArray[np.float64]


def _good(values: Real, bad_pixels: NDArray[Any] | None) -> Real:
    """Return the good pixels of (B, N, N, C) as (B, good, C)."""
    if bad_pixels is None:
        return values
    rows, columns = np.nonzero(np.logical_not(bad_pixels))
    return values[:, rows, columns]


def _poisson(rate: Real, counts: Real, intensity_scale: float) -> float:
    # k log(k / rate), 0 at k = 0 whatever the rate is.
    surprise = xlogy(counts, counts) - xlogy(counts, rate)
    return float(np.mean(rate - counts + surprise)) / intensity_scale**2


def _realspace(patches: NDArray[Any], labels: NDArray[Any]) -> float:
    side = patches.shape[1]
    inside = slice(side // 4, side - side // 4)
    difference = np.asarray(patches, np.complex128) - np.asarray(labels, np.complex128)
    return float(np.mean(np.abs(difference[:, inside, inside])))


def evaluate_losses(
    config: TrainingConfig,
    intensity_scale: float,
    x: NDArray[Any],
    amplitude: NDArray[Any],
    intensity: NDArray[Any],
    patches: NDArray[Any] | None = None,
    labels: NDArray[Any] | None = None,
    bad_pixels: NDArray[Any] | None = None,
) -> dict[str, float]:
    """Return ``nll``, ``mae``, ``realspace`` (NaN without labels) and ``loss``.

    Raises ``ValueError`` for no groups.
    """
    if len(x) == 0:
        raise ValueError("no groups, no loss: the mean over groups is that of at least one")
    measured, predicted, rate = (
        _good(np.asarray(values, np.float64), bad_pixels) for values in (x, amplitude, intensity)
    )
    terms = {
        "nll": _poisson(rate, measured**2, intensity_scale),
        "mae": float(np.mean(np.abs(predicted - measured))) / intensity_scale,
        "realspace": math.nan,
    }
    if patches is not None and labels is not None:
        terms["realspace"] = _realspace(patches, labels)
    if config.model.model_type == "supervised":
        return {**terms, "loss": terms["realspace"]}
    total = config.nll_weight * terms["nll"] + config.mae_weight * terms["mae"]
    weight = config.realspace_weight * config.realspace_mae_weight
    if weight > 0:
        total += weight * terms["realspace"]
    return {**terms, "loss": total}


def loss(
    config: TrainingConfig,
    weights: WeightMap,
    x: NDArray[Any],
    offsets: NDArray[Any],
    intensity_scale: float,
    labels: NDArray[Any] | None = None,
    bad_pixels: NDArray[Any] | None = None,
    measured: NDArray[Any] | None = None,
) -> float:
    """Return the training loss of a batch as a function of its weights.

    The network sees ``x``; its prediction is held against ``measured``, if given, else ``x``.
    """
    out = evaluate(config.model, weights, x, offsets)
    return evaluate_losses(
        config,
        intensity_scale,
        x if measured is None else measured,
        out["amplitude"],
        out["intensity"],
        out["extracted"],
        labels,
        bad_pixels,
    )["loss"]


def extracted_patches(
    config: TrainingConfig, weights: WeightMap, x: NDArray[Any], offsets: NDArray[Any]
) -> NDArray[np.complex128]:
    """Return the patches that the realspace term sees, (B, N, N, C)."""
    return np.asarray(evaluate(config.model, weights, x, offsets)["extracted"])
