"""Seeded order of an epoch and the validation split, the same in both backends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

IndexArray = NDArray[np.int64]


def _generator(seed: int, purpose: int, step: int = 0) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, purpose, step]))


def grouping_generator(seed: int) -> np.random.Generator:
    """Return the generator with which groups are drawn from a scan."""
    return _generator(seed, 0)


def split_indices(n: int, fraction: float, seed: int) -> tuple[IndexArray, IndexArray]:
    """Split ``range(n)`` into training and validation indices, each sorted.

    ``round(n * fraction)`` indices, at most n - 1, are drawn over the whole range, so the
    validation set is spread over the scan.
    """
    n_validation = min(round(n * fraction), n - 1)
    order = _generator(seed, 1).permutation(n).astype(np.int64)
    return np.sort(order[n_validation:]), np.sort(order[:n_validation])


def epoch_order(n: int, seed: int, epoch: int) -> IndexArray:
    """Return the order in which ``n`` training groups are visited in ``epoch`` (from 0)."""
    return _generator(seed, 2, epoch).permutation(n).astype(np.int64)


def batches(order: IndexArray, batch_size: int) -> list[IndexArray]:
    """Cut an epoch's order into batches; the last may be smaller."""
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
