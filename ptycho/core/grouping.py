"""Groups of neighbouring scan positions: an index array, drawn at once for the whole scan."""

from __future__ import annotations

import itertools
import logging
import math

import numpy as np
from numpy.typing import NDArray

_LOG = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]

#: Up to this many member indices, every reachable group is listed rather than drawn.
_LISTING_LIMIT = 4_000_000
#: Rounds of drawing that may pass before fewer distinct groups are accepted.
_DRAWING_ROUNDS = 32


def draw_groups(
    positions: FloatArray,
    gridsize: int,
    n_groups: int,
    rng: np.random.Generator,
    *,
    neighbor_count: int = 4,
    sequential: bool = False,
    oversample: bool = False,
    pool_size: int | None = None,
) -> IndexArray:
    """Draw groups of C = gridsize**2 neighbouring positions; return their indices (B, C).

    ``positions`` is (n, 2) = [x, y] in pixels. Each group has a seed position and C - 1 others
    out of the seed's pool, its ``neighbor_count`` nearest neighbours. Members are distinct and in
    row-major spatial order (:func:`row_major_order`).

    Up to ``n`` groups have different seeds, in the order of the scan: all positions, a random
    choice of them, or with ``sequential`` the first ``n_groups``, each with its nearest
    neighbours, so that nothing is random. With ``oversample`` and gridsize > 1, more groups than
    positions are drawn, distinct as sets of members, with every position in at least one; the
    pools then have ``pool_size`` neighbours where that is given.

    A pool smaller than C - 1 is enlarged to it, and more groups than the scan offers are
    reduced to what it offers; either is logged as a warning.

    Raises ``ValueError`` for positions that are not (n, 2), fewer than C of them, or
    ``gridsize`` or ``n_groups`` below 1.
    """
    n = _checked_count(positions, gridsize, n_groups)
    channels = gridsize**2
    extra = oversample and channels > 1 and n_groups > n
    wanted = pool_size if extra and pool_size is not None else neighbor_count
    pool = _pool_size(n, channels, wanted)
    seeds = _draw_seeds(n, n_groups, rng, sequential, warn=not extra)
    if channels == 1:
        return seeds[:, None]
    neighbors = _nearest_neighbors(positions, seeds, pool)
    if sequential:
        chosen = neighbors[:, : channels - 1]
    else:
        chosen = _choose_columns(neighbors, channels - 1, rng)
    groups = np.column_stack([seeds, chosen])
    if extra:
        groups = _oversampled(groups, neighbors, n_groups, rng)
    return row_major_order(positions, groups)


def row_major_order(positions: FloatArray, groups: IndexArray) -> IndexArray:
    """Order the members of each group (B, g*g) as g rows by y, each sorted by x; ties by index."""
    batch, channels = groups.shape
    side = math.isqrt(channels)
    by_index = np.sort(groups, axis=1)
    by_y = np.argsort(positions[by_index, 1], axis=1, kind="stable")
    rows = np.take_along_axis(by_index, by_y, axis=1).reshape(batch, side, side)
    rows = np.sort(rows, axis=2)
    by_x = np.argsort(positions[rows, 0], axis=2, kind="stable")
    return np.take_along_axis(rows, by_x, axis=2).reshape(batch, channels)


def _checked_count(positions: FloatArray, gridsize: int, n_groups: int) -> int:
    if positions.ndim != 2 or positions.shape[1] != 2:
        raise ValueError(f"positions have shape {positions.shape}; expected (n, 2) = [x, y]")
    if gridsize < 1:
        raise ValueError(f"gridsize is {gridsize}; it must be at least 1")
    if n_groups < 1:
        raise ValueError(f"the number of groups is {n_groups}; it must be at least 1")
    n = len(positions)
    if n < gridsize**2:
        raise ValueError(
            f"gridsize {gridsize} makes groups of {gridsize**2} positions, but the scan has {n}"
        )
    return n


def _pool_size(n: int, channels: int, wanted: int) -> int:
    if wanted < channels - 1:
        _LOG.warning(
            "%d neighbours are too few for groups of %d positions: using %d",
            wanted, channels, channels - 1,
        )  # fmt: skip
    return min(max(wanted, channels - 1), n - 1)


def _draw_seeds(
    n: int, n_groups: int, rng: np.random.Generator, sequential: bool, warn: bool
) -> IndexArray:
    if n_groups > n and warn:
        _LOG.warning(
            "%d groups asked for, but the scan offers %d (one per position): using %d",
            n_groups, n, n,
        )  # fmt: skip
    if n_groups >= n or sequential:
        return np.arange(min(n_groups, n), dtype=np.int64)
    return np.sort(rng.choice(n, n_groups, replace=False)).astype(np.int64)


def _nearest_neighbors(positions: FloatArray, seeds: IndexArray, pool: int) -> IndexArray:
    """Return (B, pool) nearest neighbours of the seeds, nearest first, without the seed."""
    from scipy.spatial import cKDTree  # as slow to import as everything else here together

    tree = cKDTree(positions, balanced_tree=False, compact_nodes=False)
    _, found = tree.query(positions[seeds], k=np.arange(1, pool + 2))
    # Where coordinates repeat, the seed may come late among its twins or not at all: move it to
    # the end where it is, and cut the last column.
    is_seed = found == seeds[:, None]
    order = np.argsort(is_seed, axis=1, kind="stable")
    neighbors: IndexArray = np.take_along_axis(found, order, axis=1)[:, :pool].astype(np.int64)
    return neighbors


def _choose_columns(neighbors: IndexArray, count: int, rng: np.random.Generator) -> IndexArray:
    """Return ``count`` distinct random entries of each row."""
    if count == neighbors.shape[1]:
        return neighbors
    order = np.argsort(rng.random(neighbors.shape), axis=1)[:, :count]
    return np.take_along_axis(neighbors, order, axis=1)


def _oversampled(
    groups: IndexArray, neighbors: IndexArray, n_groups: int, rng: np.random.Generator
) -> IndexArray:
    """Add distinct groups to ``groups`` (one per seed) until there are ``n_groups``."""
    n, channels = groups.shape
    once = drawn = _distinct(groups)
    if n * channels * math.comb(neighbors.shape[1], channels - 1) <= _LISTING_LIMIT:
        drawn = _distinct(np.vstack([once, _every_group(groups[:, :1], neighbors, channels - 1)]))
    else:
        for _ in range(_DRAWING_ROUNDS):
            if len(drawn) >= n_groups:
                break
            rows = np.tile(np.arange(n), math.ceil((n_groups - len(drawn)) / n))
            others = _choose_columns(neighbors[rows], channels - 1, rng)
            drawn = _distinct(np.vstack([drawn, np.column_stack([groups[rows, :1], others])]))
    if len(drawn) < n_groups:
        _LOG.warning(
            "%d groups asked for, but the scan offers %d distinct ones: using %d",
            n_groups, len(drawn), len(drawn),
        )  # fmt: skip
        return drawn
    extra = rng.choice(np.arange(len(once), len(drawn)), n_groups - len(once), replace=False)
    return np.vstack([once, drawn[np.sort(extra)]])


def _every_group(seeds: IndexArray, neighbors: IndexArray, others: int) -> IndexArray:
    """Return all groups of each seed (n, 1) and ``others`` of its neighbours."""
    columns = np.array(list(itertools.combinations(range(neighbors.shape[1]), others)))
    repeated = np.repeat(seeds, len(columns), axis=0)
    return np.column_stack([repeated, neighbors[:, columns].reshape(-1, others)])


def _distinct(groups: IndexArray) -> IndexArray:
    """Keep the first of the groups that have the same members, in the given order."""
    # One random linear key per member set sorts much faster than rows; a collision, improbable
    # at 64 bits, would lose a group and never repeat one.
    factors = np.random.default_rng(0).integers(1, 2**63, groups.shape[1], dtype=np.uint64)
    keys = (np.sort(groups, axis=1).astype(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
    _, first = np.unique(keys, return_index=True)
    return groups[np.sort(first)]
