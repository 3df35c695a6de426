"""The command lines: precedence, flags, and both commands with both backends."""

import copy
import json

import numpy as np
import pytest
import yaml

from ptycho.cli import inference, train
from ptycho.workflows import backend_selector


def _job(*flags):
    return train.read_job(train.build_parser().parse_args([str(flag) for flag in flags]))


@pytest.fixture
def scan_file(scan, tmp_path):
    return scan.to_file(tmp_path / "scan.npz")


@pytest.fixture(scope="session")
def finished(scan, tmp_path_factory):
    """Return a function that trains and reconstructs by command, once per backend."""
    done = {}

    def run(backend):
        if backend.name not in done:
            folder = tmp_path_factory.mktemp(backend.name)
            path, out = scan.to_file(folder / "scan.npz"), folder / "out"
            flags = [
                "--train_data_file", path, "--output_dir", out, "--backend", backend.name,
                "--gridsize", 2, "--n_filters_scale", 1, "--nepochs", 1, "--n_groups", 20,
                "--batch-size", 8, "--no-probe_big", "--quiet",
            ]  # fmt: skip
            if backend.name == "pytorch":
                flags += ["--torch-accelerator", "cpu", "--torch-num-workers", "0"]
            trained = train.main([str(flag) for flag in flags])
            read = [
                "--model_path", out, "--test_data", path, "--output_dir", folder / "again",
                "--backend", backend.name, "--quiet",
            ]  # fmt: skip
            rebuilt = inference.main([str(flag) for flag in read])
            done[backend.name] = (trained, rebuilt, out, folder / "again")
        return done[backend.name]

    return run


def test_T_09_T_34_P_30_commands_train_and_reconstruct(backend, finished):
    trained, rebuilt, out, again = finished(backend)
    assert (trained, rebuilt) == (0, 0)
    assert (out / "wts.h5.zip").is_file()
    with np.load(again / "reconstruction.npz") as file:
        image = file["object"]
    assert image.dtype == np.complex64
    assert np.isfinite(image).all()
    assert np.abs(image).std() > 0


def test_D_11_flags_set_what_they_name(backend, finished):
    out = finished(backend)[2]
    model, known = backend.room("workflows.components").load_inference_bundle(out)
    assert model.config.probe_big is False
    assert model.config.N == 32
    assert known["gridsize"] == 2


def test_D_11_N_booleans_and_optional_fields_have_flags():
    job = _job("--N", 128, "--no-object_big", "--probe_mask", "--neighbor_pool_size", 9)
    assert (job.config.model.N, job.config.model.object_big) == (128, False)
    assert (job.config.model.probe_mask, job.config.neighbor_pool_size) == (True, 9)
    assert _job("--gradient_clip_val", "none").config.gradient_clip_val is None
    assert _job("--gradient_clip_val", "0.5").config.gradient_clip_val == 0.5


def test_D_10_F_24_file_beats_defaults_and_flags_beat_the_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("nepochs: 7\nnphotons: 1e6\nlearning_rate: 2.0e-4\nprobe_big: false\n")
    config = _job("--config", path).config
    assert (config.nepochs, config.nphotons, config.learning_rate) == (7, 1e6, 2e-4)
    assert all(type(value) is float for value in (config.nphotons, config.learning_rate))
    assert config.model.probe_big is False
    config = _job("--config", path, "--nepochs", 50, "--probe_big").config
    assert (config.nepochs, config.nphotons, config.model.probe_big) == (50, 1e6, True)


def test_D_10_unknown_keys_are_an_error(tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text("nepoch: 7\n")
    assert train.main(["--config", str(path)]) == 2
    said = capsys.readouterr().err
    assert "nepoch" in said
    assert "nepochs" in said
    assert "Traceback" not in said


def test_C_40_configuration_files_are_yaml(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"training": {"seed": 5}, "model": {"gridsize": 3}}))
    config = _job("--config", path).config
    assert (config.seed, config.model.gridsize) == (5, 3)


@pytest.mark.parametrize("flag", ["--profile", "--disable_mlflow", "--learning-rat"])
def test_T_06_C_23_P_29_unknown_flags_are_one_line(flag, capsys):
    assert train.main([flag, "1"]) == 2
    said = capsys.readouterr().err.strip()
    assert flag in said
    assert said.count("\n") == 0


@pytest.mark.parametrize(
    ("stored", "flags", "expected"),
    [(None, [], 1e9), ({"nphotons": 5e5}, [], 5e5), ({"nphotons": 5e5}, ["--nphotons", "3"], 3.0)],
)
def test_C_43_photons_come_from_flag_file_or_default(scan, tmp_path, stored, flags, expected):
    raw = copy.copy(scan)
    raw.metadata = stored
    assert train.adopt_data_facts(_job(*flags), raw).nphotons == expected


@pytest.mark.parametrize("name", ["tensorflow", "pytorch"])
def test_C_24_execution_settings_go_to_the_dispatcher(scan_file, tmp_path, monkeypatch, name):
    seen = []

    class Stopped(Exception):
        pass

    def dispatched(*given, **named):
        seen.append(named["torch_execution_config"])
        raise Stopped

    monkeypatch.setattr(backend_selector, "run_cdi_example_with_backend", dispatched)
    flags = ["--train_data_file", scan_file, "--output_dir", tmp_path / "out", "--backend", name]
    train.main([str(flag) for flag in [*flags, "--torch-accum-steps", 3, "--quiet"]])
    (execution,) = seen
    assert (execution.accum_steps if name == "pytorch" else execution) == (
        3 if name == "pytorch" else None
    )


def test_P_35_only_the_finished_model_is_kept(backend, finished):
    out = finished(backend)[2]
    assert [path.name for path in out.rglob("*.zip")] == ["wts.h5.zip"]
    assert not list(out.rglob("*.ckpt"))
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == 1
