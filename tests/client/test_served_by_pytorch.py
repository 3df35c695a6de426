"""The client's plugin "PtychoPINN", unmodified, served by PyTorch where there is no TensorFlow."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("ptychodus", reason="ptychodus is absent: pip install 'ptychopinn[client]'")

from outcomes import message_of, without
from scene import make_scene, scores
from test_tensorflow_plugin import Client

from ptycho.core.bundle import written_by

pytestmark = pytest.mark.client


@pytest.fixture
def only_pytorch(tmp_path, monkeypatch):
    without(("tensorflow", "keras"), tmp_path / "site", monkeypatch)
    monkeypatch.setenv("PTYCHO_BACKEND", "pytorch")
    done = subprocess.run(
        [sys.executable, "-c", "import tensorflow"], capture_output=True, text=True, check=False
    )
    assert "No module named 'tensorflow'" in done.stderr


def test_it_trains_saves_reopens_and_reconstructs(tmp_path, only_pytorch, monkeypatch):
    scene = make_scene(N=64, n_positions=400)
    client = Client(nepochs=6)
    output = client.train(scene, tmp_path / "run")
    assert written_by(output) == "pytorch"
    first = client.reconstruct(scene)
    found = scores(scene, first)
    assert found["phase_correlation"] > 0.9
    assert abs(found["shift_x"]) < 0.25
    assert abs(found["shift_y"]) < 0.25
    client.reconstructor().save_model(tmp_path / "star run.zip")
    # The archive's tag decides at load, with and without the variable.
    monkeypatch.delenv("PTYCHO_BACKEND")
    reopened = Client()
    reopened.reconstructor().load_model_from_file(tmp_path / "star run.zip")
    np.testing.assert_array_equal(reopened.reconstruct(scene).get_array(), first.get_array())


@pytest.mark.parametrize("name", ["PINN", "Supervised"])
def test_groups_modes_and_bad_pixels(tmp_path, only_pytorch, name):
    bad = np.zeros((32, 32), bool)
    bad[3, 5] = bad[20, 20:23] = True
    scene = make_scene(N=32, n_positions=64, modes=2, bad_pixels=bad)
    client = Client(gridsize=2)
    client.train(scene, tmp_path / "run", name)
    found = client.reconstruct(scene, name).get_array()
    assert np.isfinite(found).all()
    assert found.any()


def test_errors_reach_the_user_as_text(tmp_path, only_pytorch, monkeypatch):
    scene = make_scene(N=32, n_positions=36)
    client = Client()
    client.reconstructor().load_model_from_file(tmp_path / "nowhere" / "wts.h5.zip")
    assert "nowhere does not exist" in message_of(lambda: client.reconstruct(scene))
    (tmp_path / "wts.h5.zip").write_bytes(b"not a bundle")
    client.reconstructor().load_model_from_file(tmp_path / "wts.h5.zip")
    assert "wts.h5.zip is not a saved model" in message_of(lambda: client.reconstruct(scene))
    monkeypatch.setenv("PTYCHO_BACKEND", "tensorflow")
    text = message_of(lambda: Client().train(scene, tmp_path / "tensorflow"))
    assert "TensorFlow backend selected" in text
    assert "pip install" in text
    monkeypatch.setenv("PTYCHO_BACKEND", "jax")
    text = message_of(lambda: Client().train(scene, tmp_path / "jax"))
    assert "PTYCHO_BACKEND" in text
    assert "pytorch, tensorflow" in text
