"""The validation split and the order of an epoch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho.core.sampling import batches, epoch_order, grouping_generator, split_indices


@given(st.integers(1, 300), st.floats(0, 1), st.integers(0, 2**32))
def test_the_split_is_a_partition_with_something_to_train_on(
    n: int, fraction: float, seed: int
) -> None:
    training, validation = split_indices(n, fraction, seed)
    assert sorted([*training, *validation]) == list(range(n))
    assert (np.diff(training) > 0).all()
    assert (np.diff(validation) > 0).all()
    assert len(training) >= 1
    assert len(validation) == min(n - 1, round(n * fraction))


def test_the_validation_set_is_spread_over_the_scan() -> None:
    _, validation = split_indices(1000, 0.1, 42)
    counts, _ = np.histogram(validation, bins=4, range=(0, 1000))
    assert counts.min() >= 12


def test_no_fraction_means_no_validation() -> None:
    training, validation = split_indices(7, 0.0, 1)
    assert training.tolist() == list(range(7))
    assert validation.tolist() == []


@given(st.integers(1, 200), st.integers(0, 2**40), st.integers(0, 50))
def test_an_epoch_visits_every_group_once(n: int, seed: int, epoch: int) -> None:
    order = epoch_order(n, seed, epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))
    np.testing.assert_array_equal(order, epoch_order(n, seed, epoch))


def test_epochs_seeds_and_purposes_have_streams_of_their_own() -> None:
    n = 100
    drawn = [
        epoch_order(n, 1, 0),
        epoch_order(n, 1, 1),
        epoch_order(n, 2, 0),
        np.concatenate(split_indices(n, 0.5, 1)),
        np.concatenate(split_indices(n, 0.5, 2)),
        grouping_generator(1).permutation(n),
        grouping_generator(2).permutation(n),
    ]
    assert len({tuple(order.tolist()) for order in drawn}) == len(drawn)


def test_the_streams_never_change() -> None:
    # A training can be repeated from its seed only while these stay as they are.
    assert epoch_order(8, 42, 3).tolist() == [2, 3, 4, 1, 0, 7, 6, 5]
    assert split_indices(20, 0.2, 42)[1].tolist() == [4, 8, 16, 19]
    assert grouping_generator(42).integers(0, 100, 4).tolist() == [8, 77, 65, 43]


@pytest.mark.parametrize(("n", "sizes"), [(10, [4, 4, 2]), (8, [4, 4]), (3, [3]), (0, [])])
def test_batches_cut_the_order_and_keep_the_rest(n: int, sizes: list[int]) -> None:
    order = epoch_order(n, 0, 0)
    cut = batches(order, 4)
    assert [len(batch) for batch in cut] == sizes
    assert [index for batch in cut for index in batch.tolist()] == order.tolist()
