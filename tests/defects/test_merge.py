"""Merging the patches of a group: batch, canvas, window, and what comes out of the heads."""

import numpy as np
import pytest

from ptycho.config.config import ModelConfig


def _relative(centres):
    """Return relative coordinates (B, 1, 2, C) of members (B, C, 2)."""
    return (centres.mean(axis=1, keepdims=True) - centres).transpose(0, 2, 1)[:, None]


def _groups(scene, batch, spread, seed=0):
    """Return members' positions (B, 4, 2), their true patches (B, N, N, 4), and offsets."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(50, 60, (batch, 1, 2))
    centres = middle + rng.uniform(-spread, spread, (batch, 4, 2))
    patches = np.stack([scene.patches(group) for group in centres]).astype(np.complex64)
    relative = _relative(centres).astype(np.float32)
    return centres, np.ascontiguousarray(np.moveaxis(patches, 1, -1)), relative


def _flat(config, start, bias):
    """Return weights whose amplitude head sees nothing but its bias."""
    weights = start(config, scale=30.0)
    weights["amplitude_head/inner/kernel"] = 0 * weights["amplitude_head/inner/kernel"]
    weights["amplitude_head/inner/bias"] = np.full((config.gridsize**2,), bias, np.float32)
    return weights


def _patterns(batch, channels=1, seed=2):
    x = np.random.default_rng(seed).gamma(2.0, 15.0, (batch, 32, 32, channels))
    x[:, ::3] = 0
    return x.astype(np.float32)


@pytest.mark.parametrize(("gridsize", "batch"), [(1, 70), (2, 20)])
def test_D_01_batch_is_not_merged_onto_one_canvas(backend, start, gridsize, batch):
    config = ModelConfig(N=32, gridsize=gridsize, n_filters_scale=1)
    weights, channels = start(config), gridsize**2
    assert batch * channels >= 64
    rng = np.random.default_rng(4)
    offsets = rng.uniform(-3, 3, (batch, 1, 2, channels)).astype(np.float32) * (gridsize > 1)
    x = _patterns(batch, channels)
    together = backend.evaluate(config, weights, x, offsets)
    assert together["object"].shape == (batch, 32, 32, 1)
    assert together["amplitude"].shape == (batch, 32, 32, channels)
    last = backend.evaluate(config, weights, x[-3:], offsets[-3:])
    np.testing.assert_allclose(together["object"][-3:], last["object"], rtol=0, atol=2e-6)
    assert np.abs(together["object"][0] - together["object"][-1]).max() > 1e-4


def test_D_06_border_is_divided_by_the_window_that_was_summed(backend):
    config = ModelConfig(N=32, gridsize=2, probe_big=True)
    corners = np.array([[[50, 50], [58, 50], [50, 58], [58, 58]]], float)
    ones = np.ones((1, 32, 32, 4), np.complex64)
    merged = backend.merge(config, ones, _relative(corners).astype(np.float32))
    np.testing.assert_allclose(merged, np.ones((1, 32, 32, 1)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("step", [6.0, 20.5])
def test_D_07_P_25_canvas_holds_the_offsets_that_the_data_has(backend, scene, step):
    config = ModelConfig(N=32, gridsize=2, probe_big=True)
    corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]]) * step + (55.0, 57.0)
    patches = np.moveaxis(scene.patches(corners), 0, -1)[None].astype(np.complex64)
    merged = backend.merge(config, patches, _relative(corners[None]).astype(np.float32))
    truth = scene.patches(np.array([[55.0, 57.0]]))[0]
    reached = np.abs(np.arange(32) - 16) > step - 15
    square = np.ix_(reached, reached)
    assert reached.sum() >= 20
    # Linear interpolation of this object between pixels errs by less than 1 %.
    np.testing.assert_allclose(merged[0, ..., 0][square], truth[square], rtol=0, atol=0.01)


def test_D_07_patches_at_the_canvas_s_edge_are_whole(backend, start):
    """A canvas that is too small cuts into the patches that are taken from it again."""
    config = ModelConfig(N=32, gridsize=2, n_filters_scale=1, pad_object=False)
    corners = np.array([[[-1, -1], [1, -1], [-1, 1], [1, 1]]]) * 20.5
    offsets = _relative(corners).astype(np.float32)
    seen = backend.evaluate(config, start(config), _patterns(1, 4), offsets)["extracted"]
    whole = np.abs(seen[:, 1:-1, 1:-1])
    assert 0.3 < whole.min() < whole.max() < 0.7  # the sigmoid's middle, where it starts


def test_D_28_negative_head_amplitudes_give_valid_diffraction(backend, start, config_of):
    model = ModelConfig(N=32, n_filters_scale=1, amp_activation="swish", pad_object=False)
    weights, x = _flat(model, start, bias=-1.3), _patterns(2)
    offsets = np.zeros((2, 1, 2, 1), np.float32)
    seen = backend.evaluate(model, weights, x, offsets)
    # swish(-1.3) is negative: the wave turns by pi, its diffraction stays an amplitude.
    np.testing.assert_allclose(np.abs(seen["patches"]), 1.3 / (1 + np.exp(1.3)), rtol=1e-4)
    assert seen["amplitude"].min() > 0
    config = config_of(backend.name, vars(model), mae_weight=0.5)
    terms = backend.evaluate_losses(config, 30.0, x, seen["amplitude"], seen["intensity"])
    assert np.isfinite([terms["nll"], terms["mae"], terms["loss"]]).all()


def test_T_17_dark_predictions_keep_loss_and_gradient_finite(backend, start, config_of):
    model = ModelConfig(N=32, n_filters_scale=1, amp_activation="relu", pad_object=False)
    weights, x = _flat(model, start, bias=-1.0), _patterns(2)
    offsets = np.zeros((2, 1, 2, 1), np.float32)
    config = config_of(backend.name, vars(model), mae_weight=0.5, probe_trainable=True)
    seen = backend.evaluate(model, weights, x, offsets)
    assert np.abs(seen["patches"]).max() == 0
    terms = backend.evaluate_losses(config, 30.0, x, seen["amplitude"], seen["intensity"])
    assert np.isfinite(terms["loss"])
    gradients = backend.loss_gradients(config, weights, x, offsets, 30.0)
    assert all(np.isfinite(value).all() for value in gradients.values())
    assert abs(gradients["log_scale"]) > 0


def test_C_29_predicted_intensity_is_positive(backend, start):
    model = ModelConfig(N=32, n_filters_scale=1, amp_activation="relu", pad_object=False)
    offsets = np.zeros((1, 1, 2, 1), np.float32)
    seen = backend.evaluate(model, _flat(model, start, -1.0), _patterns(1), offsets)
    # exp(2 log_scale) times the floor, the scale being 30.
    np.testing.assert_allclose(seen["intensity"], 900 * 1e-6, rtol=1e-4)
    np.testing.assert_allclose(seen["amplitude"], 30 * 1e-3, rtol=1e-4)


@pytest.mark.parametrize("object_big", [True, False])
def test_C_35_object_big_means_one_patch_per_member(backend, start, object_big):
    config = ModelConfig(N=32, gridsize=2, n_filters_scale=1, object_big=object_big)
    offsets = _relative(np.array([[[0, 0], [4, 0], [0, 4], [4, 4]]], float)).astype(np.float32)
    seen = backend.evaluate(config, start(config), _patterns(1, 4), offsets)
    assert seen["patches"].shape == (1, 32, 32, 4 if object_big else 1)
    assert seen["object"].shape == (1, 32, 32, 1)
    assert seen["amplitude"].shape == (1, 32, 32, 4)
    if not object_big:
        np.testing.assert_allclose(seen["object"], seen["patches"], rtol=0, atol=1e-6)


def test_C_47_P_19_merge_of_four_is_the_same_in_both_backends(backend, scene):
    config = ModelConfig(N=32, gridsize=2)
    centres, patches, offsets = _groups(scene, 3, 5.3)
    merged = backend.merge(config, patches, offsets)[..., 0]
    truth = scene.patches(centres.mean(axis=1))
    inner = slice(7, 25)
    np.testing.assert_allclose(merged[:, inner, inner], truth[:, inner, inner], rtol=0, atol=0.01)
    # Noise has no neighbours to hide behind: the merge by hand, pixel by pixel.
    rng = np.random.default_rng(8)
    noise = (rng.normal(size=patches.shape) + 1j * rng.normal(size=patches.shape)).astype("c8")
    whole = np.rint(offsets)
    found = backend.merge(config, noise, whole)[..., 0]
    expected = np.zeros_like(found)
    for b in range(3):
        total, count = np.zeros((96, 96), complex), np.zeros((96, 96))
        for j in range(4):
            x, y = (32 - whole[b, 0, :, j]).astype(int)
            total[y : y + 32, x : x + 32] += noise[b, ..., j]
            count[y : y + 32, x : x + 32] += 1
        centre = np.ix_(range(32, 64), range(32, 64))
        expected[b] = total[centre] / np.maximum(count[centre], 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_T_07_probe_mask_and_smoothing_reach_the_network(backend, start):
    plain = ModelConfig(N=32, n_filters_scale=1)
    offsets, x = np.zeros((1, 1, 2, 1), np.float32), _patterns(1)
    amplitude = {}
    for name, fields in {
        "plain": {}, "mask": {"probe_mask": True}, "sigma": {"gaussian_smoothing_sigma": 1.5}
    }.items():  # fmt: skip
        config = ModelConfig(**{**vars(plain), **fields})
        amplitude[name] = backend.evaluate(config, start(plain), x, offsets)["amplitude"]
    for name in ("mask", "sigma"):
        change = np.abs(amplitude[name] - amplitude["plain"]).max() / amplitude["plain"].max()
        assert change > 0.01, name
