"""Metres to object pixels, with numbers worked out by hand."""

import numpy as np
import pytest

from ptycho.core.far_field import (
    object_pixel,
    positions_in_metres,
    positions_in_pixels,
    wavelength,
)


def test_eight_kiloelectronvolts_are_one_and_a_half_angstrom():
    # 12.398419843 keV Angstrom / 8 keV
    assert wavelength(8000 * 1.602176634e-19) == pytest.approx(1.5498024804e-10, rel=1e-9)


def test_object_pixel_is_the_resolution_of_the_detectors_edge():
    # 1.5 A, 2 m, 128 pixels of 75 um: 3e-10 / 9.6e-3 m
    assert object_pixel(1.5e-10, 2.0, 128, 75e-6) == pytest.approx(3.125e-8, rel=1e-12)


def test_the_middle_of_the_object_is_half_its_side():
    found = positions_in_pixels(np.array([3e-6, 3e-6 + 2e-8]), 1e-8, 3e-6, 15)
    np.testing.assert_allclose(found, [7.5, 9.5], atol=1e-9)
    np.testing.assert_allclose(positions_in_metres(found, 1e-8, 3e-6, 15), [3e-6, 3.02e-6])


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_what_is_not_positive_is_named(wrong):
    for name, call in {
        "photon energy": lambda: wavelength(wrong),
        "wavelength": lambda: object_pixel(wrong, 1, 8, 1),
        "detector distance": lambda: object_pixel(1, wrong, 8, 1),
        "detector pixel size": lambda: object_pixel(1, 1, 8, wrong),
        "object pixel size": lambda: positions_in_pixels(np.zeros(2), wrong, 0, 8),
    }.items():
        with pytest.raises(ValueError, match=f"{name} is .*positive"):
            call()
