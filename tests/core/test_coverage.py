"""Coverage against a count over every pixel and position, gaps of known patterns."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ptycho.core.coverage import largest_gap, measure_coverage


def _grid(columns: int, rows: int, step: float = 1.0) -> NDArray[np.float64]:
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.stack([x.ravel(), y.ravel()], axis=1) * step


@pytest.mark.parametrize("diameter", [0.4, 3.0, 11.0, 26.7])
def test_every_pixel_counts_the_positions_within_the_radius(diameter: float) -> None:
    rng = np.random.default_rng(0)
    positions = np.vstack([rng.uniform(-20, 35, (60, 2)), [[3.0, 4.0], [3.0, 4.0]]])
    found = measure_coverage(positions, diameter)
    x, y = found.origin
    height, width = found.counts.shape
    rows, columns = np.mgrid[y : y + height, x : x + width]
    squared = (columns[..., None] - positions[:, 0]) ** 2 + (rows[..., None] - positions[:, 1]) ** 2
    np.testing.assert_array_equal(found.counts, (squared <= diameter**2 / 4).sum(axis=-1))
    assert found.counts.dtype == np.int64
    # No lit pixel can lie outside the frame.
    assert positions[:, 0].min() - diameter / 2 >= x
    assert positions[:, 1].max() + diameter / 2 <= y + height - 1


def test_the_field_is_the_hull_with_its_border() -> None:
    found = measure_coverage(np.array([[2.0, 1.0], [10.0, 1.0], [2.0, 5.0]]), 4.0)
    x, y = found.origin
    inside = {(x + int(j), y + int(i)) for i, j in np.argwhere(found.field)}
    expected = {
        (column, row)
        for column in range(2, 11)
        for row in range(1, 6)
        if (column - 2) / 8 + (row - 1) / 4 <= 1
    }
    assert inside == expected


@pytest.mark.parametrize(
    "positions", [[[3.0, 4.0]], [[3.0, 4.0], [9.0, 4.0]], [[0, 0], [1, 1], [5, 5]]]
)
def test_positions_on_a_line_have_no_field_and_no_gap(positions: list[list[float]]) -> None:
    points = np.array(positions, np.float64)
    assert not measure_coverage(points, 3.0).field.any()
    assert math.isnan(largest_gap(points))


@pytest.mark.parametrize("shift", [0.0, 1e5])
def test_the_gap_of_a_raster_is_its_diagonal(shift: float) -> None:
    assert largest_gap(_grid(7, 5, 3.0) + shift) == pytest.approx(3 * math.sqrt(2))


def test_a_missing_position_leaves_a_gap_of_two_steps() -> None:
    positions = _grid(7, 5, 3.0)
    hole = np.delete(positions, 2 * 7 + 3, axis=0)
    assert largest_gap(hole) == pytest.approx(6.0)
    assert largest_gap(np.vstack([hole, hole[:3]])) == pytest.approx(6.0)  # repeats fill nothing


def test_positions_in_another_unit_are_refused_before_memory_is_taken() -> None:
    with pytest.raises(ValueError, match="must be in object pixels"):
        measure_coverage(np.array([[0.0, 0.0], [1e7, 1e7]]), 20.0)
