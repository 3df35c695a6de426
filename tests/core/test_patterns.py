"""Patterns read as amplitude: the root, the mask, and what they leave alone."""

import numpy as np
import pytest

from ptycho.core.container import PtychoDataContainer
from ptycho.core.patterns import Patterns, bad_pixels_of, mask_to_text, pixel_weights
from ptycho.core.scaling import normalisation_factor
from ptycho.loader import load
from ptycho.raw_data import RawData

N, n = 8, 6


def mask(*pixels):
    bad = np.zeros((N, N), bool)
    bad[tuple(np.transpose(pixels))] = True
    return bad


def scan(patterns, **more):
    axis = np.arange(len(patterns)) * 3.0
    return RawData(axis, axis[::-1].copy(), None, None, patterns, np.ones((N, N)), None, **more)


@pytest.mark.parametrize(("dtype", "junk"), [("u2", 65535), ("i4", -1), ("f4", np.nan)])
def test_what_is_stored_at_bad_pixels_is_never_seen(dtype, junk):
    bad = mask((1, 2), (7, 0))
    counts = np.random.default_rng(0).integers(1, 200, (n, N, N)).astype(dtype)
    spoilt = counts.copy()
    spoilt[:, bad] = junk
    clean, hot = (scan(p, bad_pixels=bad, measurement_domain="counts") for p in (counts, spoilt))
    assert not hot.amplitude()[:, bad].any()
    np.testing.assert_array_equal(hot.amplitude(), clean.amplitude())
    np.testing.assert_array_equal(
        hot.amplitude()[:, ~bad], np.sqrt(counts.astype(float)).astype(np.float32)[:, ~bad]
    )
    grouped = [r.generate_grouped_data(N, gridsize=2) for r in (clean, hot)]
    np.testing.assert_array_equal(grouped[0]["X_full"], grouped[1]["X_full"])
    loaded = [load(lambda g=g: g, None) for g in grouped]
    assert loaded[0].normalisation == loaded[1].normalisation == grouped[0]["normalisation"]
    np.testing.assert_array_equal(loaded[0].X, loaded[1].X)
    np.testing.assert_array_equal(loaded[1].X, grouped[0]["X_full"])
    assert (loaded[1].bad_pixels == bad).all()
    np.testing.assert_array_equal(hot.diff3d, spoilt)  # left as it came


def test_normalisation_counts_the_good_pixels_alone():
    bad = mask((0, 0))
    patterns = np.zeros((n, N, N), np.float32)
    patterns[:, 3, 3], patterns[:, 0, 0] = 2.0, 1000.0
    container = PtychoDataContainer.from_raw(
        scan(patterns, bad_pixels=bad), N=N, gridsize=1, n_groups=None, seed=0
    )
    assert container.normalisation == pytest.approx((N / 2) / 2)


def test_nothing_but_bad_pixels_with_counts_is_empty():
    patterns = np.zeros((n, N, N), np.uint16)
    patterns[:, 0, 0] = 9
    raw = scan(patterns, bad_pixels=mask((0, 0)))
    with pytest.raises(ValueError, match="every diffraction pattern is empty"):
        normalisation_factor(raw.patterns)


def test_a_mask_without_bad_pixels_is_no_mask():
    patterns = np.ones((n, N, N), np.float32)
    raw = scan(patterns, bad_pixels=mask((0, 0)) & False)
    assert raw.patterns.bad_pixels is None
    assert raw.amplitude() is patterns


def test_a_mask_of_zeros_and_ones_is_one_of_booleans():
    bad = mask((2, 3))
    raw = scan(np.ones((n, N, N)), bad_pixels=bad.astype(np.uint8))
    assert raw.patterns.bad_pixels.dtype == bool
    assert raw.amplitude().sum() == n * (N * N - 1)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.ones((N, N), bool), "every pixel.*invert"),
        (np.full((N, N), 2), "other values than False and True"),
        (np.zeros((N, N)), "float64.*other values"),
        (np.zeros((n, N, N), bool), r"shape \(6, 8, 8\); expected \(N, N\)"),
        (np.zeros((N, N + 1), bool), r"shape \(8, 9\) but the patterns are 8 x 8"),
    ],
)
def test_masks_that_are_none(bad, message):
    with pytest.raises(ValueError, match=f"bad_pixels.*{message}"):
        scan(np.ones((n, N, N)), bad_pixels=bad)


def test_junk_outside_the_mask_is_still_refused():
    patterns = np.ones((n, N, N))
    patterns[:, 1, 1] = np.nan
    scan(patterns, bad_pixels=mask((1, 1)))
    patterns[4, 2, 2] = -1
    with pytest.raises(ValueError, match="negative.*index 4"):
        scan(patterns, bad_pixels=mask((1, 1)))


def test_gathering_copies_only_what_is_asked_for():
    stored = np.arange(n * N * N, dtype=np.uint16).reshape(n, N, N)
    patterns = Patterns(stored, "counts", mask((0, 1)))
    members = np.array([[5, 0], [2, 2]])
    found = patterns.gather(members)
    assert found.shape == (2, 2, N, N)
    assert found.dtype == np.float32
    assert found[0, 0, 7, 7] == np.sqrt(np.float32(stored[5, 7, 7]))
    assert not found[..., 0, 1].any()
    assert stored[5, 0, 1] == 5 * N * N + 1


def test_weights_turn_a_mean_over_all_pixels_into_one_over_the_good_ones():
    assert pixel_weights(None) is None
    bad = np.random.default_rng(1).random((N, N)) < 0.3
    values = np.random.default_rng(2).random((4, N, N))
    weighted = np.mean(values * pixel_weights(bad))
    assert weighted == pytest.approx(values[:, ~bad].mean(), rel=1e-6)


@pytest.mark.parametrize("side", [7, 8, 64])
def test_a_mask_survives_as_text(side):
    bad = np.random.default_rng(side).random((side, side)) < 0.2
    text = mask_to_text(bad)
    np.testing.assert_array_equal(bad_pixels_of({"bad_pixels": text}, side), bad)
    assert bad_pixels_of({}, side) is None


@pytest.mark.parametrize("text", [3, "", "00" * 7, "zz" * 8, "ff" * 8, "FF" * 8, "00" * 9])
def test_text_that_is_no_mask_is_refused(text):
    with pytest.raises(ValueError, match="bad_pixels"):
        bad_pixels_of({"bad_pixels": text}, 8)


def test_a_mask_is_lent_to_patterns_without_one():
    bare, own = (
        Patterns(np.ones((n, N, N))),
        Patterns(np.ones((n, N, N)), "amplitude", mask((1, 2))),
    )
    lent = mask((3, 4))
    assert bare.masked_as(lent).stored is bare.stored
    assert not bare.masked_as(lent).gather(np.array([0]))[0, 3, 4]
    assert own.masked_as(lent) is own
    assert bare.masked_as(None) is bare
    assert bare.masked_as(np.ones((2, 2), bool)) is bare
