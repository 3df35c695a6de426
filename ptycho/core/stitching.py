"""Stitching patches onto one canvas, and its inverse, cutting patches out of an object.

Both shift by bilinear interpolation. Axes as in :mod:`ptycho.core.geometry`: patch pixel
(i, j) shows the object at row ``y + i - N//2``, column ``x + j - N//2``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.geometry import FloatArray, stitch_canvas_side
from ptycho.core.position_checks import check_canvas

ComplexArray = NDArray[np.complexfloating]

#: Canvas pixels with less coverage than this (in patches) count as uncovered.
_LEAST_COVERAGE = 1e-6
#: Patch pixels processed at a time, which bounds the working memory to about 200 MB.
_CHUNK_PIXELS = 1 << 21


def reassemble(
    patches: NDArray[Any], offsets: NDArray[Any], M: int, middle: NDArray[Any] | None = None
) -> ComplexArray:
    """Average overlapping object patches on one canvas; return it, complex (S, S).

    ``patches`` is (K, N, N) or (K, N, N, 1) complex and ``offsets`` (K, 1, 2, 1) or (K, 2) their
    positions [x, y] in pixels. The central M x M of each patch (rows and columns from
    ``N//2 - M//2``) is shifted by d_k = offset_k - mean(offset) on a canvas of side
    ``geometry.stitch_canvas_side(M, max|d|)``; the sum is divided by the equally shifted sum of
    ones. Sums are in float64; the result has the precision of the patches.

    Canvas pixel (i, j) shows the object at x = j - S/2 + mean x (+ 1/2 if M is odd), y likewise
    with i. With ``middle`` [x, y] the canvas lies around that point instead: its geometric
    middle, (S - 1)/2, shows the object there. Pixels that no patch covers are 0.

    Raises ``ValueError`` for other shapes, no patches, numbers of patches and offsets that
    differ, offsets that are not finite or need a canvas larger than
    ``geometry.LARGEST_CANVAS``, or M outside 1..N.
    """
    stack = _checked_patches(patches)
    points = _checked_points(offsets, "offsets")
    K, N = stack.shape[:2]
    if len(points) != K:
        raise ValueError(f"{K} patches but {len(points)} offsets: give one offset per patch")
    if K == 0:
        raise ValueError("there are no patches to stitch")
    if not 1 <= M <= N:
        raise ValueError(f"M is {M}; it must be between 1 and the patch side {N}")
    centre = points.mean(axis=0)
    if middle is not None:
        centre = np.asarray(middle, np.float64) + (0.5 if M % 2 == 0 else 0.0)
    check_canvas(points, M, centre)
    shifts = points - centre
    side = stitch_canvas_side(M, float(np.abs(shifts).max()))
    total, coverage = _scatter(stack, shifts, M, side)
    covered = coverage > _LEAST_COVERAGE
    canvas = np.divide(total, coverage, out=np.zeros_like(total), where=covered)
    return canvas.astype(np.result_type(stack.dtype, np.complex64), copy=False)


def extract_patches(obj: NDArray[Any], centres: NDArray[Any], N: int) -> ComplexArray:
    """Cut N x N patches centred on ``centres`` (K, 2) = [x, y] out of an object; (K, N, N).

    The object (H, W) is complex; the patches have its precision. Outside the object is 0. At
    integer positions patches are exact slices.

    Raises ``ValueError`` for other shapes, centres that are not finite, or N below 1.
    """
    image = np.asarray(obj)
    if image.ndim != 2:
        raise ValueError(f"object has shape {image.shape}; expected (H, W)")
    if N < 1:
        raise ValueError(f"patch side N is {N}; it must be at least 1")
    points = _checked_points(centres, "centres")
    image = image.astype(np.result_type(image.dtype, np.complex64), copy=False)
    patches = np.empty((len(points), N, N), image.dtype)
    for part in _chunks(len(points), N + 1):
        corner = np.floor(points[part])
        fraction = points[part] - corner
        start = corner.astype(np.int64) - N // 2
        window = _windows(image, start, N + 1)
        patches[part] = _interpolate(window, fraction)
    return patches


def _checked_patches(patches: NDArray[Any]) -> ComplexArray:
    stack = np.asarray(patches)
    if stack.ndim == 4 and stack.shape[-1] == 1:
        stack = stack[..., 0]
    if stack.ndim != 3 or stack.shape[1] != stack.shape[2]:
        raise ValueError(
            f"patches have shape {np.shape(patches)}; expected (K, N, N) or (K, N, N, 1)"
        )
    return stack


def _checked_points(points: NDArray[Any], name: str) -> FloatArray:
    array = np.asarray(points, dtype=np.float64)
    if array.ndim == 4 and array.shape[1:] == (1, 2, 1):
        array = array[:, 0, :, 0]
    if array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(f"{name} have shape {np.shape(points)}; expected (K, 2) or (K, 1, 2, 1)")
    bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
    if len(bad):
        raise ValueError(f"{name} contain NaN or infinity, first at index {bad[0]}")
    return array


def _chunks(count: int, side: int) -> list[slice]:
    step = max(1, _CHUNK_PIXELS // side**2)
    return [slice(i, i + step) for i in range(0, count, step)]


def _scatter(
    stack: ComplexArray, shifts: FloatArray, M: int, side: int
) -> tuple[NDArray[np.complex128], FloatArray]:
    """Return the sum of the shifted crops and of equally shifted ones, both (side, side)."""
    first = stack.shape[1] // 2 - M // 2
    crops = stack[:, first : first + M, first : first + M]
    # One more row and column take the (zero) spill of a crop at the far edge.
    wide = side + 1
    total = np.zeros(wide * wide, np.complex128)
    coverage = np.zeros(wide * wide)
    within = np.arange(M + 1)
    for part in _chunks(len(stack), M + 1):
        corner = np.floor(shifts[part])
        fraction = shifts[part] - corner
        start = corner.astype(np.int64) + (side - M) // 2
        rows, columns = start[:, 1, None] + within, start[:, 0, None] + within
        pixels = (rows[:, :, None] * wide + columns[:, None, :]).ravel()
        shifted = _spread(crops[part].astype(np.complex128), fraction).ravel()
        total.real += np.bincount(pixels, shifted.real, wide * wide)
        total.imag += np.bincount(pixels, shifted.imag, wide * wide)
        ones = _spread(np.ones((len(start), M, M)), fraction).ravel()
        coverage += np.bincount(pixels, ones, wide * wide)
    shape = (wide, wide)
    return total.reshape(shape)[:side, :side], coverage.reshape(shape)[:side, :side]


def _spread(crops: NDArray[Any], fraction: FloatArray) -> NDArray[Any]:
    """Shift (K, M, M) by a fraction of a pixel in x and y onto (K, M + 1, M + 1)."""
    for axis, part in ((1, fraction[:, 1]), (2, fraction[:, 0])):
        weight = part[:, None, None]
        near = np.concatenate([crops, np.zeros_like(crops.take([0], axis))], axis)
        far = np.concatenate([np.zeros_like(crops.take([0], axis)), crops], axis)
        crops = (1 - weight) * near + weight * far
    return crops


def _windows(image: ComplexArray, start: NDArray[np.int64], side: int) -> ComplexArray:
    """Return square windows from ``start`` (K, 2) = [x, y], (K, side, side); 0 outside."""
    height, width = image.shape
    within = np.arange(side)
    rows, columns = start[:, 1, None] + within, start[:, 0, None] + within
    inside_rows = (rows >= 0) & (rows < height)
    inside_columns = (columns >= 0) & (columns < width)
    windows: ComplexArray = image[
        np.where(inside_rows, rows, 0)[:, :, None], np.where(inside_columns, columns, 0)[:, None, :]
    ]
    windows[~(inside_rows[:, :, None] & inside_columns[:, None, :])] = 0
    return windows


def _interpolate(windows: ComplexArray, fraction: FloatArray) -> ComplexArray:
    """Sample (K, N + 1, N + 1) windows a fraction of a pixel on in x and y; (K, N, N)."""
    weight = fraction.astype(windows.real.dtype)[:, :, None, None]
    y, x = weight[:, 1], weight[:, 0]
    windows = (1 - y) * windows[:, :-1] + y * windows[:, 1:]
    sampled: ComplexArray = (1 - x) * windows[:, :, :-1] + x * windows[:, :, 1:]
    return sampled
