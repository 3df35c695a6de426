"""What only PyTorch's runtime has: execution settings, accumulation, workers, state."""

import numpy as np
import pytest

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.training_plan import plan_training
from ptycho.workflows.backend_selector import (
    run_cdi_example_with_backend,
    train_cdi_model_with_backend,
)


class Stopped(Exception):
    """Raised in place of a training."""


def _execution(**fields):
    return PyTorchExecutionConfig(accelerator="cpu", enable_progress_bar=False, **fields)


@pytest.fixture
def container(pytorch, scan, config_of):
    doors = pytorch.room("workflows.components")
    return doors.create_ptycho_data_container(scan, config_of("pytorch"))


@pytest.mark.parametrize("door", [train_cdi_model_with_backend, run_cdi_example_with_backend])
def test_T_05_C_16_C_33_execution_settings_reach_the_trainer(
    pytorch, scan, config_of, monkeypatch, door
):
    training, given = pytorch.room("training"), {}

    def trainer(**settings):
        given.update(settings)
        raise Stopped

    monkeypatch.setattr(training.pl, "Trainer", trainer)
    execution = _execution(
        precision="bf16-mixed", devices=2, strategy="ddp", deterministic="warn", accum_steps=4
    )
    config = config_of("pytorch", gradient_clip_val=0.5, gradient_clip_algorithm="value")
    with pytest.raises(Stopped):
        door(scan, None, config, torch_execution_config=execution)
    wanted = {
        "accelerator": "cpu", "precision": "bf16-mixed", "devices": 2, "strategy": "ddp",
        "deterministic": "warn", "accumulate_grad_batches": 4, "gradient_clip_val": 0.5,
        "gradient_clip_algorithm": "value", "max_epochs": 3,
    }  # fmt: skip
    assert {name: given[name] for name in wanted} == wanted


def test_T_05_schedule_reaches_the_optimiser(pytorch, container, config_of, monkeypatch):
    rates = _rates(pytorch, container, config_of("pytorch", scheduler="Exponential"), monkeypatch)
    assert rates == pytest.approx(3 * [2e-3] + 3 * [1.9e-3] + 3 * [1.805e-3])


def _rates(pytorch, container, config, monkeypatch, **settings):
    import torch

    rates, original = [], torch.optim.Adam.step

    def step(self, *given, **named):
        rates.append(self.param_groups[0]["lr"])
        return original(self, *given, **named)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    training = pytorch.room("training")
    execution = _execution(**settings)
    training.train(container, config, execution_config=execution, progress=False)
    return rates


def test_T_20_C_11_P_27_accumulated_tail_is_a_step_of_its_own(
    pytorch, container, config_of, monkeypatch
):
    """Three batches an epoch, two a step: the third must neither be lost nor leak."""
    import torch

    training, model = pytorch.room("training"), pytorch.room("model")
    built, gradients, after = [], [], []
    build, original = training.build_module, torch.optim.Adam.step

    def kept(*given):
        built.append(build(*given))
        return built[-1]

    def step(self, closure):
        loss = closure()
        kernel = built[0].model.get_parameter("encoder.block1.conv1.weight")
        gradients.append(kernel.grad.detach().clone().numpy().transpose(2, 3, 1, 0))
        original(self)
        after.append(model.get_canonical_weights(built[0].model))
        return loss

    monkeypatch.setattr(training, "build_module", kept)
    monkeypatch.setattr(torch.optim.Adam, "step", step)
    config = config_of("pytorch", nepochs=2)
    training.train(container, config, execution_config=_execution(accum_steps=2), progress=False)
    assert len(gradients) == 4
    plan = plan_training(container, config)
    scale = np.float32(plan.intensity_scale)

    def gradient(weights, batch):
        x = container.batch_X(batch) * scale
        given = weights, x, container.batch_offsets(batch), plan.intensity_scale
        return pytorch.loss_gradients(config, *given)["encoder/block1/conv1/kernel"]

    # Lightning divides by the number of batches of a whole step. The tail is its batch alone, and
    # the next epoch's first step has nothing of the tail.
    tail, (first, second, _) = plan.epoch(0)[2], plan.epoch(1)
    expected = gradient(after[0], tail) / 2
    np.testing.assert_allclose(gradients[1], expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    expected = (gradient(after[1], first) + gradient(after[1], second)) / 2
    np.testing.assert_allclose(gradients[2], expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_T_21_each_weight_is_once_in_the_state_dictionary(pytorch, runs):
    run = runs(pytorch)
    state = run.trained.native.state_dict()
    places = [value.data_ptr() for value in state.values()]
    assert len(set(places)) == len(places)
    assert len(state) == len(run.trained.weights)
    shapes = sorted(tuple(sorted(value.shape)) for value in state.values())
    assert shapes == sorted(tuple(sorted(value.shape)) for value in run.trained.weights.values())


@pytest.mark.parametrize("workers", [0, 1])
def test_T_22_C_28_training_runs_with_and_without_workers(pytorch, container, config_of, workers):
    loaders = pytorch.room("dataloader").training_loaders(
        container, plan_training(container, config_of("pytorch")), False,
        _execution(num_workers=workers),
    )  # fmt: skip
    for loader in loaders:
        assert loader.persistent_workers == (workers > 0)
        assert loader.num_workers == workers
    trained = pytorch.room("training").train(
        container, config_of("pytorch", nepochs=1),
        execution_config=_execution(num_workers=workers), progress=False,
    )  # fmt: skip
    assert len(trained.step_losses) == 3


def test_T_24_training_leaves_no_stray_files(pytorch, scan, config_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = config_of("pytorch", nepochs=1, validation_fraction=0.0, output_dir=tmp_path / "out")
    train_cdi_model_with_backend(scan, None, config, torch_execution_config=_execution())
    pytorch.room("model_manager").save(config.output_dir)
    assert (config.output_dir / "wts.h5.zip").is_file()
    for path in tmp_path.rglob("*"):
        assert config.output_dir in (path, path.parent), path
        assert not set("={}") & set(path.name), path
        assert "nan" not in path.name


def test_C_14_the_monitored_loss_has_the_name_of_the_model(pytorch, runs):
    run = runs(pytorch)
    module = run.trained.native
    assert {module.loss_name, module.val_loss_name} <= set(run.history)
    assert run.history[module.loss_name] == run.history["loss"]
    assert run.history[module.val_loss_name] == run.history["val_loss"]


@pytest.mark.parametrize("accelerator", ["tpu", "quantum"])
def test_C_04_accelerators_that_nobody_can_test_are_refused(accelerator, capsys):
    from ptycho.cli import train

    with pytest.raises(ValueError, match="accelerator"):
        PyTorchExecutionConfig(accelerator=accelerator)
    assert train.main(["--torch-accelerator", accelerator]) == 2
    assert accelerator in capsys.readouterr().err


def test_T_10_C_03_default_device_is_left_to_lightning(recwarn):
    assert PyTorchExecutionConfig().accelerator == "auto"
    assert PyTorchExecutionConfig().devices == 1
    assert not recwarn.list


@pytest.mark.parametrize("value", [True, False, "warn"])
def test_C_05_deterministic_is_a_switch_or_a_warning(value):
    assert PyTorchExecutionConfig(deterministic=value).deterministic == value
    with pytest.raises(ValueError, match="deterministic"):
        PyTorchExecutionConfig(deterministic="often")
