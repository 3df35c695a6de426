"""The default probe and the door that stores a guess."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ptycho import params
from ptycho.core.scaling import normalise_probe
from ptycho.probe import get_default_probe, set_probe_guess


@pytest.mark.parametrize("N", [1, 2, 3, 8, 32, 64, 128])
def test_the_default_probe_is_symmetric_and_in_the_middle(N: int) -> None:
    probe = get_default_probe(N)
    assert probe.shape == (N, N)
    assert probe.dtype == np.complex64
    for image in (probe[::-1], probe[:, ::-1], probe.T):
        np.testing.assert_allclose(image, probe, atol=1e-6)
    assert np.abs(probe).max() == np.abs(probe[(N - 1) // 2, (N - 1) // 2])
    assert normalise_probe(probe, 4.0).shape == (1, N, N)


def test_the_default_disc_has_a_third_of_the_side_as_its_width() -> None:
    row = np.abs(get_default_probe(64)[32])
    assert np.count_nonzero(row > 0.5) == 22
    assert row[0] == 0
    assert row[32] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 16), (3, 16, 16)])
def test_a_guess_is_stored_and_returned_as_complex64(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    guess = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    probe = set_probe_guess(None, guess)
    assert params.cfg["probe"] is probe
    assert probe.dtype == np.complex64
    np.testing.assert_allclose(probe, guess, rtol=1e-6)


def test_without_a_guess_it_is_the_default_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(params.cfg, "N", 32)
    np.testing.assert_array_equal(set_probe_guess(), get_default_probe(32))
    np.testing.assert_array_equal(set_probe_guess(np.ones((5, 16, 16, 1))), get_default_probe(16))


@pytest.mark.parametrize(
    ("guess", "message"),
    [
        (np.zeros((8, 8)), "probe is empty"),
        (np.ones((8, 9)), r"probe has shape \(8, 9\)"),
        (np.ones(8), r"probe has shape \(8,\)"),
        (np.full((8, 8), np.nan), "NaN"),
        (np.zeros((0, 8, 8)), r"probe has shape \(0, 8, 8\)"),
    ],
)
def test_a_bad_guess_is_refused_and_not_stored(guess: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        set_probe_guess(None, guess)
    assert "probe" not in params.cfg


def test_a_default_probe_of_no_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="N is 0"):
        get_default_probe(0)
