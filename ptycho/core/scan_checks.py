"""What must hold of a scan's arrays before anything is computed from them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.scaling import resolve_domain
from ptycho.io.npz_member import is_sound
from ptycho.io.stored import StoredPatterns

if TYPE_CHECKING:
    from ptycho.raw_data import RawData

Array = NDArray[Any]

_LOG = logging.getLogger(__name__)

#: Bytes of patterns that are looked at together: what the processor's cache holds, and what is
#: worth a reading where they are in their file.
_BLOCK, _STORED_BLOCK = 1 << 18, 1 << 23

#: Patterns looked at for the place of their zero frequency, and how many times brighter than the
#: middle the corners may be. A uniform pattern has 1, one with a beam stop hardly more.
_LOOKED_AT, _CORNERS_TO_MIDDLE = 64, 4.0

_COORDINATES = ("xcoords", "ycoords", "xcoords_start", "ycoords_start")


def check_scan(raw: RawData) -> None:
    """Raise ``ValueError`` naming the first array of ``raw`` that makes no scan.

    Warns where the patterns' zero frequency seems to lie in their corners.
    """
    for name in _COORDINATES:
        _check_coordinates(name, getattr(raw, name), raw.xcoords)
    n = len(raw.xcoords)
    if n == 0:
        raise ValueError("the scan has no positions: xcoords is empty")
    if raw.scan_index.shape != (n,):
        raise ValueError(f"scan_index has shape {raw.scan_index.shape}; expected ({n},)")
    resolve_domain(np.dtype(np.float32), raw.measurement_domain)
    if raw.bad_pixels is not None:
        _check_mask(raw.bad_pixels)
    if raw.diff3d is not None:
        _check_patterns(raw.diff3d, n, raw.bad_pixels)
        _look_for_zero_frequency(raw.diff3d, raw.bad_pixels)
    if raw.probeGuess is not None:
        _check_probe(raw.probeGuess)
    if raw.objectGuess is not None and raw.objectGuess.ndim != 2:
        raise ValueError(f"objectGuess has shape {raw.objectGuess.shape}; expected (H, W)")
    if raw.Y is not None and (raw.Y.ndim != 3 or len(raw.Y) != n):
        raise ValueError(f"Y has shape {raw.Y.shape}; expected ({n}, N, N), a patch per position")
    _check_sides(raw)


def _check_coordinates(name: str, values: Array, xcoords: Array) -> None:
    if values.ndim != 1:
        raise ValueError(f"{name} has shape {values.shape}; expected (n,)")
    if len(values) != len(xcoords):
        raise ValueError(
            f"xcoords has {len(xcoords)} values but {name} has {len(values)}: "
            "give one of each per position"
        )
    _check_real(name, values)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        raise ValueError(f"{name} contains {values[bad[0]]}, first at index {bad[0]}")


def _check_real(name: str, values: Array) -> None:
    if values.dtype.kind not in "buif":
        raise ValueError(f"{name} has dtype {values.dtype}; expected real numbers")


def _check_mask(mask: Array) -> None:
    if mask.ndim != 2:
        raise ValueError(
            f"bad_pixels has shape {mask.shape}; expected (N, N), one mask for the whole scan"
        )
    if mask.dtype.kind not in "bui" or not np.isin(mask, (0, 1)).all():
        raise ValueError(
            f"bad_pixels (dtype {mask.dtype}) holds other values than False and True; True marks "
            "a pixel to ignore"
        )
    if mask.all():
        raise ValueError(
            "bad_pixels marks every pixel: nothing was measured. True marks a pixel to ignore; "
            "invert the mask if it marks the good ones"
        )


def _check_patterns(patterns: Array, n: int, bad_pixels: Array | None) -> None:
    if patterns.ndim != 3:
        raise ValueError(f"diff3d has shape {patterns.shape}; expected (n, N, N)")
    if patterns.shape[1] != patterns.shape[2]:
        raise ValueError(f"diff3d has shape {patterns.shape}: patterns must be square")
    if len(patterns) != n:
        raise ValueError(f"diff3d has {len(patterns)} patterns but xcoords has {n} positions")
    if patterns.shape[1] == 0:
        raise ValueError(f"diff3d has shape {patterns.shape}: the patterns have no pixels")
    _check_real("diff3d", patterns)
    shape = patterns.shape[1:]
    if bad_pixels is not None and bad_pixels.shape != shape:
        raise ValueError(
            f"bad_pixels has shape {bad_pixels.shape} but the patterns are {shape[0]} x {shape[1]} "
            "pixels"
        )
    good = np.ones(shape, bool) if bad_pixels is None else bad_pixels == 0
    block = _BLOCK
    if isinstance(patterns, StoredPatterns):
        if patterns.sound:
            return
        block = _STORED_BLOCK
    step = max(1, block // (patterns.dtype.itemsize * patterns.shape[1] ** 2))
    for start in range(0, n, step):
        _check_values(patterns[start : start + step], start, good)


def _check_values(patterns: Array, first: int, good: NDArray[np.bool_]) -> None:
    if is_sound(patterns):
        return
    for index, stored in enumerate(patterns, first):
        pattern = stored[good]
        bad = pattern[~(np.isfinite(pattern) & (pattern >= 0))]
        if bad.size:
            broken = bad[~np.isfinite(bad)]
            what = f"{broken[0]}" if broken.size else f"negative values such as {bad[0]}"
            raise ValueError(f"diff3d contains {what}, first in the pattern at index {index}")


def _look_for_zero_frequency(patterns: Array, bad_pixels: Array | None) -> None:
    """Warn where the corners, a quarter of each pattern's area, outshine the middle quarter."""
    N = patterns.shape[1]
    if N < 4:
        return
    some = patterns[:: -(-len(patterns) // _LOOKED_AT)]
    total: NDArray[np.float64] = np.asarray(np.sum(some, axis=0, dtype=np.float64))
    if bad_pixels is not None:
        total = np.where(bad_pixels, 0.0, total)
    middle = slice(N // 4, N // 4 + N // 2)
    corners = np.roll(total, (N // 2, N // 2), axis=(0, 1))[middle, middle].sum()
    if corners > _CORNERS_TO_MIDDLE * total[middle, middle].sum():
        _LOG.warning(
            "diff3d is brightest in the corners of its patterns: zero frequency seems to lie at "
            "pixel 0, but it is expected at pixel N/2 = %d; if so, give "
            "numpy.fft.fftshift(diff3d, axes=(1, 2)) instead",
            N // 2,
        )


def _check_probe(probe: Array) -> None:
    if probe.ndim not in (2, 3):
        raise ValueError(f"probeGuess has shape {probe.shape}; expected (N, N) or (modes, N, N)")
    if probe.dtype.kind not in "buifc":
        raise ValueError(f"probeGuess has dtype {probe.dtype}; expected complex numbers")
    if not probe.any():
        raise ValueError(f"probeGuess (shape {probe.shape}) is empty: it holds no nonzero value")
    if not np.isfinite(probe).all():
        raise ValueError("probeGuess contains NaN or infinity")
    if probe.shape[-1] != probe.shape[-2]:
        raise ValueError(f"probeGuess has shape {probe.shape}: it must be square")


def _check_sides(raw: RawData) -> None:
    if raw.diff3d is None:
        return
    side = raw.diff3d.shape[-1]
    for name in ("probeGuess", "Y"):
        array = getattr(raw, name)
        if array is not None and array.shape[-2:] != (side, side):
            raise ValueError(
                f"{name} has shape {array.shape} but the patterns are {side} x {side} pixels"
            )
