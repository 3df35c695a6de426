"""Probes: unit energy, the optics they claim, orthogonal modes."""

import numpy as np
import pytest

from ptycho.core.forward import diffraction_amplitude
from ptycho.simulation import probes
from ptycho.simulation.settings import PROBES

N = 64


def _middle(image: np.ndarray) -> np.ndarray:
    """Return the centroid [y, x] from the middle pixel."""
    axis = np.arange(N) - N // 2
    return np.array([image.sum(axis=1) @ axis, image.sum(axis=0) @ axis]) / image.sum()


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("side", [32, 64])
def test_probes_have_unit_energy_and_sit_on_the_middle_pixel(name: str, side: int) -> None:
    probe = probes.make_probe(name, side)
    assert probe.shape == (side, side)
    assert probe.dtype == np.complex128
    intensity = np.abs(probe) ** 2
    assert intensity.sum() == pytest.approx(1)
    # Symmetric about N/2: equal under reversal of the pixels 1 ... N-1.
    np.testing.assert_allclose(intensity[1:, 1:], intensity[:0:-1, :0:-1], atol=1e-12)
    # Confined enough for a decoder that fills the central N/2 square.
    quarter = side // 4
    assert intensity[quarter:-quarter, quarter:-quarter].sum() > 0.97


@pytest.mark.parametrize("build", [probes.defocused_disc, probes.zone_plate])
@pytest.mark.parametrize("offset", [(7, 0), (0, -8), (-6, 6)])
def test_defocus_makes_an_upright_hologram_magnified_twice(
    build: probes.Callable[[int], np.ndarray], offset: tuple[int, int]
) -> None:
    y, x = np.mgrid[:N, :N] - N // 2
    hole = np.exp(-((y - offset[0]) ** 2 + (x - offset[1]) ** 2) / (2 * 1.5**2))
    pattern = diffraction_amplitude(build(N) * hole) ** 2
    np.testing.assert_allclose(_middle(pattern), 2 * np.array(offset), atol=1.5)


def test_a_flat_disc_does_not_image() -> None:
    y, x = np.mgrid[:N, :N] - N // 2
    hole = np.exp(-((y - 7) ** 2 + x**2) / (2 * 1.5**2))
    np.testing.assert_allclose(
        _middle(diffraction_amplitude(probes.disc(N) * hole) ** 2), 0, atol=0.01
    )


def test_the_zone_plate_lights_a_ring_on_the_detector() -> None:
    pattern = diffraction_amplitude(probes.zone_plate(N, pupil_diameter=48, central_stop=0.5)) ** 2
    y, x = np.mgrid[:N, :N] - N // 2
    radius = np.hypot(y, x)
    ring = pattern[(radius > 14) & (radius < 22)].mean()
    assert pattern[radius < 9].mean() < 0.02 * ring
    assert pattern[radius > 28].mean() < 0.02 * ring
    assert pattern[radius < 9].mean() < pattern[radius < 13].mean()


def test_the_gaussians_full_width_at_half_maximum() -> None:
    intensity = np.abs(probes.gaussian(N, fwhm=16)) ** 2
    middle = intensity[N // 2, N // 2]
    assert intensity[N // 2, N // 2 + 8] == pytest.approx(middle / 2)


@pytest.mark.parametrize("name", ["gaussian", "zone_plate"])
def test_modes_are_orthogonal_with_falling_energy(name: str) -> None:
    base = probes.make_probe(name, N)
    modes = probes.incoherent_modes(base, 4, decay=0.5)
    assert modes.shape == (4, N, N)
    overlap = modes.reshape(4, -1).conj() @ modes.reshape(4, -1).T
    weights = 0.5 ** np.arange(4)
    np.testing.assert_allclose(overlap, np.diag(weights / weights.sum()), atol=1e-12)
    np.testing.assert_allclose(modes[0] / np.linalg.norm(modes[0]), base, atol=1e-12)


def test_bad_requests_name_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="probe 'lens' is unknown; allowed: gaussian, disc, defoc"):
        probes.make_probe("lens", N)
    with pytest.raises(ValueError, match="N is 63"):
        probes.gaussian(63)
    with pytest.raises(ValueError, match="overfills the 64-pixel detector"):
        probes.defocused_disc(N, diameter=40)
    with pytest.raises(ValueError, match="central_stop is 1.5"):
        probes.zone_plate(N, central_stop=1.5)
    with pytest.raises(ValueError, match="modes is 0"):
        probes.incoherent_modes(probes.disc(N), 0)
    with pytest.raises(ValueError, match=r"probe has shape \(2, 64, 64\)"):
        probes.incoherent_modes(np.ones((2, N, N)), 2)
