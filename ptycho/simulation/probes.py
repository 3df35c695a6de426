"""Probes: illumination at the sample, complex128 (N, N) of energy ``sum |P|**2 = 1``.

Lengths are in object pixels from the middle pixel (N/2, N/2); a detector pixel is one frequency
bin, so a wave with phase ``2*pi*q*x/N`` along x lands q detector pixels from the centre. A curved
wavefront of phase ``pi*m*r**2/N`` sends what is at radius r to detector radius ``m*r``: m is the
magnification of the in-line hologram that each pattern then is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import eval_hermite

from ptycho.simulation.settings import PROBES, ProbeName

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


def _check_side(N: int) -> None:
    if N < 8 or N % 2:
        raise ValueError(f"N is {N}; a probe needs an even side of at least 8 pixels")


def _axis(N: int) -> FloatArray:
    return np.arange(N, dtype=np.float64) - N // 2


def _radius(N: int) -> FloatArray:
    axis = _axis(N)
    return np.hypot(axis[:, None], axis[None, :])


def _soft_disc(radius: FloatArray, edge: float, softness: float) -> FloatArray:
    """Return 1 inside ``edge``, 0 outside, with a logistic edge of scale ``softness``."""
    return 1 / (1 + np.exp(np.clip((radius - edge) / softness, -500, 500)))


def _unit_energy(probe: NDArray[Any]) -> ComplexArray:
    return np.asarray(probe, np.complex128) / math.sqrt(float(np.sum(np.abs(probe) ** 2)))


def gaussian(N: int, *, fwhm: float | None = None) -> ComplexArray:
    """Return a flat-phase Gaussian probe; ``fwhm`` of the intensity in pixels, default N/5."""
    _check_side(N)
    width = N / 5 if fwhm is None else fwhm
    return _unit_energy(np.exp(-2 * math.log(2) * (_radius(N) / width) ** 2))


def disc(N: int, *, diameter: float | None = None, softness: float = 1.0) -> ComplexArray:
    """Return a flat-phase disc (a pinhole in contact); default diameter 13/32 N."""
    _check_side(N)
    across = 13 / 32 * N if diameter is None else diameter
    return _unit_energy(_soft_disc(_radius(N), across / 2, softness))


def defocused_disc(
    N: int,
    *,
    diameter: float | None = None,
    magnification: float = 2.0,
    softness: float | None = None,
) -> ComplexArray:
    """Return a disc with the spherical phase ``pi*magnification*r**2/N`` of a defocused beam.

    The disc fills ``magnification * diameter`` detector pixels, to be kept below N: a steeper
    wavefront is not sampled. Default diameter 13/32 N.
    """
    _check_side(N)
    across = 13 / 32 * N if diameter is None else diameter
    if magnification * across > N:
        raise ValueError(
            f"a disc of {across:g} pixels magnified {magnification:g} times overfills the "
            f"{N}-pixel detector; lower the diameter or the magnification"
        )
    radius = _radius(N)
    pupil = _soft_disc(radius, across / 2, 0.019 * N if softness is None else softness)
    return _unit_energy(pupil * np.exp(1j * math.pi * magnification / N * radius**2))


def zone_plate(
    N: int,
    *,
    diameter: float | None = None,
    pupil_diameter: float | None = None,
    central_stop: float = 0.2,
    softness: float = 1.0,
) -> ComplexArray:
    """Return the defocused beam of a zone plate with a central stop.

    The pupil, an annulus on the detector of outer ``pupil_diameter`` (detector pixels, default
    13/16 N) whose inner part up to ``central_stop`` of it is dark, carries the quadratic phase of
    a defocus that spreads the beam to about ``diameter`` object pixels (default 13/32 N).
    """
    _check_side(N)
    across = 13 / 32 * N if diameter is None else diameter
    opening = 13 / 16 * N if pupil_diameter is None else pupil_diameter
    if not 0 <= central_stop < 1:
        raise ValueError(f"central_stop is {central_stop}; expected a fraction in [0, 1)")
    frequency = _radius(N)
    pupil = _soft_disc(frequency, opening / 2, softness)
    if central_stop > 0:
        pupil *= 1 - _soft_disc(frequency, central_stop * opening / 2, softness)
    wave = pupil * np.exp(-1j * math.pi * across / opening / N * frequency**2)
    return _unit_energy(np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(wave), norm="ortho")))


_BUILDERS: dict[ProbeName, Callable[[int], ComplexArray]] = {
    "gaussian": gaussian,
    "disc": disc,
    "defocused_disc": defocused_disc,
    "zone_plate": zone_plate,
}


def make_probe(name: str, N: int) -> ComplexArray:
    """Return the probe ``name`` with its default shape; ``ValueError`` names the allowed ones."""
    if name not in PROBES:
        raise ValueError(f"probe {name!r} is unknown; allowed: {', '.join(PROBES)}")
    return _BUILDERS[cast(ProbeName, name)](N)


def incoherent_modes(probe: NDArray[Any], modes: int, *, decay: float = 0.4) -> ComplexArray:
    """Return ``modes`` mutually orthogonal modes (M, N, N) of a partially coherent beam.

    The probe is multiplied by Hermite polynomials scaled to its own width (Gauss-Schell modes of
    a source blurred in x and y), orthogonalised in order, and given energies proportional to
    ``decay**m``; the total energy is 1 and mode 0 is the probe's own shape.
    """
    base = np.asarray(probe, np.complex128)
    if base.ndim != 2 or base.shape[0] != base.shape[1]:
        raise ValueError(f"probe has shape {base.shape}; expected (N, N)")
    if modes < 1:
        raise ValueError(f"modes is {modes}; expected at least 1")
    orders = sorted(
        ((i, j) for i in range(modes) for j in range(modes)), key=lambda ij: (sum(ij), ij)
    )
    axis = _axis(base.shape[0])
    density = np.abs(base) ** 2
    spread = math.sqrt(float((density.sum(axis=0) * axis**2).sum() / density.sum()))
    family = [
        base * eval_hermite(i, axis / spread)[:, None] * eval_hermite(j, axis / spread)[None, :]
        for i, j in orders[:modes]
    ]
    basis, _ = np.linalg.qr(np.stack([member.ravel() for member in family], axis=1))
    weights = decay ** np.arange(modes)
    weights = np.sqrt(weights / weights.sum())
    stack = (basis * weights).T.reshape(modes, *base.shape)
    phase = np.vdot(stack[0], base)
    return stack * (phase / abs(phase))
