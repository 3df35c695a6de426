"""Which value of an epoch counts, and when it ends a training."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.monitoring import better, monitored, stops_early


def stops(values: list[float], **fields: Any) -> list[bool]:
    """Return after which epochs a training with these losses would stop."""
    config = TrainingConfig(model=ModelConfig(), **fields)
    return [stops_early(config, {"loss": values[: n + 1]}) for n in range(len(values))]


def test_patience_counts_the_epochs_after_the_best() -> None:
    # 2 is the best; the epochs with 2.5, 2 and 3 are no better.
    assert stops([3, 2, 2.5, 2, 3], early_stop_patience=3) == [False] * 4 + [True]
    assert stops([3, 2, 2.5, 1, 3], early_stop_patience=3) == [False] * 5


def test_the_mode_turns_it_round() -> None:
    assert stops([1, 2, 1.5], early_stop_patience=1, checkpoint_mode="max") == [False, False, True]


def test_without_patience_nothing_stops() -> None:
    assert not any(stops([1.0] * 50))


def test_what_is_not_a_number_is_no_progress_and_no_measure() -> None:
    nan = math.nan
    assert stops([nan, 1, nan, nan], early_stop_patience=2) == [False, False, False, True]


@pytest.mark.parametrize(
    ("metric", "name"),
    [("val_loss", "loss"), ("train_loss", "loss"), ("val_mae", "mae"), ("mae", "mae")],
)
def test_a_metric_falls_back_to_the_training(metric: str, name: str) -> None:
    assert monitored({"loss": [1.0], "mae": [2.0]}, metric) == (
        name,
        [{"loss": 1.0}.get(name, 2.0)],
    )


def test_a_metric_of_the_validation_is_taken_where_it_is() -> None:
    assert monitored({"loss": [1.0], "val_loss": [3.0]}, "val_loss") == ("val_loss", [3.0])


def test_better_is_strict() -> None:
    assert better(1, 2, "min")
    assert not better(2, 2, "min")
    assert better(2, math.nan, "max")
    assert not better(math.nan, math.nan, "min")
