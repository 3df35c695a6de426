"""The learning rate over the steps of a training."""

from __future__ import annotations

import math
from typing import Any

import pytest

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.schedule import LearningRateSchedule

SPE = 10  # steps per epoch


def schedule(name: str, **changes: Any) -> LearningRateSchedule:
    settings: dict[str, Any] = {"nepochs": 8, "learning_rate": 0.5, "scheduler": name, **changes}
    return LearningRateSchedule(TrainingConfig(model=ModelConfig(), **settings), SPE)


def test_the_default_is_constant() -> None:
    rates = schedule("Default")
    for loss in (1.0, 2.0, 3.0, 4.0, 5.0):
        rates.end_epoch(loss)
    assert {rates.rate(step) for step in range(80)} == {0.5}


def test_exponential_loses_a_twentieth_each_epoch() -> None:
    rates = schedule("Exponential")
    assert {rates.rate(step) for step in range(SPE)} == {0.5}
    assert {rates.rate(step) for step in range(SPE, 2 * SPE)} == {0.5 * 0.95}
    assert rates.rate(75) == pytest.approx(0.5 * 0.95**7)


def test_warmup_rises_then_falls_on_a_half_cosine_to_the_floor() -> None:
    rates = schedule("WarmupCosine", lr_warmup_epochs=2, lr_min_ratio=0.2)
    values = [rates.rate(step) for step in range(80)]
    rises = [after - before for before, after in zip(values[:19], values[1:20], strict=True)]
    assert all(rise == pytest.approx(0.9 * 0.5 / 20) for rise in rises)
    assert values[0] == pytest.approx(0.5 * (0.1 + 0.9 / 20))
    assert values[19] == values[20] == pytest.approx(0.5)
    assert all(after < before for before, after in zip(values[20:], values[21:], strict=False))
    assert values[79] == pytest.approx(0.5 * 0.2)
    between = (values[20] + values[79]) / 2
    assert between == pytest.approx((values[49] + values[50]) / 2)
    assert rates.rate(500) == pytest.approx(0.5 * 0.2)


@pytest.mark.parametrize("changes", [{"lr_warmup_epochs": 8}, {"nepochs": 1}])
def test_warmup_as_long_as_the_training_stays_finite(changes: dict[str, int]) -> None:
    rates = schedule("WarmupCosine", **changes)
    values = [rates.rate(step) for step in range(100)]
    assert all(math.isfinite(value) and 0 < value <= 0.5 for value in values)


def test_without_warmup_the_cosine_starts_at_once() -> None:
    rates = schedule("WarmupCosine", lr_warmup_epochs=0)
    assert rates.rate(0) == 0.5
    assert rates.rate(79) == pytest.approx(0.05)


def plateau_rates(
    losses: list[float], scheduler: str = "ReduceLROnPlateau", **changes: Any
) -> list[float]:
    rates = schedule(scheduler, **changes)
    seen = []
    for loss in losses:
        seen.append(rates.rate(0))
        rates.end_epoch(loss)
    return [*seen, rates.rate(0)]


def test_a_plateau_longer_than_patience_halves_the_rate() -> None:
    rates = plateau_rates([3, 2, 2, 2, 2, 2, 2, 2])
    # 2 is the best; two epochs without progress are borne, the third halves, and so again.
    assert rates == [0.5, 0.5, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]


def test_progress_resets_the_patience() -> None:
    assert plateau_rates([3, 3, 3, 2, 2, 2, 1, 1, 1]) == [0.5] * 10


def test_progress_below_the_threshold_is_none() -> None:
    losses = [1.0, 0.99, 0.98, 0.97]
    assert plateau_rates(losses)[-1] == 0.5
    assert plateau_rates(losses, plateau_threshold=0.05)[-1] == 0.25


def test_the_rate_stops_at_its_minimum_and_never_rises_to_it() -> None:
    assert plateau_rates([1.0] * 12, plateau_min_lr=0.2, plateau_patience=0)[-1] == 0.2
    assert plateau_rates([1.0] * 12, plateau_min_lr=0.9, plateau_patience=0)[-1] == 0.5


def test_a_loss_that_is_not_a_number_is_no_progress() -> None:
    assert plateau_rates([1.0, math.nan, math.nan, math.nan])[-1] == 0.25


def test_stages_hold_fall_and_hold() -> None:
    rates = schedule("MultiStage", stage_1_epochs=2, stage_2_epochs=3, stage_3_lr_factor=0.2)
    values = [rates.rate(step) for step in range(80)]
    assert set(values[:20]) == {0.5}
    assert values[20] == 0.5
    assert all(after < before for before, after in zip(values[20:], values[21:51], strict=False))
    assert values[35] == pytest.approx((0.5 + 0.1) / 2)
    assert values[50:] == pytest.approx([0.1] * 30)


@pytest.mark.parametrize(("first", "second"), [(0, 2), (2, 0)])
def test_stages_may_be_left_out(first: int, second: int) -> None:
    rates = schedule("MultiStage", stage_1_epochs=first, stage_2_epochs=second)
    assert rates.rate(0) == 0.5
    assert rates.rate(20) == pytest.approx(0.05)


def adaptive_rates(losses: list[float], **changes: Any) -> list[float]:
    return plateau_rates(losses, scheduler="Adaptive", **changes)


def test_adaptive_answers_every_epoch() -> None:
    rates = adaptive_rates([3, 4, 3, 2, 2])
    # 4 is above 3 and 2 is not below 2: halved. 3 and 2 are below what came before: a twentieth up.
    expected = [0.5, 0.5, 0.25, 0.25 * 1.05, 0.25 * 1.05**2, 0.25 * 1.05**2 / 2]
    assert rates == pytest.approx(expected)


def test_adaptive_stays_between_its_bounds() -> None:
    assert adaptive_rates([5, 4, 3, 2]) == [0.5] * 5
    assert adaptive_rates([1.0] * 9, plateau_min_lr=0.2)[-1] == 0.2
    assert adaptive_rates([1.0] * 9, plateau_min_lr=0.9)[-1] == 0.5


def test_adaptive_lowers_the_rate_after_what_is_not_a_number() -> None:
    assert adaptive_rates([1.0, math.nan, 5.0]) == pytest.approx([0.5, 0.5, 0.25, 0.2625])


def test_adaptive_goes_on_from_its_state() -> None:
    whole = schedule("Adaptive")
    for loss in (3.0, 4.0):
        whole.end_epoch(loss)
    config = TrainingConfig(model=ModelConfig(), learning_rate=0.5, scheduler="Adaptive")
    rest = LearningRateSchedule(config, SPE, whole.plateau)
    for rates in (whole, rest):
        rates.end_epoch(3.5)
    assert rest.rate(0) == whole.rate(0) == pytest.approx(0.2625)
