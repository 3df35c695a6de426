"""Rows: from a scan file to groups of patterns."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row, Work
from ptycho.core.container import PtychoDataContainer
from ptycho.core.grouping import draw_groups
from ptycho.core.sampling import grouping_generator
from ptycho.core.scaling import normalisation_factor
from ptycho.core.stitching import extract_patches
from ptycho.io.npz_member import crc32
from ptycho.raw_data import RawData

_N = 64
_SPACING = 5.0
#: Patterns or patches of those rows that are measured for the cost of one.
_SIZES = (1_000, 10_000, 100_000)
#: The name of a setting of the C library, in ``malloc.h``.
_M_MMAP_THRESHOLD = -3


def rows() -> Iterator[Row]:
    """Yield the rows."""
    for name, suffix, target in (("NPZ", ".npz", 2.0), ("HDF5 product", ".h5", None)):
        for dtype in ("float32", "uint16"):
            floor = "memory copy" if target else "inflate the same bytes"
            yield Row(
                "load", f"{name}, {dtype}, 4000 patterns", partial(_load, suffix, dtype, 4000),
                floor,
                ratio=target, count=4000,
            )  # fmt: skip
    for n in _SIZES:
        yield Row(
            "load", f"NPZ, uint16, {n} patterns", partial(_load, ".npz", "uint16", n),
            "memory copy", count=n, series="NPZ, uint16", **_cost(n),
        )  # fmt: skip
    yield Row(
        "load", "NPZ in place, float32, 8000 patterns", _load_in_place, "read and checksum",
        ratio=2.0, count=8000,
    )  # fmt: skip
    for gridsize in (1, 2, 3):
        for n in (2_000, 20_000, 200_000):
            target = 0.05 if (gridsize, n) == (2, 20_000) else None
            yield Row(
                "group", f"{n} positions, gridsize {gridsize}", partial(_group, n, gridsize),
                "one cKDTree query" if gridsize > 1 else "copy of the positions", seconds=target,
                count=n, series=f"gridsize {gridsize}" if gridsize > 1 else "",
            )  # fmt: skip
    for dtype in ("float32", "uint16"):
        yield Row(
            "normalise", f"factor, {dtype}, 4000 patterns", partial(_normalise, dtype, 4000),
            "copy as float32", ratio=2.0, count=4000,
        )  # fmt: skip
        yield Row(
            "normalise", f"batches of 16, {dtype}, 4000 patterns", partial(_batches, dtype),
            "gather and store the same", count=4000,
        )  # fmt: skip
    for n in _SIZES:
        yield Row(
            "normalise", f"factor, uint16, {n} patterns", partial(_normalise, "uint16", n),
            "copy as float32", count=n, series="factor, uint16", **_cost(n),
        )  # fmt: skip
    yield Row(
        "ground truth", "200 groups, gridsize 2", partial(_ground_truth, 800),
        "slices of the same size", seconds=0.05, count=800,
    )  # fmt: skip
    for n in _SIZES:
        yield Row(
            "ground truth", f"{n} patches in batches of 64", partial(_ground_truth, n, 64),
            "slices of the same size", count=n, series="patches", **_cost(n),
        )  # fmt: skip


def _cost(n: int) -> dict[str, Any]:
    """Return how often a row of a series is run, and whether in haste too."""
    return {"runs": 7 if n < _SIZES[-1] else 3, "quick": n < _SIZES[-1]}


def positions(n: int) -> np.ndarray:
    """Return a jittered raster of n positions [x, y], 5 pixels apart."""
    rng = np.random.default_rng(0)
    side = int(np.ceil(np.sqrt(n)))
    grid = np.stack(np.divmod(np.arange(n), side)[::-1], axis=1) * _SPACING
    return grid + rng.uniform(-1, 1, (n, 2)) + _N


def patterns(n: int, dtype: str) -> np.ndarray:
    """Return n patterns (n, N, N) of that type, counts or their roots."""
    rng = np.random.default_rng(0)
    counts = rng.poisson(50, (250, _N, _N))
    stack = counts if np.issubdtype(dtype, np.integer) else np.sqrt(counts)
    return np.tile(stack.astype(dtype), (n // 250, 1, 1))


def scan(n: int, dtype: str = "float32", side: int = 0) -> RawData:
    """Return a scan of n patterns; its object has at least ``side`` pixels a side."""
    where = positions(n)
    extent = max(side, int(where.max()) + _N)
    obj = np.exp(1j * np.linspace(0, 1, extent * extent)).reshape(extent, extent)
    metadata = {"object_geometry": {"pixel_width_m": 1e-8, "pixel_height_m": 1e-8}}
    return RawData(
        *where.T, None, None, patterns(n, dtype), np.ones((_N, _N), complex), None,
        objectGuess=obj.astype(np.complex64), metadata=metadata,
    )  # fmt: skip


def _take_fresh_memory() -> None:
    """Let every array of 1 MiB and more lie in memory that is fresh from the system.

    A program loads a scan once, into new pages. When a benchmark loads it again, the C library
    hands out what the last array left, unless that had more than 32 MiB: patterns in float32
    would be measured with the system's work for new pages, and counts of 16 bits without.
    """
    with contextlib.suppress(AttributeError, OSError):  # other C libraries have no such setting
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)


def _load(suffix: str, dtype: str, n: int) -> Work:
    _take_fresh_memory()
    folder = tempfile.mkdtemp()
    raw = scan(n, dtype)
    path = raw.to_file(Path(folder) / f"scan{suffix}")
    packed = zlib.compress(raw.diff3d.tobytes(), 4) if suffix == ".h5" else b""
    arrays = [np.array(each) for each in vars(raw).values() if isinstance(each, np.ndarray)]
    del raw

    def facts() -> dict[str, float]:
        size = path.stat().st_size
        shutil.rmtree(folder)
        return {"megabytes": size / 1e6}

    def floor() -> None:
        if packed:
            zlib.decompress(packed)
        else:
            [each.copy() for each in arrays]

    return Work(partial(RawData.from_file, path), floor, facts)


def _load_in_place() -> Work:
    folder = tempfile.mkdtemp()
    path = scan(8000).to_file(Path(folder) / "scan.npz")

    def facts() -> dict[str, float]:
        size = path.stat().st_size
        shutil.rmtree(folder)
        return {"megabytes": size / 1e6}

    def floor() -> None:
        with path.open("rb", buffering=0) as file:
            while block := file.read(1 << 20):
                crc32(block)

    return Work(partial(RawData.from_file, path, in_place=True), floor, facts)


def _group(n: int, gridsize: int) -> Work:
    where, wanted = positions(n), 4 if gridsize < 3 else 8
    if gridsize == 1:
        floor = where.copy
    else:
        from scipy.spatial import cKDTree

        def floor() -> np.ndarray:
            tree = cKDTree(where, balanced_tree=False, compact_nodes=False)
            return tree.query(where, k=wanted + 1)[1]

    return Work(
        lambda: draw_groups(where, gridsize, n, grouping_generator(0), neighbor_count=wanted),
        floor,
    )


def _normalise(dtype: str, n: int) -> Work:
    raw = scan(n, dtype)
    stored = raw.patterns
    return Work(partial(normalisation_factor, stored), partial(raw.diff3d.astype, np.float32))


def _batches(dtype: str) -> Work:
    raw = scan(4000, dtype)
    container = PtychoDataContainer.from_raw(raw, N=_N, gridsize=1, n_groups=None, seed=0)
    order = np.random.default_rng(0).permutation(4000).reshape(-1, 16)

    def floor() -> None:
        for indices in order:
            raw.diff3d[indices].astype(np.float32)

    def step() -> None:
        for indices in order:
            container.batch_X(indices)

    return Work(step, floor)


def _ground_truth(n: int, batch: int = 0) -> Work:
    where = positions(n) + 0.25
    obj = scan(250, side=392).objectGuess
    where = where % (392 - _N) + _N / 2
    corners = np.floor(where).astype(int) - _N // 2

    parts = [slice(i, i + (batch or n)) for i in range(0, n, batch or n)]

    def floor() -> None:
        for part in parts:
            np.stack([obj[y : y + _N, x : x + _N] for x, y in corners[part]])

    def step() -> None:
        for part in parts:
            extract_patches(obj, where[part], _N)

    return Work(step, floor)
