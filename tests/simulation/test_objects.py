"""Specimens: seeded, in range, of the material and structure they claim."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ptycho.simulation.objects import (
    THICKNESS,
    lines_thickness,
    make_object,
    particles_thickness,
    random_field,
    siemens_star_thickness,
    single_material,
)
from ptycho.simulation.settings import OBJECTS

SHAPE = (90, 110)


def _rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


@pytest.mark.parametrize("name", OBJECTS)
def test_specimens_are_seeded_and_in_range(name: str) -> None:
    obj = make_object(name, SHAPE, _rng(3), absorption=0.5, phase_shift=1.2)
    assert obj.shape == SHAPE
    assert obj.dtype == np.complex128
    amplitude, phase = np.abs(obj), np.angle(obj)
    assert np.exp(-0.5) - 1e-12 <= amplitude.min() < 0.85
    assert 0.9 < amplitude.max() <= 1 + 1e-12
    assert -1.2 - 1e-12 <= phase.min() < -0.4
    assert -0.2 < phase.max() <= 1e-12
    again = make_object(name, SHAPE, _rng(3), absorption=0.5, phase_shift=1.2)
    np.testing.assert_array_equal(again, obj)
    other = make_object(name, SHAPE, _rng(4), absorption=0.5, phase_shift=1.2)
    assert np.abs(other - obj).max() > 0.1


@pytest.mark.parametrize("name", THICKNESS)
def test_one_material_shows_the_same_in_amplitude_and_phase(name: str) -> None:
    obj = make_object(name, SHAPE, _rng(), absorption=0.3, phase_shift=0.9)
    np.testing.assert_allclose(np.angle(obj), 3 * np.log(np.abs(obj)), atol=1e-12)


def test_grf_has_independent_amplitude_and_phase() -> None:
    fields = [make_object("grf", (128, 128), _rng(seed)) for seed in range(8)]
    mean = np.mean([_correlation(np.abs(f), np.angle(f)) for f in fields])
    assert abs(mean) < 0.3
    assert _correlation(np.abs(fields[0]), np.angle(fields[0])) < 0.9


def test_a_random_field_is_smooth_on_the_scale_asked_for() -> None:
    def steepness(finest: float) -> float:
        field = random_field((128, 128), _rng(), finest=finest)
        return float(np.abs(np.diff(field, axis=0)).mean())

    assert steepness(16.0) < 0.7 * steepness(4.0) < 0.7 * 0.7 * steepness(1.0)


def test_transmission_of_the_full_thickness() -> None:
    through = single_material(np.array([0.0, 1.0, 2.0]), absorption=0.2, phase_shift=0.5)
    np.testing.assert_allclose(np.abs(through), np.exp([0, -0.2, -0.4]))
    np.testing.assert_allclose(np.angle(through), [0, -0.5, -1.0], atol=1e-15)


def test_the_star_has_so_many_spokes_of_equal_width() -> None:
    star = siemens_star_thickness((201, 201), _rng(), spokes=12, rings=1, gap=1, rotation=0.0)
    angle = np.arange(0, 2 * np.pi, 2 * np.pi / 720)
    circle = star[
        np.rint(100 + 60 * np.sin(angle)).astype(int), np.rint(100 + 60 * np.cos(angle)).astype(int)
    ]
    edges = np.abs(np.diff((circle > 0.5).astype(int), append=int(circle[0] > 0.5))).sum()
    assert edges == 24
    assert circle.mean() == pytest.approx(0.5, abs=0.02)
    assert star[100, 160] == 1  # a spoke along x, where the angle is 0


def test_the_stars_edges_are_anti_aliased() -> None:
    star = siemens_star_thickness((201, 201), _rng(), spokes=12, rings=1, gap=1, rotation=0.0)
    grey = (star > 0.02) & (star < 0.98)
    assert 0.02 < grey.mean() < 0.25
    # Where spokes are finer than pixels, the star is a grey disc, not a moire.
    fine = siemens_star_thickness((201, 201), _rng(), spokes=400, rings=1, gap=1, rotation=0.0)
    assert fine[80:120, 80:120].max() < 0.75


def test_the_star_is_turned_by_its_seed() -> None:
    first = siemens_star_thickness((101, 101), _rng(0))
    assert np.abs(first - siemens_star_thickness((101, 101), _rng(1))).max() > 0.5
    period = siemens_star_thickness((101, 101), _rng(0), rotation=2 * np.pi / 24)
    unturned = siemens_star_thickness((101, 101), _rng(0), rotation=0.0)
    np.testing.assert_allclose(period, unturned, atol=1e-9)


def test_a_lone_particle_is_a_sphere() -> None:
    sheet = particles_thickness((60, 60), _rng(5), radius=(9.0, 9.0), fill=0.01)
    assert sheet.max() == 1
    lit = np.argwhere(sheet > 0)
    assert np.ptp(lit, axis=0).max() <= 18
    # Mean thickness of a sphere's projection over its disc is 2/3 of that in the middle.
    assert sheet[sheet > 0].mean() == pytest.approx(2 / 3, abs=0.03)


def test_elongated_particles_are_not_round() -> None:
    sheet = particles_thickness((80, 80), _rng(1), radius=(12.0, 12.0), elongation=4.0, fill=0.01)
    second_moments = np.linalg.eigvalsh(np.cov(np.argwhere(sheet > 0).T))
    assert second_moments[1] > 1.5 * second_moments[0]


def test_particles_cover_about_what_they_should() -> None:
    sheet = particles_thickness((200, 200), _rng(), fill=0.35)
    # Randomly placed discs overlap: 1 - exp(-fill) is covered.
    assert (sheet > 0).mean() == pytest.approx(1 - np.exp(-0.35), abs=0.05)


def test_lines_are_as_wide_as_asked() -> None:
    sheet = lines_thickness((120, 120), _rng(2), density=4 / 120, widths=(5.0,))
    assert 0.05 < (sheet > 0.1).mean() < 4 * 5 * 120 * 1.5 / 120**2


def test_bad_requests_name_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="object 'stars' is unknown; allowed: siemens_star, part"):
        make_object("stars", SHAPE, _rng())
    with pytest.raises(ValueError, match=r"\(4, 90\); both sides must be at least 8"):
        make_object("grf", (4, 90), _rng())
