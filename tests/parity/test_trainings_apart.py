"""Trainings that share a process, a directory or a scan, and are none of each other's business."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from parity import process
from parity.callchain.scenario import PACKAGES
from ptycho import params
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.progress import hidden_progress
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan

process.pin()

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("search")]

_EXECUTION = PyTorchExecutionConfig(accelerator="cpu", enable_progress_bar=False)
_EVERY_BACKEND = pytest.mark.parametrize("backend", PACKAGES)


def _room(backend: str, name: str):
    return importlib.import_module(f"{PACKAGES[backend]}.{name}")


def _small(backend: str) -> tuple[RawData, TrainingConfig]:
    model = ModelConfig(N=32, n_filters_scale=1)
    return built_in_scan(N=32, n_positions=25), TrainingConfig(
        model, n_groups=12, batch_size=4, nepochs=1, nphotons=1e4, seed=3, backend=backend
    )


def _other(backend: str) -> tuple[RawData, TrainingConfig]:
    """Another side, group, dose, number of probe modes; the probe trains and the scale does not."""
    model = ModelConfig(N=64, gridsize=2, n_filters_scale=1, probe_big=False, probe_scale=2.0)
    scan = built_in_scan(1, N=64, n_positions=16)
    probe = np.stack([scan.probeGuess, 0.3 * np.roll(scan.probeGuess, 5, axis=1)])
    config = TrainingConfig(
        model, n_groups=8, batch_size=4, nepochs=1, nphotons=1e8, probe_trainable=True,
        intensity_scale_trainable=False, backend=backend,
    )  # fmt: skip
    return RawData(scan.xcoords, scan.ycoords, None, None, scan.diff3d, probe, None), config


def _digest(backend: str, scan: RawData, config: TrainingConfig) -> dict[str, object]:
    """Train by the door; return a digest of everything that the training leaves."""
    with hidden_progress():
        results = _room(backend, "workflows.components").train_cdi_model(
            scan, None, config, execution_config=_EXECUTION
        )
    model = results["model_instance"]
    weights = hashlib.sha256()
    for name, value in sorted(model.weights.items()):
        weights.update(name.encode() + np.ascontiguousarray(value).tobytes())
    side, channels = config.model.N, config.model.gridsize**2
    x = np.linspace(0, 3, side * side * channels, dtype=np.float32)
    offsets = np.zeros((1, 1, 2, channels), np.float32)
    patches = model.predict([x.reshape(1, side, side, channels), offsets])
    return {
        "losses": results["step_losses"],
        "weights": weights.hexdigest(),
        "prediction": hashlib.sha256(patches.tobytes()).hexdigest(),
        "scales": [model.intensity_scale, model.normalisation],
        "params.cfg": [
            float(params.cfg[key]) for key in ("intensity_scale", "normalisation", "nphotons")
        ],
        "probe": hashlib.sha256(np.ascontiguousarray(params.cfg["probe"]).tobytes()).hexdigest(),
    }


def train_in_order(backend: str, order: str) -> dict[str, dict[str, object]]:
    """Train what the letters of ``order`` say, one after the other; the last of each letter."""
    made = {"s": _small, "o": _other}
    return {letter: _digest(backend, *made[letter](backend)) for letter in order}


@_EVERY_BACKEND
def test_a_training_repeats_itself_after_another_one(backend):
    first, then = train_in_order(backend, "so"), train_in_order(backend, "so")
    assert first == then
    assert first["s"]["prediction"] != first["o"]["prediction"]


@pytest.mark.slow
@_EVERY_BACKEND
def test_the_order_of_two_trainings_in_a_process_changes_no_bit(backend):
    code = (
        "import json, runpy, sys\n"
        f"found = runpy.run_path({__file__!r})['train_in_order'](*sys.argv[1:])\n"
        "print(json.dumps(found))"
    )
    found = []
    for order in ("so", "os"):
        done = subprocess.run(
            [sys.executable, "-c", code, backend, order],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    assert found[0] == found[1]


# ------------------------------------------------------------------ a scan and a part of it


@_EVERY_BACKEND
def test_a_part_of_a_scan_is_reconstructed_as_in_the_whole(backend, tmp_path):
    scan, config = _small(backend)
    door = _room(backend, "workflows.components")
    with hidden_progress():
        door.train_cdi_model(scan, None, config, execution_config=_EXECUTION)
    _room(backend, "model_manager").save(tmp_path)
    params.restore_defaults()
    model, _ = door.load_inference_bundle(tmp_path)
    # The brightest patterns: their own normalisation would be another one.
    energy = (scan.diff3d.astype(np.float64) ** 2).sum(axis=(1, 2))
    part = np.sort(np.argsort(energy)[-6:])
    assert energy[part].mean() > 1.005 * energy.mean()
    bright = RawData(
        scan.xcoords[part], scan.ycoords[part], None, None, scan.diff3d[part], scan.probeGuess, None
    )
    whole = door.reassemble_cdi_image(scan, config, model)[2]["obj_tensor_full"]
    alone = door.reassemble_cdi_image(bright, config, model)[2]["obj_tensor_full"]
    np.testing.assert_allclose(alone, whole[part], atol=1e-6)


# ------------------------------------------------------------------ what is left on the disk


def _command(scan: Path, output: Path, backend: str, *flags: object) -> list[str]:
    given = ["--train_data_file", scan, "--output_dir", output, "--backend", backend]
    given += ["--n_filters_scale", 1, "--n_groups", 12, "--batch_size", 4, *flags]
    return [str(flag) for flag in given]


def _files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


@_EVERY_BACKEND
def test_training_and_inference_write_below_their_output_directories_alone(
    backend, tmp_path, monkeypatch
):
    from ptycho.cli import inference, train

    scan = built_in_scan(N=32, n_positions=25).to_file(tmp_path / "scan.npz")
    for name in ("cwd", "home", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    accelerator = ["--torch-accelerator", "cpu"]
    flags = ["--nepochs", 1, "--do_stitching", "--quiet", *accelerator]
    assert train.main(_command(scan, Path("trained"), backend, *flags)) == 0
    assert inference.main(
        ["--model_path", "trained", "--test_data", str(scan), "--output_dir", "seen",
         "--backend", backend, "--quiet"]
    ) == 0  # fmt: skip
    strays = {
        name for name in _files(tmp_path) if not name.startswith(("cwd/trained/", "cwd/seen/"))
    }
    assert strays == {"scan.npz"}
    assert "cwd/trained/wts.h5.zip" in _files(tmp_path)


# ------------------------------------------------------------------ Ctrl-C


def _interrupted(command: list[str], cwd: Path, when: str) -> tuple[int, str]:
    """Start a command, press Ctrl-C once ``when`` is in what it says; return code and text."""
    # A test run in the background may have been told to ignore Ctrl-C, and hands that down.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from ptycho.cli.train import main; sys.exit(main(sys.argv[1:]))"
    )
    running = subprocess.Popen(
        [sys.executable, "-u", "-c", code, *command],
        cwd=cwd,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    said, deadline = "", time.monotonic() + 240
    try:
        for line in running.stderr:
            said += line
            if when in line:
                running.send_signal(signal.SIGINT)
                break
            assert time.monotonic() < deadline, said
        said += running.stderr.read()
        return running.wait(timeout=120), said
    finally:
        running.kill()
        running.wait()
        running.stderr.close()


@pytest.mark.slow
@_EVERY_BACKEND
def test_an_interrupted_training_leaves_a_whole_archive_and_nothing_half(backend, tmp_path):
    scan = built_in_scan(N=32, n_positions=25).to_file(tmp_path / "scan.npz")
    flags = ["--nepochs", 100_000, "--torch-accelerator", "cpu"]
    code, said = _interrupted(_command(scan, Path("out"), backend, *flags), tmp_path, "epoch 3")
    assert code == 130, said
    assert "Traceback" not in said
    assert _files(tmp_path) == {"scan.npz", "out/wts.h5.zip", "out/history.json"}
    history = json.loads((tmp_path / "out" / "history.json").read_text())
    assert len(history["loss"]) >= 3
    model, _ = _room(backend, "workflows.components").load_inference_bundle(tmp_path / "out")
    patches = model.predict([np.ones((1, 32, 32, 1)), np.zeros((1, 1, 2, 1))])
    assert np.isfinite(patches).all()


@pytest.mark.slow
@_EVERY_BACKEND
def test_an_earlier_archive_survives_an_interrupt_before_the_first_epoch(backend, tmp_path):
    scan = built_in_scan(N=32, n_positions=25).to_file(tmp_path / "scan.npz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "wts.h5.zip").write_bytes(b"earlier")
    code, said = _interrupted(
        _command(scan, Path("out"), backend, "--nepochs", 9), tmp_path, "is replaced when"
    )
    assert code == 130, said
    assert "Traceback" not in said
    left = (tmp_path / "out" / "wts.h5.zip").read_bytes()
    if left != b"earlier":  # the interrupt came late: what was reached is saved, whole
        _room(backend, "workflows.components").load_inference_bundle(tmp_path / "out")
    assert _files(tmp_path) <= {"scan.npz", "out/wts.h5.zip", "out/history.json"}
    assert os.listdir(tmp_path / "out")
