"""Canonical weights: the filter rule, shapes, seeded initial values, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ptycho.config.config import ModelConfig
from ptycho.core.weights import (
    check_weights,
    conv_layers,
    decoder_filters,
    encoder_filters,
    initial_weights,
    object_channels,
    weight_shapes,
)


def tiny(**changes):
    return ModelConfig(**{"N": 32, "n_filters_scale": 1, **changes})


def probe(N=32, modes=None):
    shape = (N, N) if modes is None else (modes, N, N)
    rng = np.random.default_rng(5)
    return rng.normal(size=shape) + 1j * rng.normal(size=shape)


def draw(config=None, seed=7, **kwargs):
    config = config or tiny()
    return initial_weights(
        config, seed, kwargs.get("probe", probe(config.N)), kwargs.get("scale", 50.0)
    )


@pytest.mark.parametrize(
    ("N", "encoder", "decoder"),
    [
        (32, [64, 128], [32]),
        (64, [32, 64, 128], [64, 32]),
        (128, [16, 32, 64, 128], [128, 64, 32]),
        (256, [8, 16, 32, 64, 128], [256, 128, 64, 32]),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 3])
def test_filters_per_block(N, encoder, decoder, n):
    assert encoder_filters(N, n) == [n * f for f in encoder]
    assert decoder_filters(N, n) == [n * f for f in decoder]
    # The encoder halves N down to 8; a decoder doubles that up to N/2.
    assert N / 2 ** len(encoder) == 8
    assert 8 * 2 ** len(decoder) == N / 2


@pytest.mark.parametrize("N", [0, 16, 48, 63, 512])
def test_a_size_without_a_network_is_refused(N):
    with pytest.raises(ValueError, match=f"N is {N}.*32, 64, 128, 256"):
        encoder_filters(N, 2)
    with pytest.raises(ValueError, match=f"N is {N}"):
        weight_shapes(ModelConfig(N=N))


@pytest.mark.parametrize(
    ("N", "gridsize", "count"),
    [
        (64, 1, 2_331_772),
        (64, 2, 2_340_208),
        (128, 1, 4_661_212),
        (128, 2, 4_667_056),
        (256, 1, 12_912_268),
        (256, 2, 12_916_816),
    ],
)
def test_parameter_counts_of_the_published_network(N, gridsize, count):
    shapes = weight_shapes(ModelConfig(N=N, gridsize=gridsize, n_filters_scale=2))
    assert shapes.pop("log_scale") == ()
    assert shapes.pop("probe") == (1, N, N, 2)
    assert sum(math.prod(shape) for shape in shapes.values()) == count


@pytest.mark.parametrize(("N", "tensors"), [(64, 44), (128, 56), (256, 68)])
def test_tensor_counts_of_the_published_network(N, tensors):
    assert len(weight_shapes(ModelConfig(N=N))) - 2 == tensors


def test_shapes_along_the_smallest_network():
    shapes = weight_shapes(tiny(gridsize=2), modes=3)
    assert shapes["encoder/block1/conv1/kernel"] == (3, 3, 4, 64)
    assert shapes["encoder/block2/conv2/kernel"] == (3, 3, 128, 128)
    assert shapes["amplitude_decoder/block1/conv1/kernel"] == (3, 3, 128, 32)
    assert shapes["amplitude_head/inner/kernel"] == (3, 3, 28, 4)
    assert shapes["amplitude_head/outer_block/conv1/kernel"] == (3, 3, 4, 64)
    assert shapes["phase_head/outer/kernel"] == (3, 3, 64, 4)
    assert shapes["phase_head/outer/bias"] == (4,)
    assert shapes["probe"] == (3, 32, 32, 2)


@pytest.mark.parametrize(
    ("changes", "present", "absent"),
    [
        ({}, {"inner", "outer_block", "outer"}, {"up_block"}),
        ({"probe_big": False}, {"inner"}, {"outer_block", "outer", "up_block"}),
        ({"pad_object": False}, {"up_block", "inner"}, {"outer_block", "outer"}),
        (
            {"pad_object": False, "probe_big": False},
            {"up_block", "inner"},
            {"outer_block", "outer"},
        ),
    ],
)
def test_parts_of_a_head(changes, present, absent):
    parts = {n.split("/")[1] for n in weight_shapes(tiny(**changes)) if n.startswith("phase_head")}
    assert present <= parts
    assert not absent & parts


def test_the_border_branch_takes_four_channels_from_the_inner_one():
    with_border = weight_shapes(tiny())["amplitude_head/inner/kernel"]
    without = weight_shapes(tiny(probe_big=False))["amplitude_head/inner/kernel"]
    assert (with_border[2], without[2]) == (28, 32)


@pytest.mark.parametrize("gridsize", [1, 2, 3, 5])
def test_channels_in_and_out(gridsize):
    grouped = tiny(gridsize=gridsize)
    single = tiny(gridsize=gridsize, object_big=False)
    assert conv_layers(grouped)[0].inputs == conv_layers(single)[0].inputs == gridsize**2
    assert object_channels(grouped) == gridsize**2
    assert object_channels(single) == 1
    assert weight_shapes(single)["phase_head/inner/bias"] == (1,)


def test_layer_names_are_unique_and_kernels_chain():
    for N in (32, 64, 128, 256):
        layers = conv_layers(ModelConfig(N=N, n_filters_scale=1))
        assert len({layer.name for layer in layers}) == len(layers)
        outputs = {layer.name: layer.outputs for layer in layers}
        seconds = [layer for layer in layers if layer.name.endswith("conv2")]
        assert seconds
        for layer in seconds:
            assert layer.inputs == outputs[layer.name.replace("conv2", "conv1")]


# --------------------------------------------------------------------------- initial values


def test_initial_weights_have_the_declared_shapes_in_canonical_order():
    config = tiny(gridsize=2)
    weights = draw(config)
    assert {k: v.shape for k, v in weights.items()} == weight_shapes(config)
    assert list(weights) == list(weight_shapes(config))
    assert {v.dtype for v in weights.values()} == {np.dtype(np.float32)}
    check_weights(weights, config)


def test_equal_seeds_give_equal_weights_and_other_seeds_others():
    first, again, other = draw(seed=0), draw(seed=0), draw(seed=1)
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])
        if name.endswith("kernel"):
            assert not np.array_equal(value, other[name])


def test_no_two_layers_share_a_stream():
    weights = draw()
    starts = {n: tuple(v.ravel()[:4] / v.max()) for n, v in weights.items() if n.endswith("kernel")}
    assert len(set(starts.values())) == len(starts)


def test_a_layer_keeps_its_values_when_others_come_and_go():
    full, bare = draw(tiny()), draw(tiny(probe_big=False))
    for name in ("encoder/block2/conv1/kernel", "phase_decoder/block1/conv2/kernel"):
        np.testing.assert_array_equal(full[name], bare[name])


# Fixed numbers: the same seed must mean the same network in every release.
RECORDED_FIRST = [0.10078132, 0.073301688, 0.025327349]
RECORDED_LAST = [-0.02720955, -0.018878803, 0.037568957]


def test_recorded_values():
    weights = draw(seed=42)
    np.testing.assert_allclose(
        weights["encoder/block1/conv1/kernel"][0, 0, 0, :3], RECORDED_FIRST, rtol=1e-6
    )
    np.testing.assert_allclose(
        weights["phase_head/outer/kernel"][2, 2, -3:, 0], RECORDED_LAST, rtol=1e-6
    )


def test_kernels_have_the_variance_of_their_rule():
    weights = draw()
    # Glorot: variance 2 / (fan_in + fan_out); 9 * 64 * 128 samples give it to about 1 %.
    inner = weights["encoder/block2/conv1/kernel"]
    assert inner.var() == pytest.approx(2 / (9 * 64 + 9 * 128), rel=0.03)
    assert abs(inner.mean()) < 3 * inner.std() / math.sqrt(inner.size)
    assert np.abs(inner).max() <= math.sqrt(6 / (9 * 64 + 9 * 128))
    # The last convolutions start half as wide: a quarter of the variance.
    last = weights["phase_head/outer/kernel"]
    assert last.var() == pytest.approx(2 / (9 * 64 + 9 * 1) / 4, rel=0.15)


@pytest.mark.parametrize(
    ("activation", "value"),
    [
        ("sigmoid", lambda b: 1 / (1 + np.exp(-b))),
        ("swish", lambda b: b / (1 + np.exp(-b))),
        ("softplus", lambda b: np.log1p(np.exp(b))),
        ("relu", lambda b: max(b, 0.0)),
    ],
)
def test_the_first_amplitudes_are_about_a_half(activation, value):
    bias = draw(tiny(amp_activation=activation))["amplitude_head/inner/bias"]
    assert all(value(float(b)) == pytest.approx(0.5, abs=1e-6) for b in bias)


def test_biases_start_at_zero():
    assert not any(v.any() for n, v in draw().items() if n.endswith("bias"))


def test_log_scale_is_the_log_of_the_intensity_scale():
    assert draw(scale=math.e**3)["log_scale"] == pytest.approx(3.0)


@pytest.mark.parametrize("modes", [None, 1, 3])
def test_probe_is_stored_in_the_models_gauge(modes):
    config = tiny()
    stored = draw(config, probe=17.0 * probe(32, modes))["probe"]
    assert stored.shape == (modes or 1, 32, 32, 2)
    # A unit object then gives patterns of energy (8 / probe_scale)**2 (N/2)**2 = 4 * 256.
    assert np.square(stored, dtype=np.float64).sum() == pytest.approx(1024.0, rel=1e-5)
    original = np.reshape(probe(32, modes), (-1, 32, 32))
    ratio = (stored[..., 0] + 1j * stored[..., 1]) / original
    np.testing.assert_allclose(ratio, np.full_like(ratio, ratio.flat[0].real), rtol=1e-4)


@pytest.mark.parametrize("bad", [np.zeros((32, 32)), np.full((32, 32), np.nan), np.ones(32)])
def test_a_useless_probe_is_refused(bad):
    with pytest.raises(ValueError, match="probe"):
        draw(probe=bad)


# --------------------------------------------------------------------------- check_weights


def test_check_accepts_any_number_of_probe_modes():
    config = tiny()
    check_weights(draw(config, probe=probe(32, 4)), config)


@pytest.mark.parametrize("name", ["encoder/block1/conv1/bias", "log_scale", "probe"])
def test_check_names_a_missing_weight(name):
    weights = draw()
    del weights[name]
    with pytest.raises(ValueError, match=f"'{name}' is missing"):
        check_weights(weights, tiny())


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("encoder/block1/conv1/kernel", (1, 3, 3, 64)),
        ("encoder/block1/conv1/bias", (64, 1)),
        ("log_scale", (1,)),
        ("probe", (1, 32, 31, 2)),
        ("probe", (32, 32, 2)),
    ],
)
def test_check_names_a_weight_of_the_wrong_shape(name, shape):
    weights = {**draw(), name: np.zeros(shape, np.float32)}
    with pytest.raises(ValueError, match=f"'{name}' has shape .* expected"):
        check_weights(weights, tiny())


def test_check_names_unknown_weights():
    weights = {**draw(), "zz/kernel": np.zeros(1, np.float32), "aa": np.zeros(1, np.float32)}
    with pytest.raises(ValueError, match="unknown weights: aa, zz/kernel"):
        check_weights(weights, tiny())


def test_check_refuses_the_weights_of_another_network():
    with pytest.raises(ValueError, match="encoder/block1/conv1/kernel"):
        check_weights(draw(tiny()), tiny(gridsize=2))
    with pytest.raises(ValueError, match="amplitude_head/inner/kernel"):
        check_weights(draw(tiny()), tiny(probe_big=False))
