"""What validators accept is read from their text, wherever they got it from."""

from __future__ import annotations

import pytest

from parity.facts.bounds import bounds_of, choices_of
from ptycho.config import choices, execution


@pytest.mark.parametrize(
    ("module", "field", "listed"),
    [
        ("ptycho.config.config", "optimizer", choices.OPTIMIZERS),
        ("ptycho.config.config", "scheduler", choices.SCHEDULERS),
        ("ptycho.config.config", "measurement_domain", ("auto", "amplitude", "counts")),
        ("ptycho.config.execution", "logger_backend", choices.LOGGERS),
        ("ptycho.config.execution", "accelerator", execution.CHOICES["accelerator"]),
    ],
)
def test_listed_choices_are_read_under_the_name_of_a_constant_too(module, field, listed):
    assert choices_of(module)[field][0] == listed


@pytest.mark.parametrize(
    ("field", "least"),
    [("accum_steps", 1), ("num_workers", 0), ("prefetch_factor", 1), ("checkpoint_save_top_k", -1)],
)
def test_bounds_of_execution_settings_are_read(field, least):
    bound, _ = bounds_of("ptycho.config.execution")[field]
    assert (bound.low, bound.low_open) == (least, False)
    assert bound.interval
