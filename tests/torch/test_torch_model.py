"""The network: canonical weights, outputs, checkpoints."""

import io

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from scipy.signal import correlate

from ptycho.config.config import ModelConfig
from ptycho.core.weights import initial_weights, weight_shapes
from ptycho.core.workflow import create_container
from ptycho_torch import layers, model, model_manager, training
from ptycho_torch.model import PtychoPINN_Lightning

VARIANTS = {
    "default": {},
    "gridsize 2": {"gridsize": 2},
    "gridsize 3, one object": {"gridsize": 3, "object_big": False},
    "unpadded": {"pad_object": False},
    "no border": {"gridsize": 2, "probe_big": False},
    "N=64, wide": {"N": 64, "n_filters_scale": 2},
    "N=128": {"N": 128},
    "N=256": {"N": 256},
    "gridsize 5": {"gridsize": 5},
}


def _config(**fields):
    return ModelConfig(**{"N": 32, "n_filters_scale": 1} | fields)


def _weights(config, modes=1, seed=3):
    rng = np.random.default_rng(seed)
    shape = (modes, config.N, config.N)
    probe = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    weights = initial_weights(config, seed, probe, 11.0)
    # Biases start at zero; a mix-up of two would not show.
    return {
        name: value + rng.normal(0, 0.01, value.shape).astype(np.float32)
        for name, value in weights.items()
    }


def _inputs(config, batch=3, seed=5):
    rng, C = np.random.default_rng(seed), config.gridsize**2
    x = rng.uniform(0, 3, (batch, config.N, config.N, C)).astype(np.float32)
    return x, rng.uniform(-3, 3, (batch, 1, 2, C)).astype(np.float32)


# ------------------------------------------------------------------ canonical weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_are_the_canonical_weights_and_come_back_unchanged(variant):
    config = _config(**VARIANTS[variant])
    weights = _weights(config, modes=2)
    back = model.get_canonical_weights(model.build_model(config, weights))
    assert {name: array.shape for name, array in back.items()} == weight_shapes(config, modes=2)
    for name, array in weights.items():
        assert back[name].dtype == np.float32
        assert np.array_equal(back[name], array), name


def test_kernels_are_applied_as_height_width_in_out():
    config = _config(gridsize=2)
    weights = _weights(config)
    kernel, bias = weights["encoder/block1/conv1/kernel"], weights["encoder/block1/conv1/bias"]
    image = np.random.default_rng(0).standard_normal((32, 32, 4))
    expected = bias[7] + sum(
        correlate(image[..., c], kernel[:, :, c, 7], mode="same") for c in range(4)
    )
    conv = model.build_model(config, weights).encoder.block1.conv1
    found = conv(torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None])
    np.testing.assert_allclose(found[0, 7].detach().numpy(), expected, atol=1e-5)


def test_wrong_weights_are_named():
    weights = _weights(_config())
    with pytest.raises(ValueError, match=r"encoder/block1/conv1/kernel.*\(3, 3, 4"):
        model.build_model(_config(gridsize=2), weights)
    del weights["phase_head/inner/bias"]
    with pytest.raises(ValueError, match="phase_head/inner/bias"):
        model.build_model(_config(), weights)
    built = model.build_model(_config(), _weights(_config()))
    with pytest.raises(ValueError, match="probe"):
        model.set_canonical_weights(built, _weights(_config(), modes=2))


def test_building_draws_no_random_numbers():
    state = torch.get_rng_state()
    model.build_model(_config(), _weights(_config()))
    assert torch.equal(torch.get_rng_state(), state)


# ------------------------------------------------------------------ outputs


@pytest.mark.parametrize("gridsize", [1, 2, 3])
@pytest.mark.parametrize("object_big", [True, False])
def test_shapes_and_types_of_outputs(gridsize, object_big):
    config = _config(gridsize=gridsize, object_big=object_big)
    found = model.evaluate(config, _weights(config, modes=2), *_inputs(config))
    C = gridsize**2
    emitted = C if object_big else 1
    assert {name: (value.shape, value.dtype.name) for name, value in found.items()} == {
        "object": ((3, 32, 32, 1), "complex64"),
        "patches": ((3, 32, 32, emitted), "complex64"),
        "extracted": ((3, 32, 32, C), "complex64"),
        "amplitude": ((3, 32, 32, C), "float32"),
        "intensity": ((3, 32, 32, C), "float32"),
    }
    np.testing.assert_allclose(found["amplitude"] ** 2, found["intensity"], rtol=1e-5)


def test_a_single_position_is_neither_moved_nor_merged():
    config = _config()
    found = model.evaluate(config, _weights(config), *_inputs(config))
    assert np.array_equal(found["object"], found["patches"])
    assert np.array_equal(found["extracted"], found["patches"])


def test_one_object_for_a_group_is_cut_at_its_members():
    config = _config(gridsize=2, object_big=False)
    x, offsets = _inputs(config)
    offsets[:] = 0
    offsets[:, 0, :, 3] = [2, -1]  # member 3 shows what is 2 to the left and 1 further down
    found = model.evaluate(config, _weights(config), x, offsets)
    one, cut = found["object"][..., 0], found["extracted"]
    np.testing.assert_allclose(cut[..., 0], one, atol=1e-6)
    np.testing.assert_allclose(cut[:, :-1, 2:, 3], one[:, 1:, :-2], atol=1e-6)


def test_border_is_filled_only_with_probe_big():
    for probe_big in (True, False):
        config = _config(probe_big=probe_big)
        patches = model.evaluate(config, _weights(config), *_inputs(config))["patches"]
        border = np.ones((32, 32), bool)
        border[8:24, 8:24] = False
        # Without content amplitude is 0; the inner square comes from a sigmoid and never is.
        assert (np.abs(patches[:, border]) > 0).any() == probe_big
        assert (np.abs(patches[:, ~border]) > 0).all()


def test_unpadded_object_fills_the_patch():
    config = _config(pad_object=False)
    patches = model.evaluate(config, _weights(config), *_inputs(config))["patches"]
    assert (np.abs(patches) > 0).all()


@pytest.mark.parametrize(
    ("name", "at_two"),
    [("sigmoid", 0.8807970), ("swish", 1.7615942), ("softplus", 2.1269280), ("relu", 2.0)],
)
def test_amplitude_activation(name, at_two):
    config = _config(amp_activation=name)
    weights = {key: np.zeros_like(value) for key, value in _weights(config).items()}
    weights["amplitude_head/inner/bias"] += 2
    weights["phase_head/inner/bias"] += 0.5
    patches = model.evaluate(config, weights, *_inputs(config))["patches"]
    inner = patches[:, 8:24, 8:24]
    np.testing.assert_allclose(np.abs(inner), at_two, rtol=1e-6)
    np.testing.assert_allclose(np.angle(inner), np.pi * np.tanh(0.5), rtol=1e-6)


def test_log_scale_divides_the_input_and_multiplies_the_output():
    config = _config()
    weights = _weights(config)
    x, offsets = _inputs(config)
    one = model.evaluate(config, weights, x, offsets)
    weights["log_scale"] = weights["log_scale"] + np.float32(np.log(3))
    three = model.evaluate(config, weights, 3 * x, offsets)
    np.testing.assert_allclose(three["object"], one["object"], atol=1e-5)
    np.testing.assert_allclose(three["amplitude"], 3 * one["amplitude"], rtol=1e-4)
    np.testing.assert_allclose(three["intensity"], 9 * one["intensity"], rtol=1e-4)


def test_diffraction_is_that_of_probe_times_patch_with_mask():
    config = _config(gridsize=2, probe_mask=True)
    weights = _weights(config, modes=2)
    found = model.evaluate(config, weights, *_inputs(config))
    probe = weights["probe"][..., 0] + 1j * weights["probe"][..., 1]
    row, column = np.mgrid[:32, :32] - 15.5
    disc = np.hypot(row, column) < 8
    waves = disc * probe[None] * np.moveaxis(found["extracted"], -1, 1)[:, :, None]
    spectrum = np.fft.fftshift(np.fft.fft2(waves, norm="ortho"), axes=(-2, -1))
    expected = np.moveaxis((np.abs(spectrum) ** 2).sum(axis=2), 1, -1) + 1e-6
    expected *= np.exp(2 * float(weights["log_scale"]))
    np.testing.assert_allclose(found["intensity"], expected, rtol=2e-3, atol=expected.max() * 1e-6)


# ------------------------------------------------------------------ checkpoints


def test_bundle_checkpoints_load_without_running_code(fit, make_config, tmp_path):
    trained = fit(make_config(gridsize=2, nepochs=1), max_steps=1)
    for role in ("autoencoder", "diffraction_to_obj"):
        content = model_manager.checkpoint_bytes(trained.native, role)
        state = torch.load(io.BytesIO(content), weights_only=True)["state_dict"]
        assert ("model.probe" in state) == (role == "autoencoder")
        path = tmp_path / f"{role}.ckpt"
        path.write_bytes(content)
        loaded = PtychoPINN_Lightning.load_from_checkpoint(path, map_location="cpu")
        for name, array in model.get_canonical_weights(loaded.model).items():
            assert np.array_equal(array, trained.weights[name]), name
    assert loaded.hparams["canvas_side"] == 0  # that of the data to come, not of the training
    assert loaded.training_config.batch_size == 8


def test_checkpoints_of_a_trainer_load(scan, make_config, tmp_path):
    config = make_config(nepochs=1)
    container = create_container(scan, config)
    plan = training.plan_training(container, config)
    module = training.build_module(container, config, plan)
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=0, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, training.training_loaders(container, plan, with_labels=False)[0])
    trainer.save_checkpoint(tmp_path / "trainer.ckpt")
    loaded = PtychoPINN_Lightning.load_from_checkpoint(tmp_path / "trainer.ckpt")
    assert np.array_equal(loaded.model.probe.detach(), module.model.probe.detach())
    assert loaded.model.config == config.model


def test_convolution_of_the_upsampled_image_on_the_small_one():
    generator = torch.Generator().manual_seed(0)
    conv = layers.DoubledConv(5, 3, 3, padding=1).double()
    features = torch.randn(2, 5, 6, 7, generator=generator, dtype=torch.float64)
    features.requires_grad_()
    large = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    weights = torch.randn(2, 3, 12, 14, generator=generator, dtype=torch.float64)
    inputs = (features, conv.weight, conv.bias)
    of_large = torch.nn.functional.conv2d(large, conv.weight, conv.bias, padding=1)
    expected = torch.autograd.grad((of_large * weights).sum(), inputs)
    found = conv(features)
    torch.testing.assert_close(found, of_large, atol=1e-12, rtol=0)
    for one, other in zip(
        torch.autograd.grad((found * weights).sum(), inputs), expected, strict=True
    ):
        torch.testing.assert_close(one, other, atol=1e-11, rtol=0)
