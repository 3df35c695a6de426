"""Units and scales in float64: amplitude, normalisation, intensity scale (architecture page 3)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]


def amplitudes(patterns: NDArray[Any], counts: bool) -> Real:
    """Return the amplitude of patterns (n, N, N) that are counts or amplitude."""
    exact = np.asarray(patterns, np.float64)
    return np.sqrt(exact) if counts else exact


def normalisation(amplitude: Real) -> float:
    """Return the factor that makes the mean energy of the patterns (n, N, N) (N/2)**2."""
    energies = [math.fsum((pattern**2).ravel()) for pattern in amplitude]
    return math.sqrt((amplitude.shape[-1] / 2) ** 2 / (math.fsum(energies) / len(energies)))


def intensity_scale(nphotons: float, N: int) -> float:
    """Return s0: normalised amplitude times it is the root of photons."""
    return 2 * math.sqrt(nphotons) / N


def grouped(amplitude: Real, groups: NDArray[np.integer], factor: float) -> Real:
    """Return normalised amplitude of groups (B, C), (B, N, N, C)."""
    return np.moveaxis(factor * amplitude[groups], 1, -1)
