"""Translation, merge, extraction, illumination and diffraction in float64 (sections 3.2 to 3.6).

Images move by direct sampling at displaced coordinates; groups and channels are plain loops.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ptycho.config.config import ModelConfig

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

_DARK_FLOOR = 1e-6
_MERGE_FLOOR = 1e-3


def _sample(image: Real, rows: Real, columns: Real) -> Real:
    grid = np.meshgrid(rows, columns, indexing="ij")
    # "grid-constant" blends with the zeros around the image, as the page's hat functions do.
    return np.asarray(ndimage.map_coordinates(image, grid, order=1, mode="grid-constant", cval=0.0))


def shift(image: NDArray[Any], t_x: float, t_y: float) -> NDArray[Any]:
    """Move the content of an (H, W) image by (+t_x, +t_y) pixels, bilinear, zero outside."""
    rows = np.arange(image.shape[0], dtype=np.float64) - t_y
    columns = np.arange(image.shape[1], dtype=np.float64) - t_x
    if np.iscomplexobj(image):
        return _sample(image.real, rows, columns) + 1j * _sample(image.imag, rows, columns)
    return _sample(np.asarray(image, np.float64), rows, columns)


def _on_canvas(image: NDArray[Any], margin: int) -> NDArray[Any]:
    return np.pad(image, margin)


def _window(config: ModelConfig) -> Real:
    side, quarter = config.N, config.N // 4
    window = np.ones((side, side))
    if config.pad_object and not config.probe_big:
        window[:] = 0.0
        window[quarter : side - quarter, quarter : side - quarter] = 1.0
    return window


def _margin(offsets: Real) -> int:
    # Generous on purpose: a backend whose own canvas is too tight must show.
    return math.ceil(float(np.abs(offsets).max(initial=0.0))) + 4


def merge(config: ModelConfig, patches: Complex, offsets: Real) -> Complex:
    """Return each group's canvas, (B, P, P), with the group centre at pixel P/2.

    ``patches`` are (B, N, N, C) and ``offsets`` the relative coordinates, (B, 1, 2, C) = [x, y].
    A single channel is padded, not divided.
    """
    margin = _margin(offsets)
    window = _on_canvas(_window(config), margin)
    canvases = np.empty((len(patches), *window.shape), np.complex128)
    for b in range(len(patches)):
        if patches.shape[-1] == 1:
            canvases[b] = _on_canvas(patches[b, ..., 0], margin)
            continue
        content = np.zeros(window.shape, np.complex128)
        cover = np.zeros(window.shape)
        for j in range(patches.shape[-1]):
            r_x, r_y = (float(v) for v in offsets[b, 0, :, j])
            content += shift(window * _on_canvas(patches[b, ..., j], margin), -r_x, -r_y)
            cover += shift(window, -r_x, -r_y)
        canvases[b] = content / np.maximum(cover, _MERGE_FLOOR)
    return canvases


def centre(canvases: Complex, N: int) -> Complex:
    """Return the central N x N of (B, P, P) canvases, (B, N, N, 1)."""
    start = (canvases.shape[-1] - N) // 2
    return canvases[:, start : start + N, start : start + N, None]


def extract(config: ModelConfig, canvases: Complex, offsets: Real) -> Complex:
    """Return the patches centred on the scan positions, (B, N, N, gridsize**2)."""
    count = config.gridsize**2
    if count == 1:
        return centre(canvases, config.N)
    patches = np.empty((len(canvases), config.N, config.N, count), np.complex128)
    for b, j in np.ndindex(len(canvases), count):
        moved = shift(canvases[b], *(float(v) for v in offsets[b, 0, :, j]))
        patches[b, ..., j] = centre(moved[None], config.N)[0, ..., 0]
    return patches


def _smoothed(wave: Complex, sigma: float) -> Complex:
    steps = np.array([-1.0, 0.0, 1.0])
    with np.errstate(over="ignore"):  # near 0 the neighbours' weight is exp(-infinity)
        kernel = np.exp(-0.5 * (steps / sigma) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        wave = ndimage.correlate1d(wave.real, kernel, axis, mode="mirror") + 1j * (
            ndimage.correlate1d(wave.imag, kernel, axis, mode="mirror")
        )
    return wave


def _disc(N: int) -> Real:
    rows, columns = np.mgrid[:N, :N] - N / 2 + 0.5
    return (np.hypot(rows, columns) < N / 4).astype(np.float64)


def _dft_matrix(N: int) -> Complex:
    frequency = np.arange(N) - N // 2
    return np.exp(-2j * np.pi * np.outer(frequency, np.arange(N)) / N) / math.sqrt(N)


def exit_waves(config: ModelConfig, probe: NDArray[Any], patches: Complex) -> Complex:
    """Return the exit waves, (B, C, modes, N, N), of patches (B, N, N, C) and a probe.

    ``probe`` is (modes, N, N, 2), real and imaginary part.
    """
    modes = np.asarray(probe[..., 0], np.float64) + 1j * np.asarray(probe[..., 1], np.float64)
    B, N, _, C = patches.shape
    waves = np.empty((B, C, len(modes), N, N), np.complex128)
    for b, j, m in np.ndindex(B, C, len(modes)):
        wave = modes[m] * patches[b, ..., j]
        if config.gaussian_smoothing_sigma > 0:
            wave = _smoothed(wave, config.gaussian_smoothing_sigma)
        waves[b, j, m] = wave * _disc(config.N) if config.probe_mask else wave
    return waves


def far_field(waves: Complex) -> Real:
    """Return the intensity (B, N, N, C) of exit waves (B, C, modes, N, N).

    Normalised units, dark floor included, zero frequency at pixel N/2.
    """
    B, C, modes, N, _ = waves.shape
    transform = _dft_matrix(N)
    intensity = np.full((B, N, N, C), _DARK_FLOOR)
    for b, j, m in np.ndindex(B, C, modes):
        intensity[b, ..., j] += np.abs(transform @ waves[b, j, m] @ transform.T) ** 2
    return intensity


def diffraction_intensity(config: ModelConfig, probe: NDArray[Any], patches: Complex) -> Real:
    """Return the intensity of patches (B, N, N, C) lit by a probe (modes, N, N, 2), same shape.

    Normalised units, dark floor included, zero frequency at pixel N/2.
    """
    return far_field(exit_waves(config, probe, patches))


def intensity_outputs(log_scale: float, intensity: Real) -> Mapping[str, Real]:
    """Return the amplitude and intensity outputs of the autoencoder."""
    gain = math.exp(log_scale)
    return {"amplitude": gain * np.sqrt(intensity), "intensity": gain**2 * intensity}
