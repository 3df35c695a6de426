"""Structural similarity against scikit-image, and several scales against windows by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import metrics as reference

from ptycho.core.similarity import (
    multiscale_scales,
    multiscale_similarity,
    structural_similarity,
)

FloatArray = NDArray[np.float64]

#: The exponents of Wang, Simoncelli and Bovik (2003).
PUBLISHED = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def _pair(shape: tuple[int, int], noise: float = 0.1) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]]
    truth = 0.5 + 0.2 * np.sin(x / 7 + 0.3) * np.cos(y / 11) + 0.2 * (np.hypot(x - 60, y - 50) < 30)
    return truth + noise * rng.standard_normal(shape) + 0.05, truth


def _local_terms(a: FloatArray, b: FloatArray, data_range: float) -> tuple[float, float]:
    """Return mean contrast-structure and mean similarity, each window summed out in full."""
    t = np.arange(11) - 5.0
    window = np.exp(-(t[:, None] ** 2 + t**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image: FloatArray) -> FloatArray:
        views = np.lib.stride_tricks.sliding_window_view(image, (11, 11))
        return np.einsum("ijkl,kl->ij", views, window)

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    structure = (2 * vab + c2) / (va + vb + c2)
    luminance = (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
    return float(structure.mean()), float((structure * luminance).mean())


def _by_hand(image: FloatArray, truth: FloatArray, data_range: float, scales: int) -> float:
    weights = np.array(PUBLISHED[:scales]) / sum(PUBLISHED[:scales])
    logarithm = 0.0
    for scale in range(scales):
        structure, whole = _local_terms(image, truth, data_range)
        logarithm += weights[scale] * math.log(whole if scale == scales - 1 else structure)
        image, truth = (
            (v[:-1:2, :-1:2] + v[1::2, :-1:2] + v[:-1:2, 1::2] + v[1::2, 1::2]) / 4
            for v in (image[: len(image) // 2 * 2], truth[: len(truth) // 2 * 2])
        )
    return math.exp(logarithm)


@pytest.mark.parametrize(("side", "scales"), [(176, 5), (100, 4), (44, 3), (24, 2)])
def test_several_scales_agree_with_windows_by_hand(side: int, scales: int) -> None:
    image, truth = _pair((side, side + 20))
    assert multiscale_scales(truth.shape) == scales
    found = multiscale_similarity(image, truth, 0.7)
    assert found == pytest.approx(_by_hand(image, truth, 0.7, scales), rel=1e-9)
    assert 0.2 < found < 0.999


@pytest.mark.parametrize(
    ("side", "scales"), [(10, 0), (11, 1), (21, 1), (22, 2), (175, 4), (176, 5), (4000, 5)]
)
def test_the_coarsest_scale_still_holds_a_window(side: int, scales: int) -> None:
    assert multiscale_scales((side, 9999)) == scales


def test_one_scale_is_plain_similarity() -> None:
    image, truth = _pair((20, 21))
    plain = structural_similarity(image, truth, 0.7)
    expected = reference.structural_similarity(
        truth, image, data_range=0.7, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert plain == pytest.approx(expected, rel=1e-12)
    assert multiscale_similarity(image, truth, 0.7) == pytest.approx(plain, rel=1e-12)


def test_equal_images_are_perfect_and_opposite_ones_worthless() -> None:
    _, truth = _pair((96, 96))
    truth = truth - truth.mean()
    assert multiscale_similarity(truth, truth, 1.0) == pytest.approx(1)
    assert structural_similarity(truth, truth, 1.0) == pytest.approx(1)
    assert multiscale_similarity(-truth, truth, 1.0) == 0.0


def test_brightness_counts_at_the_coarsest_scale_only() -> None:
    _, truth = _pair((176, 176))
    brighter = multiscale_similarity(truth + 0.3, truth, 0.7)
    _, whole = _local_terms(
        *(v.reshape(11, 16, 11, 16).mean((1, 3)) for v in (truth + 0.3, truth)), 0.7
    )
    assert brighter == pytest.approx(whole ** PUBLISHED[-1], rel=1e-3)
    assert brighter < 0.99


def test_what_cannot_be_compared() -> None:
    flat = np.ones((40, 40))
    assert math.isnan(structural_similarity(flat, flat, 0.0))
    assert math.isnan(multiscale_similarity(flat, flat, 0.0))
    for score in (structural_similarity, multiscale_similarity):
        with pytest.raises(ValueError, match=r"\(10, 30\) pixels; structural similarity needs"):
            score(np.ones((10, 30)), np.ones((10, 30)), 1.0)
