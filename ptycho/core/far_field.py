"""Metres and object pixels: the geometry of far-field diffraction.

A detector pixel p at distance z sees the spatial frequency p/(lambda z); N of them make the pixel
of the object plane lambda z / (N p) (Goodman, Introduction to Fourier Optics, section 4.3).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.geometry import FloatArray

__all__ = ["object_pixel", "positions_in_metres", "positions_in_pixels", "wavelength"]

#: Planck's constant times the speed of light, J m (both exact in the SI).
_HC = 6.62607015e-34 * 299792458.0


def wavelength(energy: float) -> float:
    """Return the wavelength in metres of photons of ``energy`` in joules."""
    return _HC / _positive("photon energy", energy, "J")


def object_pixel(wavelength: float, distance: float, N: int, pixel_size: float) -> float:
    """Return the side in metres of an object pixel: lambda z / (N p).

    All lengths are in metres; ``distance`` is that from object to detector, ``pixel_size`` the
    detector's. Raises ``ValueError`` naming a quantity that is not positive and finite.
    """
    return (
        _positive("wavelength", wavelength, "m")
        * _positive("detector distance", distance, "m")
        / (N * _positive("detector pixel size", pixel_size, "m"))
    )


def positions_in_pixels(metres: NDArray[Any], pixel: float, centre: float, side: int) -> FloatArray:
    """Return coordinates (n,) in object pixels, those of patch pixel N/2.

    ``metres`` are coordinates of patch centres, ``centre`` is that of the middle of the object
    array, which has ``side`` pixels of ``pixel`` metres along this axis. The middle of an array
    lies half a pixel before pixel side/2, and that of a patch before pixel N/2: the two cancel.
    """
    pixel = _positive("object pixel size", pixel, "m")
    return (np.asarray(metres, np.float64) - centre) / pixel + side / 2


def positions_in_metres(pixels: NDArray[Any], pixel: float, centre: float, side: int) -> FloatArray:
    """Return the inverse of :func:`positions_in_pixels`."""
    pixel = _positive("object pixel size", pixel, "m")
    return (np.asarray(pixels, np.float64) - side / 2) * pixel + centre


def _positive(name: str, value: float, unit: str) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"the {name} is {value} {unit}; it must be positive")
    return float(value)
