"""Physics against SciPy and NumPy in float64, which share no formula with it."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from ptycho import physics

N = 16
RELATIVE = np.array([[[3.25, -2.5, 0.0, -0.75], [-1.6, 2.0, 0.4, -0.8]]], np.float32)


def _complex(seed, *shape):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape) + 1j * rng.standard_normal(shape)


def _c64(array):
    return tf.constant(array, tf.complex64)


def _moved(image, x, y):
    """Shift content by (x, y), bilinear, zero outside."""
    return ndimage.shift(image, (y, x), order=1, mode="grid-constant", cval=0, prefilter=False)


def _translated(image, shifts):
    """Apply the shift matrices of one image size: rows from the left, columns from the right."""
    side = image.shape[-1]
    rows, columns = physics.shift_matrices(tf.constant(shifts, tf.float32), side, side)
    return rows.numpy() @ image @ np.swapaxes(columns.numpy(), -1, -2)


def _side(relative):
    return N + 2 * (int(np.ceil(np.abs(relative).max())) + 1)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (2.0, -3.0), (0.5, 0.0), (-1.3, 2.75), (20.0, 0.0)])
def test_translation_moves_content_and_brings_zeros(shift):
    image = _complex(1, 2, N, N)
    found = _translated(image.astype(np.complex64), [shift, shift])
    expected = np.stack([_moved(each, *shift) for each in image])
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("shift", [0.00013, -0.00013, 2.9999, -7.00021])
def test_a_hairline_weight_keeps_its_digits(shift):
    # The merge divides by weights of this size: a rounded 1 - |d| is off by 2e-5 here.
    t = np.float32(shift)
    rows, _ = physics.shift_matrices(tf.constant([0.0, t]), 32, 32)
    row = rows.numpy()[16].astype(np.float64)
    rest = float(t) - round(float(t))
    np.testing.assert_allclose(np.sort(row[row > 0]), [abs(rest), 1 - abs(rest)], rtol=1e-7)


def test_smoothing_by_next_to_nothing_changes_nothing():
    waves = _c64(_complex(5, 1, 1, 1, 8, 8))
    np.testing.assert_array_equal(physics.blur(waves, 1e-200), waves)


def test_translation_of_a_real_image_attenuates_the_edge_only():
    moved = _translated(np.ones((1, 8, 8), np.float32), [[0.5, 0.0]])[0]
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved[:, 0], 0.5)
    np.testing.assert_allclose(moved[:, 1:], 1.0)


def test_translation_keeps_its_fraction_at_the_far_end_of_a_large_image():
    # float32 has 7 digits: adding the shift to an index would leave the fraction 3 of them.
    image = np.zeros((1, 256, 256), np.float32)
    image[0, 255, 255] = 1
    shift = np.array([[-0.0013, -0.0007]], np.float32)
    moved = _translated(image, shift)[0]
    x, y = -shift[0].astype(np.float64)
    corner = [[x * y, (1 - x) * y], [x * (1 - y), (1 - x) * (1 - y)]]
    np.testing.assert_allclose(moved[254:, 254:], corner, rtol=1e-4)
    assert np.count_nonzero(moved) == 4


@pytest.mark.parametrize("windowed", [False, True])
def test_merge_is_the_window_weighted_mean_of_shifted_patches(windowed):
    patches = _complex(0, 1, 4, N, N)
    window = np.zeros((N, N)) if windowed else np.ones((N, N))
    window[4:12, 4:12] = 1
    side = _side(RELATIVE)
    margin = (side - N) // 2
    total, weight = np.zeros((side, side), complex), np.zeros((side, side))
    for patch, (x, y) in zip(patches[0], RELATIVE[0].T.astype(float), strict=True):
        total += _moved(np.pad(patch * window, margin), -x, -y)
        weight += _moved(np.pad(window, margin), -x, -y)
    row = physics.window_row(N, pad_object=True, probe_big=not windowed)
    found = physics.merge(_c64(patches), tf.constant(RELATIVE), tf.constant(row)).numpy()[0]
    # Where little of a patch lies, the division enlarges float32's rounding of its weight.
    np.testing.assert_allclose(found, total / np.maximum(weight, 1e-3), atol=2e-4)
    covered = weight > 0.5
    assert covered.sum() > 40
    np.testing.assert_allclose(found[covered], total[covered] / weight[covered], atol=5e-6)


def test_merge_does_not_blow_up_where_patches_end():
    inside = np.zeros((1, 4, N, N), complex)
    inside[..., 4:12, 4:12] = np.exp(1j * np.random.default_rng(3).uniform(-3, 3, (4, 8, 8)))
    row = physics.window_row(N, pad_object=True, probe_big=False)
    found = physics.merge(_c64(inside), tf.constant(RELATIVE), tf.constant(row)).numpy()
    assert 0.9 < np.abs(found).max() < 1.0001


def test_a_canvas_larger_than_needed_changes_nothing():
    row = tf.constant(physics.window_row(N, pad_object=True, probe_big=True))
    far = np.concatenate([RELATIVE, 7.5 * RELATIVE])
    patches = _complex(5, 2, 4, N, N)

    def round_trip(size):
        relative = tf.constant(far[:size])
        canvas = physics.merge(_c64(patches[:size]), relative, row)
        return [
            physics.central(canvas, N)[0].numpy(),
            physics.extract(canvas, relative, N)[0].numpy(),
        ]

    for alone, together in zip(round_trip(1), round_trip(2), strict=True):
        np.testing.assert_allclose(alone, together, atol=1e-6)


def test_extract_moves_the_canvas_to_each_member():
    side = 24
    canvas = _complex(1, 1, side, side)
    found = physics.extract(_c64(canvas), tf.constant(RELATIVE), N).numpy()
    for j, (x, y) in enumerate(RELATIVE[0].T.astype(float)):
        expected = _moved(canvas[0], x, y)[4:20, 4:20]
        np.testing.assert_allclose(found[0, j], expected, atol=2e-6)


def test_merge_then_extract_returns_what_bilinear_interpolation_keeps():
    """Patches cut at sub-pixel centres of a bilinear object come back, from the same places."""
    side = 32
    members = np.array([[8.3, -2.1], [13.7, -4.9], [9.4, 3.6], [14.1, 1.3]])
    centre = members.mean(axis=0)

    def patch(x, y):
        row, column = np.mgrid[:side, :side] - side // 2
        u, v = column + x, row + y
        return (1 + 0.02 * u - 0.05 * v) + 1j * (0.3 - 0.03 * u + 0.01 * v + 0.002 * u * v)

    patches = np.stack([patch(*member) for member in members])[None]
    relative = tf.constant((centre - members).T[None].astype(np.float32))
    canvas = physics.merge(_c64(patches), relative, tf.ones(side))
    extracted = physics.extract(canvas, relative, side).numpy()
    merged = physics.central(canvas, side).numpy()
    # Where a patch is cut off, interpolation mixes in zeros: look where all four overlap.
    inside = (slice(None), slice(10, -10), slice(10, -10))
    np.testing.assert_allclose(extracted[0][inside], patches[0][inside], atol=5e-6)
    np.testing.assert_allclose(merged[inside], patch(*centre)[None][inside], atol=5e-6)


def test_one_position_is_the_identity():
    patches, relative = _c64(_complex(2, 3, 1, N, N)), tf.zeros((3, 2, 1))
    canvas = physics.merge(patches, relative, tf.ones(N))
    np.testing.assert_array_equal(canvas, patches[:, 0])
    np.testing.assert_array_equal(physics.extract(canvas, relative, N), patches)


def test_a_single_patch_stands_at_the_centre_of_the_canvas():
    patches = _c64(_complex(2, 1, 1, N, N))
    canvas = physics.place_single(patches, tf.constant(RELATIVE)).numpy()
    assert canvas.shape[-1] == _side(RELATIVE)
    np.testing.assert_array_equal(physics.central(canvas, N), patches[:, 0])
    assert np.count_nonzero(canvas) == N * N


def test_diffraction_keeps_the_energy_and_centres_zero_frequency():
    waves = _complex(4, 2, 3, 1, N, N)
    intensity = physics.diffract(_c64(waves)).numpy().astype(np.float64) - 1e-6
    energy = (np.abs(waves) ** 2).sum(axis=(2, 3, 4))
    np.testing.assert_allclose(intensity.sum(axis=(2, 3)), energy, rtol=1e-6)
    flat = physics.diffract(tf.ones((1, 1, 1, N, N), tf.complex64)).numpy()[0, 0]
    assert flat[N // 2, N // 2] == pytest.approx(N * N, rel=1e-6)
    flat[N // 2, N // 2] = 1e-6
    np.testing.assert_allclose(flat, 1e-6, atol=1e-9)


@pytest.mark.parametrize("side", [32, 256])
def test_diffraction_sums_modes_incoherently(side):
    waves = _complex(6, 1, 2, 3, side, side)
    spectrum = np.fft.fftshift(np.fft.fft2(waves, norm="ortho"), axes=(-2, -1))
    expected = (np.abs(spectrum) ** 2).sum(axis=2) + 1e-6
    found = physics.diffract(_c64(waves)).numpy()
    assert np.abs(found - expected).max() < 1e-6 * expected.max()


def test_illumination_multiplies_every_mode():
    patches, probe = _complex(7, 2, 3, N, N), _complex(8, 2, N, N)
    found = physics.illuminate(_c64(patches), _c64(probe)).numpy()
    np.testing.assert_allclose(found, patches[:, :, None] * probe, rtol=1e-5, atol=1e-6)


def test_the_mask_is_a_disc_of_a_quarter_of_the_side():
    disc = physics.probe_disc(N)
    for i in range(N):
        for j in range(N):
            inside = (i - 7.5) ** 2 + (j - 7.5) ** 2 < 16
            assert disc[i, j] == inside
    patches, probe = _c64(_complex(7, 1, 1, N, N)), _c64(_complex(8, 1, N, N))
    masked = physics.illuminate(patches, probe, mask=disc).numpy()
    np.testing.assert_array_equal(masked != 0, np.broadcast_to(disc != 0, masked.shape))


@pytest.mark.parametrize("sigma", [0.3, 0.7, 2.5])
def test_smoothing_is_a_three_tap_gaussian_with_mirrored_edges(sigma):
    waves = _complex(9, 1, 1, 2, N, N)
    taps = np.exp(-np.array([1, 0, 1]) / (2 * sigma**2))
    taps /= taps.sum()
    expected = waves
    for axis in (-2, -1):
        # SciPy's "mirror" does not repeat the edge.
        expected = ndimage.correlate1d(expected, taps, axis=axis, mode="mirror")
    one = _c64(np.ones((1, N, N)))
    found = physics.illuminate(_c64(waves[:, :, 0]), one, sigma=sigma).numpy()
    np.testing.assert_allclose(found[:, :, 0], expected[:, :, 0], atol=1e-6)


def test_smoothing_comes_before_the_mask():
    disc = physics.probe_disc(N)
    patches, probe = _c64(_complex(7, 1, 1, N, N)), _c64(_complex(8, 1, N, N))
    both = physics.illuminate(patches, probe, sigma=0.7, mask=disc).numpy()
    assert np.count_nonzero(both) == np.count_nonzero(disc)


def test_a_vanishing_sigma_does_not_divide_by_zero():
    patches, probe = _c64(_complex(7, 1, 1, N, N)), _c64(_complex(8, 1, N, N))
    found = physics.illuminate(patches, probe, sigma=1e-200)
    np.testing.assert_array_equal(found, physics.illuminate(patches, probe))
