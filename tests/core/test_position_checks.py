"""Positions in wrong units are found before memory is asked for."""

import logging
import tracemalloc

import numpy as np
import pytest

from ptycho.core.container import PtychoDataContainer
from ptycho.core.geometry import LARGEST_CANVAS
from ptycho.core.stitching import reassemble
from ptycho.raw_data import RawData

N = 16
GRID = np.stack(np.meshgrid(np.arange(5), np.arange(4)), axis=-1).reshape(-1, 2) * 4.0


def container(positions, gridsize=1):
    raw = RawData(
        *np.asarray(positions, float).T, None, None, np.ones((len(positions), N, N), np.float32),
        np.ones((N, N)), None,
    )  # fmt: skip
    return PtychoDataContainer.from_raw(raw, N=N, gridsize=gridsize, n_groups=None, seed=0)


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1e9, r"span 1\.6e\+10 x 1\.2e\+10 pixels.*largest is 16384.*coord_scale"),
        (1e307, r"span inf|span 1\.6e\+308.*largest is 16384"),
        (1e-8, r"span 1\.6e-07 x 1\.2e-07 pixels.*metres.*coord_scale"),
    ],
)
def test_other_units_are_refused_with_the_extent(factor, words):
    with pytest.raises(ValueError, match=words):
        container(GRID * factor)


def test_the_refusal_of_a_canvas_allocates_nothing():
    patches = np.ones((2, N, N), np.complex64)
    for far in (1e5, 1e9, 1e300, 1.7e308):
        tracemalloc.start()
        with pytest.raises(ValueError, match=f"offsets span .* largest is {LARGEST_CANVAS}"):
            reassemble(patches, np.array([[-far, 0.0], [far, 0.0]]), N)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1e6


def test_the_largest_scan_is_accepted_and_one_pixel_more_is_not():
    far = float(LARGEST_CANVAS - N)
    container([[0.0, 0.0], [far, 0.0]])
    with pytest.raises(ValueError, match="16369 x 0 pixels"):
        container([[0.0, 0.0], [far + 1, 0.0]])


def test_equal_positions_are_a_warning_and_one_position_is_none(caplog):
    with caplog.at_level(logging.WARNING):
        container([[3.0, 4.0]])
        container(GRID)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        container([[3.0, 4.0]] * 5)
    assert "all 5 scan positions are equal" in caplog.text


def test_a_group_with_a_stray_position_is_refused():
    positions = np.concatenate([GRID, [[9000.0, 3.0]]])
    container(positions)
    with pytest.raises(ValueError, match=r"form a group.*67\d\d.*4 N = 64.*stray"):
        container(positions, gridsize=2)
