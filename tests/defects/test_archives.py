"""Saved models: what they hold, what they refuse, what loading changes, who reads them."""

import hashlib
import io
import json
import os
import pickle
import zipfile

import h5py
import numpy as np
import pytest

from ptycho import params
from ptycho.config.config import InferenceConfig, ModelConfig
from ptycho.core.archive import ArchiveError
from ptycho.raw_data import RawData
from ptycho.workflows.backend_selector import load_inference_bundle_with_backend


def _members(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _write(path, members, **manifest_changes):
    """Write an archive whose manifest vouches for ``members``."""
    manifest = json.loads(members["manifest.json"])
    manifest["checksums"] = {
        name: hashlib.sha256(data).hexdigest()
        for name, data in members.items()
        if not name.startswith("manifest")
    }
    manifest = {k: v for k, v in {**manifest, **manifest_changes}.items() if v is not None}
    own = {
        "manifest.dill": pickle.dumps(manifest, protocol=4),
        "manifest.json": json.dumps(manifest).encode(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, **own}.items():
            archive.writestr(name, data)
    return path


def _changed_weights(data, change):
    buffer = io.BytesIO(data)
    with h5py.File(buffer, "r+") as file:
        change(file)
    return buffer.getvalue()


class Trap:
    """Unpickled, it makes a directory."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


def _load(backend, path):
    return backend.room("workflows.components").load_inference_bundle(path)


def _batch(run):
    container = run.results["train_container"]
    x = container.X[:5] * np.float32(run.trained.intensity_scale)
    return [x, container.batch_offsets(slice(0, 5))]


def test_D_23_paths_that_end_in_zip_are_files(backend, runs, tmp_path):
    manager, run = backend.room("model_manager"), runs(backend)
    for given, made in (
        ("a/wts.h5.zip", "a/wts.h5.zip"),
        ("b", "b/wts.h5.zip"),
        ("c.zip", "c.zip"),
    ):
        path = manager.save(str(tmp_path / given), run.trained)
        assert path == tmp_path / made
        assert path.is_file()
        assert _load(backend, tmp_path / given)[1]["N"] == 32


def test_D_24_T_28_loading_runs_no_code(backend, runs, tmp_path):
    members = _members(runs(backend).bundle)
    for name in ("autoencoder/params.dill", "diffraction_to_obj/params.dill"):
        spoilt = {**members, name: pickle.dumps(Trap(tmp_path / "sprung"))}
        with pytest.raises(ArchiveError, match=name):
            _load(backend, _write(tmp_path / "bundle" / "wts.h5.zip", spoilt))
    assert not (tmp_path / "sprung").exists()


def test_D_24_scan_files_run_no_code(tmp_path, scan):
    odd = np.empty(1, object)
    odd[0] = Trap(tmp_path / "sprung")
    path = scan.to_file(tmp_path / "scan.npz")
    with np.load(path) as file:
        values = dict(file)
    np.savez(path, **{**values, "_metadata": odd}, allow_pickle=True)
    with pytest.raises(ValueError, match=str(path)):
        RawData.from_file(path)
    assert not (tmp_path / "sprung").exists()


def test_T_33_a_crafted_manifest_runs_nothing(backend, runs, tmp_path):
    members = _members(runs(backend).bundle)
    for trap in (Trap(tmp_path / "sprung"), {"models": Trap(tmp_path / "sprung")}):
        path = tmp_path / "wts.h5.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in {**members, "manifest.dill": pickle.dumps(trap)}.items():
                archive.writestr(name, data)
        config = InferenceConfig(ModelConfig(N=32), path, path, backend=backend.name)
        with pytest.raises(ArchiveError, match="manifest"):
            load_inference_bundle_with_backend(path, config)
        with pytest.raises(ArchiveError, match="manifest"):
            _load(backend, path)
    assert not (tmp_path / "sprung").exists()


def test_D_25_T_26_loading_changes_the_model_s_keys_only(backend, runs):
    run = runs(backend, "real space")
    params.cfg.update(
        train_data_file_path="mine.npz", output_prefix="here", label="kept", N=64, gridsize=1,
        n_groups=7, neighbor_count=9, intensity_scale=1.0,
    )  # fmt: skip
    before = dict(params.cfg)
    backend.room("model_manager").load(run.bundle)
    assert params.cfg == before
    _, known = _load(backend, run.bundle)
    kept = ("train_data_file_path", "output_prefix", "label", "n_groups", "neighbor_count")
    assert {name: params.cfg[name] for name in kept} == {name: before[name] for name in kept}
    assert (params.cfg["N"], params.cfg["gridsize"]) == (32, 2)
    assert params.cfg["intensity_scale"] == run.trained.intensity_scale
    assert known is not params.cfg
    known["N"] = 5
    assert params.cfg["N"] == 32


@pytest.mark.parametrize("damage", ["renamed", "missing", "extra", "reshaped"])
def test_T_11_C_48_P_32_weights_that_do_not_fit_are_refused(backend, runs, tmp_path, damage):
    members = _members(runs(backend).bundle)
    name = "encoder/block1/conv1/kernel"

    def change(file):
        found = []
        file.visititems(lambda path, item: found.append(path) if path.endswith(name) else None)
        (path,) = found
        values = file[path][()]
        if damage == "renamed":
            file.move(path, path + "_old")
        elif damage == "extra":
            file[path + "_2"] = values
        else:
            del file[path]
            if damage == "reshaped":
                file[path] = values[..., :-1]

    for model in ("autoencoder", "diffraction_to_obj"):
        members[f"{model}/model.h5"] = _changed_weights(members[f"{model}/model.h5"], change)
    with pytest.raises(ArchiveError, match="encoder/block1/conv1/kernel"):
        _load(backend, _write(tmp_path / "wts.h5.zip", members))


def test_T_11_the_loaded_model_is_the_trained_one(backend, runs):
    run = runs(backend)
    model, _ = _load(backend, run.bundle)
    for name, value in model.weights.items():
        np.testing.assert_array_equal(value, run.trained.weights[name])
    fresh = run.results["model_instance"].predict(_batch(run))
    np.testing.assert_array_equal(model.predict(_batch(run)), fresh)


def test_C_17_manifest_names_its_backend(backend, runs, tmp_path):
    members = _members(runs(backend).bundle)
    assert json.loads(members["manifest.json"])["backend"] == backend.name
    assert pickle.loads(members["manifest.dill"])["backend"] == backend.name
    for other in (None, "jax"):
        path = _write(tmp_path / "wts.h5.zip", members, backend=other)
        with pytest.raises(ArchiveError, match="backend"):
            _load(backend, path)


def test_C_18_native_payload_is_what_the_members_table_says(backend, runs):
    members = _members(runs(backend).bundle)
    for model in ("autoencoder", "diffraction_to_obj"):
        if backend.name == "pytorch":
            import torch

            data = io.BytesIO(members[f"{model}/model.ckpt"])
            checkpoint = torch.load(data, weights_only=True)
            assert {"state_dict", "pytorch-lightning_version", "hyper_parameters"} <= set(
                checkpoint
            )
        else:
            with zipfile.ZipFile(io.BytesIO(members[f"{model}/model.keras"])) as keras:
                assert "model.weights.h5" in keras.namelist()


def test_C_19_both_models_are_saved_with_their_weights(backend, runs):
    run = runs(backend)
    members = _members(run.bundle)
    models = json.loads(members["manifest.json"])["models"]
    assert set(models) == {"autoencoder", "diffraction_to_obj"}
    for model in models:
        found = {}

        def note(path, item, found=found):
            if isinstance(item, h5py.Dataset):
                found[path] = item[()]

        with h5py.File(io.BytesIO(members[f"{model}/model.h5"])) as file:
            file.visititems(note)
        for name, value in run.trained.weights.items():
            if model == "autoencoder" or name != "probe":
                (same,) = [v for path, v in found.items() if path.endswith(name)]
                np.testing.assert_array_equal(same, value)


def test_C_20_P_31_either_backend_reads_the_other_s_archive(backend, backends, runs, tmp_path):
    (other,) = [b for name, b in backends.items() if name != backend.name]
    run = runs(other, "real space")
    model, known = _load(backend, run.bundle)
    own = run.results["model_instance"].predict(_batch(run))
    found = model.predict(_batch(run))
    assert known["gridsize"] == 2
    assert np.abs(found - own).max() < 1e-5 * np.abs(own).max()
    members = _members(run.bundle)
    del members["diffraction_to_obj/model.h5"]
    with pytest.raises(ArchiveError, match="diffraction_to_obj/model.h5"):
        _load(backend, _write(tmp_path / "wts.h5.zip", members))
