"""Scan patterns: positions (n, 2) = [x, y] in object pixels, float64, in acquisition order.

The patterns start anywhere; :func:`place` moves them so that every N x N patch, with its
bilinear neighbour, lies inside the object whose shape :func:`object_shape` gives.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ptycho.simulation.settings import SCANS, ScanName

FloatArray = NDArray[np.float64]


def _check(n: int, step: float) -> None:
    if n < 1:
        raise ValueError(f"the number of scan positions is {n}; expected at least 1")
    if not (math.isfinite(step) and step > 0):
        raise ValueError(f"the scan step is {step}; expected a positive number of pixels")


def raster(n: int, step: float, rng: np.random.Generator | None = None) -> FloatArray:
    """Return the first ``n`` points, row by row, of a square grid with spacing ``step``.

    The grid has ceil(sqrt(n)) columns. ``rng`` is not used; it is there so that every pattern
    is called alike.
    """
    _check(n, step)
    columns = math.ceil(math.sqrt(n))
    index = np.arange(n)
    return step * np.stack([index % columns, index // columns], axis=1).astype(np.float64)


def jittered_raster(
    n: int, step: float, rng: np.random.Generator, *, jitter: float = 0.4
) -> FloatArray:
    """Return a raster displaced uniformly by up to ``jitter * step`` in x and in y.

    The jitter breaks the grid's periodicity, which would otherwise show in reconstructions.
    """
    return raster(n, step) + rng.uniform(-jitter, jitter, (n, 2)) * step


def fermat_spiral(n: int, step: float, rng: np.random.Generator | None = None) -> FloatArray:
    """Return a Fermat spiral, ``r = c*sqrt(k)`` at golden-angle turns, from the centre outwards.

    ``c`` is chosen for a density of one point per ``step**2``. ``rng`` is not used.
    """
    _check(n, step)
    order = np.arange(n) + 0.5
    radius = step / math.sqrt(math.pi) * np.sqrt(order)
    angle = order * math.pi * (3 - math.sqrt(5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def random_scan(n: int, step: float, rng: np.random.Generator) -> FloatArray:
    """Return ``n`` uniformly random points in a square, one per ``step**2`` on average."""
    _check(n, step)
    return rng.uniform(0, step * math.sqrt(n), (n, 2))


_BUILDERS: dict[ScanName, Callable[[int, float, np.random.Generator], FloatArray]] = {
    "raster": raster,
    "jittered_raster": jittered_raster,
    "fermat_spiral": fermat_spiral,
    "random": random_scan,
}


def place(positions: FloatArray, N: int, margin: int = 2) -> FloatArray:
    """Return the positions moved so that patches of side ``N`` keep ``margin`` pixels to 0."""
    return positions - positions.min(axis=0) + (N // 2 + margin)


def object_shape(positions: FloatArray, N: int, margin: int = 2) -> tuple[int, int]:
    """Return the smallest (H, W) that holds every patch of side ``N`` and ``margin`` pixels.

    A patch at a fractional position reaches one pixel further than its N pixels.
    """
    right, bottom = (math.floor(c) + N // 2 + 1 + margin for c in positions.max(axis=0))
    return bottom, right


def make_scan(
    name: str, n: int, step: float, N: int, rng: np.random.Generator, margin: int = 2
) -> FloatArray:
    """Return the scan ``name`` of ``n`` positions, placed for patches of side ``N``.

    Raises ``ValueError`` naming the allowed ones for an unknown name, and for a
    number or step that is not positive.
    """
    if name not in SCANS:
        raise ValueError(f"scan {name!r} is unknown; allowed: {', '.join(SCANS)}")
    builder = _BUILDERS[cast(ScanName, name)]
    return place(builder(n, step, rng), N, margin)
