"""Training: one compiled step, run in the epoch order that both backends share."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from ptycho.config.config import TrainingConfig
from ptycho.core.after_epoch import AfterEpoch, after_epoch
from ptycho.core.container import PtychoDataContainer
from ptycho.core.patterns import pixel_weights
from ptycho.core.progress import TrainingProgress
from ptycho.core.sampling import IndexArray
from ptycho.core.schedule import LearningRateSchedule
from ptycho.core.training_plan import (
    TrainedModel,
    TrainingPlan,
    check_groups,
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
    call_with,
    canonical_variables,
    compiled,
    get_canonical_weights,
)
from ptycho.model_manager import save
from ptycho.moments import get_moments, set_moments
from ptycho.optimisers import (
    OptimiserState,
    clip_gradients,
    make_optimiser,
    move,
    with_weight_decay,
)

__all__ = ["TrainingStep", "loss_gradients", "train"]

logger = logging.getLogger(__name__)


#: What a step sees of the configuration beside the model; of the rest it sees defaults.
_SEEN = (
    "mae_weight", "nll_weight", "realspace_mae_weight", "realspace_weight",
    "optimizer", "adam_beta1", "adam_beta2", "momentum", "weight_decay",
    "gradient_clip_val", "gradient_clip_algorithm",
)  # fmt: skip


class TrainingStep:
    """The compiled functions of one training: a gradient step, and a loss without one.

    Batches are [x (b, N, N, C), offsets (b, 1, 2, C)] and, where the loss needs labels, labels
    (b, N, N, C) complex64; ``b`` may vary without compiling again. ``bad_pixels`` (N, N) have no
    part in the loss. Weights, moments, scale and mask are arguments of what is compiled: the next
    training with the same network and the same loss and optimiser does not compile again.
    """

    def __init__(
        self,
        models: Models,
        config: TrainingConfig,
        scale: float,
        bad_pixels: NDArray[np.bool_] | None = None,
    ) -> None:
        seen = {name: getattr(config, name) for name in _SEEN}
        self._model, self._config = models.stages, TrainingConfig(config.model, **seen)
        # The model's list is in the order of its layers, the same in every process.
        trained = models.autoencoder.trainable_variables
        fixed = models.autoencoder.non_trainable_variables
        self._variables = [*trained, *fixed]
        names = {id(variable): name for name, variable in canonical_variables(models.autoencoder)}
        self.names = [names[id(variable)] for variable in trained]
        self._key = (*dataclasses.astuple(config.model), *seen.values(), *self.names)
        self.optimizer = make_optimiser(config, [variable.value for variable in trained])
        self._fixed = [variable.value for variable in fixed]
        weights = pixel_weights(bad_pixels)
        mask = [] if weights is None else [tf.constant(weights[..., None])]
        self._data = [tf.constant(scale, tf.float64), *mask]
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
        return self._compiled(self._update, tf.TensorSpec((), tf.float32), self._batch)

    @cached_property
    def measure(self) -> Any:
        """Function of a batch: the loss terms."""
        return self._compiled(self._measure_variables, self._batch)

    @cached_property
    def gradients(self) -> Any:
        """Function of a batch: the loss's gradients, in the order of ``names``, and terms."""
        return self._compiled(self._gradients, self._batch)

    def _compiled(self, function: Any, *signature: Any) -> Any:
        own = (self._data, self.optimizer, self._fixed)
        made = compiled((function.__name__, *self._key), function, *own, *signature)
        return lambda *given: made(*own, *given)

    def _measure(
        self, data: Sequence[tf.Tensor], values: Sequence[tf.Tensor], batch: list[tf.Tensor]
    ) -> dict[str, tf.Tensor]:
        scale, *mask = data
        x, offsets, *rest = batch
        stages = call_with(self._model, self._variables, values, [x, offsets], training=True)
        labels = tf.transpose(rest[0], (0, 3, 1, 2)) if rest else None
        terms = loss_terms(
            scale,
            x,
            stages["amplitude"],
            stages["intensity"],
            stages["extracted"],
            labels,
            mask[0] if mask else None,
        )
        return {"loss": total_loss(self._config, terms), **terms}

    def _measure_variables(
        self,
        data: Sequence[tf.Tensor],
        state: OptimiserState,
        fixed: Sequence[tf.Variable],
        batch: list[tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        return self._measure(data, [*state.variables, *fixed], batch)

    def _gradients(
        self,
        data: Sequence[tf.Tensor],
        state: OptimiserState,
        fixed: Sequence[tf.Variable],
        batch: list[tf.Tensor],
    ) -> tuple[list[tf.Tensor], dict[str, tf.Tensor]]:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            values = [tf.convert_to_tensor(variable) for variable in state.variables]
            tape.watch(values)
            terms = self._measure(data, [*values, *fixed], batch)
        # A supervised loss does not see the probe: its gradient is zero, not missing.
        zero = tf.UnconnectedGradients.ZERO
        return tape.gradient(terms["loss"], values, unconnected_gradients=zero), terms

    def _update(
        self,
        data: Sequence[tf.Tensor],
        state: OptimiserState,
        fixed: Sequence[tf.Variable],
        rate: tf.Tensor,
        batch: list[tf.Tensor],
    ) -> dict[str, tf.Tensor]:
        gradients, terms = self._gradients(data, state, fixed, batch)
        config = self._config
        clipped = clip_gradients(
            gradients, config.gradient_clip_val, config.gradient_clip_algorithm
        )
        self._apply(rate, clipped, state)
        return terms

    def apply(self, rate: float, gradients: Sequence[Any]) -> None:
        """Take one step along given gradients, in the order of ``names``."""
        self._apply(tf.constant(rate, tf.float32), gradients, self.optimizer)

    def _apply(self, rate: tf.Tensor, gradients: Sequence[Any], state: OptimiserState) -> None:
        named = list(zip(self.names, state.variables, strict=True))
        move(self._config, rate, with_weight_decay(self._config, rate, gradients, named), state)


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
        models: Models,
        max_steps: int | None,
    ) -> None:
        self._container, self._config, self._plan, self._models = container, config, plan, models
        self._step = step = TrainingStep(models, config, plan.intensity_scale, container.bad_pixels)
        if plan.start is not None:
            set_moments(step.optimizer, step.names, plan.start)
        self._limit = math.inf if max_steps is None else max_steps
        self._with_labels = needs_labels(config)
        self.schedule = LearningRateSchedule(config, plan.steps_per_epoch, plan.plateau)
        self.history = plan.history()
        self.step_losses: list[float] = []
        self._started = time.perf_counter()

    def reached(self) -> TrainedModel:
        """Return the model as it is, and from where its training can go on."""
        step, models, plan = self._step, self._models, self._plan
        moments, steps = get_moments(step.optimizer, step.names)
        return TrainedModel(
            backend="tensorflow",
            config=self._config.model,
            weights=get_canonical_weights(models.autoencoder),
            intensity_scale=plan.intensity_scale,
            normalisation=self._container.normalisation,
            params=training_params(self._config, self._container.bad_pixels),
            history=self.history.as_dict(),
            step_losses=self.step_losses,
            seconds=time.perf_counter() - self._started,
            native=models,
            state=plan.state(steps, moments, self.schedule, self.history),
        )

    def epoch(self, epoch: int, progress: TrainingProgress, after: AfterEpoch) -> bool:
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
        return not after(self.history, self.reached) and len(self.step_losses) < self._limit

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
    on_epoch: Callable[[Callable[[], TrainedModel]], None] | None = None,
) -> TrainedModel:
    """Train the model of ``config`` on the groups of ``container``.

    Starts from canonical ``weights``, by default the seeded initial ones, or goes on from
    ``config.resume``. ``max_steps`` ends training early. An interrupt from the keyboard ends it
    too: what was reached is returned, and ``history["interrupted"]`` holds the number of the epoch
    that was cut short.
    ``execution_config`` is the PyTorch backend's and not used here. ``on_epoch`` is called after
    each epoch with a function that returns the model as it is then.

    Raises ``ValueError`` where data, weights and configuration do not fit, and ``RuntimeError``
    if the loss becomes NaN or infinite.
    """
    started = time.perf_counter()
    plan = plan_training(container, config, weights)
    run = _Run(container, config, plan, _build(config, plan.weights), max_steps)
    interrupted: int | None = None
    shown = (config.nepochs, plan.steps_per_epoch, "TensorFlow", progress)
    with (
        TrainingProgress(*shown, first_epoch=plan.first_epoch) as bar,
        after_epoch(config, "TensorFlow", save) as after,
    ):
        for epoch in range(plan.first_epoch, config.nepochs):
            try:
                going_on = run.epoch(epoch, bar, after)
                if on_epoch is not None:
                    on_epoch(run.reached)
                if not going_on:
                    break
            except KeyboardInterrupt:
                interrupted = epoch + 1
                logger.warning("training interrupted in epoch %d", interrupted)
                break
    trained = run.reached()
    trained.seconds = time.perf_counter() - started
    if interrupted is not None:
        trained.history["interrupted"] = [float(interrupted)]
    return trained


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
    (N, N) have no part in it. Raises ``ValueError`` for no groups.
    """
    check_groups(len(x), "batch")
    models = _build(config, weights)
    step = TrainingStep(models, config, intensity_scale, bad_pixels)
    arrays = [np.asarray(x, np.float32), np.asarray(offsets, np.float32)]
    if needs_labels(config):
        if labels is None:
            raise ValueError(NO_LABELS)
        arrays.append(np.asarray(labels, np.complex64))
    gradients, _ = step.gradients([tf.constant(array) for array in arrays])
    return {name: gradient.numpy() for name, gradient in zip(step.names, gradients, strict=True)}
