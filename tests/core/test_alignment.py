"""Alignment: what it removes, how exactly, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import fourier_shift, gaussian_filter

from ptycho.core.alignment import align, scan_area

SIDE = 96
AREA = (slice(20, 76), slice(18, 78))


def _object(seed: int = 0, side: int = SIDE) -> NDArray[np.complex128]:
    """Return a smooth random complex object, periodic, so that Fourier shifts are exact."""
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.standard_normal((side, side)), 2, mode="wrap") for _ in "ap"]
    amplitude, phase = (field / np.abs(field).max() for field in fields)
    return (0.7 + 0.3 * amplitude) * np.exp(0.9j * phase)


def _disturbed(
    obj: NDArray[np.complex128],
    shift: tuple[float, float] = (0.0, 0.0),
    ramp: tuple[float, float] = (0.0, 0.0),
    factor: complex = 1.0,
) -> NDArray[np.complex128]:
    y, x = np.mgrid[: obj.shape[0], : obj.shape[1]]
    moved = np.fft.ifft2(fourier_shift(np.fft.fft2(obj), shift))
    return factor * moved * np.exp(1j * (ramp[0] * y + ramp[1] * x))


def _error(result: NDArray[np.complex128], truth: NDArray[np.complex128]) -> float:
    return float(np.linalg.norm(result - truth) / np.linalg.norm(truth))


@settings(max_examples=25)
@given(
    shift=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    ramp=st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3)),
    modulus=st.floats(1e-3, 1e3),
    angle=st.floats(-np.pi, np.pi),
)
def test_shift_ramp_and_scale_come_off_together(
    shift: tuple[float, float], ramp: tuple[float, float], modulus: float, angle: float
) -> None:
    truth = _object()
    seen = _disturbed(truth, shift, ramp, modulus * np.exp(1j * angle))
    found = align(seen, truth, area=AREA)
    np.testing.assert_allclose(found.shift, shift, atol=0.011)
    np.testing.assert_allclose(found.ramp, ramp, atol=2e-5)
    assert abs(found.scale) == pytest.approx(1 / modulus, rel=1e-3)
    assert _error(found.reconstruction, truth[AREA]) < 3e-3


def test_the_ramp_is_found_where_the_phase_wraps_many_times() -> None:
    truth = _object(1)
    found = align(_disturbed(truth, ramp=(1.1, -2.0)), truth, area=AREA)
    np.testing.assert_allclose(found.ramp, (1.1, -2.0), atol=1e-5)
    assert _error(found.reconstruction, truth[AREA]) < 1e-3


def test_the_truth_is_not_touched() -> None:
    truth = _object(2)
    found = align(_disturbed(truth, (0.4, -0.3)), truth, area=AREA)
    np.testing.assert_array_equal(found.truth, truth[AREA])


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.5])
def test_a_canvas_is_placed_by_its_offset(fraction: float) -> None:
    truth = _object(3)
    seen = _disturbed(truth, (-fraction, 0.0))[10:80, 15:85]
    found = align(seen, truth, offset=(10 + fraction, 15.0))
    np.testing.assert_allclose(found.shift, (0, 0), atol=0.011)
    assert _error(found.reconstruction[5:-5, 5:-5], found.truth[5:-5, 5:-5]) < 3e-3


def test_only_covered_pixels_are_compared() -> None:
    truth = _object(4)
    seen = np.zeros_like(truth)
    seen[30:70, 25:66] = truth[30:70, 25:66]
    assert align(seen, truth).area == (slice(30, 70), slice(25, 66))


def test_a_shift_beyond_the_limit_is_not_removed() -> None:
    truth = _object(5)
    assert align(_disturbed(truth, (6.0, 0.0)), truth, area=AREA, max_shift=4).shift == (0, 0)
    found = align(_disturbed(truth, (6.0, 0.0)), truth, area=AREA, max_shift=8)
    assert found.shift[0] == pytest.approx(6, abs=0.02)


def test_a_flat_image_is_left_where_it_is() -> None:
    truth = _object(6)
    found = align(np.full_like(truth, 0.3j), truth, area=AREA)
    assert np.isfinite(found.reconstruction).all()
    np.testing.assert_allclose(np.abs(found.reconstruction), np.abs(truth[AREA]).mean(), rtol=1e-6)


@pytest.mark.parametrize("height", [40, 41, 56, 70])
def test_there_is_nothing_to_register_in_flat_images(height: int) -> None:
    flat = np.full((height, 53), 0.3 - 0.1j)
    found = align(flat, 2 * flat)
    assert found.shift == (0, 0)
    np.testing.assert_allclose(found.reconstruction, 2 * flat, rtol=1e-9)


def test_unusable_images_are_refused() -> None:
    truth = _object(7)
    with pytest.raises(ValueError, match="zero everywhere"):
        align(0 * truth, truth)
    with pytest.raises(ValueError, match="reconstruction contains NaN"):
        align(np.nan * truth, truth)
    with pytest.raises(ValueError, match=r"reconstruction has shape \(2, 96, 96\)"):
        align(np.stack([truth, truth]), truth)
    with pytest.raises(ValueError, match=r"do not overlap .*rows.* check the canvas centre"):
        align(truth, truth, offset=(200.0, 0.0))


def test_the_scanned_area_is_the_box_of_the_positions() -> None:
    positions = np.array([[10.2, 40.0], [30.0, 20.7]])  # [x, y]
    assert scan_area(positions, (100, 100)) == (slice(20, 41), slice(10, 31))
    assert scan_area(positions, (100, 100), margin=2.5) == (slice(18, 44), slice(7, 34))
    assert scan_area(positions, (35, 25)) == (slice(20, 35), slice(10, 25))
    with pytest.raises(ValueError, match="no pixel of the object"):
        scan_area(positions + 200, (100, 100))
    with pytest.raises(ValueError, match=r"positions have shape \(2, 3\)"):
        scan_area(np.ones((2, 3)), (100, 100))


def test_an_image_that_needs_nothing_is_left_alone_up_to_its_border() -> None:
    rng = np.random.default_rng(0)
    image = rng.standard_normal((30, 26)) + 1j * rng.standard_normal((30, 26))
    np.testing.assert_allclose(align(image, image).reconstruction, image, atol=1e-9)
