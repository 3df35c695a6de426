"""Scores of a reconstruction against the truth.

Everything is scored after :func:`ptycho.core.alignment.align`, inside the scanned area. Phases
are in radians, both wrapped around the truth's mean phase, so a truth whose phase spans less
than 2 pi has no wraps. Data ranges (SSIM, PSNR) are the truth's maximum minus minimum in the
area: of its amplitude, or of its phase. No score gates alone: correlation and SSIM are blind to
some errors, and an image that is worth nothing can have a fair PSNR.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.alignment import Alignment, Area, Pair, align, scan_area
from ptycho.core.ring_correlation import FourierRings, fourier_ring_correlation
from ptycho.core.similarity import (
    multiscale_scales,
    multiscale_similarity,
    structural_similarity,
)

__all__ = [
    "Alignment",
    "UNITS",
    "Evaluation",
    "align",
    "amplitude_correlation",
    "amplitude_ssim",
    "complex_nrmse",
    "correlation",
    "evaluate",
    "mean_absolute_error",
    "mean_squared_error",
    "peak_snr",
    "phase_correlation",
    "phase_images",
    "phase_ssim",
    "scan_area",
]

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

_FREQUENCY = "cycles/pixel"

#: Every score and its unit, in the order in which they are reported.
UNITS: dict[str, str] = {
    "amplitude_ssim": "1",
    "phase_ssim": "1",
    "amplitude_ms_ssim": "1",
    "phase_ms_ssim": "1",
    "ms_ssim_scales": "1",
    "amplitude_correlation": "1",
    "phase_correlation": "1",
    "amplitude_mae": "1",
    "phase_mae": "rad",
    "amplitude_mse": "1",
    "phase_mse": "rad^2",
    "amplitude_psnr": "dB",
    "phase_psnr": "dB",
    "amplitude_data_range": "1",
    "phase_data_range": "rad",
    "complex_nrmse": "1",
    "amplitude_frc50": _FREQUENCY,
    "amplitude_frc_one_seventh": _FREQUENCY,
    "amplitude_frc_half_bit": _FREQUENCY,
    "phase_frc50": _FREQUENCY,
    "phase_frc_one_seventh": _FREQUENCY,
    "phase_frc_half_bit": _FREQUENCY,
    "object_frc50": _FREQUENCY,
    "object_frc_one_seventh": _FREQUENCY,
    "object_frc_half_bit": _FREQUENCY,
    "shift_y": "pixels",
    "shift_x": "pixels",
    "ramp_y": "rad/pixel",
    "ramp_x": "rad/pixel",
    "scale_modulus": "1",
    "scale_phase": "rad",
}

#: A standard deviation below this part of the image's magnitude is rounding: a flat image.
_FLAT = 1e-6


@dataclass(frozen=True)
class Evaluation:
    """Scores by name, the aligned images they were taken from, and the ring correlations.

    ``scores`` holds plain floats (nan where a score is undefined, inf for the PSNR of equal
    images). ``rings`` has the keys amplitude, phase, object.
    """

    scores: dict[str, float]
    alignment: Alignment
    rings: dict[str, FourierRings]


def phase_images(
    reconstruction: NDArray[Any], truth: NDArray[Any]
) -> tuple[FloatArray, FloatArray]:
    """Return both phase images (h, w) in radians, wrapped around the truth's mean phase."""
    middle = np.angle(np.sum(truth))
    turn = np.exp(-1j * middle)
    return np.angle(reconstruction * turn) + middle, np.angle(truth * turn) + middle


def correlation(image: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return Pearson's correlation of two real images; 0 where one of them is flat."""
    a, b = (np.asarray(v, np.float64) for v in (image, truth))
    magnitude = max(float(np.abs(a).max()), 1e-300), max(float(np.abs(b).max()), 1e-300)
    a, b = a - a.mean(), b - b.mean()
    if float(a.std()) <= _FLAT * magnitude[0] or float(b.std()) <= _FLAT * magnitude[1]:
        return 0.0
    # Rounding may carry the quotient past 1.
    return float(np.clip((a * b).mean() / (a.std() * b.std()), -1.0, 1.0))


def _without_plane(image: FloatArray) -> FloatArray:
    """Return an image less its least-squares plane; exactly 0 where only rounding is left."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in image.shape)
    flat = image - image.mean()
    along_y = float((flat.sum(axis=1) * rows).sum()) / (image.shape[1] * float((rows**2).sum()))
    along_x = float((flat.sum(axis=0) * columns).sum()) / (
        image.shape[0] * float((columns**2).sum())
    )
    rest = flat - along_y * rows[:, None] - along_x * columns
    scale = max(float(np.abs(image).max()), 1.0)
    return rest if float(rest.std()) > _FLAT * scale else np.zeros_like(rest)


def amplitude_correlation(reconstruction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return Pearson's correlation of the amplitudes of two aligned complex images."""
    return correlation(np.abs(reconstruction), np.abs(truth))


def phase_correlation(reconstruction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the correlation of the phases of two aligned complex images, planes aside.

    A plane of phase cannot be known from diffraction, so alignment fits one; what the
    reconstruction was lent by that fit earns nothing: it is the partial correlation given x and
    y, Pearson's after the least-squares plane was taken from either image. A flat image
    scores 0.
    """
    image, reference = phase_images(reconstruction, truth)
    return correlation(_without_plane(image), _without_plane(reference))


def amplitude_ssim(reconstruction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the structural similarity of the amplitudes; data range: the truth's."""
    reference = np.abs(truth)
    return structural_similarity(np.abs(reconstruction), reference, float(np.ptp(reference)))


def phase_ssim(reconstruction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the structural similarity of the phases; data range: the truth's, in radians.

    Phases are counted from the truth's least one, see :func:`_from_least`.
    """
    image, reference = phase_images(reconstruction, truth)
    return structural_similarity(*_from_least(image, reference), float(np.ptp(reference)))


def _from_least(image: FloatArray, truth: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return both phases less the truth's least one.

    Like grey values they then lie between 0 and the data range: structural similarity weighs
    means against each other, and a truth's own zero of phase is arbitrary.
    """
    least = float(truth.min())
    return image - least, truth - least


def mean_absolute_error(image: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the mean absolute difference of two real images."""
    return float(np.abs(np.asarray(image, np.float64) - truth).mean())


def mean_squared_error(image: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the mean squared difference of two real images."""
    return float(((np.asarray(image, np.float64) - truth) ** 2).mean())


def peak_snr(image: NDArray[Any], truth: NDArray[Any], data_range: float) -> float:
    """Return ``10 log10(data_range**2 / mse)`` in dB; inf if equal, nan without a range."""
    if not data_range > 0:
        return math.nan
    error = mean_squared_error(image, truth)
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def complex_nrmse(reconstruction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the invariant error ``min_c ||c*reconstruction - truth|| / ||truth||``.

    In [0, 1], blind to complex scale (Fienup, Applied Optics 36, 8352 (1997)); 1 for an
    empty reconstruction, nan for an empty truth.
    """
    a, b = (np.asarray(v, np.complex128) for v in (reconstruction, truth))
    energy_a, energy_b = float(np.vdot(a, a).real), float(np.vdot(b, b).real)
    if energy_b == 0:
        return math.nan
    if energy_a == 0:
        return 1.0
    # The residual itself, not 1 - |<a,b>|**2, which cancels near a perfect fit.
    residual = np.vdot(a, b) / energy_a * a - b
    return math.sqrt(float(np.vdot(residual, residual).real) / energy_b)


def evaluate(
    reconstruction: NDArray[Any],
    truth: NDArray[Any],
    centre: Pair | NDArray[Any],
    *,
    positions: NDArray[Any] | None = None,
    area: Area | None = None,
    margin: float = 0.0,
    max_shift: float = 8.0,
) -> Evaluation:
    """Align a stitched canvas (S, S) to the true object (H, W) and score it.

    ``centre`` is [x, y], the object coordinates of the canvas centre, which is the mean of the
    stitched scan positions: canvas pixel (i, j) shows the object at x = j - S//2 + centre[0].
    Only the scanned area counts: the bounding box of ``positions`` grown by ``margin`` pixels,
    or ``area`` (rows, columns) if given.

    The scores, for amplitude and phase: ``*_ssim``, ``*_ms_ssim``, ``*_psnr`` (dB), ``*_mae``,
    ``*_mse``, ``*_correlation``, ``*_data_range``; ``ms_ssim_scales``; for amplitude, phase and the
    complex object ``*_frc50``, ``*_frc_one_seventh``, ``*_frc_half_bit`` (cycles per pixel, see
    :meth:`~ptycho.core.ring_correlation.FourierRings.crossing`); ``complex_nrmse``; and what
    alignment removed: ``shift_y``, ``shift_x`` (pixels), ``ramp_y``, ``ramp_x`` (radians per
    pixel), ``scale_modulus``, ``scale_phase``. Their order and units are those of :data:`UNITS`.

    Raises ``ValueError`` for misshapen or non-finite input, or if nothing overlaps.
    """
    middle = np.asarray(centre, np.float64).reshape(-1)
    if middle.shape != (2,) or not np.isfinite(middle).all():
        raise ValueError(f"centre is {np.asarray(centre).tolist()}; expected [x, y] in pixels")
    canvas, target = np.asarray(reconstruction), np.asarray(truth)
    if canvas.ndim != 2 or target.ndim != 2:
        raise ValueError(
            f"reconstruction has shape {canvas.shape} and truth {target.shape}; expected two "
            "complex images"
        )
    if area is None and positions is not None:
        area = scan_area(positions, target.shape, margin)
    offset = (float(middle[1]) - canvas.shape[0] // 2, float(middle[0]) - canvas.shape[1] // 2)
    aligned = align(canvas, target, offset=offset, area=area, max_shift=max_shift)
    image, reference = aligned.reconstruction, aligned.truth
    phases = phase_images(image, reference)
    amplitudes = np.abs(image), np.abs(reference)
    rings = {
        "amplitude": fourier_ring_correlation(*amplitudes),
        "phase": fourier_ring_correlation(*phases),
        "object": fourier_ring_correlation(image, reference),
    }
    scores = {
        "complex_nrmse": complex_nrmse(image, reference),
        "ms_ssim_scales": multiscale_scales(reference.shape),
        "amplitude_correlation": amplitude_correlation(image, reference),
        "phase_correlation": phase_correlation(image, reference),
    }
    for name, pair in (("amplitude", amplitudes), ("phase", _from_least(*phases))):
        scores |= {f"{name}_{key}": value for key, value in _image_scores(*pair).items()}
    for name, curve in rings.items():
        scores |= {f"{name}_{key}": curve.crossing(t) for key, t in curve.thresholds().items()}
    scores |= _removed(aligned)
    return Evaluation({name: scores[name] for name in UNITS}, aligned, rings)


def _image_scores(image: FloatArray, truth: FloatArray) -> dict[str, float]:
    data_range = float(np.ptp(truth))
    return {
        "data_range": data_range,
        "ssim": structural_similarity(image, truth, data_range),
        "ms_ssim": multiscale_similarity(image, truth, data_range),
        "psnr": peak_snr(image, truth, data_range),
        "mae": mean_absolute_error(image, truth),
        "mse": mean_squared_error(image, truth),
    }


def _removed(aligned: Alignment) -> dict[str, float]:
    return {
        "shift_y": aligned.shift[0],
        "shift_x": aligned.shift[1],
        "ramp_y": aligned.ramp[0],
        "ramp_x": aligned.ramp[1],
        "scale_modulus": abs(aligned.scale),
        "scale_phase": float(np.angle(aligned.scale)),
    }
