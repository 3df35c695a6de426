"""Optimisers and gradient clipping in float64 (docs/architecture.md, formula 8)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import TrainingConfig

Tensors = dict[str, NDArray[np.float64]]

_EPSILON = 1e-8
_NORM_GUARD = 1e-6


@dataclass
class OptimiserState:
    """First and second moments by weight name, and the number of steps taken."""

    first: Tensors = field(default_factory=dict)
    second: Tensors = field(default_factory=dict)
    steps: int = 0


def clip_gradients(config: TrainingConfig, gradients: dict[str, NDArray[Any]]) -> Tensors:
    """Return the gradients clipped as the configuration says (``None`` leaves them alone)."""
    exact = {name: np.asarray(g, np.float64) for name, g in gradients.items()}
    limit = config.gradient_clip_val
    if limit is None:
        return exact
    if config.gradient_clip_algorithm == "value":
        return {name: np.clip(g, -limit, limit) for name, g in exact.items()}
    norm = math.sqrt(math.fsum(float(np.sum(g**2)) for g in exact.values()))
    return {name: g * min(1.0, limit / (norm + _NORM_GUARD)) for name, g in exact.items()}


def optimiser_step(
    config: TrainingConfig, state: OptimiserState, weights: Tensors, gradients: Tensors, rate: float
) -> Tensors:
    """Return the weights after one step; weights without a gradient stay. Updates ``state``."""
    state.steps += 1
    beta1, beta2 = config.adam_beta1, config.adam_beta2
    updated = dict(weights)
    for name, given in gradients.items():
        decay = 0.0 if name in ("probe", "log_scale") else config.weight_decay
        start, gradient = weights[name], given
        if config.optimizer == "adamw":
            start = start - rate * decay * start  # Loshchilov & Hutter, 2019, Algorithm 2
        else:
            gradient = given + decay * start
        first = state.first.get(name, np.zeros_like(gradient))
        second = state.second.get(name, np.zeros_like(gradient))
        if config.optimizer == "sgd":
            state.first[name] = config.momentum * first + gradient
            updated[name] = start - rate * state.first[name]
            continue
        state.first[name] = beta1 * first + (1 - beta1) * gradient
        state.second[name] = beta2 * second + (1 - beta2) * gradient**2
        mean = state.first[name] / (1 - beta1**state.steps)
        root = np.sqrt(state.second[name] / (1 - beta2**state.steps))
        updated[name] = start - rate * mean / (root + _EPSILON)
    return updated
