"""Saving, loading and predicting."""

import hashlib
import io
import math
import re
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import ptycho.layers  # noqa: F401  # Keras finds the registered layers
from ptycho import model_manager, params
from ptycho.core import bundle, safe_pickle
from ptycho.core.weights import initial_weights

N = 32


def _inputs(groups=20, seed=2):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 50, (groups, N, N, 4)).astype(np.float32)
    offsets = rng.uniform(-4, 4, (groups, 1, 2, 4)).astype(np.float32)
    return [x, offsets - offsets.mean(axis=-1, keepdims=True)]


@pytest.fixture(scope="module")
def predictor(trained):
    return model_manager.ObjectPredictor.of(trained)


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory):
    return model_manager.save(tmp_path_factory.mktemp("model") / "new" / "place", trained)


# ------------------------------------------------------------------ predicting


def test_prediction_does_not_depend_on_the_batch(predictor):
    x, offsets = _inputs()
    offsets[3] *= 6  # one group far wider than the others
    whole = predictor.predict([x, offsets])  # 20 groups of 4: 80 patterns at once
    assert whole.shape == (20, N, N, 1)
    assert whole.dtype == np.complex64
    for size in (1, 7, 64):
        split = predictor.predict([x, offsets], batch_size=size)
        np.testing.assert_allclose(split, whole, atol=2e-6)
    assert np.abs(whole[0] - whole[1]).max() > 1e-3  # and groups differ


def test_tensors_lists_and_doubles_are_taken(predictor):
    x, offsets = _inputs(2)
    expected = predictor.predict([x, offsets])
    np.testing.assert_array_equal(
        predictor.predict([tf.constant(x), tf.constant(offsets)]), expected
    )
    doubles = (x.astype(np.float64), offsets.astype(np.float64))
    np.testing.assert_array_equal(predictor.predict(doubles), expected)


def test_no_groups_give_no_patches(predictor):
    x, offsets = _inputs(2)
    assert predictor.predict([x[:0], offsets[:0]]).shape == (0, N, N, 1)


@pytest.mark.parametrize(
    "inputs",
    [
        [np.zeros((2, 64, 64, 4)), np.zeros((2, 1, 2, 4))],
        [np.zeros((2, N, N, 1)), np.zeros((2, 1, 2, 1))],
        [np.zeros((2, N, N)), np.zeros((2, 1, 2, 4))],
        [np.zeros((2, N, N, 4)), np.zeros((3, 1, 2, 4))],
        [np.zeros((2, N, N, 4)), np.zeros((2, 2, 4))],
        [np.zeros((2, N, N, 4)), np.full((2, 1, 2, 4), np.nan)],
        np.zeros((2, N, N, 4)),
    ],
    ids=["N", "channels", "rank", "count", "offset rank", "offset nan", "not a pair"],
)
def test_wrong_inputs_name_the_model(predictor, inputs):
    with pytest.raises(ValueError, match="N=32, gridsize=2"):
        predictor.predict(inputs)


def test_a_batch_needs_a_group(predictor):
    with pytest.raises(ValueError, match="batch_size is 0"):
        predictor.predict(_inputs(1), batch_size=0)


# ------------------------------------------------------------------ saving and loading


def test_what_is_loaded_predicts_what_was_saved(saved, predictor, trained):
    assert saved.name == "wts.h5.zip"
    before = dict(params.cfg)
    loaded, content = model_manager.load(saved.parent)
    assert params.cfg == before  # loading is not yet adopting
    np.testing.assert_array_equal(loaded.predict(_inputs()), predictor.predict(_inputs()))
    assert loaded.intensity_scale == trained.intensity_scale == content.intensity_scale
    assert loaded.normalisation == trained.normalisation
    assert loaded.config == trained.config
    for name, value in trained.weights.items():
        np.testing.assert_array_equal(content.weights[name], value)


def test_the_archive_has_its_members(saved):
    with zipfile.ZipFile(saved) as archive:
        names = set(archive.namelist())
        assert {
            f"{model}/{member}"
            for model in ("autoencoder", "diffraction_to_obj")
            for member in ("model.keras", "model.h5", "params.dill", "custom_objects.dill")
        } <= names
        objects = safe_pickle.loads(archive.read("autoencoder/custom_objects.dill"))
    assert "ptycho>ProbeIllumination" in objects["names"]


@pytest.mark.parametrize("name", ["autoencoder", "diffraction_to_obj"])
def test_the_native_model_loads_in_safe_mode_and_predicts_the_same(
    saved, trained, predictor, tmp_path, name
):
    with zipfile.ZipFile(saved) as archive:
        (tmp_path / "model.keras").write_bytes(archive.read(f"{name}/model.keras"))
    native = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    found = native([tf.constant(part) for part in _inputs(2)])
    found = found[0] if name == "autoencoder" else found
    np.testing.assert_array_equal(found, predictor.predict(_inputs(2)))
    values = {v.path: v.numpy() for v in native.variables}
    assert any(path.startswith("intensity_scale") for path in values)
    assert any(path.startswith("illumination") for path in values) == (name == "autoencoder")


def test_native_models_carry_no_date_and_no_counted_names(saved):
    with zipfile.ZipFile(saved) as archive:
        for info in archive.infolist():
            assert info.date_time[:1] == (1980,), info.filename
        native = zipfile.ZipFile(io.BytesIO(archive.read("autoencoder/model.keras")))
    assert {info.date_time for info in native.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert b"1980-01-01" in native.read("metadata.json")
    config = native.read("config.json").decode()
    assert re.findall(r"keras_tensor_\d+|conv2d|shared_object_id", config) == []


def test_saving_twice_gives_equal_bytes(saved, trained, tmp_path):
    # A model built in between would move Keras' counters.
    model_manager.ObjectPredictor.of(trained).predict(_inputs(1))
    again = model_manager.save(tmp_path / "again.zip", trained)
    assert again == tmp_path / "again.zip"
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (saved, again)}
    assert len(digests) == 1


def test_without_a_trained_model_there_is_nothing_to_save(monkeypatch, tmp_path):
    monkeypatch.setattr(model_manager._Holder, "model", None)
    with pytest.raises(RuntimeError, match="train one before saving"):
        model_manager.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_model_trained_last_is_saved(monkeypatch, trained, saved, tmp_path):
    monkeypatch.setattr(model_manager._Holder, "model", None)
    model_manager.remember(trained)
    assert model_manager.last_trained() is trained
    assert model_manager.save(tmp_path).read_bytes() == saved.read_bytes()


def test_a_bundle_of_the_other_backend_loads(make_config, tmp_path):
    config = make_config(2).model
    axis = np.arange(N) - N / 2
    probe = np.exp(-(axis[:, None] ** 2 + axis**2) / 50).astype(complex)
    weights = initial_weights(config, 3, probe, 62.5)
    content = bundle.Bundle("pytorch", config, weights, 62.5, 0.01)
    bundle.write_bundle(tmp_path, content, {})
    loaded, read = model_manager.load(tmp_path)
    assert read.backend == "pytorch"
    found = loaded.predict(_inputs(1))
    expected = model_manager.ObjectPredictor(config, weights, 62.5, 0.01).predict(_inputs(1))
    np.testing.assert_array_equal(found, expected)
    assert math.isfinite(float(np.abs(found).max()))


FROZEN = Path(__file__).resolve().parents[1] / "data" / "archives"


@pytest.mark.parametrize("path", sorted(FROZEN.glob("*.zip")), ids=lambda path: path.stem)
def test_frozen_archives_predict_what_they_did(path):
    with np.load(FROZEN / f"{path.stem.rpartition('-')[0]}-prediction.npz") as recorded:
        x, expected = recorded["x"], recorded["object"]
    found = model_manager.load(path)[0].predict([x, np.zeros((2, 1, 2, 1), np.float32)])
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() < 2.5e-6 * scale  # archive.prediction in the ledger
    assert np.abs(found[0] - found[1]).max() > 1e-3 * scale
