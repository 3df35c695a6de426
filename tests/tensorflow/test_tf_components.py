"""The workflow doors: configuration first, scales published, nothing written elsewhere."""

import os
from pathlib import Path

import numpy as np
import pytest

from ptycho import model_manager, params, tf_helper
from ptycho.config.config import InferenceConfig, ModelConfig, update_legacy_dict
from ptycho.core.stitching import reassemble
from ptycho.workflows import components


@pytest.fixture(scope="module")
def finished(scan, tmp_path_factory):
    """One training with stitching, run in an empty working directory."""
    from ptycho.config.config import TrainingConfig

    config = TrainingConfig(
        model=ModelConfig(N=32, gridsize=2, n_filters_scale=1),
        nepochs=1, batch_size=16, n_groups=20, nphotons=1e6,
        output_dir=Path("never_made"),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("cwd")
    home = os.getcwd()
    os.chdir(folder)
    try:
        amplitude, phase, results = components.run_cdi_example(
            scan, scan, config, do_stitching=True, M=16
        )
        written = sorted(folder.rglob("*"))
    finally:
        os.chdir(home)
    return {
        "config": config, "amplitude": amplitude, "phase": phase, "results": results,
        "written": written, "cfg": dict(params.cfg),
    }  # fmt: skip


def test_training_writes_nothing(finished):
    assert finished["written"] == []


def test_results_have_what_the_architecture_promises(finished):
    results = finished["results"]
    assert {"history", "model_instance", "train_container", "test_container"} <= set(results)
    assert {"seconds", "obj_tensor_full", "global_offsets"} <= set(results)
    np.testing.assert_array_equal(results["recon_phase"], finished["phase"])
    assert results["reconstructed_obj"].shape == (20, 32, 32, 1)
    assert results["obj_tensor_full"].shape == (48, 32, 32, 1)  # every position
    assert finished["amplitude"].shape == finished["phase"].shape == results["recon_amp"].shape
    stitched = tf_helper.reassemble_position(
        results["obj_tensor_full"], results["global_offsets"], M=16
    )
    assert stitched.dtype == np.complex64
    np.testing.assert_allclose(np.abs(stitched[..., 0]), finished["amplitude"], atol=1e-6)


def test_training_publishes_configuration_scales_and_probe(finished):
    cfg = finished["cfg"]
    assert cfg["gridsize"] == 2
    assert cfg["nepochs"] == 1
    assert cfg["intensity_scale"] == pytest.approx(1e3 / 16)
    assert cfg["normalisation"] == finished["results"]["train_container"].normalisation
    assert cfg["probe"].shape == (32, 32)


def test_configuration_comes_before_data_and_model(monkeypatch, scan, make_config):
    seen = []
    monkeypatch.setattr(
        type(scan), "patterns", property(lambda _: seen.append(params.get("gridsize")) or 1 / 0)
    )
    with pytest.raises(ZeroDivisionError):
        components.train_cdi_model(scan, None, make_config(3, neighbor_count=9))
    assert seen == [3]


def test_a_bad_configuration_is_refused_before_anything_runs(scan, make_config):
    with pytest.raises(ValueError, match="nepochs is 0"):
        components.train_cdi_model(scan, None, make_config(nepochs=0))


def test_without_stitching_there_are_no_images(monkeypatch, scan, make_config, trained):
    monkeypatch.setattr("ptycho.training.train", lambda *args, **kwargs: trained)
    amplitude, phase, results = components.run_cdi_example(scan, None, make_config(2))
    assert amplitude is phase is None
    assert results["test_container"] is None
    assert "reconstructed_obj" not in results
    assert model_manager.last_trained() is trained


def test_the_bundle_wins_over_the_configuration_but_not_over_places(trained, tmp_path):
    path = model_manager.save(tmp_path, trained)
    request = InferenceConfig(
        model=ModelConfig(N=64, gridsize=1), model_path=path, test_data_file=Path("scan.npz"),
        output_dir=tmp_path / "here", debug=True,
    )  # fmt: skip
    update_legacy_dict(params.cfg, request)
    predictor, restored = components.load_inference_bundle(path)
    assert restored == params.cfg
    assert restored is not params.cfg
    assert (restored["N"], restored["gridsize"]) == (32, 2)
    assert restored["intensity_scale"] == trained.intensity_scale
    assert restored["normalisation"] == trained.normalisation
    assert restored["output_prefix"] == str(tmp_path / "here")
    assert restored["test_data_file_path"] == "scan.npz"
    assert restored["debug"] is True
    x = np.ones((1, 32, 32, 4), np.float32)
    assert predictor.predict([x, np.zeros((1, 1, 2, 4))]).shape == (1, 32, 32, 1)


def test_a_missing_bundle_is_not_found(tmp_path):
    with pytest.raises(FileNotFoundError, match="wts.h5.zip"):
        components.load_inference_bundle(tmp_path)


def test_create_container_configures_first(scan, make_config):
    container = components.create_ptycho_data_container(scan, make_config(2, n_groups=9))
    assert params.get("n_groups") == 9
    assert container.groups.shape == (9, 4)


def test_reassemble_position_is_the_core_function():
    rng = np.random.default_rng(0)
    patches = rng.standard_normal((5, 16, 16, 1)) + 1j
    offsets = rng.uniform(0, 9, (5, 1, 2, 1))
    found = tf_helper.reassemble_position(patches, offsets)
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found[..., 0], reassemble(patches, offsets, 10), rtol=1e-6)


def test_missing_tensorflow_says_what_to_install(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(RuntimeError, match=r"TensorFlow backend selected.*pip install"):
        components.require_framework()


def test_another_keras_backend_is_refused(monkeypatch):
    monkeypatch.setattr("keras.backend.backend", lambda: "torch")
    with pytest.raises(RuntimeError, match="KERAS_BACKEND"):
        components.require_framework()
