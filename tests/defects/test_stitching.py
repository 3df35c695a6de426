"""Stitching: sign, places, groups, canvas, and the forms of its input. No framework is needed."""

import numpy as np
import pytest

from ptycho.core.metrics import complex_nrmse
from ptycho.core.metrics import evaluate as score


def _stitched(backend, scene, perfect, config_of, gridsize=1, M=16, positions=None, **options):
    """Return the image (S, S) that a model without error gives through the workflow door."""
    points = scene.positions() if positions is None else positions
    model = perfect(points, gridsize)
    config = config_of(backend.name, {"gridsize": gridsize})
    doors = backend.room("workflows.components")
    amplitude, phase, results = doors.reassemble_cdi_image(
        scene.labelled_patterns(points), config, model, M=M, **options
    )
    return amplitude * np.exp(1j * phase), results, model


def _error(scene, image, results, M):
    """Return the complex error inside the area that is surely covered."""
    mean = results["global_offsets"].reshape(-1, 2).mean(axis=0)
    truth = scene.canvas(image.shape[0], M, mean)
    inside = slice(M // 2 + 3, image.shape[0] - M // 2 - 3)
    return complex_nrmse(image[inside, inside], truth[inside, inside])


def _door(backend):
    return backend.room(backend.stitching_door).reassemble_position


def test_T_01_C_49_true_patches_give_the_true_object(backend, scene, perfect, config_of):
    image, results, _ = _stitched(backend, scene, perfect, config_of)
    assert _error(scene, image, results, 16) < 0.01
    mirrored = image[::-1, ::-1]
    assert _error(scene, mirrored, results, 16) > 0.1


@pytest.mark.parametrize("gridsize", [2, 3])
def test_T_15_T_32_groups_are_not_averaged_before_they_are_stitched(
    backend, scene, perfect, config_of, gridsize
):
    image, results, _ = _stitched(backend, scene, perfect, config_of, gridsize)
    flat = np.full_like(image, np.exp(1j * np.angle(image.mean())))
    assert _error(scene, image, results, 16) < 0.02
    assert _error(scene, flat, results, 16) > 0.1


def test_T_03_P_24_every_channel_holds_its_own_pattern(backend, scene, perfect, config_of):
    _, _, model = _stitched(backend, scene, perfect, config_of, 2)
    members = np.concatenate(model.seen)
    assert members.shape == (40, 4)
    assert all(len(set(group)) == 4 for group in members)


def test_T_14_C_46_far_positions_are_on_the_canvas(backend, scene):
    centres = np.array([[30.0, 200.0], [410.5, 35.25], [220.0, 90.0]])
    patches = scene.patches(centres).astype(np.complex64)[..., None]
    image = _door(backend)(patches, centres[:, None, :, None], M=12)[..., 0]
    mean, S = centres.mean(axis=0), image.shape[0]
    assert 12 + 2 * np.abs(centres - mean).max() <= S
    truth = scene.canvas(S, 12, mean)
    for x, y in centres - mean:
        row, column = int(np.floor(y + S / 2)), int(np.floor(x + S / 2))
        square = np.ix_(range(row - 4, row + 4), range(column - 4, column + 4))
        np.testing.assert_allclose(image[square], truth[square], rtol=0, atol=0.01)


def test_D_20_no_size_loses_a_pixel(backend):
    rng = np.random.default_rng(3)
    for N, M in ((32, 32), (32, 31), (32, 1), (31, 31), (31, 30)):
        patch = (rng.normal(size=(1, N, N, 1)) + 1j).astype(np.complex64)
        image = _door(backend)(patch, np.zeros((1, 1, 2, 1)), M=M)
        first = N // 2 - M // 2
        expected = patch[0, first : first + M, first : first + M]
        np.testing.assert_allclose(image, expected, rtol=1e-6)


@pytest.mark.parametrize("M", [9, 12])
@pytest.mark.parametrize("offset_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("patch_dtype", [np.complex64, np.complex128])
def test_D_21_all_precisions_and_sizes_are_stitched(backend, scene, M, offset_dtype, patch_dtype):
    centres = np.array([[50.0, 61.5], [54.25, 60.0], [49.0, 57.0]])
    patches = scene.patches(centres)[..., None]
    exact = _door(backend)(patches, centres[:, None, :, None], M=M)
    offsets = centres[:, None, :, None].astype(offset_dtype)
    image = _door(backend)(patches.astype(patch_dtype), offsets, M=M)
    assert image.dtype == np.complex64
    np.testing.assert_allclose(image, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("patches", "offsets", "M"), [(3, 2, 8), (2, 3, 8), (2, 2, 33), (2, 2, 0)])
def test_D_21_what_does_not_fit_is_refused(backend, patches, offsets, M):
    stack = np.ones((patches, 32, 32, 1), np.complex64)
    with pytest.raises(ValueError, match=r"patches but|M is"):
        _door(backend)(stack, np.zeros((offsets, 1, 2, 1)), M=M)


def test_D_14_stitching_twice_groups_alike(global_random, backend, scene, perfect, config_of):
    global_random.seed(1)
    one, _, first = _stitched(backend, scene, perfect, config_of, 2)
    global_random.seed(2)
    two, _, second = _stitched(backend, scene, perfect, config_of, 2)
    np.testing.assert_array_equal(np.concatenate(first.seen), np.concatenate(second.seen))
    np.testing.assert_array_equal(one, two)


def test_F_08_only_the_stitcher_trims(backend, scene):
    centres = np.array([[50.0, 60.0], [53.5, 58.25]])
    patches = scene.patches(centres).astype(np.complex64)[..., None]
    image = _door(backend)(patches, centres[:, None, :, None], M=10)
    spoilt = np.full_like(patches, np.nan)
    spoilt[:, 11:21, 11:21] = patches[:, 11:21, 11:21]
    again = _door(backend)(spoilt, centres[:, None, :, None], M=10)
    np.testing.assert_array_equal(image, again)


def test_F_10_one_position_per_group_is_stitched_too(backend, scene, perfect, config_of):
    image, results, _ = _stitched(backend, scene, perfect, config_of, 1, M=11)
    assert results["obj_tensor_full"].shape == (40, 32, 32, 1)
    assert _error(scene, image, results, 11) < 0.01


def test_F_19_scores_are_taken_in_the_frame_of_the_object(backend, scene, perfect, config_of):
    points = scene.positions()
    lopsided = points[points[:, 0] + points[:, 1] < np.quantile(points.sum(axis=1), 0.8)]
    image, results, _ = _stitched(backend, scene, perfect, config_of, positions=lopsided)
    mean = results["global_offsets"].reshape(-1, 2).mean(axis=0)
    box = (lopsided.min(axis=0) + lopsided.max(axis=0)) / 2
    assert np.abs(mean - box).max() > 1
    scores = score(image, scene.image, mean, positions=lopsided).scores
    assert np.hypot(scores["shift_x"], scores["shift_y"]) < 0.1
    # Alignment resamples the canvas, whose mean position lies between pixels.
    assert scores["complex_nrmse"] < 0.04


def test_F_20_backends_stitch_on_one_sign(backend, scene):
    """A mark in each patch of a lopsided pair lands where its position says."""
    centres = np.array([[10.0, 10.0], [17.0, 13.0], [11.0, 12.0], [10.0, 13.0]])
    mean = centres.mean(axis=0)
    np.testing.assert_array_equal(mean, [12.0, 12.0])
    for k, (x, y) in enumerate(centres - mean):
        patches = np.zeros((4, 32, 32, 1), np.complex64)
        patches[k, 16, 16] = 1j
        image = _door(backend)(patches, centres[:, None, :, None], M=8)[..., 0]
        half = image.shape[0] // 2
        brightest = np.unravel_index(np.abs(image).argmax(), image.shape)
        assert brightest == (half + y, half + x)


def test_F_23_flat_patches_give_a_flat_image(backend, scene):
    points = scene.positions()
    flat = np.full((len(points), 32, 32, 1), 0.5 - 0.25j, np.complex64)
    image = _door(backend)(flat, points[:, None, :, None], M=14)[..., 0]
    covered = np.abs(image) > 0
    np.testing.assert_allclose(image[covered], 0.5 - 0.25j, rtol=1e-5)
    middle = image.shape[0] // 2
    assert covered[middle - 11 : middle + 11, middle - 11 : middle + 11].all()


def test_P_20_shifts_by_parts_of_a_pixel_interpolate(backend):
    """A single bright pixel, moved by (0.25, 0.75), is shared out among four."""
    patches = np.zeros((2, 32, 32, 1), np.complex64)
    patches[1, 16, 16] = 1.0
    offsets = np.array([[0.0, 0.0], [0.5, 1.5]])[:, None, :, None]
    image = _door(backend)(patches, offsets, M=8)[..., 0]
    middle = image.shape[0] // 2
    around = image[middle : middle + 2, middle : middle + 2].real
    # The other patch covers these pixels too: each is half of what one alone would give.
    shares = np.outer([0.25, 0.75], [0.75, 0.25]) / 2
    np.testing.assert_allclose(around, shares, rtol=0, atol=1e-6)


def test_P_21_two_distinct_patches_keep_their_places_and_orientation(backend, scene):
    centres = np.array([[50.0, 60.0], [66.0, 52.0]])
    patches = scene.patches(centres).astype(np.complex64)[..., None]
    image = _door(backend)(patches, centres[:, None, :, None], M=16)[..., 0]
    truth = scene.canvas(image.shape[0], 16, centres.mean(axis=0))
    covered = np.abs(image) > 0
    assert 450 < covered.sum() < 520
    np.testing.assert_allclose(image[covered], truth[covered], rtol=0, atol=1e-5)
    others = (truth[::-1], truth[:, ::-1], truth.T, truth[::-1, ::-1], truth.conj())
    for other in others:
        assert np.abs(image[covered] - other[covered]).max() > 0.1
