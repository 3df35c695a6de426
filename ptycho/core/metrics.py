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
from scipy.signal.windows import tukey

from ptycho.core.alignment import Alignment, Area, Pair, align, scan_area

__all__ = [
    "Alignment",
    "Evaluation",
    "FourierRings",
    "align",
    "amplitude_correlation",
    "amplitude_ssim",
    "complex_nrmse",
    "correlation",
    "evaluate",
    "fourier_ring_correlation",
    "half_bit_threshold",
    "mean_absolute_error",
    "mean_squared_error",
    "peak_snr",
    "phase_correlation",
    "phase_images",
    "phase_ssim",
    "scan_area",
    "structural_similarity",
]

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

#: Side of the window of the structural similarity (Gaussian, sigma 1.5, cut at 3.5 sigma).
_SSIM_WINDOW = 11
#: A standard deviation below this part of the image's magnitude is rounding: a flat image.
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
    return float((a * b).mean() / (a.std() * b.std()))


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


def structural_similarity(image: NDArray[Any], truth: NDArray[Any], data_range: float) -> float:
    """Return the mean structural similarity (Wang et al. 2004) of two real images.

    Gaussian window of sigma 1.5; ``data_range`` as given; nan where it is not positive.
    Raises ``ValueError`` for sides below 11 pixels.
    """
    from skimage.metrics import structural_similarity as ssim

    if min(np.shape(truth)) < _SSIM_WINDOW:
        raise ValueError(
            f"the area to score is {np.shape(truth)} pixels; structural similarity needs at "
            f"least {_SSIM_WINDOW} on each side"
        )
    if not data_range > 0:
        return math.nan
    return float(
        ssim(
            np.asarray(truth, np.float64),
            np.asarray(image, np.float64),
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def amplitude_ssim(reconstruction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the structural similarity of the amplitudes; data range: the truth's."""
    reference = np.abs(truth)
    return structural_similarity(np.abs(reconstruction), reference, float(np.ptp(reference)))


def phase_ssim(reconstruction: NDArray[Any], truth: NDArray[Any]) -> float:
    """Return the structural similarity of the phases; data range: the truth's, in radians.

    Phases are counted from the truth's least one, so that like grey values they lie between 0
    and the data range: structural similarity weighs means against each other, and a truth's
    own zero of phase is arbitrary.
    """
    image, reference = phase_images(reconstruction, truth)
    least, data_range = float(reference.min()), float(np.ptp(reference))
    return structural_similarity(image - least, reference - least, data_range)


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

    The scores, for amplitude and phase: ``*_ssim``, ``*_psnr`` (dB), ``*_mae``, ``*_mse``,
    ``*_correlation``, ``*_data_range``; for amplitude, phase and the complex object
    ``*_frc50``, ``*_frc_one_seventh``, ``*_frc_half_bit`` (cycles per pixel, see
    :meth:`FourierRings.crossing`); ``complex_nrmse``; and what alignment removed: ``shift_y``,
    ``shift_x`` (pixels), ``ramp_y``, ``ramp_x`` (radians per pixel), ``scale_modulus``,
    ``scale_phase``.

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
    scores = {"complex_nrmse": complex_nrmse(image, reference)}
    for name, pair in (("amplitude", amplitudes), ("phase", phases)):
        scores |= {f"{name}_{key}": value for key, value in _image_scores(*pair).items()}
    scores["amplitude_ssim"] = amplitude_ssim(image, reference)
    scores["phase_ssim"] = phase_ssim(image, reference)
    scores["amplitude_correlation"] = amplitude_correlation(image, reference)
    scores["phase_correlation"] = phase_correlation(image, reference)
    for name, curve in rings.items():
        scores[f"{name}_frc50"] = curve.crossing(0.5)
        scores[f"{name}_frc_one_seventh"] = curve.crossing(1 / 7)
        scores[f"{name}_frc_half_bit"] = curve.crossing(half_bit_threshold(curve.pixels))
    scores |= _removed(aligned)
    return Evaluation(scores, aligned, rings)


def _image_scores(image: FloatArray, truth: FloatArray) -> dict[str, float]:
    data_range = float(np.ptp(truth))
    return {
        "data_range": data_range,
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
