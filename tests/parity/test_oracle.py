"""The float64 reference, held against values that can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from parity.backends import oracle
from parity.backends.oracle import network
from parity.backends.oracle.gradients import directional_derivative
from ptycho.config.config import ModelConfig, TrainingConfig

_MODEL = ModelConfig(N=32, n_filters_scale=1, gridsize=2)


def test_whole_pixel_shift_moves_content_down_and_right():
    image = np.zeros((6, 6))
    image[2, 1] = 1.0
    moved = oracle.shift(image, t_x=3, t_y=1)
    assert moved[3, 4] == 1
    assert moved.sum() == 1


def test_half_pixel_shift_divides_a_point_among_four_and_loses_what_leaves():
    image = np.zeros((4, 4))
    image[1, 2] = 1.0
    np.testing.assert_allclose(oracle.shift(image, 0.5, 0.5)[1:3, 2:4], np.full((2, 2), 0.25))
    corner = np.zeros((4, 4))
    corner[3, 3] = 1.0
    assert oracle.shift(corner, 0.5, 0.5).sum() == pytest.approx(0.25)


def test_a_complex_image_moves_as_its_parts():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(5, 5)) + 1j * rng.normal(size=(5, 5))
    moved = oracle.shift(image, 0.3, -1.2)
    np.testing.assert_array_equal(moved.real, oracle.shift(image.real, 0.3, -1.2))
    np.testing.assert_array_equal(moved.imag, oracle.shift(image.imag, 0.3, -1.2))


def test_merging_the_same_patch_at_one_place_gives_the_patch():
    patch = np.random.default_rng(1).normal(size=(1, 32, 32, 1)) + 0.5j
    merged = oracle.merge(_MODEL, np.repeat(patch, 4, axis=-1), np.zeros((1, 1, 2, 4)))
    np.testing.assert_allclose(oracle.centre(merged, 32), patch, rtol=1e-14)


def test_patches_meet_where_their_positions_say():
    # Member 0 lies 3 pixels right of the centre, so its relative coordinate is -3 in x.
    patches = np.zeros((1, 32, 32, 4), np.complex128)
    patches[0, 16, 16, 0] = 1.0
    offsets = np.zeros((1, 1, 2, 4))
    offsets[0, 0, :, 0] = (-3, 5)
    canvas = oracle.merge(_MODEL, patches, offsets)[0]
    middle = canvas.shape[0] // 2
    row, column = np.unravel_index(np.abs(canvas).argmax(), canvas.shape)
    assert (row - middle, column - middle) == (-5, 3)
    extracted = oracle.extract(_MODEL, canvas[None], offsets)
    assert np.abs(extracted[0, 16, 16, 0]) == np.abs(canvas).max()


def test_uncovered_canvas_is_divided_by_the_floor_and_not_by_zero():
    narrow = ModelConfig(N=32, n_filters_scale=1, gridsize=2, probe_big=False)
    merged = oracle.merge(narrow, np.ones((1, 32, 32, 4), complex), np.zeros((1, 1, 2, 4)))
    square = oracle.centre(merged, 32)[0, ..., 0]
    assert np.all(square[8:24, 8:24] == 1)
    assert square[:8].any() == square[:, 24:].any() == False  # noqa: E712  # of NumPy's kind


def test_diffraction_keeps_energy_and_centres_the_zero_frequency():
    config = ModelConfig(N=32, n_filters_scale=1)
    probe = np.zeros((1, 32, 32, 2))
    probe[..., 0] = 1.0
    flat = np.full((1, 32, 32, 1), 0.5 + 0j)
    intensity = oracle.diffraction_intensity(config, probe, flat)[0, ..., 0]
    assert intensity[16, 16] == pytest.approx(32 * 32 * 0.25)
    assert intensity.sum() == pytest.approx(32 * 32 * 0.25 + 32 * 32 * 1e-6)
    ramp = flat * np.exp(2j * np.pi * 3 * np.arange(32) / 32)[None, None, :, None]
    moved = oracle.diffraction_intensity(config, probe, ramp)[0, ..., 0]
    assert np.unravel_index(moved.argmax(), moved.shape) == (16, 19)


def test_modes_add_their_intensities():
    config = ModelConfig(N=32, n_filters_scale=1)
    rng = np.random.default_rng(2)
    probe = rng.normal(size=(2, 32, 32, 2))
    patch = rng.normal(size=(1, 32, 32, 1)) + 0j
    both = oracle.diffraction_intensity(config, probe, patch)
    single = [oracle.diffraction_intensity(config, probe[m : m + 1], patch) for m in (0, 1)]
    np.testing.assert_allclose(both, single[0] + single[1] - 1e-6)


def test_mask_is_a_disc_of_a_quarter_and_smoothing_keeps_a_constant():
    probe = np.zeros((1, 32, 32, 2))
    probe[..., 0] = 1.0
    flat = np.ones((1, 32, 32, 1), complex)
    masked = ModelConfig(N=32, n_filters_scale=1, probe_mask=True)
    energy = oracle.diffraction_intensity(masked, probe, flat).sum() - 32 * 32 * 1e-6
    assert energy == pytest.approx(math.pi * 8**2, rel=0.05)
    blurred = ModelConfig(N=32, n_filters_scale=1, gaussian_smoothing_sigma=0.8)
    constant = oracle.diffraction_intensity(blurred, probe, flat)
    assert constant[0, 16, 16, 0] == pytest.approx(1024)


def test_convolution_is_a_correlation_with_zeros_outside():
    image = np.arange(9.0).reshape(1, 3, 3, 1)
    kernel = np.zeros((3, 3, 1, 2))
    kernel[0, 1, 0, 0] = 1.0  # the pixel above
    kernel[1, 2, 0, 1] = 2.0  # twice the pixel to the right
    result = network.convolve(image, kernel, np.array([0.0, 1.0]))
    np.testing.assert_array_equal(result[0, :, :, 0], [[0, 0, 0], [0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(result[0, :, :, 1], [[3, 5, 1], [9, 11, 1], [15, 17, 1]])


def test_pooling_takes_the_largest_and_upsampling_repeats():
    image = np.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_array_equal(network.max_pool(image)[0, ..., 0], [[5, 7], [13, 15]])
    np.testing.assert_array_equal(
        network.upsample(np.array([[[[1.0], [2.0]]]]))[0, ..., 0], [[1, 1, 2, 2], [1, 1, 2, 2]]
    )


def test_no_groups_have_stages_and_no_loss():
    weights = {"probe": np.ones((1, 32, 32, 2)), "log_scale": np.zeros(())}
    patches, offsets = np.zeros((0, 32, 32, 4)), np.zeros((0, 1, 2, 4))
    stages = oracle.propagate(_MODEL, weights, patches, offsets)
    shapes = {name: value.shape for name, value in stages.items()}
    members = dict.fromkeys(("extracted", "amplitude", "intensity"), (0, 32, 32, 4))
    assert shapes == {"object": (0, 32, 32, 1), **members}
    with pytest.raises(ValueError, match="no groups"):
        oracle.evaluate_losses(TrainingConfig(model=_MODEL), 1.0, *[patches] * 3)
    with pytest.raises(ValueError, match="no patches"):
        oracle.stitch(patches[..., 0], np.zeros((0, 2)), 8)


def test_losses_by_hand():
    config = TrainingConfig(model=ModelConfig(N=32), mae_weight=0.5)
    x = np.array([2.0, 0.0]).reshape(1, 1, 2, 1)
    intensity = np.array([8.0, 3.0]).reshape(x.shape)
    terms = oracle.evaluate_losses(config, 2.0, x, np.sqrt(intensity), intensity)
    nll = ((8 - 4 + 4 * math.log(4 / 8)) + 3) / 2 / 4
    mae = (math.sqrt(8) - 2 + math.sqrt(3)) / 2 / 2
    assert terms["nll"] == pytest.approx(nll)
    assert terms["mae"] == pytest.approx(mae)
    assert terms["loss"] == pytest.approx(nll + 0.5 * mae)
    assert math.isnan(terms["realspace"])


def test_first_optimiser_step_is_the_rate_in_the_direction_of_descent():
    config = TrainingConfig(model=ModelConfig(N=32))
    start = {"w": np.zeros(3)}
    gradient = {"w": np.array([1e3, -1e-3, 1e-8])}
    moved = oracle.optimiser_step(config, oracle.OptimiserState(), start, gradient, 0.1)["w"]
    np.testing.assert_allclose(moved, [-0.1, 0.1 / (1 + 1e-5), -0.05], rtol=1e-10)


def test_clipping_by_norm_and_by_value():
    gradients = {"a": np.array([3.0]), "b": np.array([-4.0])}
    by_norm = TrainingConfig(model=ModelConfig(N=32), gradient_clip_val=1.0)
    assert oracle.clip_gradients(by_norm, gradients)["b"][0] == pytest.approx(-0.8, rel=1e-6)
    wide = TrainingConfig(model=ModelConfig(N=32), gradient_clip_val=10.0)
    assert oracle.clip_gradients(wide, gradients)["b"][0] == -4
    by_value = TrainingConfig(
        model=ModelConfig(N=32), gradient_clip_val=3.5, gradient_clip_algorithm="value"
    )
    assert [g[0] for g in oracle.clip_gradients(by_value, gradients).values()] == [3, -3.5]


def test_stitching_places_two_patches_and_averages_their_overlap():
    patches = np.stack([np.full((4, 4), 1.0), np.full((4, 4), 3.0)]).astype(complex)
    canvas = oracle.stitch(patches, np.array([[10.0, 5.0], [12.0, 5.0]]), 4)
    assert canvas.shape == (8, 8)
    np.testing.assert_array_equal(canvas[3], [0, 1, 1, 2, 2, 3, 3, 0])
    assert not canvas[:2].any()


def test_directional_derivative_of_a_cubic():
    weights = {"w": np.array([1.0, 2.0])}
    slope = directional_derivative(
        lambda w: float(np.sum(w["w"] ** 3)), weights, {"w": np.array([1.0, 0.5])}, guess=9.0
    )
    assert slope == pytest.approx(3 + 6, rel=1e-8)
