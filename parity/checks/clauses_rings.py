"""V: Fourier ring correlation, against sums written out and curves drawn by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.checks.observing import everyone
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import generator
from ptycho.core.metrics import evaluate
from ptycho.core.ring_correlation import FourierRings, fourier_ring_correlation, half_bit_threshold

ComplexArray = NDArray[np.complex128]


@check("V-7", "Fourier ring correlation written out", ("backend",), framework=False)
def rings(run: Recorder) -> None:
    """Ring by ring from a sum over frequencies; signal in noise; nothing beyond Nyquist."""
    rng = generator(run.seed, "rings")
    truth = rng.standard_normal((14, 22)) + 1j * rng.standard_normal((14, 22))
    image = truth + rng.standard_normal(truth.shape)
    found = fourier_ring_correlation(image, truth)
    sums = np.zeros((3, 8), np.complex128)
    transforms = [_transform(v) for v in (image, truth)]
    for (i, j), first in np.ndenumerate(transforms[0]):
        frequency = math.hypot(np.fft.fftfreq(14)[i], np.fft.fftfreq(22)[j])
        ring = round(14 * frequency)
        if ring <= 7:
            second = transforms[1][i, j]
            sums[:, ring] += (first * np.conj(second), abs(first) ** 2, abs(second) ** 2)
    curve = sums[0].real / np.sqrt(sums[1].real * sums[2].real)
    same = found.correlation.shape == curve.shape
    same = same and np.allclose(found.correlation[1:], curve[1:], rtol=0, atol=1e-9)
    everyone(run, same, f"{found.correlation}; expected {curve}", "14 x 22 pixels")
    axis = np.arange(8) / 14
    same = found.frequency.shape == axis.shape and np.allclose(found.frequency, axis)
    everyone(run, same, f"{found.frequency}", "frequencies")
    signal, one, two = rng.standard_normal((3, 180, 180))
    for noise in (0.5, 1.0, 2.0):
        curve = fourier_ring_correlation(signal + noise * one, signal + noise * two).correlation
        mean, wanted = float(curve[15:].mean()), 1 / (1 + noise**2)
        what = f"the mean is {mean}; expected {wanted}"
        everyone(run, abs(mean - wanted) < 0.03, what, f"noise {noise}")


def _transform(image: NDArray[Any]) -> ComplexArray:
    """Return the discrete Fourier transform of a tapered image as a sum of exponentials."""
    tapers = []
    for n in image.shape:
        t = np.minimum(np.arange(n), np.arange(n)[::-1]) / (n - 1)
        tapers.append(np.where(t < 0.25, 0.5 - 0.5 * np.cos(4 * np.pi * t), 1.0))
    tapered = (image - image.mean()) * tapers[0][:, None] * tapers[1]
    turns = [np.exp(-2j * np.pi * np.outer(np.arange(n), np.arange(n)) / n) for n in image.shape]
    transformed: ComplexArray = turns[0] @ tapered @ turns[1]
    return transformed


@check("V-8", "Where the curve first falls below a threshold", ("backend",), framework=False)
def crossings(run: Recorder) -> None:
    """Curves drawn by hand: linear between rings, the first of several, none, and at once."""
    frequency, many = np.arange(11) / 20, np.full(11, 10**12)
    limit = 0.2071 / 1.2071
    curves: dict[str, tuple[list[float], dict[str, float]]] = {
        "straight": (
            list(np.linspace(1, 0, 11)),
            {"frc50": 0.25, "frc_one_seventh": 3 / 7, "frc_half_bit": 0.5 * (1 - limit)},
        ),
        "twice": (
            [1, 1, 1, 0.2, 0.9, 0.9, 0, 0, 0, 0, 0],
            {"frc50": 0.1 + 0.05 * 0.625, "frc_one_seventh": 0.25 + 0.05 * (0.9 - 1 / 7) / 0.9,
             "frc_half_bit": 0.25 + 0.05 * (0.9 - limit) / 0.9},
        ),
        "at once": ([1] + [0.1] * 10, {"frc50": 0, "frc_one_seventh": 0, "frc_half_bit": 0}),
        "never": (
            [1] * 11,
            {"frc50": math.nan, "frc_one_seventh": math.nan, "frc_half_bit": math.nan},
        ),
    }  # fmt: skip
    for case, (curve, wanted) in curves.items():
        drawn = FourierRings(frequency, np.array(curve, np.float64), many)
        for name, threshold in drawn.thresholds().items():
            found = drawn.crossing(threshold)
            same = (
                abs(found - wanted[name]) < 1e-5 or math.isnan(found) and math.isnan(wanted[name])
            )
            everyone(run, same, f"{name} is {found}; expected {wanted[name]}", case)
    y, x = np.mgrid[:64, :60]
    obj = np.exp(1j * np.sin(x / 3) * np.cos(y / 4)) * (1 - 0.2 * np.cos(x / 5 + y / 7))
    noise = generator(run.seed, "noise").standard_normal((2, *obj.shape))
    result = evaluate(obj + 0.3 * (noise[0] + 1j * noise[1]), obj, (30, 32))
    for image, curve_of in result.rings.items():
        for name, threshold in curve_of.thresholds().items():
            found, wanted_at = result.scores[f"{image}_{name}"], curve_of.crossing(threshold)
            same = found == wanted_at or math.isnan(found) and math.isnan(wanted_at)
            everyone(run, same, f"{image}_{name} is {found}; expected {wanted_at}", "scores")
    for n in (1, 8, 64, 1000):
        wanted_level = (0.2071 * math.sqrt(n) + 1.9102) / (1.2071 * math.sqrt(n) + 0.9102)
        level = float(half_bit_threshold(np.array([n]))[0])
        what = f"{level}; expected {wanted_level}"
        everyone(run, abs(level - wanted_level) < 1e-12, what, f"half bit, {n} pixels")
