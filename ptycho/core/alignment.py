"""Bring a reconstruction onto the truth: what ptychography cannot know is removed.

Diffraction does not tell a reconstruction's global phase, nor its scale, where the probe's is
free, nor, where probe and positions share the blame, a sub-pixel shift and a linear phase ramp.
All are estimated jointly and removed before anything is scored. The ramp is estimated on the
complex product ``conj(truth) * reconstruction``, not on a phase image, so wraps do not matter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter
from scipy.optimize import minimize

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
Area = tuple[slice, slice]
Pair = tuple[float, float]

#: Iterations end when the estimated shift changes by less than this, in pixels.
_SHIFT_TOLERANCE = 0.004
_ITERATIONS = 8
#: Registration resolves 1/_UPSAMPLING pixel per iteration.
_UPSAMPLING = 100
_SPLINE_ORDER = 5
#: An image with less than this part of its energy beside its mean is flat: nothing to register.
_FLAT = 1e-12


@dataclass(frozen=True)
class Alignment:
    """A reconstruction on the truth's pixels, and what was removed from it.

    ``reconstruction`` and ``truth`` are (h, w) complex128 on ``area`` (rows, columns) of the
    truth. ``shift`` [y, x] in pixels is how far the reconstruction had moved its content,
    ``ramp`` [y, x] its phase slope in radians per pixel, and ``scale`` the complex factor that
    was multiplied onto it: its modulus fits the amplitudes, its angle the phases.
    """

    reconstruction: ComplexArray
    truth: ComplexArray
    area: Area
    shift: Pair
    ramp: Pair
    scale: complex


def scan_area(positions: NDArray[Any], shape: tuple[int, ...], margin: float = 0.0) -> Area:
    """Return the rows and columns that the scan covers: the bounding box of its positions.

    ``positions`` is (n, 2) = [x, y] in pixels of an object of ``shape`` (H, W); the box grows by
    ``margin`` pixels on each side (shrinks if negative) and is clipped to the object.

    Raises ``ValueError`` if nothing of the object is left.
    """
    points = np.asarray(positions, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"positions have shape {points.shape}; expected (n, 2) = [x, y], n > 0")
    low = np.floor(points.min(axis=0) - margin).astype(int)
    high = np.ceil(points.max(axis=0) + margin).astype(int) + 1
    columns = slice(max(0, int(low[0])), min(shape[1], int(high[0])))
    rows = slice(max(0, int(low[1])), min(shape[0], int(high[1])))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        raise ValueError(
            f"no pixel of the object {tuple(shape)} lies in the scanned area, x {low[0]} to "
            f"{high[0]}, y {low[1]} to {high[1]}: positions are in object pixels, [x, y]"
        )
    return rows, columns


def align(
    reconstruction: NDArray[Any],
    truth: NDArray[Any],
    *,
    offset: Pair = (0.0, 0.0),
    area: Area | None = None,
    max_shift: float = 8.0,
) -> Alignment:
    """Remove shift, linear phase ramp and complex scale between a reconstruction and the truth.

    Both are complex, (S, T) and (H, W); reconstruction pixel (i, j) lies at truth pixel
    (i + offset[0], j + offset[1]), fractions allowed. Only ``area`` (rows, columns) of the truth
    is compared (default: all of it), less what lies outside the rectangle that the
    reconstruction covers (its non-zero pixels). The reconstruction is interpolated by
    splines of order 5, the truth is left as it is. A shift beyond ``max_shift`` pixels is taken
    for a mismatch and not applied.

    Raises ``ValueError`` for arrays that are not images or not finite, for a reconstruction that
    is zero, and if the two do not overlap.
    """
    source, target = _checked(reconstruction, "reconstruction"), _checked(truth, "truth")
    rows, columns = _common_area(source, target.shape, offset, area)
    reference = target[rows, columns]
    grid = (
        np.arange(rows.start, rows.stop, dtype=np.float64) - offset[0],
        np.arange(columns.start, columns.stop, dtype=np.float64) - offset[1],
    )
    shift, ramp = np.zeros(2), np.zeros(2)
    for _ in range(_ITERATIONS):
        moved = _sample(_tilt(source, -ramp), grid, shift)
        ramp = ramp + _ramp(np.conj(reference) * moved)
        moved = _sample(_tilt(source, -ramp), grid, shift)
        step = _displacement(reference, moved)
        if float(np.hypot(*(shift + step))) > max_shift:
            break
        shift = shift + step
        if float(np.abs(step).max()) < _SHIFT_TOLERANCE:
            break
    moved = _sample(_tilt(source, -ramp), grid, shift)
    ramp = ramp + _ramp(np.conj(reference) * moved)
    moved = _sample(_tilt(source, -ramp), grid, shift)
    scale = _scale(moved, reference)
    return Alignment(
        reconstruction=moved * scale,
        truth=reference,
        area=(rows, columns),
        shift=(float(shift[0]), float(shift[1])),
        ramp=(float(ramp[0]), float(ramp[1])),
        scale=scale,
    )


def _checked(image: NDArray[Any], name: str) -> ComplexArray:
    checked = np.asarray(image, np.complex128)
    if checked.ndim != 2 or 0 in checked.shape:
        raise ValueError(f"{name} has shape {checked.shape}; expected a complex image (H, W)")
    if not np.isfinite(checked).all():
        raise ValueError(f"{name} contains NaN or infinity")
    return checked


def _common_area(
    source: ComplexArray, shape: tuple[int, ...], offset: Pair, area: Area | None
) -> Area:
    """Return the part of ``area`` that the reconstruction's covered rectangle reaches."""
    wanted = area or (slice(0, shape[0]), slice(0, shape[1]))
    common = []
    for axis in range(2):
        covered = np.flatnonzero(source.any(axis=1 - axis))
        if not len(covered):
            raise ValueError("the reconstruction is zero everywhere: there is nothing to align")
        start, stop, _ = wanted[axis].indices(shape[axis])
        low = max(start, int(np.ceil(covered[0] + offset[axis])))
        high = min(stop, int(np.floor(covered[-1] + offset[axis])) + 1)
        if low >= high:
            raise ValueError(
                f"reconstruction and truth do not overlap in the area to compare ("
                f"{'rows' if axis == 0 else 'columns'} {start} to {stop - 1} of the truth, the "
                f"reconstruction covers {covered[0] + offset[axis]:g} to "
                f"{covered[-1] + offset[axis]:g}): check the canvas centre"
            )
        common.append(slice(low, high))
    return common[0], common[1]


def _tilt(image: ComplexArray, slope: FloatArray) -> ComplexArray:
    """Multiply a linear phase of ``slope`` [y, x] radians per pixel onto an image."""
    rows, columns = (np.arange(n) - n / 2 for n in image.shape)
    return image * np.exp(1j * slope[0] * rows)[:, None] * np.exp(1j * slope[1] * columns)


def _sample(
    image: ComplexArray, grid: tuple[FloatArray, FloatArray], shift: FloatArray
) -> ComplexArray:
    """Interpolate an image at the rows and columns of ``grid`` plus ``shift``."""
    where = np.meshgrid(grid[0] + shift[0], grid[1] + shift[1], indexing="ij")
    real, imaginary = (
        map_coordinates(
            spline_filter(part, _SPLINE_ORDER, mode="mirror"),
            where,
            order=_SPLINE_ORDER,
            mode="mirror",
            prefilter=False,
        )
        for part in (image.real, image.imag)
    )
    return real + 1j * imaginary


def _ramp(product: ComplexArray) -> FloatArray:
    """Return the slope [y, x] in radians per pixel that dominates ``product``.

    It maximises ``|sum product * exp(-i k.r)|``, which is the least-squares ramp weighted by
    amplitude: the highest point of the spectrum, found on a grid twice as fine as the FFT's and
    refined.
    """
    spectrum = np.abs(np.fft.fft2(product, s=tuple(2 * n for n in product.shape)))
    peak = np.unravel_index(int(np.argmax(spectrum)), spectrum.shape)
    start = [2 * np.pi * np.fft.fftfreq(n)[i] for n, i in zip(spectrum.shape, peak, strict=True)]
    rows, columns = (np.arange(n) - n / 2 for n in product.shape)
    unit = 2 * np.pi / np.array(product.shape)
    total = float(np.abs(product).sum())
    if total == 0:
        return np.zeros(2)

    def mismatch(slope: FloatArray) -> tuple[float, FloatArray]:
        left = np.exp(-1j * slope[0] * unit[0] * rows)
        right = np.exp(-1j * slope[1] * unit[1] * columns)
        by_row = product @ right
        value = left @ by_row
        # d|G|/dk = Re(conj(G)/|G| dG/dk)
        direction = np.conj(value) / max(abs(value), 1e-300)
        along_y = (direction * ((-1j * unit[0] * rows * left) @ by_row)).real
        along_x = (direction * (left @ (product @ (-1j * unit[1] * columns * right)))).real
        return -abs(value) / total, -np.array([along_y, along_x]) / total

    found = minimize(mismatch, np.array(start) / unit, jac=True, method="BFGS", tol=1e-10)
    slope: FloatArray = found.x * unit
    return slope


def _displacement(reference: ComplexArray, moved: ComplexArray) -> FloatArray:
    """Return how far [y, x] the content of ``moved`` lies from that of ``reference``."""
    from scipy.signal.windows import tukey
    from skimage.registration import phase_cross_correlation

    window = tukey(reference.shape[0], 0.5)[:, None] * tukey(reference.shape[1], 0.5)
    weight = window / window.sum()
    images = [(image - (image * weight).sum()) * window for image in (reference, moved)]
    for image, whole in zip(images, (reference, moved), strict=True):
        if np.vdot(image, image).real <= _FLAT * np.vdot(whole, whole).real:
            return np.zeros(2)
    to_apply, _, _ = phase_cross_correlation(
        *images, upsample_factor=_UPSAMPLING, normalization=None
    )
    return -np.asarray(to_apply, np.float64)


def _scale(moved: ComplexArray, reference: ComplexArray) -> complex:
    energy = float(np.vdot(moved, moved).real)
    if energy == 0:
        raise ValueError("the reconstruction is zero in the area to compare")
    modulus = float((np.abs(moved) * np.abs(reference)).sum()) / energy
    phase = float(np.angle(np.vdot(moved, reference)))
    return complex(modulus * np.exp(1j * phase))
