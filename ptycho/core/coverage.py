"""Coverage: how many patterns light each object pixel, and what a scan leaves dark.

Definitions: ``specs/overlap_metrics.md`` section 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError, Voronoi, cKDTree

FloatArray = NDArray[np.float64]

#: Lit frames with more pixels than this are taken for a mistake in the positions' unit.
_LARGEST_FRAME = 10**8
#: A point this far outside the hull, relative to its size, is on its border.
_ON_BORDER = 1e-9


@dataclass(frozen=True)
class Coverage:
    """How many patterns light each pixel of the smallest frame that holds all lit discs.

    ``counts`` (h, w) int64; ``origin`` [x, y] is the object pixel at ``counts[0, 0]``; ``field``
    (h, w) bool marks the pixels inside the convex hull of the positions.
    """

    counts: NDArray[np.int64]
    origin: tuple[int, int]
    field: NDArray[np.bool_]


def measure_coverage(positions: FloatArray, diameter: float) -> Coverage:
    """Return the coverage by discs of ``diameter`` pixels at ``positions`` (n, 2) = [x, y].

    A pixel is lit where its distance to the position is at most half the diameter. Time and
    memory are linear in positions and pixels.

    Raises ``ValueError`` where the frame would have more than 1e8 pixels.
    """
    radius = diameter / 2
    low = np.floor(positions.min(axis=0) - radius)
    width, height = (np.ceil(positions.max(axis=0) + radius) - low + 1).tolist()
    if width * height > _LARGEST_FRAME:
        raise ValueError(
            f"the scan positions span {width:.3g} x {height:.3g} pixels: they must be in object "
            "pixels, not in metres or detector pixels"
        )
    shape = int(height), int(width)
    points = positions - low
    return Coverage(
        counts=_count_discs(points, radius, shape),
        origin=(int(low[0]), int(low[1])),
        field=_inside_hull(points, shape),
    )


def _count_discs(points: FloatArray, radius: float, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Add 1 on every disc: each row of a disc is an interval, +1 at its start, -1 behind it."""
    reach = math.ceil(radius)
    rows = np.floor(points[:, 1])[:, None] + np.arange(-reach, reach + 2)
    half_squared = radius**2 - (rows - points[:, 1:]) ** 2
    half = np.sqrt(np.maximum(half_squared, 0))
    first, last = np.ceil(points[:, :1] - half), np.floor(points[:, :1] + half)
    lit = (half_squared >= 0) & (last >= first)
    row = rows[lit].astype(np.int64) * (shape[1] + 1)
    size = shape[0] * (shape[1] + 1)
    steps = np.bincount(row + first[lit].astype(np.int64), minlength=size)
    steps -= np.bincount(row + last[lit].astype(np.int64) + 1, minlength=size)
    counts: NDArray[np.int64] = steps.reshape(shape[0], -1).cumsum(axis=1)[:, :-1]
    return counts


def _hull(points: FloatArray) -> FloatArray | None:
    """Return half-planes (m, 3), ``a x + b y + c <= 0`` inside, or None where there is no area."""
    if len(points) < 3:
        return None
    try:
        equations: FloatArray = ConvexHull(points).equations
    except QhullError:  # all on one line
        return None
    return equations


def _inside_hull(points: FloatArray, shape: tuple[int, int]) -> NDArray[np.bool_]:
    inside = np.zeros(shape, np.bool_)
    planes = _hull(points)
    if planes is None:
        return inside
    a, b, c = (planes.T)[:, None, :]
    slack = _ON_BORDER * max(shape)
    rest = b * np.arange(shape[0])[:, None] + c - slack
    with np.errstate(divide="ignore", invalid="ignore"):
        edge = -rest / a
    left = np.where(a < 0, edge, -np.inf).max(axis=1)
    right = np.where(a > 0, edge, np.inf).min(axis=1)
    closed = ((a == 0) & (rest > 0)).any(axis=1)
    columns = np.arange(shape[1])
    inside = (columns >= left[:, None]) & (columns <= right[:, None]) & ~closed[:, None]
    return inside


def largest_gap(positions: FloatArray) -> float:
    """Return the diameter in pixels of the largest circle between positions with none inside.

    Its centre is a Voronoi vertex of ``positions`` (n, 2) inside their convex hull; nan where
    there is no such vertex, as on a line.
    """
    points = np.unique(positions, axis=0)
    points = points - points.mean(axis=0)
    planes = _hull(points)
    if planes is None:
        return math.nan
    vertices = Voronoi(points).vertices
    slack = _ON_BORDER * float(np.ptp(points))
    inside = np.full(len(vertices), True)
    for a, b, c in planes:
        inside &= a * vertices[:, 0] + b * vertices[:, 1] + c <= slack
    if not inside.any():
        return math.nan
    distance, _ = cKDTree(points).query(vertices[inside])
    return 2 * float(distance.max())
