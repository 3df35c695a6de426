"""``ptycho_overlap``: what it says and writes, and what it refuses."""

import csv
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ptycho.cli import overlap
from ptycho.raw_data import RawData
from ptycho.simulation.settings import ScanSettings
from ptycho.simulation.simulate import simulate

CLIENT_FILES = Path(__file__).parents[1] / "data" / "ptychodus-1.7.0"
FILES = ["overlap.csv", "overlap.json", "overlap.png"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = simulate(ScanSettings(N=32, n_positions=64, step=4.0, scan="raster", modes=2))
    return raw.to_file(tmp_path_factory.mktemp("scan") / "scan.npz")


def test_measures_are_printed_and_written_with_units(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert overlap.main([str(scan), "--output", str(tmp_path / "new")]) == 0
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == FILES
    written = json.loads((tmp_path / "new" / "overlap.json").read_text())
    measures = written["measures"]
    assert measures["positions"] == 64
    assert measures["spacing"] == 4
    assert written["units"]["spacing"] == "pixels"
    assert measures["groups"] is None
    with (tmp_path / "new" / "overlap.csv").open() as stream:
        rows = {row["measure"]: row for row in csv.DictReader(stream)}
    assert rows.keys() == measures.keys() == written["units"].keys()
    assert rows["groups"]["value"] == ""
    assert rows["spacing"] == {"measure": "spacing", "value": "4.0", "unit": "pixels"}
    assert (tmp_path / "new" / "overlap.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "64 positions, probe diameter" in said
    assert f"linear {100 * measures['linear_overlap']:.1f} %" in said
    assert "in a group" not in said


def test_groups_are_those_that_training_draws(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--gridsize", "2", "--n_groups", "20", "--neighbor-count", "6", "--seed", "7"]
    assert overlap.main([str(scan), "--output", str(tmp_path), *flags]) == 0
    measures = json.loads((tmp_path / "overlap.json").read_text())["measures"]
    raw = RawData.from_file(scan)
    groups = raw.generate_grouped_data(32, K=6, nsamples=20, seed=7, gridsize=2).groups
    assert measures["groups"] == 20
    assert measures["unused_positions"] == 64 - len(np.unique(groups))
    assert "in a group" in capsys.readouterr().out


def test_without_an_output_only_text_and_without_patterns_too(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The patterns' bytes are spoilt: whoever reads them fails."""
    bare = tmp_path / "scan.npz"
    with zipfile.ZipFile(scan) as old, zipfile.ZipFile(bare, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"junk" if name == "diff3d.npy" else old.read(name))
    assert overlap.main([str(bare)]) == 0
    assert "largest gap 5.66 pixels" in capsys.readouterr().out
    assert [p.name for p in tmp_path.iterdir()] == ["scan.npz"]
    assert overlap.main([str(bare), "--quiet"]) == 0
    assert capsys.readouterr().out == ""


def test_a_given_diameter_replaces_the_probes(
    scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert overlap.main([str(scan), "--diameter", "16"]) == 0
    assert "linear 75.0 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--gridsize", "0"], "gridsize is 0; allowed: an integer >= 1"),
        (["--gridsize", "9"], "groups of 81 positions, but the scan has 64"),
        (["--seed", "-1"], "seed is -1; allowed: an integer >= 0"),
        (["--diameter", "0"], "expected a positive number of pixels"),
    ],
)
def test_bad_values_are_one_line_and_exit_code_2(
    flags: list[str], message: str, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert overlap.main([str(scan), "--output", str(tmp_path / "out"), *flags]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_files_are_kept_unless_asked_and_bad_scans_are_named(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "overlap.csv").write_text("mine")
    assert overlap.main([str(scan), "--output", str(tmp_path)]) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert (tmp_path / "overlap.csv").read_text() == "mine"
    assert overlap.main([str(scan), "--output", str(tmp_path), "--overwrite"]) == 0
    bad = tmp_path / "bad.npz"
    np.savez(bad, xcoords=np.zeros(3), ycoords=np.zeros(2), probeGuess=np.ones((8, 8)))
    assert overlap.main([str(bad)]) == 2
    assert f"{bad}: xcoords has 3 values" in capsys.readouterr().err
    assert overlap.main([str(tmp_path / "none.npz")]) == 2
    assert "no such file" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_every_scan_format_is_measured_without_its_patterns(
    suffix: str, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ptycho.io.hdf5 import Hdf5Reader

    raw = RawData.from_file(scan)
    pixels = {"pixel_width_m": 1e-8, "pixel_height_m": 1e-8}
    raw.metadata = {**(raw.metadata or {}), "object_geometry": pixels}
    copy = raw.to_file(tmp_path / f"copy{suffix}")
    read, array = [], Hdf5Reader.array
    monkeypatch.setattr(
        Hdf5Reader, "array", lambda self, name: read.append(name) or array(self, name)
    )
    assert overlap.main([str(copy), "--output", str(tmp_path / "out")]) == 0
    measures = json.loads((tmp_path / "out" / "overlap.json").read_text())["measures"]
    assert measures["positions"] == 64
    assert measures["spacing"] == pytest.approx(4)
    assert bool(read) == (suffix == ".h5")
    assert not [name for name in read if "diffraction" in name]


@pytest.mark.parametrize(
    ("factor", "message"), [(1e-8, "are they metres?"), (1e6, "the largest is 16384")]
)
def test_positions_in_other_units_are_refused_naming_the_file(
    factor: float, message: str, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = RawData.from_file(scan)
    path = tmp_path / "units.npz"
    np.savez(
        path,
        xcoords=raw.xcoords * factor,
        ycoords=raw.ycoords * factor,
        probeGuess=np.asarray(raw.probeGuess),
    )
    assert overlap.main([str(path), "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert str(path) in said
    assert message in said
    assert not (tmp_path / "out" / "overlap.json").exists()


@pytest.mark.parametrize("name", ["product.h5", "training.h5", "scan.cxi"])
def test_files_of_the_client_are_measured(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert overlap.main([str(CLIENT_FILES / name)]) == 0
    assert "positions, probe diameter" in capsys.readouterr().out


def test_a_directory_is_named_as_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert overlap.main([str(tmp_path)]) == 2
    assert "is a directory; expected a scan file" in capsys.readouterr().err
