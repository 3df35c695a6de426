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
#: Patch pixels processed at a time: what is computed of them stays in the processor's cache.
_CHUNK_PIXELS = 1 << 15


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
    corners = np.floor(points)
    fractions = points - corners
    starts = _inside(corners - N // 2, N + 1, image.shape)
    for part in _chunks(len(points), N + 1):
        windows = _windows(image, starts[part], N + 1)
        _interpolate(windows, fractions[part], patches[part])
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
    total = np.zeros((side + 1, side + 1), np.complex128)
    coverage = np.zeros((side + 1, side + 1))
    corners = np.floor(shifts)
    fractions = shifts - corners
    starts = corners.astype(np.int64) + (side - M) // 2
    for part in _chunks(len(stack), M + 1):
        shifted = _spread(crops[part].astype(np.complex128, order="C"), fractions[part])
        x, y = (_spread_ones(fraction, M) for fraction in fractions[part].T)
        weights = y[:, :, None] * x[:, None, :]
        for (left, top), crop, weight in zip(starts[part].tolist(), shifted, weights, strict=True):
            place = slice(top, top + M + 1), slice(left, left + M + 1)
            total[place] += crop
            coverage[place] += weight
    return total[:side, :side], coverage[:side, :side]


def _reals(images: NDArray[Any]) -> NDArray[Any]:
    """Return complex images (K, H, W) as pairs of reals (K, H, 2 W), the same memory.

    NumPy multiplies a complex number by a real one as if that were complex too.
    """
    return images.view(images.real.dtype)


def _spread(crops: NDArray[np.complex128], fraction: FloatArray) -> NDArray[np.complex128]:
    """Shift (K, M, M) by a fraction [x, y] of a pixel onto (K, M + 1, M + 1)."""
    count, M = crops.shape[:2]
    x, y = fraction[:, 0, None, None], fraction[:, 1, None, None]
    parts = _reals(crops)
    rows = np.zeros((count, M + 1, 2 * M))
    np.multiply(1 - y, parts, out=rows[:, :-1])
    rows[:, 1:] += y * parts
    shifted = np.zeros((count, M + 1, M + 1), np.complex128)
    columns = _reals(shifted)
    np.multiply(1 - x, rows, out=columns[:, :, :-2])
    columns[:, :, 2:] += np.multiply(x, rows, out=rows)
    return shifted


def _spread_ones(fraction: FloatArray, M: int) -> FloatArray:
    """Shift M ones by fractions (K,) of a pixel onto (K, M + 1)."""
    ones = np.zeros((len(fraction), M + 1))
    ones[:, :-1] = 1 - fraction[:, None]
    ones[:, 1:] += fraction[:, None]
    return ones


def _inside(corners: FloatArray, side: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return corners [x, y] as integers, those of windows that see nothing just off the image."""
    height, width = shape
    return np.clip(corners, -side, (width, height)).astype(np.int64)


def _windows(image: ComplexArray, start: NDArray[np.int64], side: int) -> ComplexArray:
    """Return square windows from ``start`` (K, 2) = [x, y], (K, side, side); 0 outside."""
    windows = np.zeros((len(start), side, side), image.dtype)
    for window, (left, top) in zip(windows, start.tolist(), strict=True):
        seen = image[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)]
        rows, columns = max(-top, 0), max(-left, 0)
        window[rows : rows + seen.shape[0], columns : columns + seen.shape[1]] = seen
    return windows


def _interpolate(windows: ComplexArray, fraction: FloatArray, out: ComplexArray) -> None:
    """Sample (K, N + 1, N + 1) windows a fraction [x, y] of a pixel on, into ``out`` (K, N, N)."""
    pixels, sampled = _reals(windows), _reals(out)
    weight = fraction.astype(pixels.dtype)[:, :, None, None]
    x, y = weight[:, 0], weight[:, 1]
    rows = (1 - y) * pixels[:, :-1]
    rows += y * pixels[:, 1:]
    np.multiply(1 - x, rows[:, :, :-2], out=sampled)
    sampled += x * rows[:, :, 2:]
