"""Reading a scan whole or in part."""

import numpy as np
import pytest

from ptycho.core.loading import load_data
from ptycho.raw_data import RawData

n, N = 12, 8


@pytest.fixture
def path(tmp_path):
    rng = np.random.default_rng(1)
    raw = RawData(
        np.arange(n) + 0.5, 2.0 * np.arange(n), np.arange(n), 3.0 * np.arange(n),
        rng.integers(0, 50, (n, N, N)).astype(np.uint16), np.ones((2, N, N), complex),
        np.arange(n), objectGuess=np.ones((40, 30), complex),
        Y=np.arange(n)[:, None, None] * np.ones((n, N, N), complex),
        metadata={"name": "a scan"}, bad_pixels=np.zeros((N, N), bool),
    )  # fmt: skip
    raw.to_file(tmp_path / "scan.npz")
    return tmp_path / "scan.npz"


@pytest.mark.parametrize("count", [None, n, 100])
def test_all_patterns_come_by_default_and_where_more_are_asked_for(path, count):
    raw = load_data(path, n_subsample=count)
    assert len(raw) == n
    assert raw.diff3d.dtype == np.uint16


def test_a_subset_keeps_what_belongs_together(path):
    whole, part = load_data(path), load_data(path, n_subsample=5, subsample_seed=3)
    kept = part.scan_index
    assert len(kept) == len(set(kept)) == 5
    assert list(kept) == sorted(kept)
    for name in ("xcoords", "ycoords", "xcoords_start", "ycoords_start", "diff3d", "Y"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)[kept]), name
    for name in ("probeGuess", "objectGuess", "bad_pixels"):
        assert np.array_equal(getattr(part, name), getattr(whole, name)), name
    assert part.metadata == whole.metadata
    assert part.domain == "counts"


def test_the_seed_decides_which(path):
    def chosen(seed):
        return list(load_data(path, n_subsample=5, subsample_seed=seed).scan_index)

    assert chosen(0) == chosen(0)
    assert chosen(0) != chosen(1)
    assert chosen(None) == chosen(42) != chosen(0)


def test_n_subsample_goes_before_n_images(path):
    assert len(load_data(path, n_images=4)) == 4
    assert len(load_data(path, n_images=4, n_subsample=6)) == 6


def test_no_pattern_is_refused(path):
    with pytest.raises(ValueError, match="n_subsample is 0"):
        load_data(path, n_subsample=0)


def test_coordinates_are_flipped_scaled_and_exchanged(path):
    plain = load_data(path)
    moved = load_data(path, flip_x=True, swap_xy=True, coord_scale=2.0)
    assert np.array_equal(moved.xcoords, 2 * plain.ycoords)
    assert np.array_equal(moved.ycoords, -2 * plain.xcoords)
    assert np.array_equal(moved.ycoords_start, -2 * plain.xcoords_start)
    assert np.array_equal(load_data(path, flip_y=True).ycoords, -plain.ycoords)


def test_the_measurement_domain_can_be_declared(path):
    raw = load_data(path, measurement_domain="amplitude")
    assert raw.domain == "amplitude"
    assert np.array_equal(raw.amplitude(), raw.diff3d)
    assert load_data(path).domain == "counts"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        load_data(tmp_path / "absent.npz")
