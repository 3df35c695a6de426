"""Fourier ring correlation of two images, and the thresholds at which it is read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FourierRings", "fourier_ring_correlation", "half_bit_threshold"]

FloatArray = NDArray[np.float64]

#: A ring with less than this part of an image's energy, squared, holds rounding only.
_FLAT = 1e-6


@dataclass(frozen=True)
class FourierRings:
    """A Fourier ring correlation.

    ``frequency`` (k,) in cycles per pixel, from the zero frequency to Nyquist (0.5);
    ``correlation`` (k,) in [-1, 1]; ``pixels`` (k,) the number of Fourier pixels of each ring.
    """

    frequency: FloatArray
    correlation: FloatArray
    pixels: NDArray[np.int64]

    def thresholds(self) -> dict[str, FloatArray]:
        """Return the thresholds (k,) by name: one half, one seventh, half a bit per pixel."""
        fixed = {"frc50": 0.5, "frc_one_seventh": 1 / 7}
        levels = {name: np.full(len(self.pixels), level) for name, level in fixed.items()}
        return {**levels, "frc_half_bit": half_bit_threshold(self.pixels)}

    def crossing(self, threshold: float | FloatArray) -> float:
        """Return the frequency, in cycles per pixel, at which the curve first falls below.

        Linear between rings; the zero-frequency ring is not looked at. 0 if the first ring is
        below already, nan if the curve stays above up to the Nyquist frequency.
        """
        excess = self.correlation - threshold
        below = np.flatnonzero(excess[1:] < 0) + 1
        if not len(below):
            return math.nan
        k = int(below[0])
        if k == 1:
            return 0.0
        part = excess[k - 1] / (excess[k - 1] - excess[k])
        return float(self.frequency[k - 1] + part * (self.frequency[k] - self.frequency[k - 1]))


def fourier_ring_correlation(image: NDArray[Any], truth: NDArray[Any]) -> FourierRings:
    """Return the Fourier ring correlation of two aligned images (h, w), real or complex.

    Means are taken off and a Tukey window (half of each side tapered) applied. Rings are one
    frequency bin of the shorter side wide and end at the Nyquist frequency: the corners of the
    Fourier square, where rings are incomplete, are left out. The correlation is the real part
    of ``sum F1 conj(F2) / sqrt(sum |F1|**2 sum |F2|**2)``; a ring without energy counts 0.
    """
    pair = [np.asarray(v, np.complex128) for v in (image, truth)]
    if pair[0].shape != pair[1].shape or pair[0].ndim != 2:
        raise ValueError(
            f"images have shapes {pair[0].shape} and {pair[1].shape}; expected two equal (h, w)"
        )
    height, width = pair[0].shape
    from scipy.signal.windows import tukey

    window = tukey(height, 0.5)[:, None] * tukey(width, 0.5)
    first, second = (np.fft.fft2((v - v.mean()) * window) for v in pair)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    bins = min(height, width)
    ring = np.rint(radius * bins).astype(np.int64)
    count = bins // 2 + 1
    inside = ring < count

    def total(values: FloatArray) -> FloatArray:
        return np.bincount(ring[inside], values[inside], count).astype(np.float64)

    cross = total((first * np.conj(second)).real)
    energies = [total(np.abs(v) ** 2) for v in (first, second)]
    floors = [_FLAT**2 * float(np.vdot(v, v).real) * v.size for v in pair]
    lit = (energies[0] > floors[0]) & (energies[1] > floors[1])
    norm = np.sqrt(energies[0] * energies[1])
    curve = np.divide(cross, norm, out=np.zeros(count), where=lit)
    return FourierRings(
        frequency=np.arange(count) / bins,
        correlation=curve,
        pixels=np.bincount(ring[inside], minlength=count).astype(np.int64),
    )


def half_bit_threshold(pixels: NDArray[np.integer]) -> FloatArray:
    """Return the half-bit information threshold of rings of so many Fourier pixels.

    ``(0.2071 + 1.9102/sqrt(n)) / (1.2071 + 0.9102/sqrt(n))``: van Heel and Schatz, Journal of
    Structural Biology 151, 250 (2005).
    """
    root: FloatArray = np.sqrt(np.maximum(pixels.astype(np.float64), 1))
    return (0.2071 + 1.9102 / root) / (1.2071 + 0.9102 / root)
