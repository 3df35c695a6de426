"""A saved model: the round trip, its bytes and layout, and where it is found."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import dill
import h5py
import numpy as np
import pytest

from ptycho.config.config import ModelConfig
from ptycho.core import manifest as manifest_module
from ptycho.core.archive import ArchiveError, ArchiveTooLarge, UnsafeMember, read_archive
from ptycho.core.bundle import find_bundle, read_bundle, read_model_config, write_bundle

KERNEL = "encoder/block1/conv1/kernel"


# --------------------------------------------------------------------------- round trip


@pytest.mark.parametrize("backend", ["tensorflow", "pytorch"])
def test_round_trip(corpus, tmp_path, backend):
    written = corpus.make(backend)
    path = write_bundle(tmp_path, written, {})
    assert path == tmp_path / "wts.h5.zip"
    corpus.assert_same(read_bundle(path), written)
    assert corpus.files_below(tmp_path) == ["wts.h5.zip"]


def test_params_come_back_in_plain_types(tmp_path, make_bundle, native):
    params = read_bundle(write_bundle(tmp_path, make_bundle(), native)).params
    assert params["nphotons"] == 1e6
    assert type(params["nphotons"]) is float
    assert params["output_prefix"] == "runs/first"
    assert params["sizes"] == (1, 2, [3.5, None])
    assert type(params["sizes"][1]) is int
    assert params["label"] == "Ångström"
    assert "probe" not in params


def test_the_bundles_own_fields_win_over_the_snapshot(tmp_path, corpus, native):
    stale = {"N": 128, "gridsize": 1, "probe.mask": False, "intensity_scale": 1.0, "nepochs": 7}
    read = read_bundle(write_bundle(tmp_path, corpus.make(params=stale), native))
    assert read.config == corpus.config
    assert read.params["N"] == 32
    assert read.params["gridsize"] == 2
    assert read.params["probe.mask"] is True
    assert read.params["intensity_scale"] == 123.0
    assert read.params["nepochs"] == 7


def test_model_params_leave_out_the_run_that_trained_it(tmp_path, make_bundle, native):
    model = read_bundle(write_bundle(tmp_path, make_bundle(), native)).model_params()
    assert model["N"] == 32
    assert model["object.big"] is True
    assert model["intensity_scale"] == 123.0
    assert not {"output_prefix", "nphotons", "label", "probe"} & set(model)


def test_saving_what_was_read_gives_the_same_bytes(tmp_path, make_bundle, native):
    first = write_bundle(tmp_path / "a", make_bundle(), native)
    second = write_bundle(tmp_path / "b", read_bundle(first), native)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    "config",
    [
        ModelConfig(N=32, n_filters_scale=1),
        ModelConfig(N=32, n_filters_scale=1, probe_big=False, object_big=False, gridsize=3),
        ModelConfig(N=32, n_filters_scale=1, pad_object=False, model_type="supervised"),
        ModelConfig(N=np.int64(32), n_filters_scale=1, gaussian_smoothing_sigma=np.float32(0.5)),
    ],
)
def test_every_kind_of_network(tmp_path, corpus, config):
    written = corpus.make(config=config)
    read = read_bundle(write_bundle(tmp_path, written, {}))
    corpus.assert_same(read, written)
    assert all(type(value) in (int, float, bool, str) for value in vars(read.config).values())


def test_zeros_in_the_weights_survive_with_their_sign(tmp_path, make_bundle):
    written = make_bundle()
    written.weights[KERNEL][...] = np.float32(-0.0)
    read = read_bundle(write_bundle(tmp_path, written, {}))
    assert np.signbit(read.weights[KERNEL]).all()


def test_weights_in_another_memory_order_are_saved_by_value(tmp_path, corpus):
    written = corpus.make()
    kernel = written.weights[KERNEL]
    written.weights[KERNEL] = np.asfortranarray(kernel)
    corpus.assert_same(read_bundle(write_bundle(tmp_path, written, {})), corpus.make())


# --------------------------------------------------------------------------- layout


def test_members(corpus):
    expected = {"manifest.dill", "manifest.json"} | {
        f"{model}/{name}"
        for model in ("autoencoder", "diffraction_to_obj")
        for name in ("model.keras", "model.h5", "params.dill", "params.json", "custom_objects.dill")
    }
    assert set(corpus.members) == expected
    assert corpus.members["autoencoder/model.keras"] == corpus.native["autoencoder/model.keras"]


def test_pytorch_has_no_custom_objects(tmp_path, make_bundle):
    path = write_bundle(tmp_path, make_bundle("pytorch"), {})
    assert not any("custom_objects" in name for name in read_archive(path))


def test_manifest_is_readable_by_dill_pickle_and_json(corpus):
    manifest = dill.loads(corpus.members["manifest.dill"])
    assert manifest == pickle.loads(corpus.members["manifest.dill"])
    assert manifest == json.loads(corpus.members["manifest.json"])
    assert manifest["models"] == ["autoencoder", "diffraction_to_obj"]
    assert manifest["version"] == "2.0"
    assert manifest["backend"] == "tensorflow"
    assert manifest["created_by"].startswith("ptychopinn ")
    assert manifest["checksums"] == {
        name: hashlib.sha256(data).hexdigest()
        for name, data in corpus.members.items()
        if not name.startswith("manifest")
    }
    names = pickle.loads(corpus.members["autoencoder/custom_objects.dill"])
    assert names == {"names": ["ptycho>Probe"]}


def test_model_h5_is_readable_by_h5py(corpus):
    written = corpus.make()
    with h5py.File(io.BytesIO(corpus.members["autoencoder/model.h5"]), "r") as file:
        assert file.attrs["intensity_scale"] == 123.0
        assert file.attrs["normalisation"] == 0.25
        assert file.attrs["backend"] == b"tensorflow"
        assert file.attrs["format_version"] == b"2.0"
        assert file["encoder/block1/conv1/kernel"].dtype == np.dtype("<f4")
        np.testing.assert_array_equal(file["probe"], written.weights["probe"])
        assert file["log_scale"].shape == ()
    with h5py.File(io.BytesIO(corpus.members["diffraction_to_obj/model.h5"]), "r") as file:
        assert "probe" not in file
        np.testing.assert_array_equal(file[KERNEL], written.weights[KERNEL])


BYTES_CODE = """
import sys
import numpy as np
from ptycho.config.config import ModelConfig
from ptycho.core.bundle import Bundle, write_bundle
from ptycho.core.weights import initial_weights
config = ModelConfig(N=32, n_filters_scale=1)
weights = initial_weights(config, 3, np.ones((32, 32)) + 1j, 123.0)
params = {"b": 1, "a": ["x", "x"]}
write_bundle(sys.argv[1], Bundle("tensorflow", config, weights, 123.0, 0.25, params),
             {"autoencoder/model.keras": b"native"}, custom_objects=["b", "a"])
"""


def test_equal_input_gives_equal_bytes_in_two_processes(tmp_path):
    for seed in ("1", "2"):
        time.sleep(1.1 * (seed == "2"))  # HDF5 keeps times in seconds
        subprocess.run(
            [sys.executable, "-c", BYTES_CODE, str(tmp_path / seed)],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": f"UTC{seed}"},
            check=True,
        )
    assert (tmp_path / "1/wts.h5.zip").read_bytes() == (tmp_path / "2/wts.h5.zip").read_bytes()


def test_order_of_weights_and_params_does_not_matter(tmp_path, make_bundle, native):
    first = make_bundle()
    second = replace(
        first,
        weights=dict(reversed(first.weights.items())),
        params=dict(reversed(first.params.items())),
    )
    assert (
        write_bundle(tmp_path / "a", first, native).read_bytes()
        == write_bundle(tmp_path / "b", second, native).read_bytes()
    )


def test_other_weights_give_other_bytes(tmp_path, make_bundle, native):
    first, second = make_bundle(), make_bundle()
    second.weights[KERNEL][0, 0, 0, 0] += 1e-3
    assert (
        write_bundle(tmp_path / "a", first, native).read_bytes()
        != write_bundle(tmp_path / "b", second, native).read_bytes()
    )


def test_a_release_without_metadata_can_save(tmp_path, monkeypatch, make_bundle, native):
    def absent(_name):
        raise manifest_module.importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(manifest_module.importlib.metadata, "version", absent)
    path = write_bundle(tmp_path, make_bundle(), native)
    assert pickle.loads(read_archive(path)["manifest.dill"])["created_by"] == "ptychopinn unknown"


# --------------------------------------------------------------------------- what is not saved


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"backend": "jax"}, "Bundle.backend is 'jax'; allowed"),
        ({"config": ModelConfig(N=48)}, "ModelConfig.N is 48"),
        ({"config": ModelConfig(N=32)}, "has shape .* expected"),
        ({"intensity_scale": float("nan")}, "intensity_scale is nan"),
        ({"intensity_scale": None}, "intensity_scale is None"),
        ({"normalisation": 0.0}, "normalisation is 0.0"),
        ({"normalisation": -1.0}, "normalisation is -1.0"),
        ({"params": {"mask": np.zeros(3)}}, r"params\['mask'\] is a numpy.ndarray"),
        ({"params": {"a": {"b": [1j]}}}, r"params\['a'\]\['b'\]\[0\] is a builtins.complex"),
        ({"params": {"a": len}}, r"params\['a'\] is a builtins.builtin_function"),
        ({"params": {"a": {1: 2}}}, r"params\['a'\] has the key 1; keys must be str"),
        ({"params": {"a": "x" * 300_000}}, "params takes .* bytes; the limit is"),
    ],
)
def test_what_cannot_be_saved_leaves_the_old_archive(tmp_path, corpus, changes, text, native):
    before = write_bundle(tmp_path, corpus.make(), native).read_bytes()
    with pytest.raises(ValueError, match=text):
        write_bundle(tmp_path, replace(corpus.make(), **changes), native)
    assert (tmp_path / "wts.h5.zip").read_bytes() == before
    assert corpus.files_below(tmp_path) == ["wts.h5.zip"]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("probe", None, "'probe' is missing"),
        (KERNEL, None, f"'{KERNEL}' is missing"),
        ("more", np.zeros(1, np.float32), "unknown weights: more"),
        ("log_scale", np.asarray(1.0), "'log_scale' is float64; expected float32"),
        ("log_scale", np.asarray(np.nan, np.float32), "NaN or infinity: the training diverged"),
    ],
)
def test_weights_that_cannot_be_saved(tmp_path, corpus, name, value, text, native):
    weights = {**corpus.make().weights, name: value}
    weights = {k: v for k, v in weights.items() if v is not None}
    with pytest.raises(ValueError, match=text):
        write_bundle(tmp_path / "new", corpus.make(weights=weights), native)
    assert corpus.files_below(tmp_path) == []


def test_a_snapshot_that_contains_itself(tmp_path, corpus, native):
    loop: dict[str, object] = {}
    loop["again"] = loop
    with pytest.raises(ValueError, match="deeper than 32 levels"):
        write_bundle(tmp_path / "new", corpus.make(params=loop), native)
    assert corpus.files_below(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["autoencoder/model.h5", "autoencoder/params.dill", "manifest.json", "else/model.keras"]
)
def test_native_files_stay_in_their_place(tmp_path, make_bundle, name):
    with pytest.raises(ValueError, match=f"native file '{name}'"):
        write_bundle(tmp_path, make_bundle(), {name: b""})


@pytest.mark.parametrize("name", ["autoencoder/../../evil", "autoencoder/a b"])
def test_native_files_need_safe_names(tmp_path, make_bundle, name):
    with pytest.raises(UnsafeMember):
        write_bundle(tmp_path, make_bundle(), {name: b""})


def test_limits_hold_for_saving(tmp_path, monkeypatch, make_bundle, native):
    monkeypatch.setattr("ptycho.core.archive.MAX_TOTAL_BYTES", 1_000_000)
    with pytest.raises(ArchiveTooLarge, match="the limit is 1000000"):
        write_bundle(tmp_path, make_bundle(), native)


# --------------------------------------------------------------------------- where it is found


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize(
    ("file", "given"),
    [
        ("wts.h5.zip", "."),
        ("wts.h5.zip", "wts.h5.zip"),
        ("model.zip", "model.zip"),
        ("model.ckpt", "model.ckpt"),
        ("outputs/wts.h5.zip", "."),
        ("a/b/wts.h5.zip", "."),
        ("wts.h5.zip/wts.h5.zip", "wts.h5.zip"),
        ("wts.h5.zip/wts.h5.zip", "."),
    ],
)
def test_places(tmp_path, corpus, file, given, kind):
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(corpus.archive)
    assert find_bundle(tmp_path / given) == tmp_path / file
    corpus.assert_same(read_bundle(kind(tmp_path / given)), corpus.make())


def test_an_unpacked_bundle(tmp_path, corpus):
    corpus.unpack(tmp_path)
    (tmp_path / "notes.txt").write_text("someone's")
    before = corpus.files_below(tmp_path)
    corpus.assert_same(read_bundle(tmp_path), corpus.make())
    assert corpus.files_below(tmp_path) == before


def test_the_archive_goes_before_unpacked_members(tmp_path, corpus):
    (tmp_path / "wts.h5.zip").write_bytes(corpus.archive)
    (tmp_path / "manifest.dill").write_bytes(b"")
    corpus.assert_same(read_bundle(tmp_path), corpus.make())


def test_two_nested_archives_are_not_guessed_between(tmp_path, corpus):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "wts.h5.zip").write_bytes(corpus.archive)
    with pytest.raises(ArchiveError, match="several saved models .*a/wts.*b/wts.*the path of one"):
        read_bundle(tmp_path)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (".", "looked for wts.h5.zip there .*manifest.dill of an unpacked one"),
        ("absent", "absent does not exist"),
        ("absent/wts.h5.zip", "absent/wts.h5.zip does not exist"),
        ("file/wts.h5.zip", "file/wts.h5.zip does not exist"),
    ],
)
def test_nothing_there(tmp_path, given, text):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=text):
        read_bundle(tmp_path / given)


def test_an_archive_three_levels_down_is_not_searched_for(tmp_path, corpus):
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/c/wts.h5.zip").write_bytes(corpus.archive)
    with pytest.raises(FileNotFoundError):
        read_bundle(tmp_path)


def test_a_compact_bundle_reads_as_the_whole_one_but_for_its_state(tmp_path, corpus):
    path = write_bundle(tmp_path, corpus.make(), corpus.native, compact=True)
    read, expected = read_bundle(path), corpus.make()
    expected.state = None
    corpus.assert_same(read, expected)
    assert path.stat().st_size < 0.6 * len(corpus.archive)


@pytest.mark.parametrize("compact", [True, False])
def test_the_configuration_is_read_without_the_weights(tmp_path, corpus, monkeypatch, compact):
    path = write_bundle(tmp_path / "packed", corpus.make(), corpus.native, compact=compact)
    members = read_archive(path)
    unpacked = tmp_path / "unpacked"
    for name, data in members.items():
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_bytes(b"damaged" if name.endswith(".h5") else data)
    monkeypatch.setattr("ptycho.core.bundle.load_weights", None)
    assert read_model_config(path.parent) == read_model_config(unpacked) == corpus.config
    snapshot = unpacked / "diffraction_to_obj" / "params.json"
    snapshot.write_bytes(snapshot.read_bytes().replace(b"32", b"64"))
    with pytest.raises(ArchiveError, match=r"params\.json.*not what was saved"):
        read_model_config(unpacked)
    snapshot.unlink()
    with pytest.raises(ArchiveError, match=r"params\.json.*missing"):
        read_model_config(unpacked)
