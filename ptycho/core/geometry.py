"""Axes, offsets and canvas sizes.

A scan position is (x, y) = (column, row) in object pixels. Pixel N/2 of an N x N patch sits on
its position, so patch pixel (i, j) shows the object at row ``y + i - N/2``, column
``x + j - N/2``. A group of C = gridsize**2 positions has a centre (their mean, "offset") and
relative coordinates ``-(c_j - centre)``; both carry their two coordinates on axis 2 as [x, y].
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Side in pixels of the largest canvas that is stitched: 2**28 pixels, about 20 GB of sums.
LARGEST_CANVAS = 16384


def group_offsets(positions: FloatArray, groups: NDArray[np.integer]) -> FloatArray:
    """Return group centres, shape (B, 1, 2, 1), from positions (n, 2) = [x, y] in pixels."""
    centres: FloatArray = positions[groups].mean(axis=1)
    return centres[:, None, :, None]


def relative_coordinates(positions: FloatArray, groups: NDArray[np.integer]) -> FloatArray:
    """Return relative coordinates ``-(c_j - centre)``, shape (B, 1, 2, C), in pixels."""
    members = positions[groups]
    relative = members.mean(axis=1, keepdims=True) - members
    return np.ascontiguousarray(relative.transpose(0, 2, 1)[:, None])


def even_ceil(value: float) -> int:
    """Return the smallest even integer >= ``value``."""
    return 2 * math.ceil(value / 2)


def merge_canvas_side(N: int, largest_offset: float) -> int:
    """Return the even canvas side on which every patch of a group fits, sub-pixel spread included.

    ``largest_offset`` is max |relative coordinate| in pixels.
    """
    return N + 2 * (math.ceil(largest_offset) + 1)


def stitch_canvas_side(M: int, largest_offset: float) -> int:
    """Return the canvas side of the stitched object: M + 2 * even_ceil(largest |offset|)."""
    return M + 2 * even_ceil(largest_offset)


def uses_centre_window(pad_object: bool, probe_big: bool) -> bool:
    """Tell whether object patches are zero outside their central N/2 square by construction."""
    return pad_object and not probe_big


def centre_window(N: int, pad_object: bool, probe_big: bool) -> NDArray[np.float32]:
    """Return the (N, N) window with which patches of a group are weighted when merged.

    It is 1 where the decoder can put content (the central N/2 square if that is all it fills,
    else everywhere) and 0 elsewhere; numerator and denominator of the merge both use it.
    """
    window = np.ones((N, N), np.float32)
    if uses_centre_window(pad_object, probe_big):
        window[:] = 0
        window[N // 4 : N - N // 4, N // 4 : N - N // 4] = 1
    return window
