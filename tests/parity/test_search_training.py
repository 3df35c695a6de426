"""One training step of whatever the specification allows, in each backend."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from parity import process
from parity.search import repro
from parity.search.training_cases import labelled_case, training_cases
from ptycho.config.config import ModelConfig, TrainingConfig

process.pin()

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("search")]

_NIGHTLY = settings.get_profile("nightly")
_FOLDER = Path(
    os.environ.get("PTYCHO_REPRO_DIR", Path(__file__).resolve().parents[2] / "outputs" / "repro")
)


@pytest.fixture(scope="module", autouse=True)
def _eager():
    """Run TensorFlow without compiling: one step would not pay for it."""
    import tensorflow as tf

    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@settings(max_examples=15)
@given(training_cases(largest_N=32, largest_gridsize=2))
def test_one_step_of_any_training(case):
    repro.judge(_FOLDER / "training", case)


@pytest.mark.slow
@settings(_NIGHTLY, max_examples=150)
@given(training_cases(largest_N=64, largest_gridsize=4, widest=2))
def test_one_step_of_any_training_at_random(case):
    repro.judge(_FOLDER / "training at random", case)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("N", "gridsize"), [(128, 2), (256, 1), (64, 5), (256, 2)], ids=lambda value: str(value)
)
def test_one_step_of_a_large_model(N, gridsize):
    model = ModelConfig(N=N, gridsize=gridsize, n_filters_scale=1)
    config = TrainingConfig(model=model, n_groups=4, batch_size=2, nphotons=1e6)
    repro.judge(_FOLDER / f"training N={N} gridsize={gridsize}", labelled_case(config, 3))


def test_a_backend_that_trains_what_is_fixed_is_noticed():
    config = TrainingConfig(
        model=ModelConfig(N=32, n_filters_scale=1), n_groups=4, intensity_scale_trainable=False
    )
    case = labelled_case(config, 3)
    loose = dataclasses.replace(config, intensity_scale_trainable=True, probe_trainable=True)
    weights = labelled_case(loose, 3).step("pytorch").weights
    assert case.weight_faults(weights) == [
        "weight 'log_scale' changed, and is not trainable",
        "weight 'probe' changed, and is not trainable",
    ]


def test_a_backend_that_trains_nothing_or_ends_in_nan_is_noticed():
    config = TrainingConfig(model=ModelConfig(N=32, n_filters_scale=1), n_groups=4)
    case = labelled_case(config, 3)
    faults = case.weight_faults(case.plan.weights)
    assert len(faults) == len(case.trainable)
    assert all("did not change" in fault for fault in faults)
    broken = {**case.plan.weights, "log_scale": np.asarray(np.nan, np.float32)}
    assert "weight 'log_scale' is not finite" in case.weight_faults(broken)
    del broken["log_scale"]
    assert case.weight_faults(broken) == ["weights ['log_scale'] are missing or unexpected"]
