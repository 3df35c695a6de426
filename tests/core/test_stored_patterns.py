"""Patterns that stay in their file are those of the file, and say so when it changes."""

import os
import pickle

import h5py
import numpy as np
import pytest

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.loading import load_data
from ptycho.core.workflow import create_container
from ptycho.io import stored
from ptycho.io.stored import StoredPatterns
from ptycho.raw_data import RawData

N = 32


@pytest.fixture
def everything_is_large(monkeypatch):
    monkeypatch.setattr(stored, "LARGE", 1)


def scan(dtype=np.float32, n=24):
    rng = np.random.default_rng(5)
    patterns = (rng.gamma(2, 30, (n, N, N))).astype(dtype)
    probe = np.ones((N, N), complex)
    x, y = rng.uniform(20, 60, (2, n))
    geometry = dict.fromkeys(("pixel_width_m", "pixel_height_m"), 1e-08)
    return RawData(
        x, y, None, None, patterns, probe, None, objectGuess=np.ones((90, 90), complex),
        metadata={"object_geometry": geometry | {"center_x_m": 0.0, "center_y_m": 0.0}},
    )  # fmt: skip


def cxi_like(path, raw, **layout):
    """Write ptychodus training data; ``layout`` are settings of the patterns' dataset."""
    with h5py.File(path, "w") as file:
        file.create_dataset("patterns", data=raw.diff3d, **layout)
        file["probe"] = raw.probeGuess
        file["probe_position_x_px"], file["probe_position_y_px"] = raw.xcoords, raw.ycoords
    return path


def written(kind, folder, raw):
    if kind == "npz":
        return raw.to_file(folder / "scan.npz")
    if kind == "product":
        return raw.to_file(folder / "scan.h5")
    return cxi_like(folder / "scan.hdf5", raw)


KINDS = ("npz", "product", "contiguous")


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.uint16, ">f4"])
def test_they_are_those_of_the_file_however_indexed(tmp_path, kind, dtype):
    raw = scan(dtype)
    kept = RawData.from_file(written(kind, tmp_path, raw), in_place=True).diff3d
    assert isinstance(kept, StoredPatterns)
    assert (kept.shape, kept.ndim, len(kept)) == (raw.diff3d.shape, 3, len(raw))
    assert kept.dtype == raw.diff3d.dtype
    groups = np.array([[3, 4, 5, 4], [23, 0, 7, 7]])
    mask = raw.xcoords > 40
    for index in (
        3, -1, slice(None), slice(2, 9), slice(20, None, -3), groups, groups[:, 1], mask,
        groups[:0], (slice(4, 6), 7), (5, slice(2, 4), 3), ..., (..., 3), None,
    ):  # fmt: skip
        np.testing.assert_array_equal(kept[index], raw.diff3d[index], strict=True)
    np.testing.assert_array_equal(np.asarray(kept), raw.diff3d)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(kept))[3:5], raw.diff3d[3:5])
    with pytest.raises(IndexError):
        kept[24]


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_sees_the_same_batches(tmp_path, kind):
    raw = scan(np.uint16)
    path = written(kind, tmp_path, raw)
    config = TrainingConfig(model=ModelConfig(N=N, gridsize=2), n_groups=12)
    there = create_container(load_data(path), config)
    assert isinstance(there.patterns.stored, StoredPatterns)
    here = create_container(RawData.from_file(path), config)
    assert there.normalisation == here.normalisation
    np.testing.assert_array_equal(there.batch_X(np.arange(12)), here.batch_X(np.arange(12)))
    np.testing.assert_array_equal(load_data(path, 5).diff3d, load_data(path, 5).diff3d)
    kept = RawData.from_file(path, in_place=True)
    copy = RawData.from_file(kept.to_file(tmp_path / "copy.npz"))
    np.testing.assert_array_equal(copy.diff3d, raw.diff3d)


def test_what_cannot_stay_is_read_whole(tmp_path, monkeypatch):
    raw = scan()
    path = raw.to_file(tmp_path / "small.npz")
    assert type(RawData.from_file(path, in_place=True).diff3d) is np.ndarray
    path.unlink()
    monkeypatch.setattr(stored, "LARGE", 1)
    arrays = {"xcoords": raw.xcoords, "ycoords": raw.ycoords, "probeGuess": raw.probeGuess}
    np.savez_compressed(tmp_path / "packed.npz", diff3d=raw.diff3d, **arrays)
    np.savez(tmp_path / "columns.npz", diff3d=np.asfortranarray(raw.diff3d), **arrays)
    np.savez(tmp_path / "last.npz", diff3d=np.moveaxis(raw.diff3d, 0, 2).copy(), **arrays)
    cxi_like(tmp_path / "many.h5", raw, chunks=(24, N, N))
    cxi_like(tmp_path / "across.h5", raw, chunks=(1, N // 2, N))
    for path in sorted(tmp_path.iterdir()):
        found = RawData.from_file(path, in_place=True).diff3d
        assert type(found) is np.ndarray, path
        np.testing.assert_array_equal(found, raw.diff3d)


def test_a_last_axis_of_one_stays_in_the_file_too(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "LARGE", 1)
    raw = scan()
    np.savez(
        tmp_path / "scan.npz", diffraction=raw.diff3d[..., None], xcoords=raw.xcoords,
        ycoords=raw.ycoords, probeGuess=raw.probeGuess,
    )  # fmt: skip
    kept = RawData.from_file(tmp_path / "scan.npz", in_place=True).diff3d
    assert isinstance(kept, StoredPatterns)
    np.testing.assert_array_equal(kept[4:7], raw.diff3d[4:7])


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_replaced_is_never_mixed_with_the_new_one(tmp_path, kind):
    raw = scan()
    path = written(kind, tmp_path, raw)
    opened, unopened = (RawData.from_file(path, in_place=True).diff3d for _ in range(2))
    late = pickle.loads(pickle.dumps(unopened))
    unopened[:]
    opened[:]
    other = RawData.from_file(path)
    other.diff3d = other.diff3d + 1
    (tmp_path / "new").mkdir()
    os.replace(written(kind, tmp_path / "new", other), path)
    np.testing.assert_array_equal(opened[5], raw.diff3d[5])
    with pytest.raises(ValueError, match=r"scan.*changed since it was opened"):
        late[5]


@pytest.mark.usefixtures("everything_is_large")
@pytest.mark.parametrize("kind", ["npz", "contiguous"])
def test_a_file_that_is_cut_off_is_an_error_that_names_it(tmp_path, kind):
    path = written(kind, tmp_path, scan())
    kept = RawData.from_file(path, in_place=True).diff3d
    with open(path, "r+b") as file:
        file.truncate(5000)
    with pytest.raises(ValueError, match=r"scan\..*cannot be read"):
        kept[:]


@pytest.mark.usefixtures("everything_is_large")
def test_damage_and_bad_values_are_found_as_ever(tmp_path):
    raw = scan()
    path = raw.to_file(tmp_path / "scan.npz")
    content = bytearray(path.read_bytes())
    place = content.find(raw.diff3d[7].tobytes())
    content[place] ^= 1
    (tmp_path / "damaged.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged\.npz.*(checksum|CRC)"):
        RawData.from_file(tmp_path / "damaged.npz", in_place=True)
    (tmp_path / "cut.npz").write_bytes(content[:-300])
    with pytest.raises(ValueError, match=r"cut\.npz"):
        RawData.from_file(tmp_path / "cut.npz", in_place=True)
    raw.diff3d[9, 3, 3] = np.nan
    bad = {"diff3d": raw.diff3d, "xcoords": raw.xcoords, "ycoords": raw.ycoords}
    np.savez(tmp_path / "bad.npz", probeGuess=raw.probeGuess, **bad)
    with pytest.raises(ValueError, match=r"bad\.npz.*nan.*index 9"):
        RawData.from_file(tmp_path / "bad.npz", in_place=True)
