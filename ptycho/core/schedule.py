"""Learning rate as a function of the optimiser step, the same in both backends."""

from __future__ import annotations

import math
from typing import NamedTuple

from ptycho.config.config import TrainingConfig

_EXPONENTIAL_DECAY_PER_EPOCH = 0.95
_WARMUP_START = 0.1
#: Of ``Adaptive``: the factor after an epoch with a lower loss (Battiti, Complex Systems 3, 1989).
_GROWTH = 1.05


class PlateauState(NamedTuple):
    """What a schedule that follows the loss remembers: rate, loss, epochs without progress.

    The loss is the best so far for ``ReduceLROnPlateau``, that of the last epoch for ``Adaptive``.
    """

    rate: float
    best: float
    bad_epochs: int


class LearningRateSchedule:
    """The schedule named by ``TrainingConfig.scheduler``.

    ``Default`` is constant. ``Exponential`` multiplies by 0.95 each epoch. ``WarmupCosine``
    rises linearly from 0.1 of the rate over ``lr_warmup_epochs``, then falls on a half cosine to
    ``lr_min_ratio`` of it at the last step. ``MultiStage`` is constant for ``stage_1_epochs``,
    falls on a half cosine over ``stage_2_epochs``, and stays at ``stage_3_lr_factor`` of the rate.

    ``ReduceLROnPlateau`` multiplies by ``plateau_factor`` when the loss has not fallen by more
    than ``plateau_threshold`` (relative) for more than ``plateau_patience`` epochs. ``Adaptive``
    multiplies by ``plateau_factor`` after each epoch whose loss is not below that of the epoch
    before, by 1.05 after any other, never above ``learning_rate``. Neither goes below
    ``plateau_min_lr``. The loss is that of validation, if there is one.

    ``plateau`` is the state to go on from.
    """

    def __init__(
        self, config: TrainingConfig, steps_per_epoch: int, plateau: PlateauState | None = None
    ) -> None:
        self._config = config
        self._steps_per_epoch = steps_per_epoch
        start = plateau or PlateauState(config.learning_rate, math.inf, 0)
        self._plateau_rate, self._best, self._bad_epochs = start

    @property
    def plateau(self) -> PlateauState:
        """The state that another run goes on from."""
        return PlateauState(self._plateau_rate, self._best, self._bad_epochs)

    def rate(self, step: int) -> float:
        """Return the learning rate of optimiser step ``step`` (from 0)."""
        config = self._config
        base = config.learning_rate
        if config.scheduler == "Exponential":
            return base * _EXPONENTIAL_DECAY_PER_EPOCH ** (step // self._steps_per_epoch)
        if config.scheduler == "WarmupCosine":
            return base * self._warmup_cosine(step)
        if config.scheduler == "MultiStage":
            return base * self._stages(step)
        if config.scheduler in ("ReduceLROnPlateau", "Adaptive"):
            return self._plateau_rate
        return base

    def end_epoch(self, monitored_loss: float) -> None:
        """Tell the schedule the epoch's monitored loss (validation if there is one)."""
        config = self._config
        if config.scheduler == "Adaptive":
            self._adapt(monitored_loss)
            return
        if monitored_loss < self._best * (1 - config.plateau_threshold):
            self._best, self._bad_epochs = monitored_loss, 0
            return
        self._bad_epochs += 1
        if self._bad_epochs > config.plateau_patience:
            self._lower()
            self._bad_epochs = 0

    def _adapt(self, loss: float) -> None:
        if loss < self._best:
            self._plateau_rate = min(self._plateau_rate * _GROWTH, self._config.learning_rate)
        else:
            self._lower()
        # A loss that is not a number is no measure for the next epoch.
        self._best = math.inf if math.isnan(loss) else loss

    def _lower(self) -> None:
        lowered = self._plateau_rate * self._config.plateau_factor
        self._plateau_rate = max(lowered, min(self._config.plateau_min_lr, self._plateau_rate))

    def _warmup_cosine(self, step: int) -> float:
        config = self._config
        warmup = config.lr_warmup_epochs * self._steps_per_epoch
        if step < warmup:
            return _WARMUP_START + (1 - _WARMUP_START) * (step + 1) / warmup
        remaining = max(1, config.nepochs * self._steps_per_epoch - warmup - 1)
        return _half_cosine(min(1.0, (step - warmup) / remaining), config.lr_min_ratio)

    def _stages(self, step: int) -> float:
        config = self._config
        first = config.stage_1_epochs * self._steps_per_epoch
        second = config.stage_2_epochs * self._steps_per_epoch
        if step < first:
            return 1.0
        if step >= first + second:
            return config.stage_3_lr_factor
        return _half_cosine((step - first) / second, config.stage_3_lr_factor)


def _half_cosine(progress: float, floor: float) -> float:
    """Return what a fall from 1 to ``floor`` has come to; ``progress`` runs from 0 to 1."""
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
