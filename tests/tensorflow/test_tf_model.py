"""The Keras network against a float64 NumPy network, and its weights against their names."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ptycho import layers, model, params
from ptycho.config.config import ModelConfig
from ptycho.core.weights import initial_weights, weight_shapes

N = 32


def _config(**fields):
    return ModelConfig(**({"N": N, "gridsize": 1, "n_filters_scale": 1} | fields))


def _weights(config, modes=1, seed=0):
    """Initial weights with biases that are not zero, so that a lost bias shows."""
    rng = np.random.default_rng(seed)
    axis = np.arange(config.N) - config.N / 2
    probe = np.exp(-(axis[:, None] ** 2 + axis**2) / 50) * np.exp(0.3j * axis)
    stack = np.stack([probe * np.exp(0.2j * m * axis[:, None]) for m in range(modes)])
    weights = initial_weights(config, seed, stack, 20.0)
    for name, value in weights.items():
        if name.endswith("/bias"):
            weights[name] = rng.uniform(-0.2, 0.2, value.shape).astype(np.float32)
    return weights


def _batch(config, size=2, spread=4.0, seed=1):
    rng = np.random.default_rng(seed)
    C = config.gridsize**2
    x = 20 * rng.gamma(0.5, 1.0, (size, config.N, config.N, C)).astype(np.float32)
    offsets = rng.uniform(-spread, spread, (size, 1, 2, C))
    offsets -= offsets.mean(axis=-1, keepdims=True)
    return x, offsets.astype(np.float32)


# ------------------------------------------------------------------ the network


def _conv(image, weights, name):
    """3 x 3, same size, zero outside; image (rows, columns, channels)."""
    kernel = weights[f"{name}/kernel"].astype(np.float64)
    rows, columns = image.shape[:2]
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    total = np.zeros((rows, columns, kernel.shape[-1])) + weights[f"{name}/bias"]
    for i in range(3):
        for j in range(3):
            total += padded[i : i + rows, j : j + columns] @ kernel[i, j]
    return total


def _block(image, weights, name):
    for conv in ("conv1", "conv2"):
        image = np.maximum(_conv(image, weights, f"{name}/{conv}"), 0)
    return image


def _pooled(image):
    rows, columns, channels = image.shape
    return image.reshape(rows // 2, 2, columns // 2, 2, channels).max(axis=(1, 3))


def _enlarged(image):
    return image.repeat(2, axis=0).repeat(2, axis=1)


def _swish(values):
    return values / (1 + np.exp(-values))


ACTIVATIONS = {
    "sigmoid": lambda v: 1 / (1 + np.exp(-v)),
    "swish": _swish,
    "softplus": lambda v: np.log1p(np.exp(v)),
    "relu": lambda v: np.maximum(v, 0),
}


def _head(features, weights, name, config, activation):
    if not config.pad_object:
        features = _enlarged(_block(features, weights, f"{name}/up_block"))
        return activation(_conv(features, weights, f"{name}/inner"))
    quarter = config.N // 4
    inner = features[..., :-4] if config.probe_big else features
    margin = ((quarter, quarter), (quarter, quarter), (0, 0))
    image = np.pad(activation(_conv(inner, weights, f"{name}/inner")), margin)
    if not config.probe_big:
        return image
    outer = _enlarged(_block(features[..., -4:], weights, f"{name}/outer_block"))
    outer = _swish(_conv(outer, weights, f"{name}/outer"))
    outer[quarter:-quarter, quarter:-quarter] = 0
    return image + outer


def _network(x, weights, config):
    """Object patches (N, N, channels) of one group."""
    blocks = {32: 2, 64: 3, 128: 4}[config.N]
    image = x.astype(np.float64) / math.exp(weights["log_scale"])
    for i in range(1, blocks + 1):
        image = _pooled(_block(image, weights, f"encoder/block{i}"))
    parts = []
    for decoder, activation in (
        ("amplitude", ACTIVATIONS[config.amp_activation]),
        ("phase", lambda v: np.pi * np.tanh(v)),
    ):
        features = image
        for i in range(1, blocks):
            features = _enlarged(_block(features, weights, f"{decoder}_decoder/block{i}"))
        parts.append(_head(features, weights, f"{decoder}_head", config, activation))
    return parts[0] * np.exp(1j * parts[1])


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"gridsize": 2, "amp_activation": "softplus"},
        {"gridsize": 2, "object_big": False, "amp_activation": "relu"},
        {"pad_object": False, "amp_activation": "swish"},
        {"probe_big": False, "gridsize": 3},
        {"N": 64},
        {"N": 128},
    ],
    ids=str,
)
def test_network_against_numpy(fields):
    config = _config(**fields)
    weights = _weights(config)
    x, offsets = _batch(config, size=1)
    found = model.evaluate(config, weights, x, offsets)["patches"][0]
    expected = _network(x[0], weights, config)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-6 * np.abs(expected).max()


def test_convolution_of_the_upsampled_image_on_the_small_one():
    rng = np.random.default_rng(0)
    conv = layers.DoubledConv(3, 3, padding="same", dtype="float64")
    features = tf.constant(rng.normal(size=(2, 6, 7, 5)))
    weights = rng.normal(size=(2, 12, 14, 3))
    conv.build(features.shape)
    conv.bias.assign([0.3, -0.2, 0.1])
    outputs = []
    for convolve in (conv, lambda image: _of_large(conv, image)):
        with tf.GradientTape() as tape:
            tape.watch(features)
            image = convolve(features)
            total = tf.reduce_sum(image * weights)
        outputs.append([image, *tape.gradient(total, [features, *conv.trainable_variables])])
    for found, expected in zip(*outputs, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-11, rtol=0)
    assert conv.compute_output_shape((None, 6, 7, 5)) == (None, 12, 14, 3)


def _of_large(conv, image):
    large = tf.repeat(tf.repeat(image, 2, axis=1), 2, axis=2)
    return tf.nn.conv2d(large, conv.kernel, 1, "SAME") + conv.bias


def test_a_users_keras_settings_do_not_change_the_network():
    config = _config()
    weights = _weights(config)
    inputs = _batch(config, size=1)
    expected = model.evaluate(config, weights, *inputs)
    try:
        keras.config.set_image_data_format("channels_first")
        keras.config.set_floatx("float16")
        keras.config.set_dtype_policy("mixed_float16")
        found = model.evaluate(config, weights, *inputs)
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)


# ------------------------------------------------------------------ the physics around it


def test_stages_follow_from_each_other():
    """Canvas, extraction and diffraction of the network's own patches, in float64."""
    config = _config(gridsize=2)
    weights = _weights(config, modes=2)
    x, offsets = _batch(config)
    stages = model.evaluate(config, weights, x, offsets)
    probe = weights["probe"][..., 0] + 1j * weights["probe"][..., 1].astype(np.float64)
    margin = 8
    for b in range(len(x)):
        shifts = [(ty, tx) for tx, ty in offsets[b, 0].T.astype(np.float64)]
        total = weight = 0
        for j, (ty, tx) in enumerate(shifts):
            patch = np.pad(stages["patches"][b, ..., j].astype(complex), margin)
            ones = np.pad(np.ones((N, N)), margin)
            total = total + ndimage.shift(patch, (-ty, -tx), order=1, mode="grid-constant")
            weight = weight + ndimage.shift(ones, (-ty, -tx), order=1, mode="grid-constant")
        canvas = total / np.maximum(weight, 1e-3)
        middle = slice(margin, margin + N)
        np.testing.assert_allclose(stages["object"][b, ..., 0], canvas[middle, middle], atol=2e-5)
        for j, shift in enumerate(shifts):
            extracted = ndimage.shift(canvas, shift, order=1, mode="grid-constant")
            extracted = extracted[middle, middle]
            np.testing.assert_allclose(stages["extracted"][b, ..., j], extracted, atol=2e-5)
            spectrum = np.fft.fftshift(np.fft.fft2(probe * extracted, norm="ortho"), axes=(-2, -1))
            power = (np.abs(spectrum) ** 2).sum(axis=0) + 1e-6
            found = stages["intensity"][b, ..., j]
            assert np.abs(found - 400 * power).max() < 1e-5 * found.max()
            np.testing.assert_allclose(stages["amplitude"][b, ..., j] ** 2, found, rtol=1e-5)


def test_a_group_does_not_see_the_rest_of_its_batch():
    config = _config(gridsize=2)
    weights = _weights(config)
    x, offsets = _batch(config, size=18)  # 72 patterns
    offsets[5] *= 5
    together = model.evaluate(config, weights, x, offsets)
    for b in (0, 5, 17):
        alone = model.evaluate(config, weights, x[b : b + 1], offsets[b : b + 1])
        for name, value in alone.items():
            assert together[name].shape[0] == 18
            scale = np.abs(value).max()
            np.testing.assert_allclose(together[name][b], value[0], atol=2e-6 * scale)


def test_a_single_patch_is_seen_from_every_position():
    config = _config(gridsize=2, object_big=False)
    weights = _weights(config)
    x, offsets = _batch(config, size=1)
    stages = model.evaluate(config, weights, x, offsets)
    assert stages["patches"].shape == (1, N, N, 1)
    np.testing.assert_array_equal(stages["object"], stages["patches"])
    patch = np.pad(stages["patches"][0, ..., 0].astype(complex), 8)
    for j, (tx, ty) in enumerate(offsets[0, 0].T.astype(np.float64)):
        moved = ndimage.shift(patch, (ty, tx), order=1, mode="grid-constant")[8:-8, 8:-8]
        np.testing.assert_allclose(stages["extracted"][0, ..., j], moved, atol=5e-6)


def test_mask_and_smoothing_reach_the_diffraction():
    plain = _config()
    weights = _weights(plain)
    inputs = _batch(plain)
    energies = [
        float(model.evaluate(config, weights, *inputs)["intensity"].sum())
        for config in (plain, _config(probe_mask=True), _config(gaussian_smoothing_sigma=0.8))
    ]
    assert energies[1] < 0.99 * energies[0]
    assert energies[2] < 0.99 * energies[0]


# ------------------------------------------------------------------ canonical weights

EVERY_HEAD = [
    {"gridsize": 2},
    {"pad_object": False},
    {"probe_big": False},
    {"object_big": False, "gridsize": 3},
    {"N": 64, "n_filters_scale": 2},
    {"N": 128},
    {"N": 256},
]


@pytest.mark.parametrize("fields", EVERY_HEAD, ids=str)
def test_every_variable_has_one_canonical_name(fields):
    config = _config(**fields)
    weights = _weights(config, modes=3)
    autoencoder, diffraction_to_obj, _ = model.build_models(config, weights)
    returned = model.get_canonical_weights(autoencoder)
    assert {k: v.shape for k, v in returned.items()} == weight_shapes(config, modes=3)
    assert len(autoencoder.variables) == len(returned)
    for name, value in weights.items():
        np.testing.assert_array_equal(returned[name], value)
    assert set(returned) - set(model.get_canonical_weights(diffraction_to_obj)) == {"probe"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("encoder/block1/conv1/bias"), "encoder/block1/conv1/bias"),
        (lambda w: w.update(extra=np.zeros(1, np.float32)), "extra"),
        (lambda w: w.update(probe=w["probe"][:, :16]), "probe"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, message):
    config = _config()
    weights = _weights(config)
    autoencoder = model.build_models(config, weights).autoencoder
    wrong = dict(weights)
    change(wrong)
    with pytest.raises(ValueError, match=message):
        model.set_canonical_weights(autoencoder, wrong)
    with pytest.raises(ValueError, match=message):
        model.build_models(config, wrong)


@pytest.mark.parametrize("probe_trainable", [False, True])
@pytest.mark.parametrize("scale_trainable", [False, True])
def test_flags_decide_what_is_trainable(probe_trainable, scale_trainable):
    config = _config()
    models = model.build_models(
        config,
        _weights(config),
        probe_trainable=probe_trainable,
        intensity_scale_trainable=scale_trainable,
    )
    names = {variable.name for variable in models.autoencoder.trainable_variables}
    assert ("probe" in names, "log_scale" in names) == (probe_trainable, scale_trainable)
    assert {"probe", "log_scale"} <= {v.name for v in models.autoencoder.variables}


def test_output_names_and_shapes():
    config = _config(gridsize=2)
    autoencoder, diffraction_to_obj, _ = model.build_models(config, _weights(config))
    assert autoencoder.output_names == ["object", "amplitude", "intensity"]
    assert diffraction_to_obj.output_names == ["object"]
    assert autoencoder.output_shape == [(None, N, N, 1), (None, N, N, 4), (None, N, N, 4)]
    assert [tuple(each.shape) for each in autoencoder.inputs] == [(None, N, N, 4), (None, 1, 2, 4)]


def test_params_is_the_legacy_dictionary():
    params.set("intensity_scale", 12.5)
    found = model.params()
    assert found["intensity_scale"] == 12.5
    found["intensity_scale"] = 0
    assert params.get("intensity_scale") == 12.5
