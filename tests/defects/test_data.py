"""Scan files and what makes a scan."""

import json

import numpy as np
import pytest

from ptycho.raw_data import RawData
from ptycho.simulation.settings import ScanSettings
from ptycho.simulation.simulate import simulate


def _bare(scan, **fields):
    given = {"objectGuess": None, **fields}
    return RawData(
        scan.xcoords, scan.ycoords, None, None, scan.diff3d, scan.probeGuess, None, **given
    )


def _saved(scan, path, **changes):
    """Write a scan file by NumPy alone."""
    values = {
        "xcoords": scan.xcoords, "ycoords": scan.ycoords, "diff3d": scan.diff3d,
        "probeGuess": scan.probeGuess, **changes,
    }  # fmt: skip
    np.savez(path, **{name: value for name, value in values.items() if value is not None})
    return path


def test_D_09_scans_come_back_as_they_were_written(scan, tmp_path):
    without = _bare(scan)
    again = RawData.from_file(without.to_file(tmp_path / "a.npz"))
    assert again.objectGuess is None
    labels = scan.diff3d.astype(np.complex64) * 1j
    full = _bare(
        scan, objectGuess=scan.objectGuess, Y=labels, norm_Y_I=2.5, metadata={"nphotons": 1e5},
        bad_pixels=np.eye(32, dtype=bool),
    )  # fmt: skip
    again = RawData.from_file(full.to_file(tmp_path / "b.npz"))
    for name in ("diff3d", "probeGuess", "xcoords", "ycoords", "objectGuess", "Y", "bad_pixels"):
        value, read = getattr(full, name), getattr(again, name)
        np.testing.assert_array_equal(read, value)
        assert read.dtype == value.dtype
    assert float(again.norm_Y_I) == 2.5
    assert again.metadata == {"nphotons": 1e5}


def test_D_29_simulation_follows_its_seed_noise_included(global_random, tmp_path):
    settings = {"N": 32, "n_positions": 9, "nphotons": 1e4, "counts": True}
    global_random.seed(1)
    one = simulate(ScanSettings(seed=4, **settings))
    global_random.seed(2)
    same, other = simulate(ScanSettings(seed=4, **settings)), simulate(ScanSettings(**settings))
    np.testing.assert_array_equal(one.diff3d, same.diff3d)
    np.testing.assert_array_equal(one.positions, same.positions)
    assert not np.array_equal(one.diff3d, other.diff3d)
    assert one.diff3d.dtype.kind == "u"


@pytest.mark.parametrize(
    ("changes", "error", "word"),
    [
        ({"diff3d": None}, KeyError, "diff3d"),
        ({"probeGuess": None}, KeyError, "probeGuess"),
        ({"xcoords": np.arange(7.0)}, ValueError, "values"),
        ({"diff3d": np.full((40, 32, 32), np.nan)}, ValueError, "(?i)nan"),
        ({"diff3d": np.full((40, 32, 32), -1.0)}, ValueError, "negative"),
        ({"diff3d": np.ones((40, 32, 31))}, ValueError, "square"),
        ({"probeGuess": np.ones((16, 16), complex)}, ValueError, "probe"),
    ],
)
def test_F_12_violations_of_the_data_contract_are_said(scan, tmp_path, changes, error, word):
    path = _saved(scan, tmp_path / "scan.npz", **changes)
    with pytest.raises(error, match=word) as caught:
        RawData.from_file(path)
    assert "scan.npz" in str(caught.value)


def test_F_12_older_files_are_read(scan, tmp_path):
    stacked = np.moveaxis(scan.diff3d, 0, -1)
    text = np.array(json.dumps({"nphotons": 3.0}))
    path = _saved(scan, tmp_path / "old.npz", diff3d=None, diffraction=stacked, _metadata=text)
    raw = RawData.from_file(path)
    np.testing.assert_array_equal(raw.diff3d, scan.diff3d)
    assert raw.metadata == {"nphotons": 3.0}
