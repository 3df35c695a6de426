"""One training step of whatever the specification allows, in each backend."""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from parity import process
from parity.callchain.scenario import PACKAGES
from parity.compare import compare
from parity.search import repro
from parity.search.cases import REFERENCE
from parity.search.training_cases import TrainingCase, labelled_case, training_cases
from ptycho.config.config import ModelConfig, TrainingConfig

process.pin()

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("search")]

_NIGHTLY = settings.get_profile("nightly")
#: Of the loss of the first batch, whatever the configuration is.
_LIMIT = 1e-5
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


def _judge(case: TrainingCase, name: str) -> None:
    """Hold one step of each backend against the reference's loss and the trainable weights."""
    expected = float(case.stages(REFERENCE)["loss"][0])
    with repro.kept_on_failure(_FOLDER / name, case, _LIMIT):
        for backend in PACKAGES:
            done = case.step(backend)
            assert len(done.step_losses) == 1
            found = compare(done.step_losses[0], expected, "loss")
            assert math.isfinite(done.step_losses[0])
            assert found.within(_LIMIT), f"{backend}: {found.describe()}"
            _judge_weights(case, done.weights, backend)


def _judge_weights(case: TrainingCase, weights: dict[str, np.ndarray], backend: str) -> None:
    start = case.plan.weights
    assert weights.keys() == start.keys()
    broken = [name for name, value in weights.items() if not np.isfinite(value).all()]
    assert not broken, f"{backend}: {broken} are not finite"
    moved = {name for name in start if not np.array_equal(weights[name], start[name])}
    assert moved <= case.trainable, f"{backend}: {moved - case.trainable} changed"
    if case.config.optimizer == "sgd":
        # Its step is the gradient times the rate, which may vanish in the rounding of a weight.
        return
    # What stayed must be what the loss cannot see: the probe in a supervised training, say.
    for name in sorted(case.trainable - moved):
        assert not case.depends_on(name), f"{backend}: {name} did not change"


@settings(max_examples=15)
@given(training_cases(largest_N=32, largest_gridsize=2))
def test_one_step_of_any_training(case):
    _judge(case, "training")


@pytest.mark.slow
@settings(_NIGHTLY, max_examples=150)
@given(training_cases(largest_N=64, largest_gridsize=4, widest=2))
def test_one_step_of_any_training_at_random(case):
    _judge(case, "training at random")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("N", "gridsize"), [(128, 2), (256, 1), (64, 5), (256, 2)], ids=lambda value: str(value)
)
def test_one_step_of_a_large_model(N, gridsize):
    model = ModelConfig(N=N, gridsize=gridsize, n_filters_scale=1)
    config = TrainingConfig(model=model, n_groups=4, batch_size=2, nphotons=1e6)
    _judge(labelled_case(config, 3), f"training N={N} gridsize={gridsize}")


def test_a_backend_that_trains_what_is_fixed_is_noticed():
    config = TrainingConfig(
        model=ModelConfig(N=32, n_filters_scale=1), n_groups=4, intensity_scale_trainable=False
    )
    case = labelled_case(config, 3)
    loose = dataclasses.replace(config, intensity_scale_trainable=True, probe_trainable=True)
    weights = labelled_case(loose, 3).step("pytorch").weights
    with pytest.raises(AssertionError, match=r"'log_scale'.* changed|'probe'.* changed"):
        _judge_weights(case, weights, "pytorch")


def test_a_backend_that_trains_nothing_is_noticed():
    config = TrainingConfig(model=ModelConfig(N=32, n_filters_scale=1), n_groups=4)
    case = labelled_case(config, 3)
    with pytest.raises(AssertionError, match="did not change"):
        _judge_weights(case, case.plan.weights, "pytorch")
