"""Optimisers: one formula each, the same in both backends (``docs/architecture.md``, formula 8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ptycho.config.config import TrainingConfig
from ptycho.core.weights import PHYSICAL

__all__ = ["Adam", "Sgd", "clip_gradients", "make_optimiser", "with_weight_decay"]

#: Added to a gradient's norm before dividing by it (formula 8).
_NORM_FLOOR = 1e-6
#: The largest float32 below 1.
_LARGEST_BETA = np.nextafter(np.float32(1), np.float32(0))


@keras.saving.register_keras_serializable(package="ptycho")
class Adam(keras.optimizers.Adam):
    """Adam as in Kingma & Ba (2015), Algorithm 1: p - lr * m_hat / (sqrt(v_hat) + epsilon).

    Keras' own adds epsilon to sqrt(v) before the bias of v is corrected ("epsilon hat"), which
    makes it up to 30 times larger in the first steps. This one takes plain steps only: no
    averaging or accumulation.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update ``trainable_variables`` by their gradients."""
        step = tf.cast(self.iterations, tf.float64) + 1.0
        # The fused operation works with float32 betas; the corrections must belong to these, and
        # a beta that rounds to 1 would make them 0.
        betas = [min(np.float32(beta), _LARGEST_BETA) for beta in (self.beta_1, self.beta_2)]
        first, second = (1.0 - tf.cast(beta, tf.float64) ** step for beta in betas)
        root = tf.sqrt(second)
        rate = tf.cast(tf.cast(self.learning_rate, tf.float64) * root / first, tf.float32)
        # lr root/first * m / (sqrt(v) + eps root) = lr (m/first) / (sqrt(v/second) + eps)
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            index = self._get_variable_index(variable)
            tf.raw_ops.ResourceApplyAdam(
                var=variable.value.handle,
                m=self._momentums[index].value.handle,
                v=self._velocities[index].value.handle,
                beta1_power=0.0,
                beta2_power=0.0,
                lr=rate,
                beta1=betas[0],
                beta2=betas[1],
                epsilon=tf.cast(self.epsilon * root, tf.float32),
                grad=gradient,
            )
        self.iterations.assign_add(1)


@keras.saving.register_keras_serializable(package="ptycho")
class Sgd(keras.optimizers.SGD):
    """Gradient descent with momentum: b <- momentum * b + g, p <- p - lr * b, b from 0.

    Keras' own multiplies by the rate before it adds up, so that a step remembers the rates of
    the steps before it.
    """

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        """Update ``trainable_variables`` by their gradients."""
        rate = tf.cast(self.learning_rate, tf.float32)
        for gradient, variable in zip(grads, trainable_variables, strict=True):
            handle = variable.value.handle
            if not self.momentum:
                tf.raw_ops.ResourceApplyGradientDescent(var=handle, alpha=rate, delta=gradient)
                continue
            tf.raw_ops.ResourceApplyMomentum(
                var=handle,
                accum=self.momentums[self._get_variable_index(variable)].value.handle,
                lr=rate,
                grad=gradient,
                momentum=np.float32(self.momentum),
            )
        self.iterations.assign_add(1)


def make_optimiser(config: TrainingConfig, variables: Sequence[Any]) -> Any:
    """Return the optimiser of ``config``, built for ``variables``; decay is not its business."""
    optimiser: Any
    if config.optimizer == "sgd":
        optimiser = Sgd(config.learning_rate, momentum=config.momentum)
    else:
        optimiser = Adam(
            config.learning_rate, beta_1=config.adam_beta1, beta_2=config.adam_beta2, epsilon=1e-8
        )
    optimiser.build(variables)
    return optimiser


def with_weight_decay(
    config: TrainingConfig,
    rate: Any,
    gradients: Sequence[Any],
    named: Sequence[tuple[str, Any]],
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
            found.append(gradient + decay * variable.value)
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
