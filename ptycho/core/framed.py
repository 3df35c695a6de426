"""Offsets that know where the canvas is to lie that is stitched around them.

A caller that hands patches and offsets to the stitching door gets a canvas, and has to know where
it lies. Where the scan came with an object array, the canvas is laid over the middle of that
array; the offsets carry the point from the loading door to the stitching door.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.geometry import FloatArray

__all__ = ["FramedOffsets", "object_middle", "where_it_appears"]


def object_middle(shape: tuple[int, ...]) -> FloatArray:
    """Return where the geometric middle of an object array (..., H, W) appears, [x, y]."""
    height, width = shape[-2:]
    return where_it_appears(np.array([(width - 1) / 2, (height - 1) / 2]))


def where_it_appears(point: NDArray[Any]) -> FloatArray:
    """Return where a point [x, y] of ptychodus's object appears if its positions are taken as ours.

    ptychodus gives the middle of a patch, between its pixels N/2 - 1 and N/2, as its position;
    positions here name pixel N/2 (:mod:`ptycho.core.geometry`).
    """
    return np.asarray(point, np.float64) - 0.5


class FramedOffsets(np.ndarray):
    """Group centres (B, 1, 2, 1) in object pixels, with the canvas's ``middle`` [x, y].

    ``middle`` belongs to this array alone: whatever is computed, cut or copied from it has None,
    and is stitched around the mean of its offsets.
    """

    middle: FloatArray | None

    def __new__(cls, offsets: NDArray[Any], middle: NDArray[Any]) -> FramedOffsets:
        """Frame ``offsets`` by a canvas around ``middle``."""
        framed = np.array(offsets, np.float64).view(cls)
        framed.middle = np.array(middle, np.float64)
        return framed

    def __array_finalize__(self, source: Any) -> None:
        self.middle = None
