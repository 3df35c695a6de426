"""Flags and YAML keys that follow from the configuration dataclasses."""

import dataclasses
import re
from pathlib import Path
from typing import Literal

import pytest

from ptycho.cli import inference, train
from ptycho.cli.arguments import coerce, merge
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
)


def _merged(*argv: str):
    namespace = train.build_parser().parse_args([str(a) for a in argv])
    return merge(namespace, train.SECTIONS)


def _yaml(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# ------------------------------------------------------------------ one flag per field


@pytest.mark.parametrize(
    ("module", "config_type", "prefix"),
    [
        (train, ModelConfig, ""),
        (train, TrainingConfig, ""),
        (train, PyTorchExecutionConfig, "torch-"),
        (inference, InferenceConfig, ""),
    ],
)
def test_every_field_has_a_flag_with_underscores_and_dashes(module, config_type, prefix):
    flags = {o for a in module.build_parser()._actions for o in a.option_strings}
    names = [f.name for f in dataclasses.fields(config_type) if f.name != "model"]
    for name in names:
        dashed = f"--{prefix}{name.replace('_', '-')}"
        assert dashed in flags
        assert (dashed if prefix else f"--{name}") in flags


@pytest.mark.parametrize("module", [train, inference])
def test_every_flag_has_a_help_text_of_its_own(module):
    for section in module.SECTIONS:
        assert not set(section.fields()) - set(section.help)


def test_nothing_given_is_nothing():
    assert _merged() == {"model": {}, "training": {}, "run": {}, "saving": {}, "torch": {}}


def test_values_have_the_type_of_their_field():
    values = _merged(
        "--N", "64", "--no-object_big", "--probe-mask", "--amp_activation", "relu",
        "--n-groups", "none", "--nphotons", "1e6", "--train_data", "a/b.npz",
        "--gradient_clip_val=0.5", "--M", "1e1",
        "--torch-devices", "auto", "--torch-deterministic", "warn",
        "--no-torch-enable-progress-bar",
    )  # fmt: skip
    assert values["model"] == {
        "N": 64,
        "object_big": False,
        "probe_mask": True,
        "amp_activation": "relu",
    }
    assert values["training"] == {
        "n_groups": None,
        "nphotons": 1e6,
        "train_data_file": Path("a/b.npz"),
        "gradient_clip_val": 0.5,
    }
    assert values["run"] == {"M": 10}
    assert values["torch"] == {
        "devices": "auto",
        "deterministic": "warn",
        "enable_progress_bar": False,
    }
    assert type(values["model"]["N"]) is int


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--n_groups", "5.5"], "--n_groups.*'5.5' is not an integer or none"),
        (["--batch_size", "none"], "--batch_size.*'none' is not an integer"),
        (["--amp_activation", "tanh"], "invalid choice: 'tanh'"),
        (["--torch-precision", "8"], "--torch-precision"),
        (["--torch-deterministic", "maybe"], "'maybe' is not true or false or warn|warn"),
        (["--nepoch", "5"], "unknown flag or argument '--nepoch'; did you mean --nepochs"),
        (["file.npz"], "unknown flag or argument 'file.npz'"),
        (["--quiet", "--verbose"], "not allowed with"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(flags, said, capsys):
    with pytest.raises(SystemExit) as stop:
        train.build_parser().parse_args(flags)
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ptycho_train: error: ")
    assert re.search(said, line), line


@pytest.mark.parametrize(
    "flag", ["--no-enable_oversampling", "--no_enable_oversampling", "--no-enable-oversampling"]
)
def test_dashes_and_underscores_mix(flag):
    values = _merged(flag, "--train-data_file=a_b-c.npz", "--torch_num-workers", "2")
    assert values["training"]["enable_oversampling"] is False
    assert values["training"]["train_data_file"] == Path("a_b-c.npz")
    assert values["torch"] == {"num_workers": 2}


# ------------------------------------------------------------------ YAML


def test_flags_beat_the_file_which_beats_the_defaults(tmp_path):
    path = _yaml(tmp_path, "nepochs: 7\nbatch_size: 4\nmodel:\n  gridsize: 2\n  N: 32\n")
    values = _merged("--config", path, "--nepochs", "3", "--N", "128")
    assert values["training"] == {"nepochs": 3, "batch_size": 4}
    assert values["model"] == {"gridsize": 2, "N": 128}


def test_an_explicit_default_on_the_command_line_beats_the_file(tmp_path):
    path = _yaml(tmp_path, "nepochs: 7\nobject_big: false\nn_groups: 10\n")
    values = _merged("--config", path, "--nepochs", "50", "--object_big", "--n_groups", "none")
    assert values["training"] == {"nepochs": 50, "n_groups": None}
    assert values["model"] == {"object_big": True}


def test_the_file_takes_flat_and_nested_keys_and_numbers_as_yaml_writes_them(tmp_path):
    path = _yaml(
        tmp_path,
        "nphotons: 1e6\nlearning-rate: 1\nn_groups: 1e3\nseed: 3.0\ngridsize: 2\n"
        "train_data: scan.npz\ngradient_clip_val: ~\nM: 8\ntorch_accelerator: cpu\n"
        "torch:\n  devices: auto\n  deterministic: yes\n",
    )
    values = _merged("--config", path)
    assert values["training"] == {
        "nphotons": 1e6,
        "learning_rate": 1.0,
        "n_groups": 1000,
        "seed": 3,
        "train_data_file": Path("scan.npz"),
        "gradient_clip_val": None,
    }
    assert type(values["training"]["seed"]) is int
    assert values["model"] == {"gridsize": 2}
    assert values["run"] == {"M": 8}
    assert values["torch"] == {"accelerator": "cpu", "devices": "auto", "deterministic": True}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nepoch: 3", r"run\.yaml: unknown key 'nepoch'; did you mean 'nepochs'\?"),
        ("xyzzy: 3", r"unknown key 'xyzzy'$"),
        ("model: {gridsiz: 2}", r"unknown key 'model\.gridsiz'; did you mean 'model\.gridsize'\?"),
        ("model: 3", "'model' must be a mapping"),
        ("N: 32\nmodel: {N: 64}", "'N' is given twice"),
        ("nepochs: many", "nepochs: 'many' is not an integer"),
        ("nepochs: true", "nepochs: True is not an integer"),
        ("nepochs: 2.5", "nepochs: 2.5 is not an integer"),
        ("probe_mask: 2", "probe_mask: 2 is not true or false"),
        ("backend: theano", "backend: 'theano' is not tensorflow or pytorch"),
        ("output_dir: 3", "output_dir: 3 is not a path"),
        ("- 1", "expected a mapping"),
    ],
)
def test_bad_files_are_refused_naming_file_and_key(tmp_path, text, said):
    path = _yaml(tmp_path, text)
    with pytest.raises(ValueError, match=said) as error:
        _merged("--config", path)
    assert str(path) in str(error.value)


def test_the_bundle_decides_the_model_of_an_inference(tmp_path):
    path = _yaml(tmp_path, "model: {gridsize: 2}")
    namespace = inference.build_parser().parse_args(["--config", str(path)])
    with pytest.raises(ValueError, match="'model' cannot be given here: the bundle"):
        merge(namespace, inference.SECTIONS)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        _merged("--config", tmp_path / "nowhere.yaml")


# ------------------------------------------------------------------ single values


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("12", int, 12),
        ("1e6", int, 1_000_000),
        ("none", int | None, None),
        ("None", float | None, None),
        (None, Path | None, None),
        ("inf", float, float("inf")),
        ("auto", int | Literal["auto"], "auto"),
        ("2", int | Literal["auto"], 2),
        ("off", bool | Literal["warn"], False),
        ("none", str, "none"),
        ("none", str | None, None),
    ],
)
def test_coerce(value, hint, expected):
    result = coerce(value, hint)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ("1e400", int),
        ("nan", int),
        (True, float),
        ("", int),
        (None, int),
        ([1], float),
        (1, str),
        (10**400, float),
    ],
)
def test_coerce_refuses(value, hint):
    with pytest.raises(ValueError, match="is not"):
        coerce(value, hint)
