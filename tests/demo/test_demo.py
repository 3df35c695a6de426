"""The demo: its settings, its refusals, and a whole run on a scan of a few patterns."""

from __future__ import annotations

import json

import numpy as np
import pytest

from parity.demo import run
from parity.demo.settings import confined_energy, default_epochs, stitched_side, training_fields
from ptycho.simulation.simulate import built_in_scan


def test_small_scans_are_trained_for_more_epochs():
    assert default_epochs(900) == 2
    assert default_epochs(100_000) == 2
    # 516 patterns less 5 % in batches of 4 are 123 steps; 123 * 4 is the first multiple above 428.
    assert default_epochs(516) == 4


def test_the_confined_energy_of_a_square():
    probe = np.zeros((1, 32, 32), complex)
    probe[0, 8:24, 8:24] = 1
    assert confined_energy(probe) == 1
    probe[0, :8] = np.sqrt(0.5)
    assert confined_energy(probe) == pytest.approx(256 / (256 + 128))


def test_more_of_a_patch_is_stitched_where_the_probe_lights_more():
    wide = built_in_scan(N=32, n_positions=4)
    wide.probeGuess = np.ones((32, 32), np.complex64)
    padded = training_fields(wide, 1, 0, 1)["model"]["pad_object"]
    assert stitched_side(32, padded) == 16
    confined = built_in_scan(N=64, n_positions=4)
    padded = training_fields(confined, 1, 0, 1)["model"]["pad_object"]
    assert stitched_side(64, padded) == 20


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "none.npz"), (b"not an archive", "none.npz")],
    ids=["missing", "not a scan"],
)
def test_a_bad_scan_is_refused_before_any_training(tmp_path, capsys, content, message):
    data = tmp_path / "none.npz"
    if content:
        data.write_bytes(content)
    output = tmp_path / "out"
    assert run.main(["--data", str(data), "--output", str(output), "--no-parity"]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert "[2/5]" not in captured.out


@pytest.mark.slow
def test_a_whole_run_on_a_small_scan(tmp_path, capfd):
    data, output = tmp_path / "small.npz", tmp_path / "out"
    built_in_scan(N=32, n_positions=36).to_file(data)
    arguments = ["--data", str(data), "--output", str(output), "--epochs", "2", "--no-parity"]
    assert run.main(arguments) == 1  # parity was not run, so it is not said to hold
    report = json.loads((output / "report.json").read_text())
    assert report["parity"] == "not-run"
    for name in ("tensorflow", "pytorch"):
        scores = report["backends"][name]
        assert {"amplitude_ssim", "phase_ssim", "phase_correlation", "train_seconds"} <= set(scores)
        assert len(scores["history"]["loss"]) == 2
        assert 0 < scores["diffraction_error"] < 1
        assert scores["settings"][f"{name.replace('py', '')} threads"].isdigit()
    page = (output / "report.html").read_text()
    assert "data:image/png;base64" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "report.html" in capfd.readouterr().out.splitlines()[-1]
