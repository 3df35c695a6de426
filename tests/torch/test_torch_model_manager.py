"""Saving, loading and predicting."""

from pathlib import Path

import numpy as np
import pytest

from ptycho.core.bundle import read_bundle, write_bundle
from ptycho.core.workflow import create_container
from ptycho_torch import model_manager
from ptycho_torch.model import evaluate


@pytest.fixture(scope="module")
def trained(scan):
    """A model of gridsize 2, trained for two steps."""
    from ptycho.config.config import ModelConfig, TrainingConfig
    from ptycho.config.execution import PyTorchExecutionConfig
    from ptycho_torch import training

    model = ModelConfig(N=32, gridsize=2, n_filters_scale=1)
    config = TrainingConfig(model=model, n_groups=20, batch_size=8, backend="pytorch")
    return training.train(
        create_container(scan, config),
        config,
        execution_config=PyTorchExecutionConfig(accelerator="cpu"),
        max_steps=2,
        progress=False,
    )


@pytest.fixture
def inputs(scan, make_config, trained):
    """Scaled patterns and offsets of ten groups."""
    container = create_container(scan, make_config(2, n_groups=10), trained.normalisation)
    return [container.X * trained.intensity_scale, container.local_offsets]


def test_nothing_to_save_before_training(monkeypatch, tmp_path):
    monkeypatch.setattr(model_manager._Holder, "model", None)
    with pytest.raises(RuntimeError, match="no PyTorch model has been trained"):
        model_manager.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_model_remembered_last_is_saved(monkeypatch, trained, tmp_path):
    monkeypatch.setattr(model_manager._Holder, "model", None)
    model_manager.remember(trained)
    path = model_manager.save(tmp_path / "new" / "place")
    assert path == tmp_path / "new" / "place" / "wts.h5.zip"
    assert read_bundle(path).backend == "pytorch"


def test_equal_models_give_equal_bytes(trained, tmp_path):
    one = model_manager.save(tmp_path / "one", trained)
    two = model_manager.save(tmp_path / "another_name.zip", trained)
    assert one.read_bytes() == two.read_bytes()


def test_saved_and_loaded_predicts_the_same(trained, inputs, tmp_path):
    predictor, bundle = model_manager.load(model_manager.save(tmp_path, trained))
    before = model_manager.ObjectPredictor.of(trained).predict(inputs)
    assert np.array_equal(predictor.predict(inputs), before)
    assert (before.shape, before.dtype) == ((10, 32, 32, 1), np.complex64)
    assert predictor.config == bundle.config == trained.config
    assert predictor.intensity_scale == trained.intensity_scale
    assert predictor.normalisation == trained.normalisation


def test_bundles_of_the_other_backend_load(trained, inputs, tmp_path):
    _, bundle = model_manager.load(model_manager.save(tmp_path / "ours", trained))
    bundle.backend = "tensorflow"
    path = write_bundle(tmp_path / "theirs", bundle, {})
    predictor, loaded = model_manager.load(path)
    assert loaded.backend == "tensorflow"
    expected = model_manager.ObjectPredictor.of(trained).predict(inputs)
    assert np.array_equal(predictor.predict(inputs), expected)


def test_prediction_is_the_objects_of_the_whole_model(trained, inputs):
    x, offsets = (np.asarray(part, np.float32) for part in inputs)
    expected = evaluate(trained.config, trained.weights, x, offsets)["object"]
    found = model_manager.ObjectPredictor.of(trained).predict(inputs)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 10, 100])
def test_batch_size_does_not_change_the_prediction(trained, inputs, batch_size):
    predictor = model_manager.ObjectPredictor.of(trained)
    whole = predictor.predict(inputs)
    np.testing.assert_allclose(predictor.predict(inputs, batch_size), whole, atol=1e-6)
    halves = [
        predictor.predict([part[half] for part in inputs]) for half in (slice(5), slice(5, 10))
    ]
    np.testing.assert_allclose(np.concatenate(halves), whole, atol=1e-6)


def test_predicting_nothing_gives_nothing(trained, inputs):
    predictor = model_manager.ObjectPredictor.of(trained)
    assert predictor.predict([part[:0] for part in inputs]).shape == (0, 32, 32, 1)


def test_inputs_that_do_not_fit_are_refused(trained, inputs):
    predictor = model_manager.ObjectPredictor.of(trained)
    x, offsets = inputs
    for bad in (
        [x[..., :1], offsets[..., :1]],  # one channel
        [x[:, :16, :16], offsets],  # another side
        [x[0], offsets],  # no batch axis
        [x, offsets[:5]],  # fewer offsets
        [x, offsets[:, 0]],  # no second axis
        [x],
        x,
    ):
        with pytest.raises(ValueError, match="N=32, gridsize=2"):
            predictor.predict(bad)
    with pytest.raises(ValueError, match="batch_size is 0"):
        predictor.predict(inputs, batch_size=0)


def test_damaged_and_missing_bundles_are_named(trained, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        model_manager.load(tmp_path / "nowhere")
    path = model_manager.save(tmp_path, trained)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"wts\.h5\.zip"):
        model_manager.load(tmp_path)


FROZEN = Path(__file__).resolve().parents[1] / "data" / "archives"


@pytest.mark.parametrize("path", sorted(FROZEN.glob("*.zip")), ids=lambda path: path.stem)
def test_frozen_archives_predict_what_they_did(path):
    with np.load(FROZEN / f"{path.stem.rpartition('-')[0]}-prediction.npz") as recorded:
        x, expected = recorded["x"], recorded["object"]
    found = model_manager.load(path)[0].predict([x, np.zeros((2, 1, 2, 1), np.float32)])
    scale = np.abs(expected).max()
    assert np.abs(found - expected).max() < 2.5e-6 * scale  # archive.prediction in the ledger
    assert np.abs(found[0] - found[1]).max() > 1e-3 * scale
