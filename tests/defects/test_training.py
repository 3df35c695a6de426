"""Trainings: losses, schedules, validation, steps, what they leave behind."""

import dataclasses
import gc
import math
import weakref

import numpy as np
import pytest

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.training_plan import plan_training
from ptycho.raw_data import RawData


def _door(backend):
    return backend.room("workflows.components")


def test_D_08_real_space_loss_trains(backend, runs):
    run = runs(backend, "real space")
    history = run.history
    assert {"loss", "nll", "mae", "realspace"} <= set(history)
    for k in range(3):
        terms = history["nll"][k] + 0.3 * history["mae"][k] + 0.25 * history["realspace"][k]
        assert history["loss"][k] == pytest.approx(terms, rel=1e-5)
    assert history["loss"][-1] < history["loss"][0]


def test_D_12_supervised_models_fit_the_labels(backend, runs):
    history = runs(backend, "supervised").history
    assert history["loss"] == pytest.approx(history["realspace"])
    assert history["loss"][-1] < history["loss"][0]
    assert runs(backend, "plain").history["loss"] != pytest.approx(history["loss"])


def test_D_12_supervised_training_without_labels_is_refused(backend, scan, config_of):
    bare = RawData(scan.xcoords, scan.ycoords, None, None, scan.diff3d, scan.probeGuess, None)
    config = config_of(backend.name, {"model_type": "supervised"})
    with pytest.raises(ValueError, match="objectGuess"):
        _door(backend).train_cdi_model(bare, None, config)


def test_T_12_P_28_supervised_models_are_saved_and_loaded(backend, runs):
    run = runs(backend, "supervised")
    assert run.results["train_container"].has_labels
    model, known = _door(backend).load_inference_bundle(run.bundle)
    assert known["model_type"] == "supervised"
    container = run.results["train_container"]
    x = container.X[:4] * np.float32(run.trained.intensity_scale)
    offsets = container.batch_offsets(slice(0, 4))
    fresh = run.results["model_instance"].predict([x, offsets])
    np.testing.assert_array_equal(model.predict([x, offsets]), fresh)
    assert fresh.std() > 0


@pytest.mark.parametrize("samples", [40, 10_001])
def test_D_27_large_trainings_are_validated_like_small_ones(backend, scan, config_of, samples):
    """Ten thousand groups are where a streaming path without validation once began."""
    fields = {"n_groups": samples, "neighbor_pool_size": 20, "enable_oversampling": True}
    config = config_of(backend.name, {"gridsize": 2}, **fields)
    container = _door(backend).create_ptycho_data_container(scan, config)
    assert len(container) == samples
    plan = plan_training(container, config)
    assert len(plan.validation) == round(samples / 4)
    assert sum(map(len, plan.validation_batches())) == len(plan.validation)


def test_T_04_P_26_schedules_move_the_rate_inside_a_fit(backend, runs):
    base = 2e-3
    exponential = runs(backend, "fixed scale").history["learning_rate"]
    assert exponential == pytest.approx([base, 0.95 * base, 0.95**2 * base])
    cosine = runs(backend, "supervised").history["learning_rate"]
    # The rate of each epoch's last step: warm-up reaches the top, the end is the floor.
    assert cosine[0] == pytest.approx(base)
    assert base > cosine[1] > cosine[2] == pytest.approx(0.05 * base)


def test_T_04_plateau_counts_the_epochs_of_the_fit(backend, runs):
    history = runs(backend, "plain").history
    rates, losses = history["learning_rate"], history["val_loss"]
    expected, rate, best = [], 2e-3, math.inf
    for loss in losses:
        expected.append(rate)
        # With no patience, each epoch that does not improve halves what the next one gets.
        rate, best = (rate, loss) if loss < best else (rate / 2, best)
    assert rates == pytest.approx(expected)


def test_T_08_every_setting_reaches_the_loss_and_the_probe(backend, config_of, start):
    rng = np.random.default_rng(0)
    x = rng.gamma(2.0, 20.0, (2, 32, 32, 1)).astype(np.float32)
    half = config_of(backend.name, nll_weight=0.25, mae_weight=0.5)
    terms = backend.evaluate_losses(half, 60.0, x, 0.8 * x, 0.64 * x**2 + 1)
    assert terms["loss"] == pytest.approx(0.25 * terms["nll"] + 0.5 * terms["mae"], rel=1e-5)
    energies = []
    for gauge in (2.0, 4.0):
        model = config_of(backend.name, {"probe_scale": gauge}).model
        seen = backend.evaluate(model, start(model), x, np.zeros((2, 1, 2, 1), np.float32))
        energies.append((seen["amplitude"].astype(float) ** 2).sum())
    assert energies[0] == pytest.approx(4 * energies[1], rel=1e-4)


def test_T_27_the_configured_learning_rate_is_used(backend, runs, config_of):
    run = runs(backend)
    assert run.history["learning_rate"][0] == run.config.learning_rate == 2e-3
    assert dataclasses.replace(config_of(backend.name), learning_rate=5e-4).learning_rate == 5e-4
    # Adam moves a weight whose gradient keeps its sign by the rate in each step.
    container, config = run.results["train_container"], run.config
    begun = plan_training(container, config).weights
    moved = max(
        float(np.abs(run.trained.weights[name] - begun[name]).max())
        for name in begun
        if name not in ("probe", "log_scale")
    )
    assert 2e-3 < moved < 9 * 2e-3 * 1.05


def test_T_29_training_prints_nothing(backend, runs):
    for variant in ("plain", "real space"):
        assert runs(backend, variant).stdout == ""


def test_T_30_validation_has_one_value_per_epoch(backend, runs):
    for variant in ("plain", "real space", "supervised"):
        history = runs(backend, variant).history
        lengths = {name: len(values) for name, values in history.items()}
        assert set(lengths.values()) == {3}, lengths
        assert history["train_loss"] == history["loss"]
        assert history["val_loss"] != history["loss"]


def test_C_15_other_names_than_val_loss_are_not_replaced(backend, runs):
    history = runs(backend, "real space").history
    names = {"nll", "mae", "realspace", "val_nll", "val_mae", "val_realspace"}
    assert names <= set(history)
    for name in ("nll", "mae", "realspace"):
        assert history[name] != history[f"val_{name}"]


def test_P_17_both_backends_have_the_same_parameters(backend, runs):
    run = runs(backend)
    sizes = backend.native_sizes(run.config.model, run.trained.weights)
    canonical = [value.size for value in run.trained.weights.values()]
    assert sorted(sizes) == sorted(canonical)


def test_P_16_one_set_of_weights_gives_one_forward_pass(backends, start, config_of):
    model = config_of("tensorflow", {"gridsize": 2}).model
    rng = np.random.default_rng(5)
    x = rng.gamma(2.0, 20.0, (3, 32, 32, 4)).astype(np.float32)
    offsets = rng.uniform(-4, 4, (3, 1, 2, 4)).astype(np.float32)
    weights = {k: v + rng.normal(0, 0.02, v.shape).astype("f4") for k, v in start(model).items()}
    one, other = (b.evaluate(model, weights, x, offsets) for b in backends.values())
    for name in ("patches", "object", "extracted", "amplitude", "intensity"):
        assert np.abs(one[name]).max() > 0
        difference = np.abs(one[name] - other[name]).max() / np.abs(one[name]).max()
        assert difference < 1e-5, name


def test_P_18_loss_and_gradients_agree(backends, start, config_of):
    config = config_of("tensorflow", mae_weight=0.5, probe_trainable=True)
    rng = np.random.default_rng(6)
    x = rng.gamma(2.0, 20.0, (4, 32, 32, 1)).astype(np.float32)
    given = config, start(config.model), x, np.zeros((4, 1, 2, 1), np.float32), 40.0
    one, other = (backend.loss_gradients(*given) for backend in backends.values())
    assert set(one) == set(other) > {"probe", "log_scale"}
    for name, gradient in one.items():
        scale = np.abs(gradient).max()
        assert scale > 0, name
        assert np.abs(gradient - other[name]).max() < 2e-4 * scale, name


def test_P_22_both_backends_end_with_the_same_object(backends, runs):
    """At a rate at which a last bit stays small.

    With one of six kernels moved by its last bit a backend differs from itself by up to 2.1e-7 of a
    loss and 3.2e-5 of the object, the pair by 2.2e-7 and 3.1e-5. At 2e-3 one backend differs from
    itself by 2.3e-4 and 5.6e-3.
    """
    one, other = (runs(backend, "small steps") for backend in backends.values())
    assert one.history["loss"] == pytest.approx(other.history["loss"], rel=7e-7)
    container = one.results["train_container"]
    x = container.X * np.float32(one.trained.intensity_scale)
    offsets = container.batch_offsets(slice(None))
    left, right = (run.results["model_instance"].predict([x, offsets]) for run in (one, other))
    assert np.abs(left - right).max() < 1e-4 * np.abs(left).max()
    assert np.abs(left).std() > 1e-3


def test_F_04_each_model_keeps_its_own_state(backend, runs, tmp_path):
    first, second = runs(backend, "plain"), runs(backend, "real space")
    manager = backend.room("model_manager")
    path = manager.save(tmp_path / "first", first.trained)
    model, known = _door(backend).load_inference_bundle(path)
    assert known["gridsize"] == 1
    for name, value in first.trained.weights.items():
        if name != "probe":
            np.testing.assert_array_equal(model.weights[name], value)
    inputs = [np.ones((2, 32, 32, 4), np.float32), np.zeros((2, 1, 2, 4), np.float32)]
    assert second.results["model_instance"].predict(inputs).shape == (2, 32, 32, 1)
    with pytest.raises(ValueError, match="gridsize=1"):
        model.predict(inputs)


def test_F_05_P_33_a_training_is_forgotten_and_repeats_itself(backend, scan, config_of):
    container = _door(backend).create_ptycho_data_container(scan, config_of(backend.name))
    run = backend.train_steps(config_of(backend.name), container, 2)
    native = run.trained.native
    held = weakref.ref(native if backend.name == "pytorch" else native.autoencoder)
    losses, weights = run.step_losses, run.weights
    del run, native
    gc.collect()
    assert held() is None
    again = backend.train_steps(config_of(backend.name), container, 2)
    assert again.step_losses == losses
    for name, value in weights.items():
        np.testing.assert_array_equal(value, again.weights[name])


def test_F_07_any_number_of_groups_is_predicted_alike(backend, runs):
    run = runs(backend, "real space")
    model, container = run.results["model_instance"], run.results["train_container"]
    rows = np.arange(100) % len(container)
    x = container.batch_X(rows) * np.float32(run.trained.intensity_scale)
    offsets = container.batch_offsets(rows)
    whole = model.predict([x, offsets], batch_size=100)
    assert whole.shape == (100, 32, 32, 1)
    np.testing.assert_allclose(whole[: len(container)], whole[24:48], rtol=0, atol=2e-6)
    for size in (1, 7, 32):
        parts = model.predict([x[:33], offsets[:33]], batch_size=size)
        np.testing.assert_allclose(parts, whole[:33], rtol=0, atol=2e-6)


def test_F_22_probe_mask_is_off_unless_asked_for(backend, runs):
    run = runs(backend)
    assert run.config.model.probe_mask is False
    assert run.params["probe.mask"] is False
    plane = run.trained.weights["probe"]
    corner = np.hypot(plane[..., 0], plane[..., 1])[0, 4, 16]
    assert corner > 0


def test_C_38_results_have_the_names_of_the_specification(backend, runs):
    results = runs(backend).results
    assert results["backend"] == backend.name
    assert {"history", "model_instance", "train_container", "test_container"} <= set(results)
    assert callable(results["model_instance"].predict)


def test_C_21_prediction_batches_bound_memory_only(backend, runs):
    """Whatever the execution says, what is predicted is the same."""
    if backend.name == "pytorch":
        assert PyTorchExecutionConfig().inference_batch_size is None
    model = runs(backend).results["model_instance"]
    x = runs(backend).results["train_container"].X
    offsets = np.zeros((len(x), 1, 2, 1), np.float32)
    np.testing.assert_allclose(
        model.predict([x, offsets]), model.predict([x, offsets], batch_size=5), rtol=0, atol=2e-6
    )
    with pytest.raises(ValueError, match="batch_size"):
        model.predict([x, offsets], batch_size=0)
