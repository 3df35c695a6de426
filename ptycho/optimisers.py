"""Optimisers: one formula each, the same in both backends (``docs/architecture.md``, formula 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from ptycho.config.config import TrainingConfig
from ptycho.core.weights import PHYSICAL

__all__ = ["OptimiserState", "clip_gradients", "make_optimiser", "move", "with_weight_decay"]

#: Added to a gradient's norm before dividing by it (formula 8).
_NORM_FLOOR = 1e-6
#: Added to the root of Adam's second moment.
_EPSILON = 1e-8
#: The largest float32 below 1.
_LARGEST_BETA = np.nextafter(np.float32(1), np.float32(0))


class OptimiserState(NamedTuple):
    """What an optimiser moves and what it remembers: ``tf.Variable``, all in one order.

    Keras' optimisers hold their variables themselves, so that a step which was traced with one
    belongs to one training. ``first`` and ``second`` are the moments of ``variables``, empty where
    the optimiser has none; ``step`` counts the steps taken.
    """

    variables: list[tf.Variable]
    first: list[tf.Variable]
    second: list[tf.Variable]
    step: tf.Variable


def make_optimiser(config: TrainingConfig, variables: Sequence[tf.Variable]) -> OptimiserState:
    """Return the state from which ``config``'s optimiser begins to train ``variables``."""

    def zeros(wanted: bool) -> list[tf.Variable]:
        kept = variables if wanted else ()
        return [tf.Variable(tf.zeros_like(each), trainable=False) for each in kept]

    adam = config.optimizer != "sgd"
    step = tf.Variable(0, dtype=tf.int64, trainable=False)
    return OptimiserState(list(variables), zeros(adam or bool(config.momentum)), zeros(adam), step)


def move(
    config: TrainingConfig, rate: tf.Tensor, gradients: Sequence[Any], state: OptimiserState
) -> None:
    """Take one step of ``config``'s optimiser along ``gradients``; decay is not its business."""
    take = _descend if config.optimizer == "sgd" else _adam
    take(config, tf.cast(rate, tf.float32), gradients, state)
    state.step.assign_add(1)


def _adam(
    config: TrainingConfig, rate: tf.Tensor, gradients: Sequence[Any], state: OptimiserState
) -> None:
    """Kingma & Ba (2015), Algorithm 1: p - lr * m_hat / (sqrt(v_hat) + epsilon).

    Keras' own adds epsilon to sqrt(v) before the bias of v is corrected ("epsilon hat"), which
    makes it up to 30 times larger in the first steps.
    """
    step = tf.cast(state.step, tf.float64) + 1.0
    # The fused operation works with float32 betas; the corrections must belong to these, and
    # a beta that rounds to 1 would make them 0.
    betas = [min(np.float32(b), _LARGEST_BETA) for b in (config.adam_beta1, config.adam_beta2)]
    first, second = (1.0 - tf.cast(beta, tf.float64) ** step for beta in betas)
    root = tf.sqrt(second)
    # lr root/first * m / (sqrt(v) + eps root) = lr (m/first) / (sqrt(v/second) + eps)
    rate = tf.cast(tf.cast(rate, tf.float64) * root / first, tf.float32)
    moved = (state.variables, state.first, state.second)
    for gradient, variable, m, v in zip(gradients, *moved, strict=True):
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=m.handle,
            v=v.handle,
            beta1_power=0.0,
            beta2_power=0.0,
            lr=rate,
            beta1=betas[0],
            beta2=betas[1],
            epsilon=tf.cast(_EPSILON * root, tf.float32),
            grad=gradient,
        )


def _descend(
    config: TrainingConfig, rate: tf.Tensor, gradients: Sequence[Any], state: OptimiserState
) -> None:
    """Gradient descent with momentum: b <- momentum * b + g, p <- p - lr * b, b from 0.

    Keras' own multiplies by the rate before it adds up, so that a step remembers the rates of
    the steps before it.
    """
    if not config.momentum:
        for gradient, variable in zip(gradients, state.variables, strict=True):
            tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, alpha=rate, delta=gradient)
        return
    for gradient, variable, sums in zip(gradients, state.variables, state.first, strict=True):
        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=sums.handle,
            lr=rate,
            grad=gradient,
            momentum=np.float32(config.momentum),
        )


def with_weight_decay(
    config: TrainingConfig,
    rate: Any,
    gradients: Sequence[Any],
    named: Sequence[tuple[str, tf.Variable]],
) -> list[Any]:
    """Return the gradients that the optimiser is to see, ``named`` being (name, variable).

    ``adamw`` shrinks the network's weights by 1 - rate * weight_decay here and now; the others
    add weight_decay * weight to the gradient. Probe and log-scale are not decayed.
    """
    decay = np.float32(config.weight_decay)
    if not decay:
        return list(gradients)
    found = []
    for gradient, (name, variable) in zip(gradients, named, strict=True):
        if name in PHYSICAL:
            found.append(gradient)
        elif config.optimizer == "adamw":
            variable.assign(variable * (1.0 - rate * decay))
            found.append(gradient)
        else:
            found.append(gradient + decay * variable)
    return found


def clip_gradients(
    gradients: list[tf.Tensor], limit: float | None, algorithm: str
) -> list[tf.Tensor]:
    """Return gradients clipped together to a norm, or elementwise to +-``limit`` (``value``)."""
    if limit is None:
        return gradients
    if algorithm == "value":
        return [tf.clip_by_value(gradient, -limit, limit) for gradient in gradients]
    factor = tf.minimum(1.0, limit / (tf.linalg.global_norm(gradients) + _NORM_FLOOR))
    return [gradient * factor for gradient in gradients]
