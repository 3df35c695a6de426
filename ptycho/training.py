"""Training: one compiled step, run in the epoch order that both backends share."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ptycho.config.config import TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.patterns import pixel_weights
from ptycho.core.progress import TrainingProgress
from ptycho.core.sampling import IndexArray
from ptycho.core.schedule import LearningRateSchedule
from ptycho.core.training_plan import (
    TrainedModel,
    TrainingPlan,
    check_loss,
    needs_labels,
    plan_training,
    training_params,
)
from ptycho.core.weights import Weights
from ptycho.losses import NO_LABELS, loss_terms, total_loss
from ptycho.model import (
    Models,
    build_models,
    canonical_variables,
    compiled,
    get_canonical_weights,
)
from ptycho.moments import get_moments, set_moments

__all__ = ["Adam", "TrainingStep", "clip_gradients", "loss_gradients", "train"]

logger = logging.getLogger(__name__)

#: Added to a gradient's norm before dividing by it (formula 8).
_NORM_FLOOR = 1e-6
#: The largest float32 below 1.
_LARGEST_BETA = np.nextafter(np.float32(1), np.float32(0))


@keras.saving.register_keras_serializable(package="ptycho")
class Adam(keras.optimizers.Adam):
    """Adam as in Kingma & Ba (2015), Algorithm 1: p - lr * m_hat / (sqrt(v_hat) + epsilon).

    Keras' own adds epsilon to sqrt(v) before the bias of v is corrected ("epsilon hat"), which
    makes it up to 30 times larger in the first steps. This one takes plain steps only: no weight
    decay, averaging or accumulation.
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


class TrainingStep:
    """The compiled functions of one training: a gradient step, and a loss without one.

    Batches are [x (b, N, N, C), offsets (b, 1, 2, C)] and, where the loss needs labels, labels
    (b, N, N, C) complex64; ``b`` may vary without compiling again. ``bad_pixels`` (N, N) have no
    part in the loss.
    """

    def __init__(
        self,
        models: Models,
        config: TrainingConfig,
        scale: float,
        bad_pixels: NDArray[np.bool_] | None = None,
    ) -> None:
        self._model, self._config, self._scale = models.stages, config, scale
        weights = pixel_weights(bad_pixels)
        self._weights = None if weights is None else weights[..., None]
        # The model's list is in the order of its layers, the same in every process.
        self.variables = models.autoencoder.trainable_variables
        self.optimizer = Adam(
            config.learning_rate, beta_1=config.adam_beta1, beta_2=config.adam_beta2, epsilon=1e-8
        )
        self.optimizer.build(self.variables)
        N, C = config.model.N, config.model.gridsize**2
        self._batch = [
            tf.TensorSpec((None, N, N, C), tf.float32),
            tf.TensorSpec((None, 1, 2, C), tf.float32),
        ]
        if needs_labels(config):
            self._batch.append(tf.TensorSpec((None, N, N, C), tf.complex64))

    @cached_property
    def update(self) -> Any:
        """Function of (learning rate, batch): one optimiser step; returns the loss terms."""
        return compiled(self._update, tf.TensorSpec((), tf.float32), self._batch)

    @cached_property
    def measure(self) -> Any:
        """Function of a batch: the loss terms."""
        return compiled(self._measure, self._batch)

    @cached_property
    def gradients(self) -> Any:
        """Function of a batch: the loss's gradients, in the order of ``variables``, and terms."""
        return compiled(self._gradients, self._batch)

    def _measure(self, batch: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        x, offsets, *rest = batch
        stages = self._model([x, offsets], training=True)
        labels = tf.transpose(rest[0], (0, 3, 1, 2)) if rest else None
        terms = loss_terms(
            self._scale,
            x,
            stages["amplitude"],
            stages["intensity"],
            stages["extracted"],
            labels,
            self._weights,
        )
        return {"loss": total_loss(self._config, terms), **terms}

    def _gradients(self, batch: list[tf.Tensor]) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            values = [variable.value for variable in self.variables]
            tape.watch(values)
            terms = self._measure(batch)
        # A supervised loss does not see the probe: its gradient is zero, not missing.
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(terms["loss"], values, unconnected_gradients=zero), terms

    def _update(self, rate: tf.Tensor, batch: list[tf.Tensor]) -> dict[str, tf.Tensor]:
        gradients, terms = self._gradients(batch)
        config = self._config
        clipped = clip_gradients(
            gradients, config.gradient_clip_val, config.gradient_clip_algorithm
        )
        self.optimizer.learning_rate.assign(rate)
        self.optimizer.apply(clipped, self.variables)
        return terms


class _Average:
    """Mean of loss terms over samples, batch by batch."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = {}
        self._samples = 0

    def add(self, terms: Mapping[str, float], samples: int) -> None:
        for name, value in terms.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * samples
        self._samples += samples

    def values(self, prefix: str = "") -> dict[str, float]:
        return {prefix + name: total / self._samples for name, total in self._sums.items()}


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        container: PtychoDataContainer,
        config: TrainingConfig,
        plan: TrainingPlan,
        step: TrainingStep,
        max_steps: int | None,
    ) -> None:
        self._container, self._config, self._plan, self._step = container, config, plan, step
        self._limit = math.inf if max_steps is None else max_steps
        self._with_labels = needs_labels(config)
        self.schedule = LearningRateSchedule(config, plan.steps_per_epoch, plan.plateau)
        self.history = plan.history()
        self.step_losses: list[float] = []

    def epoch(self, epoch: int, progress: TrainingProgress) -> bool:
        """Train one epoch; return whether training is to go on."""
        average = _Average()
        for indices in self._plan.epoch(epoch):
            if len(self.step_losses) >= self._limit:
                break
            number = self._plan.position(len(self.step_losses))[-1]
            rate = self.schedule.rate(number)
            terms = _floats(self._step.update(tf.constant(rate, tf.float32), self._batch(indices)))
            check_loss(terms["loss"], epoch, number % self._plan.steps_per_epoch)
            self.step_losses.append(terms["loss"])
            average.add(terms, len(indices))
            progress.step(terms["loss"])
        values = average.values()
        if not values:
            return False
        values |= self._validate(self._plan.validation_batches())
        values["learning_rate"] = rate
        self.schedule.end_epoch(values.get("val_loss", values["loss"]))
        self.history.record(epoch, values)
        progress.end_epoch(values)
        return len(self.step_losses) < self._limit

    def _validate(self, batches: Iterable[IndexArray]) -> dict[str, float]:
        average = _Average()
        for indices in batches:
            average.add(_floats(self._step.measure(self._batch(indices))), len(indices))
        return average.values("val_")

    def _batch(self, indices: IndexArray) -> list[tf.Tensor]:
        x = self._container.batch_X(indices) * np.float32(self._plan.intensity_scale)
        batch = [tf.constant(x), tf.constant(self._container.batch_offsets(indices))]
        if self._with_labels:
            batch.append(tf.constant(self._container.batch_labels(indices)))
        return batch


def _floats(terms: Mapping[str, tf.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in terms.items()}


def train(
    container: PtychoDataContainer,
    config: TrainingConfig,
    *,
    execution_config: Any = None,
    weights: Weights | None = None,
    max_steps: int | None = None,
    progress: bool = True,
) -> TrainedModel:
    """Train the model of ``config`` on the groups of ``container``.

    Starts from canonical ``weights``, by default the seeded initial ones, or goes on from
    ``config.resume``. ``max_steps`` ends training early. An interrupt from the keyboard ends it
    too: what was reached is returned, and ``history["interrupted"]`` holds the number of the epoch
    that was cut short.
    ``execution_config`` is the PyTorch backend's and not used here.

    Raises ``ValueError`` where data, weights and configuration do not fit, and ``RuntimeError``
    if the loss becomes NaN or infinite.
    """
    started = time.perf_counter()
    plan = plan_training(container, config, weights)
    models = _build(config, plan.weights)
    step = TrainingStep(models, config, plan.intensity_scale, container.bad_pixels)
    if plan.start is not None:
        set_moments(step.optimizer, models.autoencoder, plan.start)
    run = _Run(container, config, plan, step, max_steps)
    interrupted: int | None = None
    shown = (config.nepochs, plan.steps_per_epoch, "TensorFlow", progress)
    with TrainingProgress(*shown, first_epoch=plan.first_epoch) as bar:
        for epoch in range(plan.first_epoch, config.nepochs):
            try:
                if not run.epoch(epoch, bar):
                    break
            except KeyboardInterrupt:
                interrupted = epoch + 1
                logger.warning("training interrupted in epoch %d", interrupted)
                break
    moments, steps = get_moments(step.optimizer, models.autoencoder)
    history = run.history.as_dict()
    if interrupted is not None:
        history["interrupted"] = [float(interrupted)]
    return TrainedModel(
        backend="tensorflow",
        config=config.model,
        weights=get_canonical_weights(models.autoencoder),
        intensity_scale=plan.intensity_scale,
        normalisation=container.normalisation,
        params=training_params(config),
        history=history,
        step_losses=run.step_losses,
        seconds=time.perf_counter() - started,
        native=models,
        state=plan.state(steps, moments, run.schedule, run.history),
    )


def _build(config: TrainingConfig, weights: Weights) -> Models:
    return build_models(
        config.model,
        weights,
        probe_trainable=config.probe_trainable,
        intensity_scale_trainable=config.intensity_scale_trainable,
    )


def loss_gradients(
    config: TrainingConfig,
    weights: Weights,
    x: NDArray[np.float32],
    offsets: NDArray[np.float32],
    intensity_scale: float,
    labels: NDArray[np.complex64] | None = None,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Return the gradient of one batch's loss in every trainable weight, by canonical name.

    ``x`` (B, N, N, C) is s0 * X, ``offsets`` (B, 1, 2, C) are relative coordinates in pixels,
    ``labels`` (B, N, N, C) the ground-truth patches where the loss needs them; ``bad_pixels``
    (N, N) have no part in it.
    """
    models = _build(config, weights)
    step = TrainingStep(models, config, intensity_scale, bad_pixels)
    arrays = [np.asarray(x, np.float32), np.asarray(offsets, np.float32)]
    if needs_labels(config):
        if labels is None:
            raise ValueError(NO_LABELS)
        arrays.append(np.asarray(labels, np.complex64))
    gradients, _ = step.gradients([tf.constant(array) for array in arrays])
    names = {id(variable): name for name, variable in canonical_variables(models.autoencoder)}
    return {
        names[id(variable)]: gradient.numpy()
        for variable, gradient in zip(step.variables, gradients, strict=True)
    }
