"""The client's plugin "PtychoPINN-Torch", unmodified: discovered, trained, saved, reopened, run.

Each training and reconstruction happens in a spawned child process, as it does for users.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ptychodus", reason="ptychodus is absent: pip install 'ptychopinn[client]'")

from outcomes import frameworks_loaded_by, message_of
from ptychodus.api.settings import SettingsRegistry
from ptychodus.model.ptychopinn_torch import PtychoPINNTorchReconstructorLibrary
from scene import Scene, emptied, make_scene, scores

pytestmark = pytest.mark.client


class Client:
    """The plugin as the client's processing core drives it."""

    def __init__(self, N: int = 64, gridsize: int = 1, **settings) -> None:
        self.library = PtychoPINNTorchReconstructorLibrary(SettingsRegistry(), False)
        grid = {"num_channels": gridsize**2, "grid_size_x": gridsize, "grid_size_y": gridsize}
        small = {"num_filters_scale": 1, "probe_big": False, "batch_size": 8, "epochs": 1}
        for name, value in {"model_size": N, **grid, **small, **settings}.items():
            self.set(name, value)

    def set(self, name: str, value) -> None:
        lib = self.library
        groups = (lib.data_settings, lib.model_settings, lib.training_settings)
        # The first of two that share a name, batch_size, is the training's.
        group = next(g for g in (*groups, lib.inference_settings) if hasattr(g, name))
        getattr(group, name).set_value(value)

    def reconstructor(self, name: str = "Unsupervised"):
        return next(item for item in self.library if item.name == name)

    def train(self, scene: Scene, folder: Path, name: str = "Unsupervised"):
        data = folder / "data"
        data.mkdir(parents=True)
        plugin = self.reconstructor(name)
        plugin.export_training_data(data / "exported.npz", scene.given)
        (found,) = plugin.train(data, folder / "output")
        return found

    def reconstruct(self, scene: Scene, name: str = "Unsupervised"):
        return list(self.reconstructor(name).reconstruct(scene.given))[-1].product.object_


@pytest.fixture(scope="module")
def small() -> Scene:
    return make_scene(N=32, n_positions=36)


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """A client that has trained, what it was told of the training, its folder, its object."""
    folder = tmp_path_factory.mktemp("trained")
    client = Client(N=32, epochs=2)
    told = client.train(small, folder)
    return client, told, folder, client.reconstruct(small)


def test_it_is_discovered():
    assert [item.name for item in Client().library] == ["Unsupervised", "Supervised"]
    assert not Client().reconstructor().is_model_loaded()
    assert Client().reconstructor().get_model_file_extension() == ".ckpt"


def test_the_client_hears_of_every_epoch_and_finds_the_checkpoint(trained):
    client, told, folder, _ = trained
    assert told.progress == 2
    for losses in (told.training_loss, told.validation_loss):
        assert [loss.epoch for loss in losses] == [0, 1]
        assert all(np.isfinite(loss.value) for loss in losses)
    assert client.reconstructor().is_model_loaded()
    (checkpoint,) = (folder / "output").glob("run_*/checkpoints/*.ckpt")
    assert checkpoint.is_file()


def test_a_model_saved_under_another_name_gives_the_same_in_a_new_process(trained, small, tmp_path):
    client, _, _, first = trained
    client.reconstructor().save_model(tmp_path / "star run.ckpt")
    reopened = Client()
    reopened.reconstructor().load_model_from_file(tmp_path / "star run.ckpt")
    again = reopened.reconstruct(small)
    np.testing.assert_array_equal(again.get_array(), first.get_array())
    assert np.iscomplexobj(first.get_array())


def test_the_checkpoint_wins_over_settings_that_disagree(trained, small, caplog):
    client, _, folder, first = trained
    (checkpoint,) = (folder / "output").glob("run_*/checkpoints/*.ckpt")
    other = Client(N=128, gridsize=3, num_filters_scale=3, amplitude_activation_function="sigmoid")
    other.reconstructor("Supervised").load_model_from_file(checkpoint)
    again = other.reconstruct(small, "Supervised")
    np.testing.assert_array_equal(again.get_array(), first.get_array())
    assert "does not match reconstructor mode" in caplog.text


def test_the_parent_imports_no_framework(tmp_path):
    code = (
        "from test_torch_plugin import Client; c = Client();"
        "r = c.reconstructor(); r._build_train_payload('a', 'b')"
    )
    assert frameworks_loaded_by(code, tmp_path) == "set()"


def test_groups_modes_and_bad_pixels(tmp_path):
    bad = np.zeros((32, 32), bool)
    bad[3, 5] = bad[20, 20:23] = True
    scene = make_scene(N=32, n_positions=49, modes=2, bad_pixels=bad)
    client = Client(N=32, gridsize=2, coordinate_subsampling_factor=1)
    client.train(scene, tmp_path)
    found = client.reconstruct(scene).get_array()
    assert np.isfinite(found).all()
    assert found.any()


def test_supervised_trains_and_reconstructs(small, tmp_path):
    client = Client(N=32)
    client.train(small, tmp_path, "Supervised")
    assert np.isfinite(client.reconstruct(small, "Supervised").get_array()).all()


def test_errors_of_a_reconstruction_reach_the_user_as_text(trained, small, tmp_path):
    _, _, folder, _ = trained
    (checkpoint,) = (folder / "output").glob("run_*/checkpoints/*.ckpt")
    client = Client(N=32)
    plugin = client.reconstructor()
    assert "no model checkpoint has been loaded" in message_of(lambda: client.reconstruct(small))
    plugin.load_model_from_file(tmp_path / "nowhere.ckpt")
    assert "nowhere.ckpt" in message_of(lambda: client.reconstruct(small))
    (tmp_path / "rubbish.ckpt").write_bytes(b"not a checkpoint")
    plugin.load_model_from_file(tmp_path / "rubbish.ckpt")
    assert "rubbish.ckpt" in message_of(lambda: client.reconstruct(small))
    plugin.load_model_from_file(checkpoint)
    oblong = replace(small.given, diffraction_patterns=small.given.diffraction_patterns[:, :-2])
    # Its mask does not fit either; the client repairs patterns with it first.
    oblong = replace(oblong, bad_pixels=np.zeros((30, 32), bool))
    assert "square" in message_of(lambda: list(plugin.reconstruct(oblong)))
    nothing = emptied(small.given)
    assert "no positions" in message_of(lambda: list(plugin.reconstruct(nothing)))
    large = make_scene(N=64, n_positions=9)
    assert "64 x 64" in message_of(lambda: client.reconstruct(large))


def test_errors_of_a_training_reach_the_user_as_text(small, tmp_path):
    plugin = Client(N=64).reconstructor()
    data, output = tmp_path / "data", tmp_path / "output"
    data.mkdir()
    assert "export training data" in message_of(lambda: list(plugin.train(data, output)))
    plugin.export_training_data(data / "exported.npz", small.given)
    assert "DataConfig.N (model_size) is 64" in message_of(lambda: list(plugin.train(data, output)))
    refused = Client(N=32, use_batch_normalization=True).reconstructor()
    assert "ModelConfig.batch_norm" in message_of(lambda: list(refused.train(data, output)))
    assert not output.exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_reconstruction_shows_the_object_in_its_place(tmp_path):
    scene = make_scene(N=64, n_positions=400)
    whole = {
        f"{axis}_{end}_bound": float(end == "upper") for axis in "xy" for end in ("lower", "upper")
    }
    whole |= {"amplitude_activation_function": "sigmoid"}
    client = Client(epochs=6, loss_function="MAE", **whole)
    client.train(scene, tmp_path)
    found = scores(scene, client.reconstruct(scene))
    assert found["phase_correlation"] > 0.9
    assert abs(found["shift_x"]) < 0.5
    assert abs(found["shift_y"]) < 0.5
