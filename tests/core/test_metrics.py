"""Scores: against scikit-image and known cases; what is worthless must score so."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as moved_by
from skimage import metrics as reference

from ptycho.core import metrics
from ptycho.core.metrics import evaluate
from ptycho.core.stitching import extract_patches, reassemble
from ptycho.simulation.objects import make_object

SHAPE = (150, 140)


@pytest.fixture(scope="module")
def truth() -> NDArray[np.complex128]:
    return make_object("particles", SHAPE, np.random.default_rng(0))


def _noisy(obj: NDArray[np.complex128], level: float) -> NDArray[np.complex128]:
    rng = np.random.default_rng(1)
    return (
        obj
        * (1 + level * rng.standard_normal(obj.shape))
        * np.exp(1j * level * rng.standard_normal(obj.shape))
    )


def _evaluate(image: NDArray[np.complex128], obj: NDArray[np.complex128]) -> dict[str, float]:
    """Score a canvas that covers the object exactly, inside its central part."""
    centre = (obj.shape[1] // 2, obj.shape[0] // 2)
    return evaluate(image, obj, centre, area=(slice(30, 120), slice(25, 115))).scores


# ---------------------------------------------------------------- single scores


def test_scores_agree_with_scikit_image(truth: NDArray[np.complex128]) -> None:
    image = _noisy(truth, 0.05)
    a, b = np.abs(image), np.abs(truth)
    data_range = b.max() - b.min()
    ssim = reference.structural_similarity(
        b, a, data_range=data_range, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert metrics.amplitude_ssim(image, truth) == pytest.approx(ssim, rel=1e-12)
    psnr = reference.peak_signal_noise_ratio(b, a, data_range=data_range)
    assert metrics.peak_snr(a, b, data_range) == pytest.approx(psnr, rel=1e-12)
    mse = reference.mean_squared_error(b, a)
    assert metrics.mean_squared_error(a, b) == pytest.approx(mse, rel=1e-12)
    assert metrics.correlation(a, b) == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_phase_ssim_is_that_of_an_image_of_the_truths_own_range(
    truth: NDArray[np.complex128],
) -> None:
    image = _noisy(truth, 0.05)
    a, b = np.angle(image), np.angle(truth)
    ssim = reference.structural_similarity(
        b - b.min(),
        a - b.min(),
        data_range=np.ptp(b),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert metrics.phase_ssim(image, truth) == pytest.approx(ssim, rel=1e-6)


@pytest.mark.parametrize("angle", [0.4, 2.0, -3.0])
def test_no_score_depends_on_where_the_truths_phase_is_zero(
    truth: NDArray[np.complex128], angle: float
) -> None:
    image, turn = _noisy(truth, 0.05), np.exp(1j * angle)
    plain, turned = _evaluate(image, truth), _evaluate(image, turn * truth)
    for name in plain.keys() - {"scale_phase", "ramp_y", "ramp_x"}:
        assert turned[name] == pytest.approx(plain[name], rel=1e-3, nan_ok=True), name


def test_phases_across_the_branch_cut_are_compared_without_wraps(
    truth: NDArray[np.complex128],
) -> None:
    image, turn = _noisy(truth, 0.02), np.exp(1j * (np.pi + 0.3))
    straight, turned = (
        metrics.phase_images(image, truth),
        metrics.phase_images(image * turn, truth * turn),
    )
    assert np.ptp(np.angle(truth * turn)) > 6  # it does wrap
    np.testing.assert_allclose(turned[0] - turned[1], straight[0] - straight[1], atol=1e-12)
    assert np.ptp(turned[1]) == pytest.approx(np.ptp(straight[1]))


def test_mean_errors_of_a_constant_difference() -> None:
    base = np.random.default_rng(2).uniform(size=(20, 30))
    assert metrics.mean_absolute_error(base - 0.25, base) == pytest.approx(0.25)
    assert metrics.mean_squared_error(base - 0.25, base) == pytest.approx(0.0625)
    assert metrics.peak_snr(base - 0.25, base, 2.5) == pytest.approx(20)
    assert metrics.peak_snr(base, base, 1.0) == math.inf


def test_scores_without_a_range_are_undefined() -> None:
    flat = np.ones((20, 20))
    assert math.isnan(metrics.peak_snr(flat, flat, 0.0))


@pytest.mark.parametrize(
    ("angle", "expected"), [(0.0, 0.0), (math.pi / 6, 0.5), (math.pi / 2, 1.0)]
)
def test_complex_error_is_the_sine_between_the_images(angle: float, expected: float) -> None:
    rng = np.random.default_rng(3)
    a, b = np.linalg.qr(rng.standard_normal((400, 2)) + 1j * rng.standard_normal((400, 2)))[0].T
    image = (3 - 4j) * (math.cos(angle) * a + math.sin(angle) * b)
    assert metrics.complex_nrmse(image.reshape(20, 20), a.reshape(20, 20)) == pytest.approx(
        expected, abs=1e-12
    )


def test_correlation_is_one_minus_one_and_zero_where_it_must_be() -> None:
    y, x = np.mgrid[:20, :30].astype(float)
    assert metrics.correlation(3 * x + 1, x) == pytest.approx(1)
    assert metrics.correlation(-x, x) == pytest.approx(-1)
    assert metrics.correlation(y, x) == pytest.approx(0, abs=1e-12)
    assert metrics.correlation(np.full_like(x, 0.1), x) == 0.0


def test_a_plane_of_phase_earns_nothing(truth: NDArray[np.complex128]) -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    plane = 0.01 * x - 0.004 * y
    tilted = np.exp(1j * (plane + 0.3 * np.angle(truth)))
    assert metrics.correlation(plane, np.angle(tilted)) > 0.9  # the trap
    assert metrics.phase_correlation(np.exp(1j * plane), tilted) == 0.0
    assert metrics.phase_correlation(truth, tilted) == pytest.approx(1)


# ---------------------------------------------------------------- whole evaluations


def test_the_truth_disturbed_by_what_diffraction_cannot_tell_is_perfect(
    truth: NDArray[np.complex128],
) -> None:
    smooth = gaussian_filter(truth.real, 1.5) + 1j * gaussian_filter(truth.imag, 1.5)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    moved = moved_by(smooth, (0.6, -1.3), order=5, mode="nearest")
    seen = 0.2 * moved * np.exp(1j * (2.0 + 0.02 * y - 0.05 * x))
    scores = _evaluate(seen, smooth)
    assert scores["shift_y"] == pytest.approx(0.6, abs=0.01)
    assert scores["shift_x"] == pytest.approx(-1.3, abs=0.01)
    assert scores["ramp_x"] == pytest.approx(-0.05, abs=1e-4)
    assert scores["scale_modulus"] == pytest.approx(5, rel=1e-3)
    for name in ("amplitude_ssim", "phase_ssim", "amplitude_correlation", "phase_correlation"):
        assert scores[name] > 0.9999, name
    assert scores["complex_nrmse"] < 1e-3
    assert scores["phase_psnr"] > 50


def test_a_flat_image_is_worth_nothing(truth: NDArray[np.complex128]) -> None:
    scores = _evaluate(np.full(SHAPE, 2 - 1j), truth)
    assert abs(scores["phase_correlation"]) < 0.05
    assert abs(scores["amplitude_correlation"]) < 0.05
    assert scores["phase_ssim"] < 0.5
    assert scores["object_frc50"] < 0.03
    assert scores["complex_nrmse"] > 0.1
    assert all(math.isfinite(v) for k, v in scores.items() if "frc" not in k)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_a_mirrored_image_scores_low(truth: NDArray[np.complex128], axes: tuple[int, ...]) -> None:
    scores = _evaluate(np.flip(truth, axes), truth)
    assert scores["phase_correlation"] < 0.3
    assert scores["amplitude_correlation"] < 0.3
    assert scores["phase_ssim"] < 0.4
    assert scores["object_frc50"] < 0.05


def test_a_conjugated_image_has_the_opposite_phase(truth: NDArray[np.complex128]) -> None:
    scores = _evaluate(truth.conj(), truth)
    assert scores["phase_correlation"] == pytest.approx(-1, abs=1e-3)
    assert scores["amplitude_correlation"] == pytest.approx(1, abs=1e-4)


def test_scores_fall_with_noise(truth: NDArray[np.complex128]) -> None:
    clean, noisy = _evaluate(_noisy(truth, 0.02), truth), _evaluate(_noisy(truth, 0.2), truth)
    for name in ("amplitude_ssim", "phase_ssim", "phase_correlation", "phase_psnr", "phase_frc50"):
        assert clean[name] > noisy[name], name
    for name in ("complex_nrmse", "amplitude_mae", "phase_mae", "phase_mse"):
        assert clean[name] < noisy[name], name


@pytest.mark.parametrize("M", [20, 21, 32])
def test_a_stitched_canvas_lies_where_its_centre_says(
    truth: NDArray[np.complex128], M: int
) -> None:
    rng = np.random.default_rng(7)
    smooth = gaussian_filter(truth.real, 2) + 1j * gaussian_filter(truth.imag, 2)
    grid = np.stack(np.meshgrid(np.arange(30, 110, 7), np.arange(25, 120, 7)), -1).reshape(-1, 2)
    positions = grid + rng.uniform(-2, 2, grid.shape)
    canvas = reassemble(extract_patches(smooth, positions, 32), positions, M)
    result = evaluate(canvas, smooth, positions.mean(axis=0), positions=positions)
    assert abs(result.scores["shift_y"]) < 0.02
    assert abs(result.scores["shift_x"]) < 0.02
    assert result.scores["phase_correlation"] > 0.999
    assert result.alignment.area == metrics.scan_area(positions, SHAPE)


def test_a_bad_centre_or_rank_is_refused(truth: NDArray[np.complex128]) -> None:
    with pytest.raises(ValueError, match=r"centre is \[1.0, nan\]"):
        evaluate(truth, truth, (1.0, math.nan))
    with pytest.raises(ValueError, match="expected two complex images"):
        evaluate(truth[None], truth, (70.0, 75.0))
