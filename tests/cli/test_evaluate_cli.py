"""``ptycho_evaluate``: what it writes, and what it refuses."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from ptycho.cli import evaluate
from ptycho.core.stitching import extract_patches, reassemble
from ptycho.simulation.settings import ScanSettings
from ptycho.simulation.simulate import simulate

FILES = ["comparison.png", "frc.csv", "metrics.csv", "metrics.json"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = simulate(ScanSettings(N=32, n_positions=64, step=4.0))
    return raw.to_file(tmp_path_factory.mktemp("truth") / "scan.npz")


@pytest.fixture(scope="module")
def reconstruction(scan: Path) -> Path:
    """The true patches stitched, turned by a global phase and scaled."""
    with np.load(scan) as truth:
        positions = np.column_stack([truth["xcoords"], truth["ycoords"]])
        patches = extract_patches(truth["objectGuess"], positions, 32)
    canvas = 3 * np.exp(2j) * reassemble(patches, positions, 16)
    path = scan.with_name("reconstruction.npz")
    np.savez(path, object=canvas.astype(np.complex64), centre=positions.mean(axis=0))
    return path


def _run(reconstruction: Path, scan: Path, output: Path, *flags: str) -> int:
    return evaluate.main(
        [str(reconstruction), "--truth", str(scan), "--output", str(output), *flags]
    )


def test_scores_curves_and_a_picture_are_written(
    reconstruction: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "scores"
    assert _run(reconstruction, scan, output) == 0
    assert sorted(p.name for p in output.iterdir()) == FILES
    written = json.loads((output / "metrics.json").read_text())
    scores = written["scores"]
    assert scores["phase_correlation"] > 0.98
    assert scores["amplitude_ssim"] > 0.9
    assert scores["scale_modulus"] == pytest.approx(1 / 3, rel=0.01)
    with np.load(scan) as truth:
        low, high = truth["ycoords"].min(), truth["ycoords"].max()
    assert written["area"]["rows"] == [int(low), int(np.ceil(high)) + 1]
    with (output / "metrics.csv").open() as stream:
        rows = {row["metric"]: row for row in csv.DictReader(stream)}
    assert float(rows["phase_ssim"]["value"]) == scores["phase_ssim"]
    assert rows["phase_mae"]["unit"] == written["units"]["phase_mae"] == "rad"
    assert rows["amplitude_frc_one_seventh"]["value"] == ""  # never falls below
    assert scores["ms_ssim_scales"] == 2
    assert 0.9 < scores["phase_ms_ssim"] < 1
    assert rows.keys() == scores.keys() == written["units"].keys()
    with (output / "frc.csv").open() as stream:
        curve = list(csv.DictReader(stream))
    assert list(curve[0]) == [
        "cycles_per_pixel", "pixels", "half_bit", "amplitude", "phase", "object"
    ]  # fmt: skip
    assert float(curve[0]["cycles_per_pixel"]) > 0
    assert float(curve[-1]["cycles_per_pixel"]) <= 0.5
    assert float(curve[3]["object"]) > 0.95
    assert (output / "comparison.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert f"{scores['phase_ssim']:.4f}" in said
    assert "MS-SSIM at 2 of 5 scales" in said
    assert "> 0.5" in said


def test_scores_that_do_not_exist_are_null_not_nan(scan: Path, tmp_path: Path) -> None:
    with np.load(scan) as truth:
        obj = truth["objectGuess"]
    path = tmp_path / "perfect.npz"
    np.savez(path, object=obj, centre=[obj.shape[1] // 2, obj.shape[0] // 2])
    assert _run(path, scan, tmp_path / "out") == 0
    text = (tmp_path / "out" / "metrics.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["scores"]["object_frc50"] is None  # never falls below 0.5


def test_results_are_not_overwritten_unless_asked(
    reconstruction: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "metrics.json").write_text("mine")
    assert _run(reconstruction, scan, tmp_path) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert (tmp_path / "metrics.json").read_text() == "mine"
    assert not (tmp_path / "frc.csv").exists()
    assert _run(reconstruction, scan, tmp_path, "--overwrite") == 0
    assert (tmp_path / "metrics.json").read_text() != "mine"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"centre": np.zeros(2)}, "lacks object"),
        ({"object": np.ones((40, 40), complex)}, "lacks centre"),
        ({"object": np.ones((40, 40)), "centre": np.zeros(2)}, "expected a complex image"),
        ({"object": np.ones((40, 40), complex), "centre": np.zeros(3)}, "'centre' must be two"),
        ({"object": np.ones((40, 40), complex), "centre": [900.0, 0.0]}, "check the canvas centre"),
        ({"object": np.zeros((40, 40), complex), "centre": [40.0, 40.0]}, "zero everywhere"),
        ({"object": np.full((40, 40), np.nan + 0j), "centre": [40.0, 40.0]}, "contains NaN"),
    ],
)
def test_a_bad_reconstruction_is_one_line_and_exit_code_2(
    arrays: dict[str, object],
    message: str,
    scan: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    assert _run(path, scan, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_missing_files_and_a_scan_without_truth_are_refused(
    reconstruction: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(tmp_path / "none.npz", scan, tmp_path / "out") == 2
    assert "no such file" in capsys.readouterr().err
    with np.load(scan) as truth:
        np.savez(tmp_path / "bare.npz", **{k: truth[k] for k in truth if k != "objectGuess"})
    assert _run(reconstruction, tmp_path / "bare.npz", tmp_path / "out") == 2
    assert "no objectGuess" in capsys.readouterr().err
    assert evaluate.main([str(reconstruction), "--output", str(tmp_path)]) == 2
    assert "--truth is required" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
