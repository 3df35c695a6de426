"""Fourier ring correlation: known signals and noise, known thresholds."""

import math

import numpy as np
import pytest

from ptycho.core.ring_correlation import (
    FourierRings,
    fourier_ring_correlation,
    half_bit_threshold,
)


@pytest.mark.parametrize(("noise", "expected"), [(0.5, 0.8), (1.0, 0.5), (2.0, 0.2)])
def test_ring_correlation_of_noisy_copies_is_that_of_their_noise(
    noise: float, expected: float
) -> None:
    rng = np.random.default_rng(4)
    signal, one, two = rng.standard_normal((3, 200, 200))
    rings = fourier_ring_correlation(signal + noise * one, signal + noise * two)
    # White signal and noise: SNR/(1 + SNR) on every ring.
    assert rings.correlation[20:].mean() == pytest.approx(expected, abs=0.03)


def test_rings_end_at_the_nyquist_frequency_and_hold_its_disc() -> None:
    image = np.random.default_rng(5).standard_normal((80, 100))
    rings = fourier_ring_correlation(image, image)
    assert rings.frequency[0] == 0
    assert rings.frequency[-1] == pytest.approx(0.5)
    assert len(rings.frequency) == 41
    # Nyquist's disc, out to the middle between rings 40 and 41, is pi/4 of the Fourier square;
    # the outermost half ring is cut by the square's edges.
    assert rings.pixels.sum() == pytest.approx(np.pi / 4 * 80 * 100, rel=0.03)
    np.testing.assert_allclose(rings.correlation, 1, atol=1e-12)


def test_a_low_pass_cuts_the_ring_correlation_at_its_frequency() -> None:
    rng = np.random.default_rng(6)
    signal, noise = rng.standard_normal((2, 160, 160))
    frequency = np.hypot(np.fft.fftfreq(160)[:, None], np.fft.fftfreq(160))
    image = np.fft.ifft2(np.fft.fft2(signal) * (frequency < 0.2)).real + 1e-3 * noise
    crossing = fourier_ring_correlation(image, signal).crossing(0.5)
    assert crossing == pytest.approx(0.2, abs=0.01)


def test_crossings_are_interpolated_and_honest_about_none() -> None:
    frequency = np.arange(6) / 10
    rings = FourierRings(frequency, np.array([1, 0.9, 0.8, 0.4, 0.6, 0.1]), np.ones(6, np.int64))
    assert rings.crossing(0.5) == pytest.approx(0.275)
    assert math.isnan(rings.crossing(0.05))
    assert rings.crossing(0.95) == 0.0
    threshold = np.array([2, 0.5, 0.5, 0.3, 0.3, 0.3])
    assert rings.crossing(threshold) == pytest.approx(0.46)


def test_the_half_bit_threshold_carries_half_a_bit() -> None:
    # With very many pixels 0.2071/1.2071: SNR 0.2071 per half data set, log2(1 + 2 SNR) = 1/2.
    many = float(half_bit_threshold(np.array([10**12]))[0])
    assert math.log2(1 + 2 * many / (1 - many)) == pytest.approx(0.5, abs=1e-3)
    few = half_bit_threshold(np.array([1, 8, 100]))
    assert few[0] == pytest.approx(1)
    assert (np.diff(few) < 0).all()


def test_images_of_different_shapes_have_no_ring_correlation() -> None:
    with pytest.raises(ValueError, match=r"\(8, 8\) and \(8, 9\)"):
        fourier_ring_correlation(np.ones((8, 8)), np.ones((8, 9)))


def test_rings_agree_with_a_sum_over_pixels_one_by_one() -> None:
    rng = np.random.default_rng(8)
    image, truth = rng.standard_normal((2, 12, 18))
    image = image + 0.5 * truth
    rings = fourier_ring_correlation(image, truth)
    taper = [
        np.array([_tukey(k / (n - 1)) for k in range(n)]) for n in image.shape
    ]  # half of the window is cosine
    first, second = (
        np.fft.fft2((v - v.mean()) * taper[0][:, None] * taper[1]) for v in (image, truth)
    )
    for ring in range(1, 7):
        cross = left = right = 0.0
        for i, fy in enumerate(np.fft.fftfreq(12)):
            for j, fx in enumerate(np.fft.fftfreq(18)):
                if round(math.hypot(fy, fx) * 12) == ring:
                    cross += (first[i, j] * second[i, j].conjugate()).real
                    left += abs(first[i, j]) ** 2
                    right += abs(second[i, j]) ** 2
        assert rings.correlation[ring] == pytest.approx(cross / math.sqrt(left * right))


def _tukey(t: float) -> float:
    edge = min(t, 1 - t)
    return 0.5 * (1 - math.cos(4 * math.pi * edge)) if edge < 0.25 else 1.0


def test_each_threshold_is_read_by_its_name() -> None:
    count = 51
    falling = FourierRings(np.arange(count) / 100, np.linspace(1, 0, count), np.full(count, 10**9))
    found = {name: falling.crossing(level) for name, level in falling.thresholds().items()}
    assert found["frc50"] == pytest.approx(0.25)
    assert found["frc_one_seventh"] == pytest.approx(0.5 * 6 / 7)
    assert found["frc_half_bit"] == pytest.approx(0.5 * (1 - 0.2071 / 1.2071), abs=1e-4)
