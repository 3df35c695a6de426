"""What is trained on, in which order, from which weights."""

import math

import numpy as np
import pytest

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import ObjectLabels, PtychoDataContainer
from ptycho.core.training_plan import (
    check_loss,
    needs_labels,
    plan_training,
    probe_of,
    training_params,
)


def _container(probe=True, labels=None):
    amplitude = np.ones((20, 32, 32), np.float32)
    probe = np.ones((32, 32), complex) if probe else None
    positions = np.random.default_rng(0).uniform(0, 9, (20, 2))
    return PtychoDataContainer(amplitude, np.arange(20)[:, None], positions, probe, 1.0, labels)


def _config(model_type="pinn", **fields):
    model = ModelConfig(N=32, n_filters_scale=1, model_type=model_type)
    return TrainingConfig(model=model, batch_size=6, nphotons=1e4, **fields)


def test_an_epoch_visits_every_training_group_once():
    plan = plan_training(_container(), _config(validation_fraction=0.1))
    assert len(plan.validation) == 2
    assert sorted([*plan.training, *plan.validation]) == list(range(20))
    assert plan.steps_per_epoch == 3
    first, second = plan.epoch(0), plan.epoch(1)
    assert [len(batch) for batch in first] == [6, 6, 6]
    assert sorted(np.concatenate(first)) == list(plan.training)
    assert sorted(np.concatenate(second)) == list(plan.training)
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert np.array_equal(np.concatenate(plan.validation_batches()), plan.validation)


def test_the_last_batch_is_kept_and_no_validation_is_possible():
    plan = plan_training(_container(), _config(validation_fraction=0.0))
    assert [len(batch) for batch in plan.epoch(0)] == [6, 6, 6, 2]
    assert plan.steps_per_epoch == 4
    assert plan.validation_batches() == []


def test_no_groups_are_refused_and_not_divided_by():
    nothing = _container().subset(slice(0, 0))
    with pytest.raises(ValueError, match="training data has no groups"):
        plan_training(nothing, _config())


def test_it_starts_from_the_seeded_weights_and_the_dose():
    plan, other = (plan_training(_container(), _config(seed=seed)) for seed in (1, 2))
    assert plan.intensity_scale == pytest.approx(100 / 16)
    assert plan.weights["log_scale"] == pytest.approx(math.log(100 / 16))
    kernel = "encoder/block1/conv1/kernel"
    assert not np.array_equal(plan.weights[kernel], other.weights[kernel])
    again = plan_training(_container(), _config(seed=2), plan.weights)
    assert again.weights is plan.weights


def test_the_probe_is_the_weights_probe():
    plan = plan_training(_container(), _config())
    probe = probe_of(plan.weights)
    assert probe.shape == (1, 32, 32)
    assert probe.dtype == np.complex64
    # A flat probe of the gauge's energy, (8 / 4)**2 * 16**2, over 32**2 pixels.
    np.testing.assert_allclose(probe, 1, rtol=1e-6)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="no probe"):
        plan_training(_container(probe=False), _config())
    bigger = _config()
    bigger.model.N = 64
    with pytest.raises(ValueError, match="N=64"):
        plan_training(_container(), bigger)
    weights = plan_training(_container(), _config()).weights
    with pytest.raises(ValueError, match="'log_scale' is missing"):
        plan_training(_container(), _config(), {k: v for k, v in weights.items() if "log" not in k})


def test_labels_are_demanded_where_the_loss_uses_them():
    terms = {"realspace_weight": 1.0, "realspace_mae_weight": 0.5}
    half = {"realspace_weight": 1.0}
    cases = [_config("supervised"), _config(**terms), _config(**half), _config()]
    assert [needs_labels(config) for config in cases] == [True, True, False, False]
    for config in cases[:2]:
        with pytest.raises(ValueError, match="objectGuess or Y"):
            plan_training(_container(), config)
    labels = ObjectLabels(32, patches=np.ones((20, 32, 32), complex))
    assert plan_training(_container(labels=labels), cases[0]).steps_per_epoch == 4


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_says_where(loss):
    check_loss(1e30, 0, 0)
    with pytest.raises(RuntimeError, match=r"epoch 3, step 8.*gradient_clip_val"):
        check_loss(loss, 2, 7)


def test_a_bundle_remembers_the_run_without_its_places(tmp_path):
    params = training_params(_config(output_dir=tmp_path, train_data_file=tmp_path, seed=5))
    assert (params["nphotons"], params["npseed"], params["N"]) == (1e4, 5, 32)
    assert str(tmp_path) not in params.values()
    assert None not in params.values()
