"""Positions that cannot be object pixels: found before a canvas is made for them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.geometry import LARGEST_CANVAS, FloatArray

__all__ = ["PositionError", "check_canvas", "check_group_spread", "check_scan_extent"]

_LOG = logging.getLogger(__name__)

#: Scans that move less than this, in pixels, do not move.
_LEAST_EXTENT = 1e-3

#: Distance in patch sides from a group's centre; 25 patches that still overlap need 2.9.
_MOST_SPREAD = 4

_UNITS = (
    "positions are object pixels: divide metres by wavelength * distance / (N * detector pixel), "
    "load_data(coord_scale=...) multiplies them"
)


class PositionError(ValueError):
    """Scan positions that make no picture; the message says why, not where they come from."""


def check_scan_extent(positions: FloatArray, N: int) -> None:
    """Raise ``PositionError`` for positions (n, 2) that are no object pixels for patches of side N.

    They span more than the largest canvas, or all lie within 1e-3 pixel without being equal.
    Equal positions of several patterns get a warning.
    """
    if len(positions) < 2:
        return
    with np.errstate(over="ignore"):
        width, height = np.ptp(positions, axis=0).tolist()
    extent = max(width, height)
    if extent + N > LARGEST_CANVAS:
        raise PositionError(_too_wide("scan positions", width, height, extent + N))
    if extent == 0:
        _LOG.warning(
            "all %d scan positions are equal: nothing overlaps but the same place", len(positions)
        )
    elif extent < _LEAST_EXTENT:
        raise PositionError(
            f"scan positions span {width:.3g} x {height:.3g} pixels, less than {_LEAST_EXTENT:g}: "
            f"are they metres? {_UNITS}"
        )


def check_canvas(offsets: FloatArray, M: int, centre: FloatArray) -> None:
    """Raise ``PositionError`` where patches of M pixels at ``offsets`` (K, 2) need too much canvas.

    The canvas lies around ``centre`` [x, y].
    """
    with np.errstate(over="ignore"):
        side = M + 2 * float(np.abs(offsets - centre).max())
        width, height = np.ptp(offsets, axis=0).tolist()
    if side > LARGEST_CANVAS:
        raise PositionError(_too_wide("offsets", width, height, side))


def _too_wide(name: str, width: float, height: float, side: float) -> str:
    return (
        f"{name} span {width:.6g} x {height:.6g} pixels, which takes a canvas of side {side:.6g}; "
        f"the largest is {LARGEST_CANVAS}: {_UNITS}; cut a scan that is really as large"
    )


def check_group_spread(positions: FloatArray, groups: NDArray[Any], N: int) -> None:
    """Raise ``PositionError`` for a group of C positions further from its centre than 4 N.

    Patches so far apart do not overlap, and the canvas of their merge would be mostly empty.
    """
    if groups.size == 0 or groups.shape[1] == 1:
        return
    members = positions[groups]
    spread = np.abs(members - members.mean(axis=1, keepdims=True)).max(axis=(1, 2))
    worst = int(spread.argmax())
    if spread[worst] > _MOST_SPREAD * N:
        raise PositionError(
            f"the positions {groups[worst].tolist()} form a group but lie up to "
            f"{spread[worst]:.6g} pixels from their centre, more than {_MOST_SPREAD} N = "
            f"{_MOST_SPREAD * N}: their patches do not overlap. Leave out stray positions, use "
            f"gridsize 1, or check the units: {_UNITS}"
        )
