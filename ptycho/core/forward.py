"""Reference physics in float64: from an object, a probe and scan positions to photon counts.

This is what simulation uses and what both backends' single-precision physics is held against.
Formulas 5 and 6 of ``docs/architecture.md`` without the model's intensity floor: exit wave
``psi = P * patch``, diffraction ``F = FFT2(psi)`` orthonormal with zero frequency at pixel
(N/2, N/2), intensity ``sum_m |F_m|**2`` over the incoherent probe modes. The transform is
orthonormal, so a pattern's energy is the exit wave's energy (Parseval) and a probe in
sqrt(photons) gives intensities in photons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.stitching import extract_patches

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

#: Bytes of intermediate waves that one batch of positions may take.
_BATCH_BYTES = 32 * 2**20


def diffraction_amplitude(exit_waves: NDArray[Any]) -> FloatArray:
    """Return the far-field amplitude ``|F|`` of exit waves (..., N, N), float64, same shape.

    The Fourier transform is orthonormal over the last two axes; zero frequency is at
    (N/2, N/2). Amplitudes are in the square root of the exit wave's energy unit.
    """
    waves = np.asarray(exit_waves, np.complex128)
    if waves.ndim < 2 or waves.shape[-1] != waves.shape[-2]:
        raise ValueError(f"exit waves have shape {waves.shape}; expected (..., N, N)")
    spectrum = np.fft.fft2(waves, norm="ortho")
    return np.abs(np.fft.fftshift(spectrum, axes=(-2, -1)))


def probe_modes(probe: NDArray[Any]) -> ComplexArray:
    """Return the probe as complex128 modes (M, N, N); ``ValueError`` for any other shape."""
    modes = np.asarray(probe, np.complex128)
    if modes.ndim == 2:
        modes = modes[None]
    if modes.ndim != 3 or modes.shape[-1] != modes.shape[-2] or 0 in modes.shape:
        raise ValueError(f"probe has shape {np.shape(probe)}; expected (N, N) or (modes, N, N)")
    return modes


def check_positions(positions: NDArray[Any]) -> FloatArray:
    """Return positions as float64 (n, 2) = [x, y]; ``ValueError`` if they are no positions."""
    checked = np.asarray(positions, np.float64)
    if checked.ndim != 2 or checked.shape[1] != 2 or not len(checked):
        raise ValueError(f"positions have shape {checked.shape}; expected (n, 2) = [x, y], n > 0")
    if not np.isfinite(checked).all():
        raise ValueError("positions contain NaN or infinity")
    return checked


def _batches(n: int, modes: ComplexArray) -> Iterator[slice]:
    # Patches, waves and spectra of one batch: about three complex128 arrays per mode.
    size = max(1, _BATCH_BYTES // (48 * modes.size))
    yield from (slice(start, min(start + size, n)) for start in range(0, n, size))


def intensity_batches(
    obj: NDArray[Any], positions: NDArray[Any], probe: NDArray[Any]
) -> Iterator[tuple[slice, FloatArray]]:
    """Yield (positions slice, intensities (k, N, N)) over the scan, a bounded batch at a time.

    Arguments are those of :func:`scan_intensity`.
    """
    modes, centres = probe_modes(probe), check_positions(positions)
    exact = np.asarray(obj, np.complex128)
    for part in _batches(len(centres), modes):
        patches = extract_patches(exact, centres[part], modes.shape[-1])
        intensity = np.zeros(patches.shape, np.float64)
        for mode in modes:
            intensity += diffraction_amplitude(patches * mode) ** 2
        yield part, intensity


def scan_intensity(obj: NDArray[Any], positions: NDArray[Any], probe: NDArray[Any]) -> FloatArray:
    """Return the diffraction intensities of a scan, (n, N, N) float64, noise-free.

    ``obj`` is the complex object (H, W), ``positions`` (n, 2) = [x, y] in object pixels and
    ``probe`` (N, N), or (M, N, N) for modes whose intensities add. Patches between pixels are
    bilinear. Intensities are in the unit of ``|probe * obj|**2``.
    """
    n, N = len(check_positions(positions)), probe_modes(probe).shape[-1]
    intensities = np.empty((n, N, N), np.float64)
    for part, intensity in intensity_batches(obj, positions, probe):
        intensities[part] = intensity
    return intensities


def pattern_energies(obj: NDArray[Any], positions: NDArray[Any], probe: NDArray[Any]) -> FloatArray:
    """Return the energy of every diffraction pattern, (n,) float64.

    By Parseval it is ``sum_m sum |P_m * patch|**2``, so nothing is transformed.
    """
    modes, centres = probe_modes(probe), check_positions(positions)
    density = np.sum(np.abs(modes) ** 2, axis=0)
    exact = np.asarray(obj, np.complex128)
    energies = np.empty(len(centres), np.float64)
    for part in _batches(len(centres), modes):
        patches = extract_patches(exact, centres[part], modes.shape[-1])
        energies[part] = np.tensordot(np.abs(patches) ** 2, density, axes=2)
    return energies


def scale_probe(
    probe: NDArray[Any], obj: NDArray[Any], positions: NDArray[Any], nphotons: float
) -> ComplexArray:
    """Return the probe in sqrt(photons): the scan's mean pattern then holds ``nphotons``.

    The shape (N, N) or (M, N, N) is kept, dtype complex128. Raises ``ValueError`` for a photon
    number that is not positive and finite, and if no light passes the object.
    """
    if not (math.isfinite(nphotons) and nphotons > 0):
        raise ValueError(f"nphotons is {nphotons}; expected a positive number of photons")
    energy = float(pattern_energies(obj, positions, probe).mean())
    if not (math.isfinite(energy) and energy > 0):
        raise ValueError(f"mean pattern energy is {energy}: no light passes probe and object")
    return np.asarray(probe, np.complex128) * math.sqrt(nphotons / energy)


def photon_counts(intensity: NDArray[Any], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw photon counts, int64, from expected intensities in photons (Poisson statistics)."""
    return rng.poisson(intensity)
