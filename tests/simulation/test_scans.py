"""Scan patterns: as many positions as asked, as dense as asked, patches inside the object."""

import math

import numpy as np
import pytest
from scipy.spatial import cKDTree

from ptycho.core.stitching import extract_patches
from ptycho.simulation import scans
from ptycho.simulation.settings import SCANS

N = 32


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", SCANS)
@pytest.mark.parametrize("n", [1, 50, 200])
def test_every_patch_lies_inside_the_smallest_object(name: str, n: int) -> None:
    positions = scans.make_scan(name, n, 4.3, N, _rng(), margin=0)
    assert positions.shape == (n, 2)
    assert positions.dtype == np.float64
    shape = scans.object_shape(positions, N, margin=0)
    ones = np.ones(shape, np.complex128)
    np.testing.assert_allclose(extract_patches(ones, positions, N), 1, atol=1e-12)
    if n > 1:  # and no smaller object would do
        for smaller in (ones[:-1], ones[:, :-1]):
            nudged = positions + 1e-6  # a position on a pixel does not use its neighbour
            assert np.abs(extract_patches(smaller, nudged, N)).min() < 1


@pytest.mark.parametrize("margin", [0, 5])
def test_the_margin_is_kept_on_every_side(margin: int) -> None:
    positions = scans.make_scan("random", 80, 3.0, N, _rng(), margin=margin)
    height, width = scans.object_shape(positions, N, margin)
    np.testing.assert_array_equal(positions.min(axis=0), N // 2 + margin)
    room = np.array([width, height]) - 1 - positions.max(axis=0)
    assert ((room >= N // 2 + margin - 1) & (room <= N // 2 + margin + 1)).all()


@pytest.mark.parametrize("name", SCANS)
def test_patterns_are_as_dense_as_asked(name: str) -> None:
    positions = scans.make_scan(name, 900, 5.0, N, _rng())
    centre = (positions.max(axis=0) + positions.min(axis=0)) / 2
    near = np.abs(positions - centre).max(axis=1) < 40
    assert near.sum() == pytest.approx(80 * 80 / 25, rel=0.12)


@pytest.mark.parametrize("name", SCANS)
def test_patterns_follow_their_seed(name: str) -> None:
    first, again, other = (scans.make_scan(name, 60, 5.0, N, _rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    random = name in ("jittered_raster", "random")
    assert np.array_equal(first, other) is not random


def test_a_raster_runs_along_x() -> None:
    positions = scans.raster(7, 2.5)
    expected = [[0, 0], [2.5, 0], [5, 0], [0, 2.5], [2.5, 2.5], [5, 2.5], [0, 5]]
    np.testing.assert_array_equal(positions, expected)


def test_jitter_stays_within_its_bound_and_fills_it() -> None:
    moved = scans.jittered_raster(2500, 4.0, _rng(), jitter=0.25) - scans.raster(2500, 4.0)
    assert np.abs(moved).max() <= 1.0
    assert moved.std() == pytest.approx(2.0 / math.sqrt(12), rel=0.05)


def test_the_spiral_has_no_holes_and_no_clumps() -> None:
    positions = scans.fermat_spiral(400, 5.0)
    nearest = cKDTree(positions).query(positions, k=2)[0][:, 1]
    assert nearest.min() > 4.3
    assert nearest.max() < 5.1


def test_bad_requests_name_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="scan 'zigzag' is unknown; allowed: raster, jittered"):
        scans.make_scan("zigzag", 10, 5.0, N, _rng())
    with pytest.raises(ValueError, match="number of scan positions is 0"):
        scans.make_scan("random", 0, 5.0, N, _rng())
    with pytest.raises(ValueError, match="scan step is -1"):
        scans.make_scan("raster", 10, -1, N, _rng())
