"""The workflow doors."""

import json

import numpy as np
import pytest

from ptycho import params
from ptycho.config.config import InferenceConfig, ModelConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.workflow import create_container
from ptycho_torch import helper, model_manager
from ptycho_torch.workflows import components

CPU = PyTorchExecutionConfig(accelerator="cpu", enable_progress_bar=False)


@pytest.fixture
def run(scan, make_config):
    """Return a function that runs the whole workflow on the scan."""

    def run(gridsize=1, execution=CPU, test_data=scan, **options):
        config = make_config(gridsize, nepochs=1, n_groups=12)
        return components.run_cdi_example(
            scan, test_data, config, execution_config=execution, **options
        )

    return run


@pytest.mark.parametrize("gridsize", [1, 2])
def test_train_save_load_stitch_writes_nothing_elsewhere(
    run, scan, make_config, gridsize, tmp_path, monkeypatch
):
    home, out = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    monkeypatch.chdir(home)
    amplitude, phase, results = run(gridsize, do_stitching=True)
    assert model_manager.save(out) == out / "wts.h5.zip"
    components.save_outputs(amplitude, phase, results, out)
    assert list(home.rglob("*")) == []
    assert sorted(path.name for path in out.rglob("*")) == [
        "history.json",
        "reconstructed_amplitude.png",
        "reconstructed_phase.png",
        "reconstruction.npz",
        "wts.h5.zip",
    ]
    # Forty positions are stitched though twelve groups were trained on.
    assert results["obj_tensor_full"].shape == (40, 32, 32, 1)
    assert results["reconstructed_obj"].shape == (12, 32, 32, 1)
    assert amplitude.shape == phase.shape
    assert amplitude.ndim == 2
    model, restored = components.load_inference_bundle(out)
    again, _, _ = components.reassemble_cdi_image(scan, make_config(gridsize), model)
    assert np.array_equal(again, amplitude)
    assert restored["gridsize"] == gridsize
    stitched = helper.reassemble_position(
        results["obj_tensor_full"], results["global_offsets"], M=20
    )
    np.testing.assert_allclose(np.abs(stitched[..., 0]), amplitude, atol=1e-6)
    with np.load(out / "reconstruction.npz") as saved:
        assert saved["object"].dtype == np.complex64
        assert abs(saved["centre"] - scan.positions.mean(axis=0)).max() < 1
    history = json.loads((out / "history.json").read_text())
    assert history["train_loss"] == results["history"]["loss"]


def test_configuration_reaches_params_before_data_is_touched(scan, make_config, monkeypatch):
    seen = {}

    def look(*args, **kwargs):
        seen.update(params.cfg)
        raise KeyboardInterrupt

    monkeypatch.setattr("ptycho.core.workflow.create_container", look)
    with pytest.raises(KeyboardInterrupt):
        components.train_cdi_model(scan, None, make_config(2, nphotons=123.0))
    assert (seen["N"], seen["gridsize"], seen["nphotons"]) == (32, 2, 123.0)
    assert "accelerator" not in seen


def test_training_publishes_its_scales(run):
    _, _, results = run()
    assert params.get("intensity_scale") == results["intensity_scale"]
    assert params.get("normalisation") == results["train_container"].normalisation
    assert params.get("probe").shape == (32, 32)
    assert results["test_container"].normalisation == results["train_container"].normalisation


def test_no_stitching_unless_asked_for_and_there_is_test_data(run):
    assert run()[:2] == (None, None)
    amplitude, _, results = run(do_stitching=True, test_data=None)
    assert amplitude is None
    assert results["test_container"] is None
    assert "reconstructed_obj" not in results


def test_loading_restores_what_defines_the_model_and_no_paths(run, tmp_path):
    run(2)
    model_manager.save(tmp_path)
    params.restore_defaults()
    settings = InferenceConfig(
        ModelConfig(N=64, gridsize=1), tmp_path, tmp_path, n_groups=3, output_dir=tmp_path / "mine"
    )
    components.update_legacy_dict(params.cfg, settings)
    _, restored = components.load_inference_bundle(tmp_path)
    assert restored == params.cfg
    assert restored is not params.cfg
    assert (restored["N"], restored["gridsize"]) == (32, 2)
    assert restored["output_prefix"] == str(tmp_path / "mine")
    assert restored["n_groups"] == 3
    assert restored["intensity_scale"] > 0
    assert restored["probe"].dtype == np.complex64


def test_execution_config_defaults_to_auto(run, monkeypatch):
    from ptycho_torch import training

    seen = []
    real = training.train
    monkeypatch.setattr(
        training, "train",
        lambda *args, **kwargs: seen.append(kwargs["execution_config"]) or real(*args, **kwargs),
    )  # fmt: skip
    run(execution=None)
    assert seen == [PyTorchExecutionConfig()]
    assert seen[0].accelerator == "auto"


def test_data_of_another_side_is_refused(scan, make_config):
    config = make_config(model={"N": 64})
    with pytest.raises(ValueError, match=r"32 x 32.*N.* is 64"):
        components.train_cdi_model(scan, None, config)
    container = create_container(scan, make_config())
    with pytest.raises(ValueError, match=r"32 x 32.*N=64"):
        components.train_cdi_model(container, None, config)
    with pytest.raises(ValueError, match="gridsize 1.*gridsize 2"):
        components.train_cdi_model(container, None, make_config(2))


def test_bad_configuration_is_refused_first(make_config):
    with pytest.raises(ValueError, match=r"TrainingConfig\.nepochs"):
        components.train_cdi_model(object(), None, make_config(nepochs=0))
    with pytest.raises(TypeError, match="expected RawData"):
        components.train_cdi_model(object(), None, make_config())


def test_names_that_say_pytorch_are_the_same_doors():
    assert components.run_cdi_example_torch is components.run_cdi_example
    assert components.train_cdi_model_torch is components.train_cdi_model
    assert components.load_inference_bundle_torch is components.load_inference_bundle
