"""Training: what it does to the weights, in which order, and how it ends."""

import logging
import math
import pickle
import random
import signal

import numpy as np
import pytest
import torch

from ptycho.config.config import PyTorchExecutionConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.patterns import Patterns
from ptycho.core.sampling import epoch_order, split_indices
from ptycho.core.schedule import LearningRateSchedule
from ptycho.core.workflow import create_container
from ptycho.raw_data import RawData
from ptycho_torch import model_manager, training
from ptycho_torch.model import PtychoPINN_Lightning, get_canonical_weights


@pytest.fixture
def steps(monkeypatch):
    """Record learning rate and gradients of every optimiser step."""
    seen = []
    configure = PtychoPINN_Lightning.configure_optimizers

    def recording(module):
        optimizer = configure(module)

        def record(optimizer, args, kwargs):
            group = optimizer.param_groups[0]
            seen.append((group["lr"], [p.grad.clone() for p in group["params"]]))

        optimizer.register_step_post_hook(record)
        return optimizer

    monkeypatch.setattr(PtychoPINN_Lightning, "configure_optimizers", recording)
    return seen


def _norm(gradients):
    return math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))


# ------------------------------------------------------------------ learning


@pytest.mark.parametrize("gridsize", [1, 2])
def test_twenty_steps_decrease_the_loss(fit, make_config, gridsize):
    config = make_config(gridsize, nepochs=7, validation_fraction=0.0, mae_weight=0.5)
    trained = fit(config, max_steps=20)
    assert len(trained.step_losses) == 20
    assert np.mean(trained.step_losses[-3:]) < 0.6 * np.mean(trained.step_losses[:3])


def test_same_seed_same_losses_bit_by_bit(fit, make_config):
    one, two, other = (fit(make_config(2, seed=seed), max_steps=4) for seed in (1, 1, 2))
    assert one.step_losses == two.step_losses
    assert one.step_losses != other.step_losses
    for name, array in one.weights.items():
        assert np.array_equal(array, two.weights[name]), name


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("probe", [True, False])
def test_every_weight_trains_when_told_to_and_only_then(fit, make_config, scan, scale, probe):
    config = make_config(2, intensity_scale_trainable=scale, probe_trainable=probe)
    container = create_container(scan, config)
    before = training.plan_training(container, config).weights
    after = fit(config, container, max_steps=4).weights
    frozen = {name for name in before if np.array_equal(before[name], after[name])}
    flags = {"log_scale": scale, "probe": probe}
    assert frozen == {name for name, trains in flags.items() if not trains}


def test_first_step_is_adam_as_published(fit, make_config, scan, steps):
    config = make_config(learning_rate=0.01)
    container = create_container(scan, config)
    plan = training.plan_training(container, config)
    after = fit(config, container, max_steps=1).native
    module = training.build_module(container, config, plan)
    parameters = [p for p in module.parameters() if p.requires_grad]
    moved = [p for p in after.parameters() if p.requires_grad]
    # After one step both moments, corrected for bias, are the gradient and its square.
    for old, new, gradient in zip(parameters, moved, steps[0][1], strict=True):
        g = gradient.double()
        expected = old.detach().double() - 0.01 * g / (g.abs() + 1e-8)
        np.testing.assert_allclose(new.detach().double(), expected, atol=2e-7)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_are_clipped_by_the_formula(fit, make_config, steps, algorithm):
    config = make_config(batch_size=24)
    fit(config, max_steps=1)
    limit = 0.01
    clipped = make_config(batch_size=24, gradient_clip_val=limit, gradient_clip_algorithm=algorithm)
    fit(clipped, max_steps=1)
    (_, free), (_, cut) = steps
    assert _norm(free) > 2 * limit
    for before, after in zip(free, cut, strict=True):
        if algorithm == "norm":
            expected = before * (limit / (_norm(free) + 1e-6))
        else:
            expected = before.clip(-limit, limit)
        np.testing.assert_allclose(after, expected, rtol=1e-5, atol=1e-12)


def test_supervised_trains_on_labels(fit, make_config):
    config = make_config(2, model={"model_type": "supervised"}, nepochs=8, probe_trainable=True)
    trained = fit(config, max_steps=20)
    assert trained.history["loss"] == trained.history["realspace"]
    assert trained.step_losses[-1] < 0.7 * trained.step_losses[0]


def test_supervised_without_labels_is_refused(fit, make_config, scan):
    bare = RawData(
        scan.xcoords, scan.ycoords, None, None, scan.diff3d, scan.probeGuess, scan.scan_index
    )
    config = make_config(model={"model_type": "supervised"})
    with pytest.raises(ValueError, match="objectGuess or Y"):
        fit(config, create_container(bare, config))


def test_realspace_term_joins_the_loss(fit, make_config):
    config = make_config(realspace_weight=0.5, realspace_mae_weight=0.4, validation_fraction=0)
    history = fit(config, max_steps=2).history
    expected = history["nll"][0] + 0.2 * history["realspace"][0]
    assert history["loss"][0] == pytest.approx(expected, rel=1e-6)


# ------------------------------------------------------------------ order and schedule


class _Watched(PtychoDataContainer):
    """Records which groups are gathered; may be told to act when a batch is."""

    def __init__(self, container):
        super().__init__(
            container.amplitude, container.groups, container.positions, container.probe,
            container.normalisation, container.labels,
        )  # fmt: skip
        self.gathered = []
        self.act = lambda: None

    def batch_X(self, indices):
        self.gathered.append(np.array(indices))
        self.act()
        return super().batch_X(indices)


def test_groups_are_visited_in_the_shared_order(fit, make_config, scan):
    config = make_config(nepochs=3, seed=5, validation_fraction=0.125)
    container = _Watched(create_container(scan, config))
    trained = fit(config, container)
    train, validation = split_indices(24, 0.125, 5)
    expected = []
    for epoch in range(3):
        order = train[epoch_order(21, 5, epoch)]
        expected += [order[:8], order[8:16], order[16:], validation]
    assert [list(batch) for batch in container.gathered] == [list(batch) for batch in expected]
    assert len(trained.step_losses) == 9


def test_history_averages_over_samples(fit, make_config):
    trained = fit(make_config(validation_fraction=0.125))
    for epoch in range(2):
        parts = trained.step_losses[3 * epoch : 3 * epoch + 3]
        expected = np.average(parts, weights=[8, 8, 5])
        assert trained.history["loss"][epoch] == pytest.approx(expected, rel=1e-6)
    assert trained.history["train_loss"] == trained.history["loss"]
    assert set(trained.history) == {
        "loss", "nll", "mae", "val_loss", "val_nll", "val_mae", "learning_rate", "train_loss",
    }  # fmt: skip
    assert {len(values) for values in trained.history.values()} == {2}


def test_without_validation_there_is_no_val_loss(fit, make_config):
    trained = fit(make_config(validation_fraction=0.0))
    assert "val_loss" not in trained.history
    assert len(trained.step_losses) == 6


def test_an_epoch_cut_short_is_validated_too(fit, make_config):
    config = make_config(nepochs=5, validation_fraction=0.125)
    for steps in (2, 3, 4):
        trained = fit(config, max_steps=steps)
        assert len(trained.step_losses) == steps
        losses = trained.history["val_loss"]
        assert len(set(losses)) == len(losses) == (steps + 2) // 3


@pytest.mark.parametrize("scheduler", ["Default", "Exponential", "WarmupCosine"])
def test_learning_rate_of_every_step(fit, make_config, steps, scheduler):
    config = make_config(nepochs=3, scheduler=scheduler, lr_warmup_epochs=1, learning_rate=2e-3)
    fit(config)
    schedule = LearningRateSchedule(config, 3)
    assert [rate for rate, _ in steps] == [schedule.rate(step) for step in range(9)]
    different = {"Default": 1, "Exponential": 3, "WarmupCosine": 8}  # warm-up ends at the top
    assert len({rate for rate, _ in steps}) == different[scheduler]


def test_plateau_watches_the_validation_loss(fit, make_config, steps):
    config = make_config(
        nepochs=4, scheduler="ReduceLROnPlateau", plateau_patience=0, plateau_threshold=0.99,
        plateau_min_lr=3e-4, learning_rate=1e-3,
    )  # fmt: skip
    history = fit(config).history
    # No epoch divides the loss by a hundred, so after the first each is a bad one.
    assert history["learning_rate"] == pytest.approx([1e-3, 1e-3, 5e-4, 3e-4])
    assert [rate for rate, _ in steps[::3]] == history["learning_rate"]


def test_accumulated_batches_step_once(fit, make_config, steps):
    trained = fit(make_config(nepochs=1), execution={"accum_steps": 2})
    assert (len(trained.step_losses), len(steps)) == (3, 2)


def test_given_weights_are_started_from(fit, make_config):
    first = fit(make_config(), max_steps=2)
    again = fit(make_config(), weights=first.weights, max_steps=1)
    assert again.step_losses[0] < first.step_losses[0]
    with pytest.raises(ValueError, match="encoder/block1/conv1/kernel"):
        fit(make_config(2), weights=first.weights)


def test_mixed_precision_trains_nearly_alike(fit, make_config):
    config = make_config(2, nepochs=1, validation_fraction=0.0)
    full = fit(config).step_losses
    mixed = fit(config, execution={"precision": "bf16-mixed"}).step_losses
    assert mixed == pytest.approx(full, rel=0.05)
    assert mixed != full


# ------------------------------------------------------------------ endings


def test_loss_that_is_not_finite_stops_the_training(fit, make_config, scan):
    config = make_config(validation_fraction=0.0)
    container = create_container(scan, config)
    order = epoch_order(24, config.seed, 0)
    container.patterns = Patterns(container.amplitude.copy())
    container.patterns.stored[container.groups[order[10], 0], 3, 3] = np.nan  # in the second batch
    with pytest.raises(RuntimeError, match=r"nan in epoch 1, step 2.*learning_rate"):
        fit(config, container)


@pytest.fixture
def interruptible():
    """Answer SIGINT as Python does; a shell's background job is born with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_keeps_what_was_trained(fit, make_config, scan, tmp_path):
    config = make_config(nepochs=9, validation_fraction=0.0)
    container = _Watched(create_container(scan, config))
    started = training.plan_training(container, config).weights

    def interrupt_fifth():
        if len(container.gathered) == 5:
            signal.raise_signal(signal.SIGINT)

    container.act = interrupt_fifth
    handler = signal.getsignal(signal.SIGINT)
    trained = fit(config, container)
    assert signal.getsignal(signal.SIGINT) is handler
    assert trained.history["interrupted"] == [2.0]
    assert len(trained.history["loss"]) == 1
    assert 3 <= len(trained.step_losses) <= 4
    kernel = "encoder/block1/conv1/kernel"
    assert not np.array_equal(trained.weights[kernel], started[kernel])
    assert model_manager.save(tmp_path, trained).exists()


def test_exit_is_not_taken_for_an_interrupt(fit, make_config, scan):
    config = make_config()
    container = _Watched(create_container(scan, config))
    container.act = lambda: (_ for _ in ()).throw(SystemExit(3))
    with pytest.raises(SystemExit) as leaving:
        fit(config, container)
    assert leaving.value.code == 3


# ------------------------------------------------------------------ the process around it


def test_global_state_is_left_as_it_was(fit, make_config, recwarn, capfd, caplog):
    torch.use_deterministic_algorithms(False)
    lightning = logging.getLogger("lightning.pytorch")
    level, benchmark = lightning.level, torch.backends.cudnn.benchmark
    random_states = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    with caplog.at_level(logging.INFO):
        fit(make_config())
    assert torch.equal(torch.get_rng_state(), random_states[0])
    assert np.array_equal(np.random.get_state()[1], random_states[1])  # noqa: NPY002
    assert random.getstate() == random_states[2]
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.utils.deterministic.fill_uninitialized_memory
    assert (lightning.level, torch.backends.cudnn.benchmark) == (level, benchmark)
    assert torch.is_grad_enabled()
    # Nobody asked for news of workers, devices and cloud services.
    assert [str(warning.message) for warning in recwarn] == []
    assert "".join(capfd.readouterr()) + caplog.text == ""


def test_trained_model_describes_itself(fit, make_config, scan):
    config = make_config(2, nphotons=1e6)
    container = create_container(scan, config)
    trained = fit(config, container, max_steps=1)
    assert trained.backend == "pytorch"
    assert trained.intensity_scale == pytest.approx(1000 / 16)
    assert trained.normalisation == container.normalisation
    assert trained.params["gridsize"] == 2
    assert "output_prefix" not in trained.params
    assert trained.seconds > 0
    for name, array in get_canonical_weights(trained.native.model).items():
        assert np.array_equal(array, trained.weights[name])
    # It travels to other processes, without the data it was trained on.
    copy = pickle.loads(pickle.dumps(trained))
    assert copy.step_losses == trained.step_losses


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="the hardware is here")
def test_hardware_that_is_not_here_is_bad_input(make_config, scan):
    config = make_config()
    execution = PyTorchExecutionConfig(accelerator="mps")
    with pytest.raises(ValueError, match="accelerator 'mps'.*'auto' takes what there is"):
        training.train(create_container(scan, config), config, execution_config=execution)
