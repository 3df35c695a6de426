"""Configuration: defaults, the client's way of building it, legacy form, validation, YAML."""

from __future__ import annotations

import dataclasses
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.config.config import (
    KEY_MAPPINGS,
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    dataclass_to_legacy_dict,
    load_yaml_config,
    update_legacy_dict,
    validate_inference_config,
    validate_model_config,
    validate_training_config,
)


def training(model: dict[str, Any] | None = None, **changes: Any) -> TrainingConfig:
    return TrainingConfig(model=ModelConfig(**(model or {})), **changes)


def inference(tmp_path: Path, **changes: Any) -> InferenceConfig:
    data = tmp_path / "scan.npz"
    data.write_bytes(b"")
    settings: dict[str, Any] = {"model_path": tmp_path, "test_data_file": data, **changes}
    return InferenceConfig(model=ModelConfig(), **settings)


# --------------------------------------------------------------------------- building


def test_the_clients_calls_build_and_survive_pickling() -> None:
    model = ModelConfig(
        N=0, gridsize=1, n_filters_scale=2, model_type="pinn", amp_activation="sigmoid",
        object_big=True, probe_big=True, probe_mask=False, pad_object=True, probe_scale=4.0,
        gaussian_smoothing_sigma=0.0,
    )  # fmt: skip
    train = TrainingConfig(
        model=model, train_data_file=Path(), test_data_file=None, batch_size=16, nepochs=50,
        mae_weight=0.0, nll_weight=1.0, realspace_mae_weight=0.0, realspace_weight=0.0,
        nphotons=1e6, positions_provided=True, probe_trainable=False,
        intensity_scale_trainable=True, output_dir=Path(),
    )  # fmt: skip
    infer = InferenceConfig(
        model=model, model_path=Path(), test_data_file=Path(), debug=False, output_dir=Path()
    )
    for config in (train, infer):
        again = pickle.loads(pickle.dumps(config))
        assert again == config
        again.model.N = np.int64(128)
        assert again.model.N == 128
    train.model.N = 64
    validate_training_config(train)


def test_the_number_of_groups_is_512_unless_given() -> None:
    assert training().n_groups == 512
    assert training(n_groups=7).n_groups == 7
    assert InferenceConfig(ModelConfig(), Path(), Path()).n_groups is None


def test_n_images_is_the_deprecated_name_of_n_groups() -> None:
    with pytest.warns(DeprecationWarning, match="use n_groups") as caught:
        config = training(n_images=9)
    assert config.n_groups == 9
    assert caught[0].filename == __file__
    assert training(n_images=9, n_groups=5).n_groups == 5
    with pytest.warns(DeprecationWarning, match="use n_groups"):
        assert InferenceConfig(ModelConfig(), Path(), Path(), n_images=4).n_groups == 4


# --------------------------------------------------------------------------- legacy form


def test_the_legacy_form_is_flat_and_renamed() -> None:
    config = training({"N": 128, "object_big": False}, train_data_file=Path("a/b.npz"), seed=7)
    flat = dataclass_to_legacy_dict(config)
    assert "model" not in flat
    assert (flat["N"], flat["object.big"], flat["npseed"]) == (128, False, 7)
    assert flat["train_data_file_path"] == str(Path("a/b.npz"))
    assert flat["output_prefix"] == "training_outputs"
    assert flat["test_data_file_path"] is None
    assert not set(KEY_MAPPINGS) & set(flat)
    fields = {*dataclasses.fields(config), *dataclasses.fields(config.model)}
    assert len(flat) == len(fields) - 1


def test_updating_leaves_what_is_not_set_alone() -> None:
    cfg = {"n_subsample": 5, "other": 1, "nepochs": 3}
    assert update_legacy_dict(cfg, training(nepochs=9)) is None  # type: ignore[func-returns-value]
    assert (cfg["n_subsample"], cfg["other"], cfg["nepochs"]) == (5, 1, 9)
    assert None not in cfg.values()


# --------------------------------------------------------------------------- validation

BAD_MODEL = [
    ("N", 0), ("N", 48), ("N", 512), ("N", 64.0), ("N", True), ("N", "64"), ("N", None),
    ("gridsize", 0), ("gridsize", 6), ("gridsize", 1.5), ("n_filters_scale", 0),
    ("model_type", "unet"), ("architecture", "fno"), ("amp_activation", "tanh"),
    ("object_big", 1), ("probe_mask", "no"), ("probe_scale", 0), ("probe_scale", float("nan")),
    ("probe_scale", float("inf")), ("gaussian_smoothing_sigma", -0.1),
]  # fmt: skip

BAD_TRAINING = [
    ("batch_size", 0), ("batch_size", 4.0), ("batch_size", True), ("nepochs", 0),
    ("mae_weight", -0.1), ("nll_weight", 1.1), ("realspace_weight", 2),
    ("realspace_mae_weight", "1"), ("nphotons", 0), ("nphotons", -1), ("nphotons", "1e6"),
    ("nphotons", float("inf")), ("n_groups", 0), ("n_subsample", 0), ("subsample_seed", -1),
    ("neighbor_count", 0), ("neighbor_pool_size", 0), ("seed", -1), ("seed", None),
    ("backend", "jax"), ("validation_fraction", 0.6), ("validation_fraction", -0.1),
    ("learning_rate", 0), ("optimizer", "lbfgs"), ("adam_beta1", 1.0), ("adam_beta1", -0.1),
    ("adam_beta2", 1.0), ("gradient_clip_val", 0), ("gradient_clip_algorithm", "agc"),
    ("scheduler", "cosine"), ("lr_warmup_epochs", -1), ("lr_min_ratio", 1.1),
    ("plateau_factor", 0), ("plateau_factor", 1.5), ("plateau_patience", -1),
    ("plateau_min_lr", -1), ("plateau_threshold", -1), ("measurement_domain", "intensity"),
    ("probe_trainable", None), ("enable_oversampling", "yes"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_MODEL)
def test_a_bad_model_field_is_named_with_value_and_what_is_allowed(name: str, value: Any) -> None:
    config = ModelConfig()
    validate_model_config(config)
    setattr(config, name, value)
    with pytest.raises(ValueError, match=f"ModelConfig.{name} is .*; allowed: ") as caught:
        validate_model_config(config)
    assert repr(value) in str(caught.value)
    with pytest.raises(ValueError, match=f"ModelConfig.{name}"):
        validate_training_config(TrainingConfig(model=config))


@pytest.mark.parametrize(("name", "value"), BAD_TRAINING)
def test_a_bad_training_field_is_named_with_value_and_what_is_allowed(
    name: str, value: Any
) -> None:
    config = training()
    validate_training_config(config)
    setattr(config, name, value)
    with pytest.raises(ValueError, match=f"TrainingConfig.{name} is .*; allowed: ") as caught:
        validate_training_config(config)
    assert repr(value) in str(caught.value)


def test_every_training_field_but_paths_is_checked() -> None:
    unchecked = {"model", "train_data_file", "test_data_file", "output_dir", "resume"}
    fields = {field.name for field in dataclasses.fields(TrainingConfig)}
    checked = {name for name, _ in BAD_TRAINING}
    for name in sorted(fields - unchecked - checked):
        config = training()
        setattr(config, name, "nonsense")
        with pytest.raises(ValueError, match=f"TrainingConfig.{name} is 'nonsense'"):
            validate_training_config(config)


def test_a_model_to_go_on_from_has_to_be_there(tmp_path: Path) -> None:
    validate_training_config(training(resume=tmp_path))
    with pytest.raises(FileNotFoundError, match=r"TrainingConfig.resume: .*none"):
        validate_training_config(training(resume=tmp_path / "none"))


def test_numpy_numbers_are_numbers() -> None:
    validate_training_config(
        training(
            {"N": np.int64(64), "probe_scale": np.float32(2)},
            batch_size=np.uint8(4),
            nphotons=np.float64(1e6),
        )
    )


def test_a_pinn_needs_a_data_term_and_supervision_does_not() -> None:
    nothing = {"nll_weight": 0.0, "mae_weight": 0.0, "realspace_weight": 1.0}
    with pytest.raises(ValueError, match="mae_weight and nll_weight are both 0"):
        validate_training_config(training(**nothing))
    validate_training_config(training(nll_weight=0.0, mae_weight=1.0))
    validate_training_config(training({"model_type": "supervised"}, **nothing))


def test_inference_needs_its_files(tmp_path: Path) -> None:
    validate_inference_config(inference(tmp_path))
    for name in ("model_path", "test_data_file"):
        with pytest.raises(FileNotFoundError, match=f"InferenceConfig.{name}.*absent"):
            validate_inference_config(inference(tmp_path, **{name: tmp_path / "absent"}))


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_groups", 0), ("backend", "jax"), ("seed", 1.5), ("debug", "yes"), ("neighbor_count", 0)],
)
def test_a_bad_inference_field_is_named(name: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"InferenceConfig.{name} is {value!r}; allowed: "):
        validate_inference_config(inference(tmp_path, **{name: value}))


# --------------------------------------------------------------------------- execution


def test_execution_defaults_are_reproducible() -> None:
    config = PyTorchExecutionConfig()
    assert (config.deterministic, config.precision, config.num_workers) == (True, "32-true", 0)
    assert PyTorchExecutionConfig(devices="auto", inference_batch_size=8).devices == "auto"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("accelerator", "abacus"), ("deterministic", "yes"), ("precision", "64"),
        ("devices", 0), ("devices", "two"), ("accum_steps", 0), ("accum_steps", True),
        ("num_workers", -1), ("inference_batch_size", 0),
    ],
)  # fmt: skip
def test_a_bad_execution_field_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"PyTorchExecutionConfig.{name} is {value!r}; allowed: "):
        PyTorchExecutionConfig(**{name: value})


# --------------------------------------------------------------------------- YAML and imports


def test_yaml_is_read_as_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("nepochs: 3\nmodel:\n  N: 128\nname: café\n", encoding="utf-8")
    assert load_yaml_config(path) == {"nepochs": 3, "model": {"N": 128}, "name": "café"}
    path.write_text("# nothing yet\n")
    assert load_yaml_config(str(path)) == {}


@pytest.mark.parametrize("content", [b"- 1\n- 2\n", b"a: [1", b"\xff\xfe\x00", b"just text"])
def test_other_files_are_refused_by_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"run\.yaml"):
        load_yaml_config(path)
    with pytest.raises(FileNotFoundError, match="absent.yaml"):
        load_yaml_config(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    ("content", "key"), [("a: 1\nb: 2\na: 3\n", "a"), ("model:\n  N: 32\n  N: 64\n", "model.N")]
)
def test_a_key_given_twice_is_refused(content: str, key: str, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"run\.yaml: '{key}' is given twice"):
        load_yaml_config(path)


def test_a_directory_is_no_yaml_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a directory; expected a YAML file"):
        load_yaml_config(tmp_path)


def test_yaml_builds_no_python_objects(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"a: !!python/object/apply:os.mkdir ['{tmp_path / 'sprung'}']\n")
    with pytest.raises(ValueError, match=r"run\.yaml is not readable as YAML"):
        load_yaml_config(path)
    assert not (tmp_path / "sprung").exists()


def test_importing_the_configuration_needs_the_standard_library_only() -> None:
    import subprocess

    code = (
        "import sys; before = set(sys.modules)\n"
        "import ptycho.config.config\n"
        "new = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "print(sorted(new - set(sys.stdlib_module_names) - {'ptycho'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
