"""The value by which a training is judged after each epoch, and when it stops early."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ptycho.config.config import TrainingConfig

__all__ = ["Series", "better", "monitored", "stops_early"]

#: Values per epoch by name, as ``ptycho.core.history.History`` keeps them.
Series = Mapping[str, Sequence[float]]

_ALIASES = {"train_loss": "loss"}


def monitored(history: Series, metric: str) -> tuple[str, list[float]]:
    """Return the name under which ``metric`` is recorded, and its values per epoch.

    A metric of the validation is that of the training where there are no validation groups.
    """
    name = _ALIASES.get(metric, metric)
    if name not in history:
        name = name.removeprefix("val_")
    return name, list(history[name])


def better(value: float, than: float, mode: str) -> bool:
    """Tell whether ``value`` is lower (mode "min") or higher ("max"); NaN is never better."""
    if math.isnan(than):
        return not math.isnan(value)
    return value < than if mode == "min" else value > than


def stops_early(config: TrainingConfig, history: Series) -> bool:
    """Tell whether a training that has recorded ``history`` is to end here.

    It is, once ``early_stop_patience`` epochs in a row have not been better than all before
    them by ``checkpoint_monitor_metric`` and ``checkpoint_mode``. The whole history decides, so
    that a training that was interrupted stops in the same epoch.
    """
    if config.early_stop_patience is None:
        return False
    best, without_progress = math.nan, 0
    for value in monitored(history, config.checkpoint_monitor_metric)[1]:
        without_progress += 1
        if better(value, best, config.checkpoint_mode):
            best, without_progress = value, 0
    return without_progress >= config.early_stop_patience
