"""Stitching patch by patch in float64 (section 3.9)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends.oracle.physics import shift


def stitch(patches: NDArray[Any], centres: NDArray[Any], M: int) -> NDArray[np.complex128]:
    """Return the stitched object, (S, S) complex.

    ``patches`` are (K, N, N), ``centres`` (K, 2) = [x, y] in pixels; the central M x M of each
    patch is used. Pixels that no patch covers are 0. Raises ``ValueError`` for no patches.
    """
    if len(patches) == 0:
        raise ValueError("no patches, no picture")
    positions = np.asarray(centres, np.float64)
    moves = positions - positions.mean(axis=0)
    reach = 2 * math.ceil(float(np.abs(moves).max()) / 2)
    side = M + 2 * reach
    total = np.zeros((side, side), np.complex128)
    cover = np.zeros((side, side))
    first = patches.shape[1] // 2 - M // 2
    for patch, (t_x, t_y) in zip(patches, moves, strict=True):
        part = np.asarray(patch, np.complex128)[first : first + M, first : first + M]
        total += shift(np.pad(part, reach), float(t_x), float(t_y))
        cover += shift(np.pad(np.ones((M, M)), reach), float(t_x), float(t_y))
    covered = cover > 0
    total[covered] /= cover[covered]
    return total
