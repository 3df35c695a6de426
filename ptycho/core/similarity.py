"""Structural similarity of two real images, at one scale and at several.

The windows are scikit-image's: Gaussian of sigma 1.5, 11 pixels wide, inside the image only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["multiscale_scales", "multiscale_similarity", "structural_similarity"]

FloatArray = NDArray[np.float64]

#: Side of the window (Gaussian, sigma 1.5, cut at 3.5 sigma).
_WINDOW = 11
#: Weights of the scales, finest first: Wang, Simoncelli and Bovik (2003), section 3.2.
_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
#: A first stabiliser this large leaves of the similarity its contrast and structure alone.
_NO_LUMINANCE = 1e9


def structural_similarity(image: NDArray[Any], truth: NDArray[Any], data_range: float) -> float:
    """Return the mean structural similarity (Wang et al. 2004) of two real images (h, w).

    ``data_range`` as given; nan where it is not positive. Raises ``ValueError`` for sides below
    11 pixels.
    """
    if min(np.shape(truth)) < _WINDOW:
        raise ValueError(
            f"the area to score is {np.shape(truth)} pixels; structural similarity needs at "
            f"least {_WINDOW} on each side"
        )
    return _similarity(np.asarray(image, np.float64), np.asarray(truth, np.float64), data_range)


def _similarity(
    image: FloatArray, truth: FloatArray, data_range: float, *, luminance: bool = True
) -> float:
    from skimage.metrics import structural_similarity as ssim

    if not data_range > 0:
        return math.nan
    mean = ssim(
        truth,
        image,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        K1=0.01 if luminance else _NO_LUMINANCE,
    )
    # Rounding may carry the mean past 1.
    return float(np.clip(mean, -1.0, 1.0))


def multiscale_scales(shape: tuple[int, ...]) -> int:
    """Return at how many scales, 0 to 5, images of ``shape`` (h, w) can be compared.

    Each scale halves both sides, which must stay at least 11 pixels: 176 for all five.
    """
    side, scales = min(shape), 0
    while scales < len(_WEIGHTS) and side >> scales >= _WINDOW:
        scales += 1
    return scales


def multiscale_similarity(image: NDArray[Any], truth: NDArray[Any], data_range: float) -> float:
    """Return the multi-scale structural similarity (Wang, Simoncelli and Bovik 2003), in [0, 1].

    The mean of contrast times structure at each scale but the coarsest, where luminance counts
    too, each to the power of its weight, multiplied. A scale is the one before it averaged over
    2 x 2 pixels (an odd last row or column is left out). Images (h, w) too small for five scales
    are compared at as many as :func:`multiscale_scales` allows, their weights divided by their
    sum. A negative mean counts 0. nan where ``data_range`` is not positive.

    Raises ``ValueError`` for sides below 11 pixels.
    """
    pair = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    scales = multiscale_scales(pair[1].shape)
    if scales < 2:
        return max(0.0, structural_similarity(*pair, data_range))
    weights = np.array(_WEIGHTS[:scales]) / sum(_WEIGHTS[:scales])
    product = 1.0
    for scale, weight in enumerate(weights):
        mean = _similarity(*pair, data_range, luminance=scale == scales - 1)
        if math.isnan(mean):
            return math.nan
        product *= max(mean, 0.0) ** float(weight)
        pair = _halved(pair[0]), _halved(pair[1])
    return product


def _halved(image: FloatArray) -> FloatArray:
    height, width = (n // 2 for n in image.shape)
    blocks: FloatArray = image[: 2 * height, : 2 * width].reshape(height, 2, width, 2)
    return blocks.mean(axis=(1, 3))
