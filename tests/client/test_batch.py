"""The client's batch mode: ``python -m ptychodus -b train`` and ``-b reconstruct``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ptychodus", reason="ptychodus is absent: pip install 'ptychopinn[client]'")

from ptychodus.api.assemble import AssembledDiffractionData
from ptychodus.api.geometry import PixelGeometry
from ptychodus.api.io import (
    load_product,
    save_diffraction_data,
    save_product,
    save_ptychopinn_training_data,
)
from scene import Scene, make_scene

from ptycho.core.bundle import written_by

pytestmark = pytest.mark.client

SETTINGS = """[Processing]
Algorithm = {algorithm}

[PtychoPINNModel]
NumFiltersScale = 1
ProbeBig = False

[PtychoPINNTraining]
NumEpochs = 1
BatchSize = 8

[PtychoPINNTorchData]
model_size = 32
num_channels = 1
grid_size_x = 1
grid_size_y = 1

[PtychoPINNTorchModel]
num_filters_scale = 1
probe_big = False

[PtychoPINNTorchTraining]
epochs = 1
batch_size = 8
"""

#: Algorithm, environment, the model that a training leaves, where a reconstruction looks for it.
RUNS = {
    "PtychoPINN": ("ptychopinn_pinn", {}, "wts.h5.zip", "model.zip"),
    "PtychoPINN by PyTorch": (
        "ptychopinn_pinn",
        {"PTYCHO_BACKEND": "pytorch"},
        "wts.h5.zip",
        "model.zip",
    ),
    "PtychoPINN-Torch": (
        "ptychopinn-torch_unsupervised",
        {},
        "run_*/checkpoints/*.ckpt",
        "model.ckpt",
    ),
}


def input_folder(folder: Path, scene: Scene, algorithm: str) -> Path:
    folder.mkdir()
    (folder / "settings.ini").write_text(SETTINGS.format(algorithm=algorithm))
    patterns = scene.given.diffraction_patterns
    data = AssembledDiffractionData(
        np.arange(len(patterns)), patterns, PixelGeometry(75e-6, 75e-6), scene.given.bad_pixels
    )
    save_diffraction_data(folder / "diffraction.h5", data)
    save_product(folder / "product.h5", scene.given.product)
    for name in ("train_data.npz", "test_data.npz"):
        save_ptychopinn_training_data(folder / name, scene.given)
    return folder


def batch(action: str, given: Path, output: Path, **environment: str) -> tuple[int, str]:
    """Return exit code and output of the client's command."""
    command = [sys.executable, "-m", "ptychodus", "-b", action, "-i", str(given), "-o", str(output)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("run", RUNS)
def test_batch_mode_trains_and_reconstructs(tmp_path, run):
    algorithm, environment, left, looked_for = RUNS[run]
    scene = make_scene(N=32, n_positions=36)
    given = input_folder(tmp_path / "in", scene, algorithm)
    code, said = batch("train", given, tmp_path / "trained", **environment)
    assert code == 0, said[-3000:]
    (model,) = (tmp_path / "trained").glob(left)
    if model.suffix == ".zip":
        assert written_by(model) == environment.get("PTYCHO_BACKEND", "tensorflow")
    (given / looked_for).write_bytes(model.read_bytes())
    code, said = batch("reconstruct", given, tmp_path / "reconstructed")
    assert code == 0, said[-3000:]
    (product,) = (tmp_path / "reconstructed").glob("product*.h5")
    found = load_product(product).object_.get_layer(0)
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 0


@pytest.mark.parametrize("run", ["PtychoPINN", "PtychoPINN-Torch"])
def test_batch_mode_says_what_went_wrong(tmp_path, run):
    algorithm, _, _, looked_for = RUNS[run]
    given = input_folder(tmp_path / "in", make_scene(N=32, n_positions=9), algorithm)
    (given / looked_for).write_bytes(b"not a model")
    code, said = batch("reconstruct", given, tmp_path / "reconstructed")
    assert code != 0
    assert looked_for.partition(".")[0] in said
    for file in given.glob("*.npz"):
        file.unlink()
    code, said = batch("train", given, tmp_path / "trained")
    assert code != 0
    assert "Training failed" in said
    assert not list((tmp_path / "trained").rglob("*.ckpt"))
    assert not list((tmp_path / "trained").rglob("*.zip"))
