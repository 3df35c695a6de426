"""Scores of a reconstruction: ranges, rings, wrapped phases, frames."""

import numpy as np
import pytest

from ptycho.core.metrics import evaluate, fourier_ring_correlation


@pytest.fixture(scope="module")
def truth(scene):
    return scene.image


def _scores(image, truth):
    middle = np.array(truth.shape) // 2
    return evaluate(
        image, truth, middle[::-1].astype(float), area=(slice(20, 90), slice(20, 90))
    ).scores


def test_D_22_signal_to_noise_is_counted_from_the_range_of_the_truth(truth):
    rng = np.random.default_rng(0)
    noisy = truth + 0.01 * rng.normal(size=truth.shape) * np.exp(1j * np.angle(truth))
    scores = _scores(noisy, truth)
    expected = 20 * np.log10(np.ptp(np.abs(truth)[20:90, 20:90]) / 0.01)
    assert scores["amplitude_psnr"] == pytest.approx(expected, abs=0.3)


def test_D_22_rings_end_where_they_are_whole(truth):
    rings = fourier_ring_correlation(truth[:64, :64], truth[:64, :64])
    assert rings.frequency[-1] == 0.5
    assert len(rings.frequency) == 33
    # The ring of radius k has about 2 pi k pixels; corner rings would have fewer again.
    np.testing.assert_allclose(rings.pixels[5:-1], 2 * np.pi * np.arange(5, 32), rtol=0.25)
    assert rings.pixels.sum() < 0.82 * 64**2


def test_D_22_phase_wraps_and_ramps_are_no_errors(truth):
    y, x = np.indices(truth.shape)
    turned = truth * np.exp(1j * (3.0 + 0.004 * x - 0.003 * y))
    scores = _scores(turned, truth)
    assert np.ptp(np.angle(turned)) > 6  # it wraps
    assert scores["phase_correlation"] > 0.999
    assert scores["phase_mae"] < 1e-3
    # A plane is fitted to the pair once, not to each image by itself.
    bent = truth * np.exp(1j * 1e-4 * (x - 56.0) * (y - 56.0))
    assert _scores(bent, truth)["phase_mae"] > 0.01


def test_D_22_structural_similarity_is_that_of_the_literature(truth):
    from skimage.metrics import structural_similarity

    rng = np.random.default_rng(2)
    image = truth * (1 + 0.05 * rng.normal(size=truth.shape))
    scores = _scores(image, truth)
    modulus, reference = np.abs(image)[20:90, 20:90], np.abs(truth)[20:90, 20:90]
    expected = structural_similarity(
        modulus, reference, data_range=np.ptp(reference), gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    assert scores["amplitude_ssim"] == pytest.approx(expected, abs=0.02)
