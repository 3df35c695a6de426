"""The client's batch mode: ``python -m ptychodus -b train`` and ``-b reconstruct``."""

from __future__ import annotations

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

pytestmark = pytest.mark.client

SETTINGS = """[Processing]
Algorithm = {algorithm}

[PtychoPINNModel]
NumFiltersScale = 1
ProbeBig = False

[PtychoPINNTraining]
NumEpochs = 1
BatchSize = 8
"""


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


def batch(action: str, given: Path, output: Path) -> None:
    command = [sys.executable, "-m", "ptychodus", "-b", action, "-i", str(given), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.mark.parametrize("algorithm", ["ptychopinn_pinn"])
def test_batch_mode_trains_and_reconstructs(tmp_path, algorithm):
    scene = make_scene(N=32, n_positions=36)
    given = input_folder(tmp_path / "in", scene, algorithm)
    batch("train", given, tmp_path / "trained")
    bundle = tmp_path / "trained" / "wts.h5.zip"
    assert bundle.is_file()
    (given / "model.zip").write_bytes(bundle.read_bytes())
    batch("reconstruct", given, tmp_path / "reconstructed")
    (product,) = (tmp_path / "reconstructed").glob("product*.h5")
    found = load_product(product).object_.get_layer(0)
    assert np.isfinite(found).all()
    assert np.abs(found).max() > 0
