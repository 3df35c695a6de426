"""``ptycho_train``: refusals in one line, and real trainings with both backends."""

import json
import logging
import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ptycho import params
from ptycho.cli.train import main
from ptycho.config.config import InferenceConfig, ModelConfig
from ptycho.core.loading import load_data
from ptycho.core.progress import TrainingProgress
from ptycho.core.training_plan import training_params
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan
from ptycho.workflows import backend_selector

SMALL = ["--nepochs", "2", "--batch_size", "4", "--n_groups", "12", "--n_filters_scale", "1"]


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("scan") / "scan.npz"
    raw = built_in_scan(seed=3, N=32, n_positions=20)
    raw.metadata = {**(raw.metadata or {}), "nphotons": 5e5}
    raw.to_file(path)
    return path


class StandIn(ModuleType):
    """A backend that remembers what it was asked and writes nothing."""

    def __init__(self) -> None:
        super().__init__("stand_in.workflows.components")
        self.cfg_at_loading: list[dict] = []
        self.asked: list[tuple] = []
        self.saved: list[Path] = []
        self.fails: BaseException | None = None
        self.also: dict[str, list[float]] = {}
        self.step_losses = [2.5, 1.5]

    def load_data(self, path, **keywords):
        self.cfg_at_loading.append(dict(params.cfg))
        return load_data(path, **keywords)

    def require_framework(self) -> None:
        pass

    def run_cdi_example(self, train, test, config, **keywords):
        os.write(2, b"native chatter\n")
        with TrainingProgress(1, 1, "stand-in") as progress:
            progress.end_epoch({"loss": 1.0})
        if self.fails:
            raise self.fails
        self.asked.append((train, test, config, keywords, dict(params.cfg)))
        history = {"loss": [2.0, 1.0], **self.also}
        return None, None, {"history": history, "seconds": 0.5, "step_losses": self.step_losses}

    def save(self, directory, **how):
        self.saved.append(Path(directory))
        self.how = how

    def save_outputs(self, amplitude, phase, results, directory):
        assert Path(directory).is_dir()


@pytest.fixture
def stand_in(monkeypatch):
    module = StandIn()
    names = {"stand_in.workflows.components": module, "stand_in.model_manager": module}
    for name, value in {"stand_in": ModuleType("stand_in"), **names}.items():
        monkeypatch.setitem(sys.modules, name, value)
    points = [
        EntryPoint(name, module.__name__, "ptychopinn.backends")
        for name in ("tensorflow", "pytorch")
    ]
    monkeypatch.setattr(backend_selector, "entry_points", lambda group: points)
    return module


def _run(*argv: object) -> int:
    return main([str(a) for a in argv])


# ------------------------------------------------------------------ what reaches the backend


def test_a_model_to_go_on_from_arrives_and_has_to_exist(stand_in, scan, tmp_path, capsys):
    out = tmp_path / "out"
    assert _run("--train_data", scan, "--output_dir", out, "--resume", tmp_path / "none") == 2
    assert "TrainingConfig.resume: no saved model (wts.h5.zip) at" in capsys.readouterr().err
    assert stand_in.cfg_at_loading == []  # before any data is read
    (tmp_path / "earlier").mkdir()
    assert _run("--train_data", scan, "--output_dir", out, "--resume", tmp_path / "earlier") == 0
    assert stand_in.asked[0][2].resume == tmp_path / "earlier"
    assert "resume" not in training_params(stand_in.asked[0][2])


def test_what_the_data_knows_is_adopted(stand_in, scan, tmp_path, capsys):
    assert _run("--train_data", scan, "--output_dir", tmp_path / "out", "--gridsize", 2) == 0
    train, test, config, keywords, cfg = stand_in.asked[0]
    assert (config.model.N, config.model.gridsize, config.nphotons) == (32, 2, 5e5)
    assert (cfg["N"], cfg["nphotons"]) == (32, 5e5)
    assert len(train) == 20
    assert test is None
    assert keywords == {
        "do_stitching": False,
        "M": 20,
        "flip_x": False,
        "flip_y": False,
        "transpose": False,
    }
    assert stand_in.saved == [tmp_path / "out"]
    out = capsys.readouterr().out
    assert "trained 2 epochs with tensorflow in 0.5 s, loss 1" in out
    assert str(tmp_path / "out" / "wts.h5.zip") in out


def test_given_photons_beat_the_metadata_even_at_the_default(stand_in, scan, tmp_path):
    assert _run("--train_data", scan, "--output_dir", tmp_path, "--nphotons", "1e9") == 0
    assert stand_in.asked[0][2].nphotons == 1e9


def test_subsampling_domain_and_execution_settings_arrive(stand_in, scan, tmp_path):
    code = _run(
        "--train_data", scan, "--test_data", scan, "--output_dir", tmp_path, "--quiet",
        "--n_subsample", 7, "--measurement_domain", "counts", "--backend", "pytorch",
        "--torch-accum-steps", 3,
    )  # fmt: skip
    assert code == 0
    train, test, config, keywords, _ = stand_in.asked[0]
    assert (len(train), train.domain) == (7, "counts")
    assert (len(test), test.domain) == (20, "counts")
    assert config.backend == "pytorch"
    assert keywords["execution_config"].accum_steps == 3


def test_stitching_without_test_data_shows_the_training_data(stand_in, scan, tmp_path):
    assert _run("--train_data", scan, "--output_dir", tmp_path, "--do_stitching", "--M", 9) == 0
    train, test, _, keywords, _ = stand_in.asked[0]
    assert test is train
    assert keywords["M"] == 9


def test_a_bundle_about_to_be_replaced_is_announced(stand_in, scan, tmp_path, capsys):
    (tmp_path / "wts.h5.zip").write_bytes(b"old")
    assert _run("--train_data", scan, "--output_dir", tmp_path) == 0
    assert "wts.h5.zip is replaced when" in capsys.readouterr().err
    assert (tmp_path / "wts.h5.zip").read_bytes() == b"old"  # the stand-in wrote nothing


def test_quiet_says_nothing(stand_in, scan, tmp_path, capsys):
    assert _run("--train_data", scan, "--output_dir", tmp_path, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_progress_is_shown_unless_quiet(stand_in, scan, tmp_path, capsys):
    assert _run("--train_data", scan, "--output_dir", tmp_path) == 0
    assert "stand-in: epoch 1/1  loss 1" in capsys.readouterr().err


def test_params_hold_the_configuration_before_data_is_read(stand_in, scan, tmp_path):
    assert _run("--train_data", scan, "--output_dir", tmp_path, "--gridsize", 3) == 0
    assert [cfg["gridsize"] for cfg in stand_in.cfg_at_loading] == [3]


@pytest.mark.parametrize(
    ("error", "flag", "shown"),
    [
        (None, None, False),
        (None, "--verbose", True),
        (ValueError("bad"), None, False),
        (RuntimeError("out of memory"), None, True),
    ],
)
def test_native_messages_are_shown_when_they_help(
    stand_in, scan, tmp_path, capfd, error, flag, shown
):
    stand_in.fails = error
    _run("--train_data", scan, "--output_dir", tmp_path, *([flag] if flag else []))
    captured = capfd.readouterr().err
    assert ("native chatter" in captured) is shown
    assert "stand-in: epoch 1/1" in captured


def test_logging_is_left_as_it_was(stand_in, scan, tmp_path):
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("lightning.pytorch").level
    _run("--train_data", scan, "--output_dir", tmp_path)
    assert (root.handlers, root.level) == before[:2]
    assert logging.getLogger("lightning.pytorch").level == before[2]


def test_an_interrupted_training_is_saved_and_reported(stand_in, scan, tmp_path, capsys):
    stand_in.also = {"interrupted": [3.0]}
    assert _run("--train_data", scan, "--output_dir", tmp_path) == 130
    assert stand_in.saved == [tmp_path]
    assert "what it had reached is saved" in capsys.readouterr().err


def test_a_compact_bundle_is_saved_where_asked_for_but_not_of_an_interrupted_training(
    stand_in, scan, tmp_path
):
    flags = ["--train_data", scan, "--output_dir", tmp_path]
    _run(*flags)
    assert stand_in.how == {}
    _run(*flags, "--compact-bundle")
    assert stand_in.how == {"compact": True}
    config = tmp_path / "run.yaml"
    config.write_text("compact_bundle: true\n")
    _run(*flags, "--config", config)
    assert stand_in.how == {"compact": True}
    stand_in.also = {"interrupted": [3.0]}
    assert _run(*flags, "--compact-bundle") == 130
    assert stand_in.how == {}


def test_a_training_interrupted_before_its_first_step_saves_nothing(stand_in, scan, tmp_path):
    stand_in.also, stand_in.step_losses = {"interrupted": [1.0]}, []
    assert _run("--train_data", scan, "--output_dir", tmp_path) == 130
    assert stand_in.saved == []


# ------------------------------------------------------------------ refusals


def _refusal(capsys, *argv: object) -> str:
    assert _run(*argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if line.startswith("ptycho_train: error:")]
    assert len(lines) == 1
    assert "Traceback" not in captured.err
    return lines[0]


def test_bad_input_is_refused_before_anything_is_written(stand_in, scan, tmp_path, capsys):
    out = tmp_path / "out"
    nothing, folder, garbage = tmp_path / "none.npz", tmp_path / "folder", tmp_path / "garbage.npz"
    folder.mkdir()
    garbage.write_bytes(b"no zip")
    common = ["--train_data", scan, "--output_dir", out]
    cases: list[tuple[list[object], str]] = [
        (["--output_dir", out], "--train_data_file is required"),
        (["--train_data", nothing, "--output_dir", out], "none.npz"),
        (["--train_data", folder, "--output_dir", out], "is a directory"),
        (["--train_data", garbage, "--output_dir", out], "garbage.npz"),
        ([*common, "--test_data", nothing], "--test_data_file: no such file"),
        ([*common, "--N", 64], "N is 64, but the patterns"),
        ([*common, "--M", 33], "M is 33; allowed: 1 to N = 32"),
        ([*common, "--gridsize", 6], "ModelConfig.gridsize is 6"),
        ([*common, "--batch_size", 0], "TrainingConfig.batch_size is 0"),
        ([*common, "--n_subsample", 0], "n_subsample is 0"),
        ([*common, "--torch-num-workers", -1], "num_workers is -1"),
        ([*common, "--config", nothing], "configuration file not found"),
        ([*common, "--nepoch", 3], "did you mean --nepochs?"),
    ]
    for argv, said in cases:
        assert said in _refusal(capsys, *argv)
    assert not stand_in.asked
    assert not (out / "wts.h5.zip").exists()


@pytest.mark.parametrize("there", [False, True])
def test_a_failure_leaves_no_empty_directory(stand_in, scan, tmp_path, there):
    out = tmp_path / "out"
    if there:
        out.mkdir()
    stand_in.fails = ValueError("no")
    assert _run("--train_data", scan, "--output_dir", out) == 2
    assert out.exists() == there


def test_an_output_directory_that_is_a_file(stand_in, scan, tmp_path, capsys):
    path = tmp_path / "taken"
    path.write_text("x")
    line = _refusal(capsys, "--train_data", scan, "--output_dir", path)
    assert "taken is not a directory" in line
    assert path.read_text() == "x"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ValueError("loss is NaN\nat step 3"), 2, "error: loss is NaN at step 3"),
        (KeyError("no such key"), 2, "error: no such key"),
        (RuntimeError("out of memory"), 1, "error: RuntimeError: out of memory"),
        (OSError("disk full"), 1, "error: OSError: disk full"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_a_failing_training_is_one_line(stand_in, scan, tmp_path, capsys, error, code, said):
    stand_in.fails = error
    assert _run("--train_data", scan, "--output_dir", tmp_path, "--quiet") == code
    assert capsys.readouterr().err == f"ptycho_train: {said}\n"
    assert not stand_in.saved
    assert _run("--train_data", scan, "--output_dir", tmp_path, "--verbose") == code
    traceback_shown = "Traceback" in capsys.readouterr().err
    assert traceback_shown is (code != 130)


# ------------------------------------------------------------------ the real backends


@pytest.mark.parametrize("backend", ["tensorflow", "pytorch"])
def test_training_writes_bundle_pictures_and_history(backend, scan, tmp_path, capsys):
    out = tmp_path / backend
    config = tmp_path / "run.yaml"
    config.write_text("nepochs: 5\nlearning_rate: 1e-3\nmodel: {gridsize: 1}\n")
    code = _run(
        "--train_data", scan, "--test_data", scan, "--output_dir", out, "--backend", backend,
        "--config", config, "--do_stitching", "--M", 16, *SMALL,
    )  # fmt: skip
    assert code == 0, capsys.readouterr().err
    history = json.loads((out / "history.json").read_text())
    assert len(history["loss"]) == 2
    assert np.isfinite(history["loss"]).all()
    with np.load(out / "reconstruction.npz") as saved:
        assert np.iscomplexobj(saved["object"])
        raw = RawData.from_file(scan)
        assert np.allclose(saved["centre"], raw.positions.mean(axis=0), atol=1e-6)
    for name in ("reconstructed_amplitude.png", "reconstructed_phase.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")
    other = {"tensorflow": "pytorch", "pytorch": "tensorflow"}[backend]
    inference = InferenceConfig(ModelConfig(), out, scan, backend=other)
    _, restored = backend_selector.load_inference_bundle_with_backend(out, inference)
    assert (restored["N"], restored["nphotons"]) == (32, 5e5)
