"""Units and scales: counts and amplitudes, normalisation, intensity scale, probe gauge.

The networks work on normalised amplitude ``X = factor * sqrt(counts)``; the factor makes the
mean energy of a pattern (N/2)**2 and is computed once, from the training data, and stored with
the model so that any subset is scaled like the whole.
"""

from __future__ import annotations

import math
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Domain = Literal["amplitude", "counts"]

#: Added to predicted intensity in normalised units: a dark floor that keeps the square root
#: differentiable and the Poisson rate positive.
INTENSITY_FLOOR = 1e-6

#: Pixels that are made double at a time, and multiplied at a time.
_BLOCK_PIXELS, _PRODUCT = 1 << 17, 1 << 13


def resolve_domain(dtype: np.dtype[Any], declared: str = "auto") -> Domain:
    """Return the measurement domain: as declared, else counts for integers, else amplitude."""
    if declared == "auto":
        return "counts" if np.issubdtype(dtype, np.integer) else "amplitude"
    if declared not in ("amplitude", "counts"):
        raise ValueError(
            f"measurement domain is {declared!r}; allowed: 'auto', 'amplitude', 'counts'"
        )
    return declared  # type: ignore[return-value]


def to_amplitude(diffraction: NDArray[Any], domain: Domain) -> NDArray[np.float32]:
    """Return diffraction amplitude, float32, same shape; the only place that takes the root."""
    if domain == "counts":
        # Single precision keeps NumPy from half precision for 8-bit counts and from a double copy
        # of the stack for 32-bit ones; np.sqrt(dtype=...) would cast in smaller pieces, slower.
        amplitude = diffraction.astype(np.float32)
        return np.sqrt(amplitude, out=amplitude)
    return diffraction.astype(np.float32, copy=False)


class Amplitudes(Protocol):
    """Amplitudes (n, N, N) of which slices can be taken, an array for example."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, (n, N, N)."""
        ...

    def __getitem__(self, part: slice, /) -> NDArray[Any]:
        """Return some of the patterns, (k, N, N)."""
        ...


def normalisation_factor(amplitude: Amplitudes) -> float:
    """Return ``sqrt((N/2)**2 / mean_i sum A_i**2)`` for amplitudes (n, N, N).

    Bad pixels have no amplitude and so no part in the energy. Raises ``ValueError`` if all
    patterns are empty.
    """
    n, N = amplitude.shape[0], amplitude.shape[-1]
    # Some patterns at a time: their double-precision copy stays in the processor's cache.
    # A small scan is to take little memory too; powers of two keep the products' bounds in place.
    pixels_at_once = _BLOCK_PIXELS if n * N**2 >= 16 * _BLOCK_PIXELS else _BLOCK_PIXELS >> 3
    count = min(n, max(1, pixels_at_once // N**2))
    block = np.empty((count, N, N))
    energies: list[float] = []
    for start in range(0, n, count):
        part = amplitude[start : start + count]
        np.copyto(block[: len(part)], part)
        pixels = block[: len(part)].reshape(-1)
        # Longer products would be shared among threads, which costs more than it saves.
        pieces = (pixels[i : i + _PRODUCT] for i in range(0, len(pixels), _PRODUCT))
        energies += [float(np.vdot(piece, piece)) for piece in pieces]
    energy = math.fsum(energies) / n
    if not energy > 0:
        raise ValueError("every diffraction pattern is empty (all zero): nothing to normalise")
    return float(np.float32(N / 2 / math.sqrt(energy)))


def intensity_scale(nphotons: float, N: int) -> float:
    """Return ``sqrt(nphotons) / (N/2)``: normalised amplitude times it is sqrt(photons)."""
    return math.sqrt(nphotons) / (N / 2)


def normalise_probe(probe: NDArray[Any], probe_scale: float) -> NDArray[np.complex64]:
    """Return the probe in the model's gauge, complex64 (modes, N, N).

    The gauge: a unit object gives patterns of energy ``(8 / probe_scale)**2 * (N/2)**2`` summed
    over incoherent modes. At the default ``probe_scale=4`` the data's energy is met by an object
    amplitude of 1/2, the middle of the sigmoid's range.

    Raises ``ValueError`` for a probe that is not (N, N) or (modes, N, N), not finite, or empty.
    """
    modes = np.asarray(probe)
    if modes.ndim == 2:
        modes = modes[None]
    if modes.ndim != 3 or modes.shape[-1] != modes.shape[-2] or 0 in modes.shape:
        raise ValueError(f"probe has shape {np.shape(probe)}; expected (N, N) or (modes, N, N)")
    energy = float(np.sum(np.abs(modes.astype(np.complex128)) ** 2))
    if not math.isfinite(energy):
        raise ValueError("probe contains NaN or infinity: check probeGuess")
    if energy == 0:
        raise ValueError("probe is empty (all zero): check probeGuess")
    gain = (8.0 / probe_scale) * (modes.shape[-1] / 2) / math.sqrt(energy)
    normalised: NDArray[np.complex64] = (modes.astype(np.complex128) * gain).astype(np.complex64)
    return normalised
