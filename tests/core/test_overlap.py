"""Overlap: rasters and discs with known answers, groups against pixels counted one by one."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ptycho.core.grouping import draw_groups
from ptycho.core.overlap import (
    UNITS,
    area_overlap,
    effective_diameter,
    group_measures,
    intensity_overlap,
    linear_overlap,
    measure_overlap,
    neighbour_distance,
)
from ptycho.simulation import probes
from ptycho.simulation.scans import raster

FloatArray = NDArray[np.float64]


def _disc(N: int, diameter: float) -> NDArray[np.complex128]:
    y, x = np.mgrid[:N, :N] - N // 2
    return (np.hypot(x, y) <= diameter / 2).astype(np.complex128)


def _lit_by_counting(distance: float, diameter: float) -> float:
    """Return the shared part of two discs by counting points of a fine lattice."""
    t = (np.arange(800) + 0.5) / 800 - 0.5
    x, y = np.meshgrid(t * diameter, t * diameter)
    one = np.hypot(x, y) <= diameter / 2
    other = np.hypot(x - distance, y) <= diameter / 2
    return float((one & other).sum() / one.sum())


# ---------------------------------------------------------------- the probe


@pytest.mark.parametrize("diameter", [16.0, 26.0])
def test_the_effective_diameter_of_a_disc_is_its_diameter(diameter: float) -> None:
    sharp = probes.disc(64, diameter=diameter, softness=0.05)
    assert effective_diameter(sharp) == pytest.approx(diameter, rel=0.03)
    assert effective_diameter(np.stack([sharp, 2 * sharp])) == pytest.approx(
        effective_diameter(sharp)
    )


@pytest.mark.parametrize("factor", [1e-200, -3j, 1e200])
def test_the_effective_diameter_knows_no_scale(factor: complex) -> None:
    probe = probes.make_probe("zone_plate", 64)
    assert effective_diameter(factor * probe) == pytest.approx(effective_diameter(probe))


def test_the_effective_diameter_of_a_gaussian() -> None:
    # I = exp(-r^2/(2 s^2)): (sum I)^2 / sum I^2 = 4 pi s^2, so D = 4 s.
    s = 5.0
    y, x = np.mgrid[:64, :64] - 32
    assert effective_diameter(np.exp(-(x**2 + y**2) / (4 * s**2))) == pytest.approx(4 * s)


@pytest.mark.parametrize("probe", [np.zeros((8, 8)), np.full((8, 8), np.nan), np.ones(8)])
def test_a_probe_without_light_has_no_diameter(probe: FloatArray) -> None:
    with pytest.raises(ValueError, match="the probe is empty|probe has shape"):
        effective_diameter(probe)


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("distance", [0.0, 2.0, 7.5, 13.0, 19.9, 20.0, 35.0])
def test_area_overlap_is_the_lens_of_two_discs(distance: float) -> None:
    expected = _lit_by_counting(distance, 20.0)
    assert float(area_overlap(distance, 20.0)) == pytest.approx(expected, abs=2e-3)


def test_intensity_overlap_of_a_disc_is_its_area_overlap() -> None:
    shifts = np.array([[0, 0], [5, 0], [0, -9], [-12, 4], [30, 0], [0, 62], [90, 3]], np.float64)
    distance = np.hypot(*shifts.T)
    found = intensity_overlap(_disc(64, 40.0), shifts)
    np.testing.assert_allclose(found, area_overlap(distance, 40.0), atol=0.01)
    assert found[-1] == 0.0


def test_intensity_overlap_of_a_gaussian_and_of_modes() -> None:
    s = 4.0
    y, x = np.mgrid[:64, :64] - 32
    mode = np.exp(-(x**2 + (y - 3) ** 2) / (4 * s**2)) * np.exp(0.7j * x)
    shifts = np.array([[3.0, 0.0], [-4.0, 5.0], [0.0, 8.0]])
    expected = np.exp(-(shifts**2).sum(axis=1) / (4 * s**2))
    np.testing.assert_allclose(intensity_overlap(mode, shifts), expected, rtol=1e-6)
    # Modes add their intensities, whatever their phases.
    same = np.stack([0.6 * mode, 0.8 * mode.conj()])
    np.testing.assert_allclose(intensity_overlap(same, shifts), expected, rtol=1e-6)


def test_intensity_overlap_tells_x_from_y() -> None:
    bar = np.zeros((32, 32))
    bar[14:18, 6:26] = 1  # 20 wide, 4 high
    found = intensity_overlap(bar, np.array([[5.0, 0.0], [0.0, 1.0], [2.5, 0.0]]))
    np.testing.assert_allclose(found, [0.75, 0.75, 0.875], atol=1e-12)


# ---------------------------------------------------------------- whole scans


def test_overlap_of_a_raster() -> None:
    positions = raster(100, 5.0)
    assert neighbour_distance(positions) == 5
    assert linear_overlap(positions, 20.0) == pytest.approx(0.75)
    assert linear_overlap(positions, 4.0) == 0
    assert neighbour_distance(positions[:2]) == 5
    assert math.isnan(linear_overlap(positions[:1], 20.0))


def test_the_measures_of_a_raster() -> None:
    positions = raster(400, 5.0) + 40
    found = measure_overlap(positions, _disc(64, 20.0), diameter=20.0)
    assert list(found) == list(UNITS)
    assert found["positions"] == 400
    assert found["repeated_positions"] == 0
    assert (found["spacing"], found["spacing_least"], found["spacing_largest"]) == (5, 5, 5)
    assert found["linear_overlap"] == pytest.approx(0.75)
    # 18 x 18 inner positions have four neighbours at one step, 4 x 18 on the edge have three and
    # one at sqrt(2) or 2 steps, 4 in the corners two at one, one at sqrt(2), one at 2 steps.
    one, diagonal, two = (_lit_by_counting(5 * d, 20.0) for d in (1, math.sqrt(2), 2))
    edge = 72 * (3 * one + diagonal)
    corner = 4 * (2 * one + diagonal + two)
    assert found["area_overlap"] == pytest.approx((324 * 4 * one + edge + corner) / 1600, abs=1e-3)
    assert found["area_overlap_least"] == pytest.approx(one, abs=1e-3)
    assert found["field_area"] == 96 * 96
    assert found["lit_fraction"] == 1
    # Inside, a pattern every 25 pixels lights the disc's area.
    assert found["coverage_median"] == pytest.approx(np.pi * 100 / 25, abs=0.6)
    assert found["largest_gap"] == pytest.approx(5 * math.sqrt(2))
    assert all(math.isnan(v) for k, v in found.items() if "group" in k)


def test_a_sparse_scan_shows_its_holes() -> None:
    found = measure_overlap(raster(25, 10.0), _disc(32, 6.0), diameter=6.0)
    assert found["linear_overlap"] == 0
    assert found["area_overlap"] == 0
    # Of each 10 x 10 cell a disc of 29 pixels (radius 3) is lit; the hull has 41 x 41 pixels.
    half, quarter = 18, 11  # of such a disc on the edge and in the corner, axes included
    lit = 9 * 29 + 12 * half + 4 * quarter
    assert found["lit_fraction"] == pytest.approx(lit / 41**2)
    assert found["coverage_least"] == 0
    assert found["coverage_largest"] == 1


def test_one_position_two_and_a_repeated_one() -> None:
    probe = _disc(32, 8.0)
    alone = measure_overlap(np.array([[5.0, 5.0]]), probe)
    assert alone["positions"] == 1
    assert math.isnan(alone["spacing"])
    assert math.isnan(alone["coverage_mean"])
    pair = measure_overlap(np.array([[5.0, 5.0], [9.0, 5.0]]), probe, diameter=8.0)
    assert pair["spacing"] == 4
    assert pair["area_overlap"] == pytest.approx(_lit_by_counting(4, 8), abs=2e-3)
    repeated = measure_overlap(np.repeat(raster(9, 4.0), 7, axis=0), probe)
    assert repeated["repeated_positions"] == 54
    assert repeated["spacing_largest"] == 0


@pytest.mark.parametrize(
    ("positions", "diameter", "message"),
    [
        (np.zeros((0, 2)), None, "positions have shape"),
        (np.zeros((3, 3)), None, "positions have shape"),
        (np.array([[0, np.nan]]), None, "NaN or infinity"),
        (np.zeros((3, 2)), 0.0, "expected a positive number of pixels"),
        (np.zeros((3, 2)), math.inf, "expected a positive number of pixels"),
        (np.array([[0, 0], [1e9, 1e9]]), None, "must be in object pixels"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    positions: FloatArray, diameter: float | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        measure_overlap(positions, _disc(32, 8.0), diameter=diameter)


# ---------------------------------------------------------------- groups


def test_a_square_group_has_four_sides_and_two_diagonals() -> None:
    positions = raster(4, 5.0)
    found = group_measures(positions, np.array([[0, 1, 2, 3]]), _disc(64, 20.0), 20.0)
    one, diagonal = (_lit_by_counting(5 * d, 20.0) for d in (1, math.sqrt(2)))
    assert found["group_span"] == pytest.approx(5 * math.sqrt(2))
    assert found["within_group_area_overlap"] == pytest.approx(
        (4 * one + 2 * diagonal) / 6, abs=2e-3
    )
    assert found["within_group_least"] == found["within_group_area_overlap"]
    assert (found["uses_per_position"], found["unused_positions"]) == (1, 0)
    assert "between_group_overlap" not in found  # there is no other group


def test_members_used_and_unused_are_counted() -> None:
    found = group_measures(
        raster(9, 5.0), np.array([[0, 1, 3, 4], [1, 2, 4, 5]]), _disc(64, 20.0), 20.0
    )
    assert found["uses_per_position"] == pytest.approx(8 / 9)
    assert found["unused_positions"] == 3


@pytest.mark.parametrize("distance", [1.0, 8.0, 13.0, 20.0, 30.0])
def test_groups_of_one_share_a_lens(distance: float) -> None:
    positions = np.array([[0.0, 0.0], [distance, 0.0]])
    found = group_measures(positions, np.array([[0], [1]]), _disc(64, 20.0), 20.0)
    assert found["between_group_overlap"] == pytest.approx(_lit_by_counting(distance, 20), abs=0.01)


@pytest.mark.parametrize("gridsize", [2, 3])
def test_what_groups_share_agrees_with_counting_points(gridsize: int) -> None:
    rng = np.random.default_rng(3)
    positions = raster(36, 6.0) + rng.uniform(-2, 2, (36, 2))
    groups = draw_groups(positions, gridsize, 12, rng, neighbor_count=8)
    diameter = 14.0
    x, y = np.meshgrid(np.arange(-15, 50, 0.25), np.arange(-15, 50, 0.25))
    lit = [
        np.any([np.hypot(x - u, y - v) <= diameter / 2 for u, v in positions[group]], axis=0)
        for group in groups
    ]
    centres = positions[groups].mean(axis=1)
    shares = []
    for k, centre in enumerate(centres):
        distance = np.hypot(*(centres - centre).T)
        distance[k] = np.inf
        shares.append((lit[k] & lit[int(distance.argmin())]).sum() / lit[k].sum())
    found = group_measures(positions, groups, _disc(64, diameter), diameter)
    assert found["between_group_overlap"] == pytest.approx(np.mean(shares), abs=0.005)


def test_groups_at_the_same_place_share_everything() -> None:
    groups = np.array([[0, 1, 2, 3]] * 5)
    found = group_measures(raster(4, 5.0), groups, _disc(64, 20.0), 20.0)
    assert found["between_group_overlap"] == 1.0


def test_a_large_scan_is_measured_at_once() -> None:
    rng = np.random.default_rng(0)
    positions = rng.uniform(0, 400, (20_000, 2))
    groups = draw_groups(positions, 2, 20_000, rng)
    found = measure_overlap(positions, _disc(64, 26.0), groups)
    # A Poisson process of density lambda: the mean coverage is lambda times the disc's area.
    inside = found["coverage_median"]
    assert inside == pytest.approx(20_000 / 400**2 * np.pi * 13**2, rel=0.05)
    assert 0.5 < found["between_group_overlap"] < 1
