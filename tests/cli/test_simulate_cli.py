"""``ptycho_simulate``: files, numbers, refusals."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ptycho.cli import simulate
from ptycho.raw_data import RawData

SMALL = ["--N", "32", "--n-positions", "9"]


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    return tmp_path / "scans" / "scan.npz"


def test_a_scan_is_written_and_described(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--object", "lines", "--probe", "gaussian", "--scan", "raster", "--step", "4"]
    flags += ["--nphotons", "1e4", "--seed", "7", "--modes", "2", "--counts"]
    assert simulate.main(["--output", str(scan), *SMALL, *flags]) == 0
    raw = RawData.from_file(scan)
    assert raw.diff3d is not None
    assert raw.probeGuess is not None
    assert raw.diff3d.shape == (9, 32, 32)
    assert raw.probeGuess.shape == (2, 32, 32)
    assert raw.domain == "counts"
    np.testing.assert_allclose(raw.xcoords[:3], raw.xcoords[0] + np.array([0, 4, 8]))
    assert raw.metadata is not None
    assert raw.metadata["simulation"]["object"] == "lines"
    assert raw.metadata["seed"] == 7
    out = capsys.readouterr().out
    assert str(scan) in out
    assert "9 patterns of 32 x 32 pixels (photon counts)" in out
    assert f"photons per pattern {raw.metadata['photons_per_pattern']:.4g}" in out
    assert f"overlap {100 * raw.metadata['overlap']:.0f} %" in out


def test_the_preview_is_a_picture(scan: Path) -> None:
    picture = scan.with_name("scan.png")
    assert simulate.main(["--output", str(scan), "--preview", str(picture), *SMALL]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 10_000
    assert sorted(p.name for p in scan.parent.iterdir()) == ["scan.npz", "scan.png"]


def test_nothing_is_overwritten_unless_asked(
    scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output", str(scan), *SMALL]
    assert simulate.main(arguments) == 0
    before = scan.read_bytes()
    assert simulate.main([*arguments, "--seed", "1"]) == 2
    assert scan.read_bytes() == before
    error = capsys.readouterr().err.strip()
    assert error == f"ptycho_simulate: error: {scan} exists; --overwrite replaces it"
    assert simulate.main([*arguments, "--seed", "1", "--overwrite"]) == 0
    assert scan.read_bytes() != before


def test_an_existing_preview_stops_before_the_scan_is_written(scan: Path, tmp_path: Path) -> None:
    picture = tmp_path / "old.png"
    picture.write_bytes(b"old")
    assert simulate.main(["--output", str(scan), "--preview", str(picture), *SMALL]) == 2
    assert not scan.exists()
    assert picture.read_bytes() == b"old"


def test_the_suffix_is_appended_and_still_protected(tmp_path: Path) -> None:
    assert simulate.main(["--output", str(tmp_path / "scan"), *SMALL]) == 0
    assert (tmp_path / "scan.npz").is_file()
    assert simulate.main(["--output", str(tmp_path / "scan"), *SMALL]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--output is required"),
        (["--output", "x.npz", "--object", "cat"], "siemens_star"),
        (["--output", "x.npz", "--N", "33"], "N is 33; allowed: an even number"),
        (["--output", "x.npz", "--n-positions", "0"], "n_positions is 0"),
        (["--output", "x.npz", "--nphotons", "many"], "'many' is not a number"),
        (["--output", "x.npz", "--preview", "x.jpg"], "does not end in .png"),
        (["--output", "x.npz", "--speed", "3"], "did you mean --seed?"),
        (["--output", "."], "is a directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert simulate.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("module", ["simulate", "evaluate"])
def test_help_loads_no_numpy(module: str) -> None:
    code = (
        f"import sys; from ptycho.cli.{module} import main; code = main(['--help']); "
        "sys.exit(code or 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--output" in done.stdout


def test_the_probe_of_another_scan_lights_the_object(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "measured.npz"
    assert simulate.main(["--output", str(source), *SMALL, "--modes", "2", "--seed", "3"]) == 0
    flags = ["--probe-from", str(source), "--n-positions", "4", "--nphotons", "1e5"]
    assert simulate.main(["--output", str(scan), *flags]) == 0
    given, used = RawData.from_file(source).probeGuess, RawData.from_file(scan)
    assert used.probeGuess is not None
    assert used.probeGuess.shape == (2, 32, 32)
    ratio = used.probeGuess / given
    np.testing.assert_allclose(ratio, ratio[0, 16, 16], rtol=1e-4)
    assert used.metadata is not None
    assert used.metadata["simulation"]["probe"] == "given"
    assert "2 modes" in capsys.readouterr().out


def test_a_probe_that_cannot_be_read_is_refused(
    scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--output", str(scan), "--probe_from", str(tmp_path / "none.npz")]
    assert simulate.main(arguments) == 2
    assert "none.npz" in capsys.readouterr().err
    assert not scan.exists()
