"""Units and scales: what is a count, the factor to network input, the probe's gauge."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho.core.scaling import (
    intensity_scale,
    normalisation_factor,
    normalise_probe,
    resolve_domain,
    to_amplitude,
)


@pytest.mark.parametrize(
    ("dtype", "declared", "domain"),
    [
        ("uint16", "auto", "counts"),
        ("int32", "auto", "counts"),
        ("float32", "auto", "amplitude"),
        ("float64", "auto", "amplitude"),
        ("bool", "auto", "amplitude"),
        ("float32", "counts", "counts"),
        ("uint16", "amplitude", "amplitude"),
    ],
)
def test_the_domain_is_declared_or_read_off_the_dtype(
    dtype: str, declared: str, domain: str
) -> None:
    assert resolve_domain(np.dtype(dtype), declared) == domain


def test_an_unknown_domain_is_refused() -> None:
    with pytest.raises(ValueError, match="'intensity'; allowed: 'auto', 'amplitude', 'counts'"):
        resolve_domain(np.dtype("f4"), "intensity")


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"])
def test_squares_become_whole_roots(dtype: str) -> None:
    roots = np.arange(11 if dtype in ("u1", "f2") else 150, dtype=np.float64)
    amplitude = to_amplitude((roots**2).astype(dtype), "counts")
    assert amplitude.dtype == np.float32
    np.testing.assert_array_equal(amplitude, roots)


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f2"])
def test_roots_are_taken_in_single_precision(dtype: str) -> None:
    counts = np.array([2, 3, 5, 200], dtype)
    np.testing.assert_allclose(to_amplitude(counts, "counts") ** 2, counts, rtol=3e-7)


def test_large_counts_keep_single_precision() -> None:
    counts = np.array([2**32 - 1, 16_777_217], np.uint32)
    np.testing.assert_allclose(to_amplitude(counts, "counts"), [65536.0, 4096.0001220703], 1e-7)


def test_amplitude_is_not_copied() -> None:
    amplitude = np.ones((2, 3, 3), np.float32)
    assert to_amplitude(amplitude, "amplitude") is amplitude
    assert to_amplitude(np.full(2, 7, np.uint8), "amplitude").tolist() == [7, 7]


@pytest.mark.parametrize("dtype", [np.uint16, np.uint32, np.float32])
def test_scaling_takes_no_copy_of_the_stack_besides_the_amplitude(dtype: Any) -> None:
    counts = np.full((800, 64, 64), 9, dtype)
    tracemalloc.start()
    amplitude = to_amplitude(counts, "counts")
    normalisation_factor(amplitude)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * amplitude.nbytes


@given(st.integers(1, 6), st.sampled_from([2, 8, 15]), st.floats(1e-3, 1e4))
def test_normalised_patterns_have_the_energy_of_half_the_side_squared(
    n: int, N: int, scale: float
) -> None:
    amplitude = (scale * np.random.default_rng(n).random((n, N, N))).astype(np.float32)
    factor = normalisation_factor(amplitude)
    energies = ((factor * amplitude.astype(float)) ** 2).sum(axis=(1, 2))
    assert energies.mean() == pytest.approx((N / 2) ** 2, rel=1e-6)


def test_energies_are_summed_in_double_precision() -> None:
    amplitude = np.full((3, 256, 256), 3000, np.float32)
    amplitude[1:, ::2] = 0.001
    energies = (amplitude.astype(np.float64) ** 2).sum(axis=(1, 2))
    expected = math.sqrt(128**2 / energies.mean())
    assert normalisation_factor(amplitude) == pytest.approx(expected, rel=1e-7)


def test_empty_patterns_have_no_factor() -> None:
    with pytest.raises(ValueError, match="every diffraction pattern is empty"):
        normalisation_factor(np.zeros((3, 4, 4), np.float32))


def test_the_intensity_scale_turns_normalised_energy_into_photons() -> None:
    assert intensity_scale(1e6, 64) == 31.25
    assert intensity_scale(1e9, 64) ** 2 * (64 / 2) ** 2 == pytest.approx(1e9)


@pytest.mark.parametrize("modes", [1, 3])
@pytest.mark.parametrize("probe_scale", [1.0, 4.0])
def test_the_gauge_fixes_the_energy_whatever_the_probe_was(modes: int, probe_scale: float) -> None:
    rng = np.random.default_rng(0)
    probe = 1e5 * (rng.normal(size=(modes, 16, 16)) + 1j * rng.normal(size=(modes, 16, 16)))
    normalised = normalise_probe(probe, probe_scale)
    assert normalised.dtype == np.complex64
    assert normalised.shape == (modes, 16, 16)
    # Parseval: the energy of a unit object's pattern is that of the probe.
    energy = (np.abs(np.fft.fft2(normalised, norm="ortho")) ** 2).sum()
    assert energy == pytest.approx((8 / probe_scale) ** 2 * 8**2, rel=1e-5)
    ratio = normalised / probe
    np.testing.assert_allclose(ratio, ratio[0, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(normalise_probe(1e-3j * probe, probe_scale), 1j * normalised, 1e-5)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (np.zeros((4, 4)), "probe is empty"),
        (np.full((4, 4), np.inf), "NaN or infinity"),
        (np.ones((4, 5)), "shape"),
        (np.ones(4), "shape"),
        (np.ones((1, 1, 4, 4)), "shape"),
    ],
)
def test_a_probe_without_gauge_is_refused(probe: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        normalise_probe(probe, 4.0)
