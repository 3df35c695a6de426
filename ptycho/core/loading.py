"""The door through which a scan file enters a workflow, whole or subsampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.io.stored import StoredPatterns
from ptycho.raw_data import RawData

__all__ = ["load_data", "subsample"]

_DEFAULT_SEED = 42


def load_data(
    path: str | Path,
    n_images: int | None = None,
    n_subsample: int | None = None,
    subsample_seed: int | None = None,
    *,
    flip_x: bool = False,
    flip_y: bool = False,
    swap_xy: bool = False,
    coord_scale: float = 1.0,
    measurement_domain: str | None = None,
) -> RawData:
    """Read a scan from a file (NPZ, ptychodus HDF5, CXI) and keep a random part of it.

    ``n_subsample`` patterns are kept (``n_images`` is its older name and gives way to it), all if
    the scan has no more; which ones follows from ``subsample_seed`` (42 unless given), and they
    stay in scan order. ``flip_x`` and ``flip_y`` negate a coordinate, ``swap_xy`` exchanges the
    two, ``coord_scale`` multiplies both, in this order. ``measurement_domain`` ("counts" or
    "amplitude") replaces what the file says or implies. Large patterns stay in the file where they
    can: ``diff3d`` is then a :class:`ptycho.io.stored.StoredPatterns`.

    Raises ``FileNotFoundError`` for a missing file, and ``ValueError`` for a file that is no
    scan or a count below 1.
    """
    raw = RawData.from_file(path, in_place=True)
    wanted = n_images if n_subsample is None else n_subsample
    indices = subsample(len(raw), wanted, subsample_seed)
    moved = flip_x or flip_y or swap_xy or coord_scale != 1.0
    if indices is None and not moved and measurement_domain is None:
        return raw
    sx, sy = (-coord_scale if flip else coord_scale for flip in (flip_x, flip_y))
    x, y = _scaled(raw.xcoords, sx), _scaled(raw.ycoords, sy)
    x_start, y_start = _scaled(raw.xcoords_start, sx), _scaled(raw.ycoords_start, sy)
    if swap_xy:
        x, y, x_start, y_start = y, x, y_start, x_start
    n = len(raw)
    return RawData(
        _take(x, indices, n),
        _take(y, indices, n),
        _take(x_start, indices, n),
        _take(y_start, indices, n),
        _take(raw.diff3d, indices, n),
        raw.probeGuess,
        _take(raw.scan_index, indices, n),
        objectGuess=raw.objectGuess,
        Y=_take(raw.Y, indices, n),
        norm_Y_I=_take(raw.norm_Y_I, indices, n),
        metadata=raw.metadata,
        bad_pixels=raw.bad_pixels,
        measurement_domain=measurement_domain or raw.measurement_domain,
    )


def subsample(n: int, wanted: int | None, seed: int | None) -> NDArray[np.int64] | None:
    """Return ``wanted`` sorted indices out of ``range(n)``, or ``None`` where all are meant."""
    if wanted is None:
        return None
    if wanted < 1:
        raise ValueError(f"n_subsample is {wanted}; allowed: an integer >= 1, or None for all")
    if wanted >= n:
        return None
    rng = np.random.default_rng(_DEFAULT_SEED if seed is None else seed)
    return np.sort(rng.choice(n, wanted, replace=False)).astype(np.int64)


def _scaled(coordinate: Any, factor: float) -> Any:
    if coordinate is None or factor == 1.0:
        return coordinate
    return np.asarray(coordinate, np.float64) * factor


def _take(values: Any, indices: NDArray[np.int64] | None, n: int) -> Any:
    # Per-pattern arrays are cut; scalars and what belongs to the whole scan pass through.
    if values is None or indices is None or np.ndim(values) == 0 or np.shape(values)[0] != n:
        return values
    return values[indices] if isinstance(values, StoredPatterns) else np.asarray(values)[indices]
