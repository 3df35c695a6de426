"""Re-simulated diffraction: right objects explain the frames, wrong ones do not."""

from __future__ import annotations

import numpy as np
import pytest

from ptycho.core.residual import diffraction_residual
from ptycho.simulation.probes import defocused_disc
from ptycho.simulation.simulate import simulate_scan

N, SIDE = 32, 120


@pytest.fixture(scope="module")
def scan():
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:SIDE, :SIDE]
    phase = 0.6 * np.sin(x / 5) * np.cos(y / 7) + 0.3 * np.sin((x + 2 * y) / 4)
    obj = (0.8 + 0.1 * np.cos(x / 6 - y / 9)) * np.exp(1j * phase)
    positions = rng.uniform(20, SIDE - 20, (40, 2))
    return simulate_scan(obj, defocused_disc(N), positions, 1e8, rng)


def score(scan, obj, centre, keep=slice(None)):
    return diffraction_residual(
        obj, centre, scan.positions[keep], scan.probeGuess, scan.diff3d[keep]
    )


def middle(side):
    return np.array([side / 2, side / 2])


def test_the_true_object_explains_all_but_the_photon_noise(scan):
    found = score(scan, scan.objectGuess, middle(SIDE))
    # sqrt of Poisson counts has the variance 1/4 per lit pixel, of 1e8 photons in all.
    assert found.error < 1.05 * 0.25 * N * N / 1e8
    assert found.mean_pattern_error > 1e-3
    assert found.correlation > 0.999
    assert found.frames == 40


def test_scale_and_global_phase_are_free(scan):
    found = score(scan, 7.5j * scan.objectGuess, middle(SIDE))
    assert found.error == pytest.approx(score(scan, scan.objectGuess, middle(SIDE)).error)


def test_the_mean_pattern_error_is_that_of_a_constant_prediction(scan):
    A = scan.diff3d.astype(np.float64)
    expected = A.var(axis=0).sum() / (A**2).mean(axis=0).sum()
    assert score(scan, scan.objectGuess, middle(SIDE)).mean_pattern_error == pytest.approx(expected)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda obj: np.conj(obj),
        lambda obj: obj[::-1],
        lambda obj: obj.T,
        lambda obj: np.roll(obj, 1, axis=1),
        lambda obj: np.abs(obj) + 0j,
    ],
    ids=["conjugate", "mirrored", "transposed", "a pixel off", "without phase"],
)
def test_wrong_objects_do_not(scan, wrong):
    right = score(scan, scan.objectGuess, middle(SIDE)).error
    assert score(scan, wrong(scan.objectGuess), middle(SIDE)).error > 100 * right


@pytest.mark.parametrize("side", [80, 81])
def test_the_centre_places_a_smaller_canvas_of_either_parity(scan, side):
    first = 21
    crop = scan.objectGuess[first : first + side, first : first + side]
    # Pixel j of an even canvas is j - S/2 from the centre, of an odd one j - (S - 1)/2.
    centre = np.full(2, first + side // 2)
    keep = np.all(np.abs(scan.positions - centre) < side / 2 - N / 2 - 1, axis=1)
    found = score(scan, crop, centre, keep)
    assert found.frames == keep.sum() > 5
    assert found.error < 1.2 * 0.25 * N * N / 1e8


def test_frames_outside_the_reconstruction_are_left_out(scan):
    partial = scan.objectGuess.copy()
    partial[:, 60:] = 0
    found = score(scan, partial, middle(SIDE))
    assert 2 <= found.frames == np.sum(scan.positions[:, 0] <= 59 - N / 4)


def test_an_empty_reconstruction_and_one_elsewhere_are_refused(scan):
    with pytest.raises(ValueError, match="zero everywhere"):
        score(scan, np.zeros((40, 40), complex), middle(SIDE))
    with pytest.raises(ValueError, match="0 of 40 frames"):
        score(scan, scan.objectGuess, middle(SIDE) + 1e4)


def test_bad_pixels_are_not_looked_at(scan):
    bad = np.zeros((N, N), bool)
    bad[3:6, 8:20] = True
    spoilt = np.where(bad, np.nan, scan.diff3d)
    found = diffraction_residual(
        scan.objectGuess, middle(SIDE), scan.positions, scan.probeGuess, spoilt, bad
    )
    assert found.error < 1.05 * 0.25 * N * N / 1e8
