"""Stitching: where patches land, to machine precision, and what an object looks like again."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.registration import phase_cross_correlation

from ptycho.core.stitching import extract_patches, reassemble

Complex = NDArray[np.complexfloating]


def smooth_object(side: int, sigma: float = 4.0, seed: int = 0) -> Complex:
    noise = np.random.default_rng(seed).normal(size=(2, side, side))
    real, imag = (gaussian_filter(part, sigma) * sigma * 3 for part in noise)
    return (1 + 0.3 * real) * np.exp(1j * imag)


def rough_object(height: int, width: int) -> Complex:
    rng = np.random.default_rng(1)
    return rng.normal(size=(height, width)) + 1j * rng.normal(size=(height, width))


def jittered(side: int, step: float, margin: int, seed: int = 2) -> NDArray[np.float64]:
    axis = np.arange(margin, side - margin, step)
    x, y = np.meshgrid(axis, axis)
    points = np.column_stack([x.ravel(), y.ravel()])
    return points + np.random.default_rng(seed).uniform(-0.5, 0.5, points.shape)


def seen_by(shape: tuple[int, int], mean: NDArray[np.float64], M: int) -> tuple[Any, Any]:
    """Object rows and columns that the canvas pixels show, as the documentation states it."""
    S = shape[0]
    odd = 0.5 if M % 2 else 0.0
    i, j = np.mgrid[:S, :S]
    return i - S / 2 + mean[1] + odd, j - S / 2 + mean[0] + odd


# --------------------------------------------------------------------------- patches


@pytest.mark.parametrize("N", [1, 2, 7, 8])
def test_patches_at_integer_positions_are_slices(N: int) -> None:
    obj = rough_object(30, 40)
    centres = np.array([[20, 10], [12.0, 22.0]])
    patches = extract_patches(obj, centres, N)
    for patch, (x, y) in zip(patches, centres.astype(int), strict=True):
        top, left = y - N // 2, x - N // 2
        np.testing.assert_array_equal(patch, obj[top : top + N, left : left + N])


def test_patches_between_pixels_are_bilinear() -> None:
    obj = rough_object(30, 40)
    centres = np.random.default_rng(3).uniform(12, 20, (6, 2))
    patches = extract_patches(obj, centres, 8)
    for patch, (x, y) in zip(patches, centres, strict=True):
        i, j = np.mgrid[:8, :8]
        where = [y + i - 4, x + j - 4]
        expected = map_coordinates(obj.real, where, order=1) + 1j * map_coordinates(
            obj.imag, where, order=1
        )
        np.testing.assert_allclose(patch, expected, atol=1e-12)


def test_outside_the_object_is_zero() -> None:
    obj = np.ones((6, 9), complex)
    corner, far, far_negative = extract_patches(obj, np.array([[0, 0], [500, 2], [-500, -3]]), 4)
    np.testing.assert_array_equal(corner, np.pad(np.ones((2, 2)), ((2, 0), (2, 0))))
    assert not far.any()
    assert not far_negative.any()
    half = extract_patches(obj, np.array([[8.5, 3]]), 2)[0]
    np.testing.assert_array_equal(half, [[1, 0.5], [1, 0.5]])


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_patches_have_the_objects_precision(dtype: Any) -> None:
    obj = rough_object(20, 20).astype(dtype)
    assert extract_patches(obj, np.array([[9.3, 8.1]]), 4).dtype == dtype
    assert reassemble(np.ones((2, 4, 4), dtype), np.zeros((2, 2)), 2).dtype == dtype


def test_many_patches_are_cut_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    obj, centres = rough_object(50, 50), np.random.default_rng(0).uniform(10, 40, (23, 2))
    whole = extract_patches(obj, centres, 8)
    canvas = reassemble(whole, centres, 6)
    monkeypatch.setattr("ptycho.core.stitching._CHUNK_PIXELS", 300)
    np.testing.assert_array_equal(extract_patches(obj, centres, 8), whole)
    np.testing.assert_allclose(reassemble(whole, centres, 6), canvas, rtol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones(5, complex), np.zeros((1, 2)), 4), r"object has shape \(5,\)"),
        ((np.ones((5, 5), complex), np.zeros((1, 3)), 4), r"centres have shape \(1, 3\)"),
        ((np.ones((5, 5), complex), np.array([[0, 0], [np.nan, 0]]), 4), "centres .* index 1"),
        ((np.ones((5, 5), complex), np.zeros((1, 2)), 0), "N is 0"),
    ],
)
def test_impossible_patches_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        extract_patches(*arguments)


# --------------------------------------------------------------------------- canvas


@pytest.mark.parametrize("M", [1, 2, 5, 8, 15, 16])
@pytest.mark.parametrize("N", [16, 17])
def test_integer_positions_come_back_to_machine_precision(N: int, M: int) -> None:
    obj = rough_object(60, 60)
    centres = np.array([[20, 24], [26, 20], [30, 29], [24, 27.0]])  # mean (25, 25)
    canvas = reassemble(extract_patches(obj, centres, N), centres, M)
    assert canvas.shape[0] == M + 2 * 6  # max |d| = 5, rounded up to even
    covered = np.zeros((60, 60), bool)
    for x, y in centres.astype(int):
        covered[y - M // 2 : y - M // 2 + M, x - M // 2 : x - M // 2 + M] = True
    rows, columns = seen_by(canvas.shape, centres.mean(axis=0), M)
    assert (rows == np.round(rows)).all()
    rows, columns = rows.astype(int), columns.astype(int)
    expected = np.where(covered, obj, 0)[rows, columns]
    np.testing.assert_allclose(canvas, expected, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(canvas == 0, ~covered[rows, columns])


@pytest.mark.parametrize("M", [11, 12])
def test_a_linear_object_comes_back_exactly_between_pixels(M: int) -> None:
    y, x = np.mgrid[:60, :60]
    obj = (0.3 * x + 2.0) + 1j * (0.7 * y - 1.0)
    centres = 30 + np.random.default_rng(5).uniform(-1.5, 1.5, (9, 2))
    canvas = reassemble(extract_patches(obj, centres, 16), centres, M)
    rows, columns = seen_by(canvas.shape, centres.mean(axis=0), M)
    middle = slice(canvas.shape[0] // 2 - 2, canvas.shape[0] // 2 + 2)  # seen whole by all
    expected = (0.3 * columns + 2.0) + 1j * (0.7 * rows - 1.0)
    np.testing.assert_allclose(canvas[middle, middle], expected[middle, middle], rtol=1e-13)


@pytest.mark.parametrize("M", [19, 20, 32])
def test_a_smooth_object_comes_back_from_true_patches_without_shift(M: int) -> None:
    obj = smooth_object(160)
    centres = jittered(160, 4.0, 24)
    canvas = reassemble(extract_patches(obj, centres, 32), centres, M)
    rows, columns = seen_by(canvas.shape, centres.mean(axis=0), M)
    truth = map_coordinates(obj.real, [rows, columns], order=3) + 1j * map_coordinates(
        obj.imag, [rows, columns], order=3
    )
    edge = 20
    seen, true = canvas[edge:-edge, edge:-edge], truth[edge:-edge, edge:-edge]
    for part in (np.real, np.imag):
        assert np.corrcoef(part(seen).ravel(), part(true).ravel())[0, 1] > 0.999
        shift, _, _ = phase_cross_correlation(part(true), part(seen), upsample_factor=100)
        np.testing.assert_allclose(shift, 0, atol=0.02)


def test_x_is_columns_and_y_is_rows() -> None:
    patches = np.stack([np.full((4, 4), value, complex) for value in (1, 2)])
    canvas = reassemble(patches, np.array([[10.0, 5.0], [18.0, 5.0]]), 4)
    assert canvas.shape == (12, 12)
    np.testing.assert_array_equal(canvas[5, [1, 10]], [1, 2])
    assert canvas[1, 5] == 0


def test_overlapping_patches_are_averaged() -> None:
    patches = np.array([np.full((4, 4), 1 + 1j), np.full((4, 4), 3 - 5j)])
    np.testing.assert_allclose(reassemble(patches, np.zeros((2, 2)), 4), np.full((4, 4), 2 - 2j))


def test_the_partly_covered_edge_is_not_dimmed() -> None:
    canvas = reassemble(np.ones((2, 8, 8), complex), np.array([[0.0, 0], [0.5, 0.5]]), 8)
    covered = canvas != 0
    assert covered.sum() > 64
    np.testing.assert_allclose(canvas[covered], 1)


@pytest.mark.parametrize("shape", [(3, 2), (3, 1, 2, 1)])
@pytest.mark.parametrize("offsets_dtype", [np.float32, np.float64, np.int64])
@pytest.mark.parametrize("channel", [False, True])
def test_shapes_and_dtypes_of_the_legacy_call(
    shape: tuple[int, ...], offsets_dtype: Any, channel: bool
) -> None:
    patches = extract_patches(rough_object(30, 30), np.full((3, 2), 15), 8)
    offsets = np.array([[3, 4], [5, 6], [7, 2]])
    expected = reassemble(patches, offsets.astype(float), 6)
    given = patches[..., None] if channel else patches
    np.testing.assert_array_equal(
        reassemble(given, offsets.astype(offsets_dtype).reshape(shape), 6), expected
    )


def test_real_patches_give_a_complex_canvas() -> None:
    canvas = reassemble(np.ones((2, 4, 4), np.float32), np.zeros((2, 2)), 4)
    assert canvas.dtype == np.complex64


def test_one_patch_lies_in_the_middle_wherever_it_is() -> None:
    patch = extract_patches(rough_object(20, 20), np.array([[9, 9]]), 8)
    np.testing.assert_array_equal(reassemble(patch, np.array([[123.4, -7.7]]), 8), patch[0])


ONES = np.ones((2, 4, 4), complex)


@pytest.mark.parametrize(
    ("patches", "offsets", "M", "message"),
    [
        (ONES, np.zeros((3, 2)), 4, "2 patches but 3 offsets"),
        (ONES, np.zeros((1, 2)), 4, "2 patches but 1 offsets"),
        (ONES[:0], np.zeros((0, 2)), 4, "no patches"),
        (ONES, np.zeros((2, 2)), 5, "M is 5; .* patch side 4"),
        (ONES, np.zeros((2, 2)), 0, "M is 0"),
        (ONES, np.array([[0, 0], [np.inf, 0]]), 4, "offsets contain NaN or infinity.* index 1"),
        (ONES, np.zeros((2, 1, 2, 4)), 4, r"offsets have shape \(2, 1, 2, 4\)"),
        (np.ones((2, 4, 5)), np.zeros((2, 2)), 4, r"patches have shape \(2, 4, 5\)"),
        (np.ones((2, 4, 4, 4)), np.zeros((2, 2)), 4, r"patches have shape \(2, 4, 4, 4\)"),
    ],
)
def test_what_cannot_be_stitched_is_refused(
    patches: Any, offsets: Any, M: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        reassemble(patches, offsets, M)


def test_ten_thousand_patches_are_stitched_at_once() -> None:
    rng = np.random.default_rng(0)
    patches = np.ones((10_000, 32, 32), np.complex64)
    offsets = rng.uniform(0, 300, (10_000, 2))
    start = time.process_time()
    canvas = reassemble(patches, offsets, 20)
    # 0.5 s on one core; a loop over patches on the whole canvas takes minutes.
    assert time.process_time() - start < 3
    np.testing.assert_allclose(canvas[canvas != 0], 1, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_patches_in_any_memory_order_stitch_alike(dtype: type) -> None:
    patches = np.stack([rough_object(8, 8) * k for k in range(1, 6)]).astype(dtype)
    offsets = np.random.default_rng(4).uniform(0, 6, (5, 2))
    turned = patches.transpose(0, 2, 1)
    expected = reassemble(np.ascontiguousarray(turned), offsets, 6)
    np.testing.assert_array_equal(reassemble(turned, offsets, 6), expected)
    obj = rough_object(20, 20).astype(dtype)
    np.testing.assert_array_equal(
        extract_patches(obj.T, offsets + 7, 5), extract_patches(obj.T.copy(), offsets + 7, 5)
    )
