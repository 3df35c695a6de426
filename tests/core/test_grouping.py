"""Groups: neighbours of their seed, distinct, in row-major order, as many as the scan offers."""

from __future__ import annotations

import itertools
import logging
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from ptycho.core.grouping import draw_groups, row_major_order

Positions = NDArray[np.float64]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def scattered(n: int, seed: int = 0) -> Positions:
    return rng(seed).uniform(0, 100, (n, 2))


def raster(rows: int, columns: int, step: float = 5.0) -> Positions:
    y, x = np.mgrid[:rows, :columns] * step
    return np.column_stack([x.ravel(), y.ravel()])


@st.composite
def positions_with_twins(draw: st.DrawFn) -> Positions:
    n = draw(st.integers(9, 24))
    coordinates = st.integers(0, 3) if draw(st.booleans()) else st.floats(-50, 50, width=16)
    return draw(hnp.arrays(np.float64, (n, 2), elements=coordinates))


@given(positions_with_twins(), st.integers(1, 3), st.integers(1, 12), st.booleans(), st.integers())
def test_groups_are_distinct_neighbours_of_their_seed(
    positions: Positions, gridsize: int, neighbors: int, sequential: bool, seed: int
) -> None:
    n, channels = len(positions), gridsize**2
    groups = draw_groups(
        positions, gridsize, n, rng(seed % 2**32), neighbor_count=neighbors, sequential=sequential
    )
    assert groups.shape == (n, channels)
    assert groups.dtype == np.int64
    assert all(len(set(group)) == channels for group in groups.tolist())
    assert all(index in group for index, group in enumerate(groups.tolist()))
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    reach = np.sort(distance, axis=1)[:, min(max(neighbors, channels - 1), n - 1)]
    if channels > 1:
        assert (np.take_along_axis(distance, groups, axis=1).max(axis=1) <= reach + 1e-9).all()


@given(positions_with_twins(), st.integers(1, 3), st.integers(0, 2**31))
def test_members_stand_in_rows_from_top_left_to_bottom_right(
    positions: Positions, gridsize: int, seed: int
) -> None:
    groups = draw_groups(positions, gridsize, len(positions), rng(seed), neighbor_count=9)
    for group in groups:
        rows = group.reshape(gridsize, gridsize)
        for above, below in itertools.pairwise(rows):
            assert positions[above, 1].max() <= positions[below, 1].min()
        for row in rows:
            by_x_then_index = sorted(row, key=lambda index: (positions[index, 0], index))
            assert row.tolist() == by_x_then_index


def test_a_square_on_a_raster_is_read_like_a_page() -> None:
    positions = raster(2, 2)[[3, 0, 2, 1]]
    groups = draw_groups(positions, 2, 4, rng())
    np.testing.assert_array_equal(groups, [[1, 3, 2, 0]] * 4)


def test_order_ties_go_by_index() -> None:
    same = np.zeros((9, 2))
    np.testing.assert_array_equal(
        row_major_order(same, np.array([[8, 1, 5, 3], [2, 0, 7, 4]])), [[1, 3, 5, 8], [0, 2, 4, 7]]
    )


def test_all_positions_are_seeds_in_order_and_a_part_of_them_is_sorted() -> None:
    positions = scattered(40)
    np.testing.assert_array_equal(draw_groups(positions, 1, 40, rng())[:, 0], np.arange(40))
    part = draw_groups(positions, 1, 12, rng(3))[:, 0]
    assert len(set(part.tolist())) == 12
    assert (np.diff(part) > 0).all()
    assert part.tolist() != list(range(12))
    assert draw_groups(positions, 1, 12, rng(4))[:, 0].tolist() != part.tolist()


def test_sequential_takes_the_first_positions_and_nothing_random() -> None:
    positions = scattered(40)
    np.testing.assert_array_equal(
        draw_groups(positions, 1, 7, rng(), sequential=True)[:, 0], np.arange(7)
    )
    first = draw_groups(positions, 2, 7, rng(1), neighbor_count=9, sequential=True)
    second = draw_groups(positions, 2, 7, rng(2), neighbor_count=9, sequential=True)
    np.testing.assert_array_equal(first, second)
    nearest = np.argsort(np.linalg.norm(positions - positions[5], axis=1))[:4]
    assert set(first[5].tolist()) == set(nearest.tolist())


def test_neighbours_are_drawn_from_the_whole_pool() -> None:
    positions = scattered(30)
    members: set[int] = set()
    for seed in range(40):
        groups = draw_groups(positions, 2, 30, rng(seed), neighbor_count=7)
        members |= set(groups[4].tolist())
    nearest = np.argsort(np.linalg.norm(positions - positions[4], axis=1))[:8]
    assert members == set(nearest.tolist())


def test_the_pool_size_is_for_oversampling_alone() -> None:
    positions = scattered(30)
    plain = draw_groups(positions, 2, 30, rng(1), neighbor_count=3)
    for oversample in (False, True):
        groups = draw_groups(
            positions, 2, 30, rng(1), neighbor_count=3, pool_size=9, oversample=oversample
        )
        np.testing.assert_array_equal(groups, plain)
    more = draw_groups(positions, 2, 90, rng(1), neighbor_count=3, pool_size=9, oversample=True)
    sets = member_sets(more)
    assert set(sets) <= reachable(positions, 4, 9)
    assert not set(sets) <= reachable(positions, 4, 5)


def test_too_few_neighbours_are_raised_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    groups = draw_groups(scattered(30), 3, 30, rng(), neighbor_count=7)
    assert groups.shape == (30, 9)
    assert "7 neighbours are too few for groups of 9 positions: using 8" in caplog.text


def test_gridsize_1_needs_no_neighbours(caplog: pytest.LogCaptureFixture) -> None:
    assert draw_groups(scattered(1), 1, 1, rng(), neighbor_count=0).tolist() == [[0]]
    assert not caplog.records


@pytest.mark.parametrize("gridsize", [1, 2])
@pytest.mark.parametrize("sequential", [False, True])
def test_more_groups_than_positions_are_reduced_with_a_warning(
    gridsize: int, sequential: bool, caplog: pytest.LogCaptureFixture
) -> None:
    groups = draw_groups(scattered(20), gridsize, 512, rng(), sequential=sequential)
    assert len(groups) == 20
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "512 groups asked for, but the scan offers 20" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((3, 2)), 2, 1), "groups of 4 positions, but the scan has 3"),
        ((np.zeros((3, 3)), 1, 1), r"positions have shape \(3, 3\)"),
        ((np.zeros(4), 1, 1), r"positions have shape \(4,\)"),
        ((np.zeros((3, 2)), 0, 1), "gridsize is 0"),
        ((np.zeros((3, 2)), 1, 0), "number of groups is 0"),
    ],
)
def test_impossible_groups_are_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        draw_groups(*arguments, rng())


# --------------------------------------------------------------------------- oversampling


def reachable(positions: Positions, channels: int, pool: int) -> set[frozenset[int]]:
    """All member sets: a seed and C - 1 of its ``pool`` nearest neighbours."""
    found = set()
    for seed, position in enumerate(positions):
        distance = np.linalg.norm(positions - position, axis=1)
        distance[seed] = -1
        neighbors = np.argsort(distance)[1 : pool + 1].tolist()
        for others in itertools.combinations(neighbors, channels - 1):
            found.add(frozenset([seed, *others]))
    return found


def member_sets(groups: NDArray[np.int64]) -> list[frozenset[int]]:
    return [frozenset(group) for group in groups.tolist()]


@pytest.mark.parametrize("limit", [4_000_000, 0])
@pytest.mark.parametrize("wanted", [21, 60])
def test_oversampling_gives_distinct_reachable_groups_that_cover_the_scan(
    wanted: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ptycho.core.grouping._LISTING_LIMIT", limit)  # list, or draw
    positions = scattered(20)
    groups = draw_groups(positions, 2, wanted, rng(5), neighbor_count=6, oversample=True)
    sets = member_sets(groups)
    assert len(sets) == len(set(sets)) == wanted
    assert set(sets) <= reachable(positions, 4, 6)
    assert set(groups.ravel().tolist()) == set(range(20))
    again = draw_groups(positions, 2, wanted, rng(5), neighbor_count=6, oversample=True)
    np.testing.assert_array_equal(groups, again)
    other = draw_groups(positions, 2, wanted, rng(6), neighbor_count=6, oversample=True)
    assert set(member_sets(other)) != set(sets)


def test_oversampling_ends_at_the_number_of_distinct_groups(
    caplog: pytest.LogCaptureFixture,
) -> None:
    positions = scattered(15)
    offered = reachable(positions, 4, 5)
    groups = draw_groups(positions, 2, 10_000, rng(), neighbor_count=5, oversample=True)
    assert set(member_sets(groups)) == offered
    assert len(groups) == len(offered)
    assert f"10000 groups asked for, but the scan offers {len(offered)} distinct" in caplog.text


def test_extra_groups_come_from_the_whole_scan() -> None:
    positions = raster(10, 10)
    groups = draw_groups(positions, 2, 400, rng(), neighbor_count=8, oversample=True)
    counts = np.bincount(groups[100:].ravel(), minlength=100)
    assert (counts[:50].sum(), counts[50:].sum()) == pytest.approx((600, 600), rel=0.2)


def test_oversampling_changes_nothing_below_the_number_of_positions() -> None:
    plain = draw_groups(scattered(20), 2, 20, rng(2))
    np.testing.assert_array_equal(draw_groups(scattered(20), 2, 20, rng(2), oversample=True), plain)


def test_gridsize_1_cannot_be_oversampled(caplog: pytest.LogCaptureFixture) -> None:
    assert len(draw_groups(scattered(20), 1, 50, rng(), oversample=True)) == 20
    assert "scan offers 20" in caplog.text


def test_identical_positions_make_groups() -> None:
    groups = draw_groups(np.ones((50, 2)), 3, 50, rng(), neighbor_count=9)
    assert all(len(set(group)) == 9 for group in groups.tolist())
    assert all(index in group for index, group in enumerate(groups.tolist()))


def test_a_large_scan_is_grouped_at_once() -> None:
    positions = scattered(26_000)
    start = time.process_time()
    groups = draw_groups(positions, 2, 26_000, rng())
    assert groups.shape == (26_000, 4)
    # 0.06 s on one core; a loop over the positions takes seconds.
    assert time.process_time() - start < 0.5
