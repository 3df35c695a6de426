"""Training: what it changes, in which order, and what it refuses."""

import dataclasses
import gc
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from ptycho import model, training
from ptycho.core.container import PtychoDataContainer
from ptycho.core.patterns import Patterns
from ptycho.core.sampling import epoch_order, split_indices
from ptycho.core.training_plan import plan_training
from ptycho.core.workflow import create_container
from ptycho.model import compiled, set_canonical_weights
from ptycho.model_manager import ObjectPredictor, save
from ptycho.raw_data import RawData


def _changed(trained, before):
    return {k for k, v in trained.weights.items() if not np.array_equal(v, before[k])}


# ------------------------------------------------------------------ the gradient


GROUPS = {
    "encoder": ("encoder/",),
    "decoders": ("amplitude_decoder/", "phase_decoder/"),
    "inner heads": ("amplitude_head/inner", "phase_head/inner"),
    "outer heads": ("amplitude_head/outer", "phase_head/outer"),
    "log_scale": ("log_scale",),
    "probe": ("probe",),
}


def test_gradients_against_differences(scan, make_config):
    """Along the gradient of each part of the weights, the loss changes as the gradient says."""
    config = make_config(2, probe_trainable=True, mae_weight=0.5, model={"amp_activation": "swish"})
    container = create_container(scan, config)
    plan = plan_training(container, config)
    indices = np.arange(6)
    x = container.batch_X(indices) * np.float32(plan.intensity_scale)
    offsets = container.batch_offsets(indices)
    gradients = training.loss_gradients(config, plan.weights, x, offsets, plan.intensity_scale)
    assert set(gradients) == set(plan.weights)
    models = training._build(config, plan.weights)
    step = training.TrainingStep(models, config, plan.intensity_scale)

    def loss(weights):
        set_canonical_weights(models.autoencoder, weights)
        return float(step.measure([tf.constant(x), tf.constant(offsets)])["loss"])

    for part, prefixes in GROUPS.items():
        along = {k: g for k, g in gradients.items() if k.startswith(prefixes)}
        norm = math.sqrt(sum(float(np.vdot(g, g)) for g in along.values()))
        assert norm > 0, part
        # A step that changes the loss by about a hundredth: far above float32's rounding.
        size = 0.005 * loss(plan.weights) / norm
        up, down = (
            loss(
                plan.weights
                | {k: plan.weights[k] + np.float32(s / norm) * g for k, g in along.items()}
            )
            for s in (size, -size)
        )
        assert (up - down) / (2 * size) == pytest.approx(norm, rel=0.02), part


# ------------------------------------------------------------------ the loop


def test_twenty_steps_lower_the_loss(trained):
    losses = trained.step_losses
    assert len(losses) == 20
    assert np.mean(losses[-4:]) < 0.5 * np.mean(losses[:4])


def test_history_has_every_name_once_per_epoch(trained):
    history = trained.history
    names = {"loss", "nll", "mae", "val_loss", "val_nll", "val_mae", "learning_rate"}
    assert set(history) == names | {"train_loss"}
    assert {len(values) for values in history.values()} == {7}  # 3 steps an epoch, the 7th cut
    assert history["loss"] == history["train_loss"] == history["nll"]
    assert all(isinstance(value, float) for value in history["loss"])


def test_epoch_loss_is_the_mean_over_samples(scan, fit, make_config):
    config = make_config(nepochs=1, learning_rate=1e-30)
    trained = fit(config)
    sizes = np.array([8, 8, 7])
    expected = (sizes * trained.step_losses).sum() / 23
    assert trained.history["loss"][0] == pytest.approx(expected, rel=1e-6)
    # A rate this small changes nothing: it is the schedule's rate that the optimiser uses.
    before = plan_training(create_container(scan, config), config).weights
    assert max(np.abs(trained.weights[name] - before[name]).max() for name in before) < 1e-20


@pytest.fixture
def traced(monkeypatch):
    """A list that gets an entry whenever Python runs a model: while a function is traced.

    Nothing has been compiled before.
    """
    model._kept.cache_clear()
    runs, call = [], keras.Model.__call__

    def counted(self, *arguments, **named):
        runs.append(self.name)
        return call(self, *arguments, **named)

    monkeypatch.setattr(keras.Model, "__call__", counted)
    return runs


class _Spy(PtychoDataContainer):
    """A container that remembers which groups were asked for."""

    def __init__(self, original):
        super().__init__(
            original.amplitude, original.groups, original.positions, original.probe,
            original.normalisation, labels=original.labels,
        )  # fmt: skip
        self.asked = []

    def batch_X(self, indices):
        self.asked.append(np.asarray(indices).tolist())
        return super().batch_X(indices)


def test_batches_follow_the_shared_order_and_the_step_compiles_once(scan, fit, make_config):
    config = make_config(seed=5, validation_fraction=0.2, batch_size=6)
    spy = _Spy(create_container(scan, config))
    fit(config, container=spy)
    training_groups, validation_groups = split_indices(24, 0.2, 5)
    expected = []
    for epoch in range(2):
        order = training_groups[epoch_order(len(training_groups), 5, epoch)]
        expected += [order[i : i + 6].tolist() for i in range(0, len(order), 6)]
        expected.append(validation_groups.tolist())
    assert spy.asked == expected
    assert len(expected[3]) == 1  # the last, partial batch is kept


def test_batches_of_any_size_share_one_compiled_step(traced, scan, make_config):
    config = make_config()
    container = create_container(scan, config)
    plan = plan_training(container, config)
    step = training.TrainingStep(training._build(config, plan.weights), config, 20.0)
    for size in (8, 3, 1):
        batch = [
            tf.constant(container.batch_X(np.arange(size))),
            tf.constant(container.batch_offsets(np.arange(size))),
        ]
        step.update(tf.constant(1e-3), batch)
    assert len(traced) == 1


def _graphs():
    gc.collect()
    return sum(type(each).__name__ == "FuncGraph" for each in gc.get_objects())


def _fit_and_predict(fit, config, **given):
    trained = fit(config, **given)
    inputs = [np.ones((1, 32, 32, 4)), np.zeros((1, 1, 2, 4))]
    return trained, ObjectPredictor.of(trained).predict(inputs)


def test_a_second_training_traces_nothing(scan, fit, make_config, traced, tmp_path):
    config = make_config(2, validation_fraction=0.2, model={"amp_activation": "softplus"})
    first, _ = _fit_and_predict(fit, config)
    assert traced == ["stages", "stages", "diffraction_to_obj"]  # update, measure, predict
    # Nor does one of another size, rate or scale, on other data, or one that goes on.
    fields = {"batch_size": 5, "n_groups": 20, "nphotons": 3e4, "learning_rate": 1e-4, "seed": 9}
    other = dataclasses.replace(config, scheduler="Exponential", nepochs=1, **fields)
    part = (scan.xcoords[:30], scan.ycoords[:30], 2 * scan.diff3d[:30], scan.probeGuess)
    data = RawData.from_coords_without_pc(*part, np.zeros(30, int))
    _fit_and_predict(fit, other, container=create_container(data, other))
    going_on = dataclasses.replace(config, nepochs=4, resume=save(tmp_path, first))
    _fit_and_predict(fit, going_on)
    assert len(traced) == 3
    # And nothing of the others is left in what it gives.
    again, _ = _fit_and_predict(fit, config)
    assert again.step_losses == first.step_losses
    assert len(traced) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"mae_weight": 0.5}, {"weight_decay": 0.1}, {"gradient_clip_val": 1e-3},
        {"adam_beta1": 0.5}, {"probe_trainable": True}, {"optimizer": "sgd"},
        {"model": {"gaussian_smoothing_sigma": 1.0}}, {"intensity_scale_trainable": False},
    ],
    ids=str,
)  # fmt: skip
def test_what_a_step_depends_on_is_traced_anew(fit, make_config, traced, fields):
    fit(make_config(n_groups=8), max_steps=2)
    before = len(traced)
    fit(make_config(n_groups=8, **fields), max_steps=2)
    assert len(traced) > before


def test_a_finished_training_leaves_no_graph_behind(fit, make_config):
    config = make_config(2, nepochs=1, n_groups=9, model={"amp_activation": "swish"})
    _fit_and_predict(fit, config)  # what is kept once, is kept now
    before = _graphs()
    _fit_and_predict(fit, config)
    assert _graphs() == before


def test_few_compiled_functions_are_kept():
    before = _graphs()
    for number in range(30):
        compiled(("test", number), lambda x: x + 1, tf.TensorSpec((), tf.float32))
    assert _graphs() <= before + 8


def test_a_function_that_would_keep_a_variable_is_not_compiled():
    variable = tf.Variable(1.0)
    with pytest.raises(RuntimeError, match="not its argument"):
        compiled(("test", "captured"), lambda x: x + variable, tf.TensorSpec((), tf.float32))


def test_each_step_has_the_rate_of_the_schedule(scan, fit, make_config):
    # Three steps of warm-up from a tenth: the first has 0.1 + 0.9 / 3 = 0.4 of the rate.
    config = make_config(scheduler="WarmupCosine", lr_warmup_epochs=1, learning_rate=5e-3)
    trained = fit(config, max_steps=1)
    assert trained.history["learning_rate"] == [pytest.approx(2e-3)]
    # Adam's first step is its rate, up or down, for every weight with a gradient above epsilon.
    before = plan_training(create_container(scan, config), config).weights
    longest = max(np.abs(trained.weights[name] - before[name]).max() for name in before)
    assert longest == pytest.approx(2e-3, rel=1e-3)


def test_training_is_repeatable_and_leaves_the_random_state_alone(fit, make_config):
    config = make_config(2, probe_trainable=True)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002  # what must stay as it is
    first, second = fit(config, max_steps=3), fit(config, max_steps=3)
    assert first.step_losses == second.step_losses
    for name, value in first.weights.items():
        np.testing.assert_array_equal(value, second.weights[name])
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


# ------------------------------------------------------------------ what trains


@pytest.mark.parametrize(
    ("probe", "scale"), [(True, False), (False, True)], ids=["probe", "log_scale"]
)
def test_every_weight_trains_when_its_flag_says_so_and_only_then(
    scan, fit, make_config, probe, scale
):
    config = make_config(probe_trainable=probe, intensity_scale_trainable=scale)
    before = plan_training(create_container(scan, config), config).weights
    changed = _changed(fit(config, max_steps=2), before)
    still = {name for name, on in (("probe", probe), ("log_scale", scale)) if not on}
    assert set(before) - changed == still


def test_two_photon_numbers_in_one_process_do_not_see_each_other(fit, make_config):
    few = fit(make_config(nphotons=1e4), max_steps=2)
    x = np.random.default_rng(0).uniform(0, 5, (3, 32, 32, 1)).astype(np.float32)
    offsets = np.zeros((3, 1, 2, 1), np.float32)
    before = ObjectPredictor.of(few).predict([x, offsets])
    many = fit(make_config(nphotons=1e8), max_steps=2)
    assert few.intensity_scale == pytest.approx(100 / 16)
    assert many.intensity_scale == pytest.approx(1e4 / 16)
    assert few.weights["log_scale"] == pytest.approx(math.log(100 / 16), abs=0.01)
    assert many.weights["log_scale"] == pytest.approx(math.log(1e4 / 16), abs=0.01)
    # The loss is independent of the photon number, and so is what was learned.
    np.testing.assert_allclose(few.step_losses, many.step_losses, rtol=1e-4)
    np.testing.assert_array_equal(ObjectPredictor.of(few).predict([x, offsets]), before)


def test_supervised_training_fits_the_labels(scan, fit, make_config):
    config = make_config(model={"model_type": "supervised"}, nepochs=20, probe_trainable=True)
    trained = fit(config, max_steps=12)
    realspace = trained.history["realspace"]
    assert realspace == trained.history["loss"]
    assert realspace[-1] < 0.8 * realspace[0]
    # The probe, and the border outside the central square, are no part of this loss.
    before = plan_training(create_container(scan, config), config).weights
    border = {name for name in before if "/outer" in name}
    assert set(before) - _changed(trained, before) == {"probe"} | border


def test_supervised_training_without_labels_is_refused(unlabelled_scan, fit, make_config):
    config = make_config(model={"model_type": "supervised"})
    with pytest.raises(ValueError, match="objectGuess or Y"):
        fit(config, container=create_container(unlabelled_scan, config))


def test_a_real_space_term_adds_to_the_physics(fit, make_config):
    config = make_config(nll_weight=0.5, realspace_weight=0.5, realspace_mae_weight=1.0)
    trained = fit(config, max_steps=1)
    values = {name: trained.history[name][0] for name in ("loss", "nll", "realspace")}
    expected = 0.5 * values["nll"] + 0.5 * values["realspace"]
    assert values["loss"] == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------ what stops it


def test_a_loss_that_is_not_finite_stops_with_advice(scan, fit, make_config):
    config = make_config()
    container = create_container(scan, config)
    container.patterns = Patterns(container.amplitude.copy())
    container.patterns.stored[container.groups[:, 0], 3, 3] = np.nan
    with pytest.raises(RuntimeError, match=r"epoch 1, step 1.*learning_rate"):
        fit(config, container=container)


def test_an_interrupt_returns_what_was_reached(monkeypatch, fit, make_config):
    def press_ctrl_c(self, loss):
        self.pressed = getattr(self, "pressed", 0) + 1
        if self.pressed == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("ptycho.core.progress.TrainingProgress.step", press_ctrl_c)
    trained = fit(make_config(nepochs=5))
    assert trained.history["interrupted"] == [2.0]
    assert len(trained.history["loss"]) == 1
    assert len(trained.step_losses) == 4


def test_weights_of_another_network_are_refused(fit, make_config, trained):
    with pytest.raises(ValueError, match=r"encoder/block1/conv1/kernel"):
        fit(make_config(1), weights=trained.weights)
