"""Trainings that go on from a saved model, in either backend."""

from __future__ import annotations

import dataclasses
import importlib

import numpy as np
import pytest

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.bundle import read_bundle
from ptycho.core.progress import TrainingProgress
from ptycho.core.workflow import create_container
from ptycho.simulation.simulate import built_in_scan

PACKAGES = {"tensorflow": "ptycho", "pytorch": "ptycho_torch"}

FIELDS = {
    "nepochs": 4,
    "n_groups": 20,
    "batch_size": 6,
    "validation_fraction": 0.1,
    "probe_trainable": True,
    "scheduler": "ReduceLROnPlateau",
    "plateau_patience": 0,
    "plateau_threshold": 0.9,
}


@pytest.fixture(params=PACKAGES)
def room(request):
    """Return a function that imports a room of the backend under test."""
    return lambda name: importlib.import_module(f"{PACKAGES[request.param]}.{name}")


@pytest.fixture(scope="module")
def scan():
    return built_in_scan(N=32, n_positions=48)


@pytest.fixture
def make_config():
    """Return a function that makes a small training configuration."""

    def make(gridsize, **fields):
        model = ModelConfig(N=32, gridsize=gridsize, n_filters_scale=1)
        small = {"nepochs": 2, "batch_size": 8, "n_groups": 24}
        return TrainingConfig(model=model, **{**small, **fields})

    return make


@pytest.fixture
def fit(room, scan):
    """Return a function that trains on the scan, on the CPU and without progress."""

    def run(config, **settings):
        execution = PyTorchExecutionConfig(accelerator="cpu")
        return room("training").train(
            create_container(scan, config),
            config,
            execution_config=execution,
            progress=False,
            **settings,
        )

    return run


@pytest.fixture
def saved(room, tmp_path):
    """Return a function that saves a training under a name."""
    return lambda name, trained: room("model_manager").save(tmp_path / f"{name}.zip", trained)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_after_an_epoch_the_run_goes_on_as_if_nothing_had_happened(
    fit, make_config, saved, optimizer
):
    config = make_config(2, **FIELDS, optimizer=optimizer, weight_decay=0.01)
    whole = fit(config)
    begun = saved("begun", fit(dataclasses.replace(config, nepochs=2)))
    rest = fit(dataclasses.replace(config, resume=begun))
    steps = len(whole.step_losses) // 2
    assert rest.step_losses == whole.step_losses[steps:]
    assert rest.history == whole.history
    assert len(set(whole.history["learning_rate"])) > 2
    # Weights, moments, schedule, history: all that is saved.
    assert saved("rest", rest).read_bytes() == saved("whole", whole).read_bytes()


@pytest.mark.parametrize("steps", [1, 4])
def test_within_an_epoch_the_next_batch_follows(fit, make_config, saved, steps):
    config = make_config(1, **{**FIELDS, "scheduler": "Exponential", "nepochs": 3})
    whole = fit(config)
    assert len(whole.step_losses) == 9
    begun = saved("begun", fit(config, max_steps=steps))
    state = read_bundle(begun).state
    assert (state.epoch, state.batch, state.step) == (steps // 3, steps % 3, steps)
    rest = fit(dataclasses.replace(config, resume=begun))
    assert rest.step_losses == whole.step_losses[steps:]
    for name, value in whole.weights.items():
        np.testing.assert_array_equal(rest.weights[name], value)
    for name in ("val_loss", "learning_rate"):
        assert rest.history[name] == whole.history[name]
    assert len(rest.history["loss"]) == 3


def test_twice_interrupted(fit, make_config, saved):
    config = make_config(1, **FIELDS)
    whole = fit(config)
    first = saved("first", fit(config, max_steps=6))
    second = saved("second", fit(dataclasses.replace(config, resume=first), max_steps=3))
    rest = fit(dataclasses.replace(config, resume=second))
    assert rest.step_losses == whole.step_losses[9:]
    assert rest.history == whole.history
    assert rest.state.step == whole.state.step == 12


def test_an_interrupt_of_the_keyboard_loses_no_step(fit, make_config, saved, monkeypatch):
    config = make_config(1, **{**FIELDS, "scheduler": "WarmupCosine"})
    whole = fit(config)
    step, seen = TrainingProgress.step, []

    def interrupt(self, loss):
        seen.append(loss)
        if len(seen) == 5:
            raise KeyboardInterrupt
        step(self, loss)

    with monkeypatch.context() as patch:
        patch.setattr(TrainingProgress, "step", interrupt)
        cut = fit(config)
    assert cut.history["interrupted"] == [2.0]
    begun = saved("begun", cut)
    assert read_bundle(begun).state.step == 5
    rest = fit(dataclasses.replace(config, resume=begun))
    assert rest.step_losses == whole.step_losses[5:]
    assert "interrupted" not in rest.history
    for name, value in whole.weights.items():
        np.testing.assert_array_equal(rest.weights[name], value)


def test_only_what_trains_has_moments(fit, make_config):
    config = make_config(1, nepochs=1, intensity_scale_trainable=False)
    state = fit(config, max_steps=1).state
    assert not {"probe", "log_scale"} & set(state.first)
    assert set(state.first) == set(state.second)
    assert any(value.any() for value in state.second.values())


def test_a_misfit_stops_before_anything_is_built(fit, make_config, saved):
    config = make_config(1, **FIELDS)
    begun = saved("begun", fit(config, max_steps=1))
    with pytest.raises(ValueError, match="seed is 3, was 42"):
        fit(dataclasses.replace(config, resume=begun, seed=3))


def test_conversion_there_and_back(room, fit, make_config, saved, tmp_path):
    begun = saved("begun", fit(make_config(2, **FIELDS), max_steps=2))
    again = room("model_manager").convert(tmp_path / "again", read_bundle(begun))
    assert again.read_bytes() == begun.read_bytes()
