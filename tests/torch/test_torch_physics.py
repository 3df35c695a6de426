"""Physics against SciPy and NumPy in float64, which share no formula with it."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from ptycho.core.geometry import merge_canvas_side
from ptycho_torch import physics


def _split(images):
    """Complex (..., N, N) as the real (..., N, 2, N) of the physics."""
    return torch.from_numpy(np.stack([images.real, images.imag], axis=-2).astype(np.float32))


def _complex(rng, *shape):
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def _moved(image, x, y):
    """Shift content by (x, y), bilinear, zero outside."""
    return ndimage.shift(image, (y, x), order=1, mode="grid-constant", cval=0)


def _on_canvas(image, side):
    margin = (side - image.shape[-1]) // 2
    return np.pad(image, margin)


RELATIVE = np.array([[[3.25, -2.5, 0.0, -0.75], [-1.6, 2.0, 0.4, -0.8]]], np.float32)


@pytest.mark.parametrize("windowed", [False, True])
def test_merge_is_the_window_weighted_mean_of_shifted_patches(windowed):
    N, rng = 16, np.random.default_rng(0)
    patches = _complex(rng, 1, 4, N, N)
    window = np.zeros((N, N)) if windowed else np.ones((N, N))
    window[4:12, 4:12] = 1
    side = merge_canvas_side(N, float(np.abs(RELATIVE).max()))
    total, weight = np.zeros((side, side), complex), np.zeros((side, side))
    for patch, (x, y) in zip(patches[0], RELATIVE[0].T.astype(float), strict=True):
        total += _moved(_on_canvas(patch * window, side), -x, -y)
        weight += _moved(_on_canvas(window, side), -x, -y)
    row = physics.window_row(N, pad_object=True, probe_big=not windowed)
    merged = physics.merge(_split(patches), torch.from_numpy(RELATIVE), side, row)
    found = physics.to_complex(merged)[0].numpy()
    # Where little of a patch lies, the division enlarges float32's rounding of its weight.
    np.testing.assert_allclose(found, total / np.maximum(weight, 1e-3), atol=2e-4)
    covered = weight > 0.5
    assert covered.sum() > 40
    np.testing.assert_allclose(found[covered], total[covered] / weight[covered], atol=5e-6)


def test_extract_moves_the_canvas_to_each_member():
    N, side, rng = 16, 24, np.random.default_rng(1)
    canvas = _complex(rng, 1, side, side)
    found = physics.to_complex(physics.extract(_split(canvas), torch.from_numpy(RELATIVE), N))
    for j, (x, y) in enumerate(RELATIVE[0].T.astype(float)):
        expected = _moved(canvas[0], x, y)[4:20, 4:20]
        np.testing.assert_allclose(found[0, j].numpy(), expected, atol=2e-6)


def test_merge_then_extract_returns_an_object_that_bilinear_interpolation_keeps():
    """Patches cut at sub-pixel centres merge to the object at the group centre, and come back."""
    N, centre = 32, np.array([100.3, 57.8])
    members = centre + np.array([[-4.2, -3.1], [3.7, -2.9], [-3.3, 3.6], [3.8, 2.4]])
    centre = members.mean(axis=0)
    relative = (centre - members).T[None].astype(np.float32)

    def at(x, y):
        # x*y and below: what bilinear interpolation reproduces exactly.
        row, column = np.mgrid[:N, :N] - N // 2
        u, v = column + x - 100, row + y - 58
        return (1 + 0.02 * u - 0.01 * v + 0.001 * u * v) + 1j * (0.3 - 0.03 * u + 0.02 * v)

    patches = np.stack([at(*member) for member in members])[None]
    relative_t = torch.from_numpy(relative)
    side = merge_canvas_side(N, float(np.abs(relative).max()))
    row = physics.window_row(N, pad_object=True, probe_big=True)
    canvas = physics.merge(_split(patches), relative_t, side, row)
    inside = slice(6, -6)  # where every patch and every shifted patch is whole
    merged = physics.to_complex(physics.central(canvas, N))[0].numpy()
    np.testing.assert_allclose(merged[inside, inside], at(*centre)[inside, inside], atol=1e-5)
    found = physics.to_complex(physics.extract(canvas, relative_t, N))[0].numpy()
    np.testing.assert_allclose(found[:, 9:-9, 9:-9], patches[0][:, 9:-9, 9:-9], atol=1e-5)


def test_groups_do_not_depend_on_their_batch():
    N, rng = 16, np.random.default_rng(2)
    patches, relative = _complex(rng, 20, 4, N, N), rng.uniform(-3, 3, (20, 2, 4))
    relative = torch.from_numpy(relative.astype(np.float32))
    row = physics.window_row(N, True, True)
    together = physics.merge(_split(patches), relative, 24, row)
    alone = [
        physics.merge(_split(patches[i : i + 1]), relative[i : i + 1], 24, row) for i in range(20)
    ]
    assert together.shape == (20, 24, 2, 24)
    np.testing.assert_allclose(together, torch.cat(alone), atol=1e-6)


def test_gradient_of_merge_and_extract():
    rng = np.random.default_rng(3)
    patches = torch.from_numpy(rng.standard_normal((1, 4, 4, 2, 4))).requires_grad_()
    relative = torch.from_numpy(rng.uniform(-1, 1, (1, 2, 4)))
    row = torch.ones(4, dtype=torch.float64)

    def cut(values):
        return physics.extract(physics.merge(values, relative, 8, row), relative, 4)

    assert torch.autograd.gradcheck(cut, (patches,), nondet_tol=0.0)


# ------------------------------------------------------------------ illumination


def test_exit_wave_is_probe_times_patch_per_mode():
    rng = np.random.default_rng(4)
    patches, probe = _complex(rng, 2, 3, 8, 8), _complex(rng, 2, 8, 8)
    waves = physics.illuminate(torch.from_numpy(patches), torch.from_numpy(probe)).numpy()
    assert waves.shape == (2, 3, 2, 8, 8)
    np.testing.assert_allclose(waves[1, 2, 0], probe[0] * patches[1, 2], rtol=1e-12)
    np.testing.assert_allclose(waves[0, 1, 1], probe[1] * patches[0, 1], rtol=1e-12)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 5.0])
def test_smoothing_is_a_mirrored_three_point_blur(sigma):
    waves = _complex(np.random.default_rng(5), 1, 1, 1, 8, 8)
    neighbour = np.exp(-1 / (2 * sigma**2))
    kernel = np.array([neighbour, 1, neighbour]) / (1 + 2 * neighbour)
    expected = waves
    for axis in (-2, -1):
        real, imag = (
            ndimage.convolve1d(part, kernel, axis=axis, mode="mirror")
            for part in (expected.real, expected.imag)
        )
        expected = real + 1j * imag
    found = physics.blur(torch.from_numpy(waves), sigma).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_smoothing_by_next_to_nothing_changes_nothing():
    waves = torch.from_numpy(_complex(np.random.default_rng(5), 1, 1, 1, 8, 8))
    assert torch.equal(physics.blur(waves, 1e-200), waves)


@pytest.mark.parametrize("shift", [0.00013, -0.00013, 2.9999, -7.00021])
def test_a_hairline_weight_keeps_its_digits(shift):
    # The merge divides by weights of this size: a rounded 1 - |d| is off by 2e-5 here.
    t = np.float32(shift)
    rows, _ = physics.shift_matrices(torch.tensor([0.0, float(t)]), 32, 32)
    rest = float(t) - round(float(t))
    weights = rows[16][rows[16] > 0].double().sort().values
    np.testing.assert_allclose(weights, [abs(rest), 1 - abs(rest)], rtol=1e-7)


def test_smoothing_comes_before_the_mask():
    waves = torch.from_numpy(_complex(np.random.default_rng(6), 1, 1, 8, 8))
    probe = torch.ones(1, 8, 8, dtype=torch.complex128)
    masked = physics.illuminate(waves, probe, 1.0, physics.probe_disc(8))
    assert masked[..., physics.probe_disc(8) == 0].abs().max() == 0
    blurred = physics.blur(waves[:, :, None], 1.0)
    assert torch.equal(masked[..., 3:5, 3:5], blurred[..., 3:5, 3:5])


def test_mask_is_a_disc_of_a_quarter_of_the_patch():
    mask = physics.probe_disc(16)
    for i in range(16):
        for j in range(16):
            distance = ((i - 7.5) ** 2 + (j - 7.5) ** 2) ** 0.5
            assert mask[i, j] == (1 if distance < 4 else 0)
    assert 44 <= mask.sum() <= 57  # pi * 4**2 = 50


# ------------------------------------------------------------------ diffraction


def test_diffraction_keeps_the_energy_and_adds_modes():
    waves = _complex(np.random.default_rng(8), 2, 3, 2, 16, 16)
    intensity = physics.diffract(torch.from_numpy(waves)).numpy() - 1e-6
    assert intensity.shape == (2, 3, 16, 16)
    energy = (np.abs(waves) ** 2).sum(axis=(2, 3, 4))
    np.testing.assert_allclose(intensity.sum(axis=(2, 3)), energy, rtol=1e-10)
    single = [physics.diffract(torch.from_numpy(waves[:, :, [m]])).numpy() - 1e-6 for m in (0, 1)]
    np.testing.assert_allclose(single[0] + single[1], intensity, rtol=1e-9, atol=1e-12)


def test_zero_frequency_is_at_the_centre_and_frequencies_rise_to_the_right():
    ones = torch.ones(1, 1, 1, 8, 8, dtype=torch.complex128)
    flat = physics.diffract(ones)[0, 0]
    assert flat.argmax() == 4 * 8 + 4
    assert flat[4, 4] == pytest.approx(64)
    ramp = torch.exp(2j * torch.pi * 2 * torch.arange(8, dtype=torch.float64) / 8)
    assert physics.diffract(ones * ramp)[0, 0].argmax() == 4 * 8 + 6
    assert physics.diffract(ones * ramp[:, None])[0, 0].argmax() == 6 * 8 + 4


def test_dark_pixels_keep_a_finite_gradient():
    waves = torch.zeros(1, 1, 1, 8, 8, dtype=torch.complex64, requires_grad=True)
    physics.diffract(waves).sqrt().sum().backward()
    assert torch.isfinite(torch.view_as_real(waves.grad)).all()
