"""The client's plugin "PtychoPINN", unmodified: discovered, trained, saved, reopened, run.

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
from ptychodus.model.ptychopinn import PtychoPINNReconstructorLibrary
from scene import Scene, emptied, make_scene, scores

from ptycho.raw_data import RawData

pytestmark = pytest.mark.client


class Client:
    """The plugin as the client's processing core drives it."""

    def __init__(self, developer: bool = False, **settings) -> None:
        self.library = PtychoPINNReconstructorLibrary(SettingsRegistry(), developer)
        small = {"n_filters_scale": 1, "probe_big": False, "batch_size": 8, "nepochs": 1}
        for name, value in {**small, "mae_weight": 1.0, "nll_weight": 0.0, **settings}.items():
            self.set(name, value)

    def set(self, name: str, value) -> None:
        lib = self.library
        groups = (lib.model_settings, lib.training_settings, lib.inference_settings)
        (group,) = (group for group in groups if hasattr(group, name))
        getattr(group, name).set_value(value)

    def reconstructor(self, name: str = "PINN"):
        return next(item for item in self.library if item.name == name)

    def train(self, scene: Scene, folder: Path, name: str = "PINN") -> Path:
        data, output = folder / "data", folder / "output"
        data.mkdir(parents=True)
        plugin = self.reconstructor(name)
        for part in ("train_data.npz", "test_data.npz"):
            plugin.export_training_data(data / part, scene.given)
        list(plugin.train(data, output))
        return output

    def reconstruct(self, scene: Scene, name: str = "PINN"):
        return list(self.reconstructor(name).reconstruct(scene.given))[-1].product.object_


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(N=64, n_positions=400)


@pytest.fixture(scope="module")
def small() -> Scene:
    return make_scene(N=32, n_positions=36)


@pytest.fixture(scope="module")
def trained(scene, tmp_path_factory):
    client = Client(nepochs=6)
    output = client.train(scene, tmp_path_factory.mktemp("trained"))
    return client, output, client.reconstruct(scene)


@pytest.mark.parametrize("developer", [False, True])
def test_it_is_discovered(developer):
    names = [item.name for item in Client(developer).library]
    assert names == ["PINN", "Supervised"]
    assert not Client(developer).reconstructor().is_model_loaded()


def test_exported_training_data_are_read_back(small, tmp_path):
    file = tmp_path / "exported.npz"
    Client().reconstructor().export_training_data(file, small.given)
    raw = RawData.from_file(file)
    np.testing.assert_array_equal(raw.diff3d, small.given.diffraction_patterns)
    assert raw.diff3d.dtype == small.given.diffraction_patterns.dtype
    assert raw.domain == "counts"
    np.testing.assert_allclose(raw.xcoords, small.raw.xcoords - 0.5, atol=1e-6)
    np.testing.assert_allclose(raw.ycoords, small.raw.ycoords - 0.5, atol=1e-6)


def test_the_archive_lies_where_the_client_looks(trained):
    client, output, _ = trained
    assert (output / "wts.h5.zip").is_file()
    assert client.reconstructor().is_model_loaded()


def test_the_reconstruction_shows_the_object_in_its_place(trained, scene):
    found = scores(scene, trained[2])
    assert found["phase_correlation"] > 0.9
    assert abs(found["shift_x"]) < 0.25
    assert abs(found["shift_y"]) < 0.25


def test_a_model_saved_under_another_name_gives_the_same_in_a_new_process(trained, scene, tmp_path):
    client, _, first = trained
    client.reconstructor().save_model(tmp_path / "star run.zip")
    reopened = Client(developer=True)
    reopened.reconstructor().load_model_from_file(tmp_path / "star run.zip")
    again = reopened.reconstruct(scene)
    np.testing.assert_array_equal(again.get_array(), first.get_array())


def test_the_parent_imports_no_framework(trained, tmp_path):
    _, output, _ = trained
    code = (
        "from pathlib import Path; from test_tensorflow_plugin import Client;"
        "from scene import make_scene; given = make_scene(N=32, n_positions=9).given;"
        "plugin = Client().reconstructor(); plugin.export_training_data(Path('x.npz'), given);"
        f"plugin.load_model_from_file(Path({str(output / 'wts.h5.zip')!r}));"
        "plugin._build_train_payload(Path(), Path());"
        "plugin._build_reconstruct_payload(given, plugin._loaded_model_path)"
    )
    assert frameworks_loaded_by(code, tmp_path) == "set()"


def test_the_bundle_wins_over_settings_that_disagree(trained, scene, caplog):
    _, output, first = trained
    other = Client(amp_activation="swish", probe_scale=2.0, n_filters_scale=3, gridsize=2)
    other.reconstructor().load_model_from_file(output / "wts.h5.zip")
    again = other.reconstruct(scene)
    np.testing.assert_array_equal(again.get_array(), first.get_array())
    said = caplog.text  # the client hands on what its child logs
    for name in ("amp_activation is 'sigmoid', not 'swish'", "probe_scale is 4.0, not 2.0"):
        assert name in said
    assert "grouping again for the model" in said


@pytest.mark.parametrize("samples", [1, 10_000])
def test_any_number_of_samples_covers_the_scan(trained, scene, samples):
    _, output, first = trained
    other = Client(n_samples=samples)
    other.reconstructor().load_model_from_file(output / "wts.h5.zip")
    assert other.reconstruct(scene).get_array().shape == first.get_array().shape


def test_groups_modes_and_bad_pixels(tmp_path):
    bad = np.zeros((32, 32), bool)
    bad[3, 5] = bad[20, 20:23] = True
    scene = make_scene(N=32, n_positions=64, modes=2, bad_pixels=bad)
    client = Client(gridsize=2)
    client.train(scene, tmp_path)
    found = client.reconstruct(scene).get_array()
    assert np.isfinite(found).all()
    assert found.any()


def test_supervised_trains_and_reconstructs(small, tmp_path):
    client = Client()
    client.train(small, tmp_path, "Supervised")
    assert np.isfinite(client.reconstruct(small, "Supervised").get_array()).all()


def test_errors_reach_the_user_as_text(trained, scene, small, tmp_path):
    _, output, _ = trained
    client = Client()
    assert "no PtychoPINN model has been loaded" in message_of(lambda: client.reconstruct(small))
    client.reconstructor().load_model_from_file(tmp_path / "nowhere" / "wts.h5.zip")
    assert "nowhere does not exist" in message_of(lambda: client.reconstruct(small))
    (tmp_path / "wts.h5.zip").write_bytes(b"not a bundle")
    client.reconstructor().load_model_from_file(tmp_path / "wts.h5.zip")
    assert "wts.h5.zip" in message_of(lambda: client.reconstruct(small))
    client.reconstructor().load_model_from_file(output / "wts.h5.zip")
    assert "64" in message_of(lambda: client.reconstruct(small))
    oblong = replace(small.given, diffraction_patterns=small.given.diffraction_patterns[:, :-2])
    assert "square" in message_of(lambda: list(client.reconstructor().reconstruct(oblong)))
    nothing = emptied(small.given)
    assert "no positions" in message_of(lambda: list(client.reconstructor().reconstruct(nothing)))
    empty = tmp_path / "empty"
    empty.mkdir()
    error = message_of(lambda: list(client.reconstructor().train(empty, tmp_path / "out")))
    assert "test_data.npz" in error
    assert not (tmp_path / "out" / "wts.h5.zip").exists()
