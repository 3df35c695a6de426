"""Where text and code once said two things: each value here is read from both."""

import argparse
import dataclasses
import inspect
import re

import pytest

from parity.facts.live import flags
from parity.spec.parse import load_specification
from parity.spec.values import parse_allowed, parse_literal
from ptycho.cli import inference, train
from ptycho.config import config as configuration
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    dataclass_to_legacy_dict,
    validate_model_config,
    validate_training_config,
)
from ptycho.core.schedule import LearningRateSchedule
from ptycho.workflows.backend_selector import load_inference_bundle_with_backend

TABLES = {
    "model-config": ModelConfig,
    "training-config": TrainingConfig,
    "inference-config": InferenceConfig,
    "execution-config": PyTorchExecutionConfig,
}


@pytest.fixture(scope="module")
def text():
    """The specification, parsed."""
    return load_specification()


def _row(text, table, field):
    (row,) = [row for row in text.of_table(table) if row.cells["Field"] == field]
    return row.cells


def _options(parser, name):
    (action,) = {id(a): a for a in parser._actions if a.dest == name}.values()
    return action


def _written(text, table):
    """Return the names of the flags that the text lists for a command."""
    return {row.cells["Flag"].lstrip("-") for row in text.of_table(table)}


def _own_flags(parser, *config_types):
    """Return the flags that are no field of a dataclass."""
    fields = {"help"} | {f.name for kind in config_types for f in dataclasses.fields(kind)}
    fields |= {f"torch_{f.name}" for f in dataclasses.fields(PyTorchExecutionConfig)}
    return {action.dest for action in flags(parser).values()} - fields


def test_C_01_every_listed_architecture_is_accepted_and_no_other(text):
    allowed = parse_allowed(_row(text, "model-config", "architecture")["Allowed"]).choices
    assert len(allowed) >= 1
    for name in allowed:
        validate_model_config(ModelConfig(architecture=name))
    for name in ("fno", "hybrid", "resnet", ""):
        if name not in allowed:
            with pytest.raises(ValueError, match="architecture"):
                validate_model_config(ModelConfig(architecture=name))


@pytest.mark.parametrize("table", ["model-config", "training-config", "inference-config"])
def test_C_02_text_and_code_list_the_same_fields(text, table):
    written = {row.cells["Field"] for row in text.of_table(table)}
    assert written == {f.name for f in dataclasses.fields(TABLES[table])}


def test_C_06_execution_settings_are_all_written_down(text):
    written = {row.cells["Field"] for row in text.of_table("execution-config")}
    assert written == {f.name for f in dataclasses.fields(PyTorchExecutionConfig)}


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [
        pytest.param("execution-config", "accelerator", "auto", id="C-03"),
        pytest.param("model-config", "probe_mask", False, id="C-41"),
        pytest.param("model-config", "probe_scale", 4.0, id="C-42"),
    ],
)
def test_C_03_C_41_C_42_defaults_of_text_and_code_agree(text, table, field, value):
    assert parse_literal(_row(text, table, field)["Default"]) == value
    (found,) = [f for f in dataclasses.fields(TABLES[table]) if f.name == field]
    assert found.default == value
    parser = train.build_parser()
    name = f"torch_{field}" if table == "execution-config" else field
    shown = re.search(r"\(default: (.*)\)", _options(parser, name).help)
    assert shown is not None
    assert shown[1] == (f"{value:g}" if isinstance(value, float) else str(value))


def test_C_07_C_09_scheduler_names_are_the_same_everywhere(text):
    allowed = parse_allowed(_row(text, "training-config", "scheduler")["Allowed"]).choices
    offered = _options(train.build_parser(), "scheduler").choices
    assert set(allowed) == set(offered)
    assert {"Default", "WarmupCosine"} <= set(allowed)
    for name in allowed:
        config = TrainingConfig(ModelConfig(), scheduler=name, stage_1_epochs=1)
        validate_training_config(config)
    with pytest.raises(ValueError, match="stage_1_epochs and stage_2_epochs"):
        validate_training_config(TrainingConfig(ModelConfig(), scheduler="MultiStage"))
    with pytest.raises(ValueError, match="scheduler"):
        validate_training_config(TrainingConfig(ModelConfig(), scheduler="CosineAnnealing"))


def test_C_08_every_scheduler_but_the_constant_one_moves_the_rate(text):
    allowed = parse_allowed(_row(text, "training-config", "scheduler")["Allowed"]).choices
    for name in allowed:
        config = TrainingConfig(
            ModelConfig(), scheduler=name, nepochs=6, lr_warmup_epochs=1, plateau_patience=0,
            stage_1_epochs=2,
        )  # fmt: skip
        schedule, rates = LearningRateSchedule(config, 4), []
        for epoch in range(6):
            rates.append(schedule.rate(4 * epoch))
            schedule.end_epoch(1.0)
        assert (len(set(rates)) > 1) == (name != "Default"), name


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("checkpoint_save_top_k", -1, id="C-10"),
        pytest.param("logger_backend", "none", id="C-12"),
    ],
)
def test_C_10_C_12_settings_are_written_down_or_refused(text, name, value):
    written = {row.cells["Field"]: row.cells for row in text.of_table("execution-config")}
    if name in written:
        allowed = parse_allowed(written[name]["Allowed"])
        for candidate in (value, 0, 1, None, "csv", "none", -2, "elsewhere"):
            number = not isinstance(candidate, str) or bool(allowed.choices)
            if number and allowed.accepts(candidate):
                PyTorchExecutionConfig(**{name: candidate})
            else:
                with pytest.raises(ValueError, match=name):
                    PyTorchExecutionConfig(**{name: candidate})
        return
    with pytest.raises(TypeError, match=name):
        PyTorchExecutionConfig(**{name: value})
    assert f"--torch-{name.replace('_', '-')}" not in flags(train.build_parser())


def test_C_31_F_21_a_missing_framework_is_said_with_the_remedy(backend, scan, config_of):
    phrase = {"tensorflow": "TensorFlow", "pytorch": "PyTorch"}[backend.name]
    module = {"tensorflow": "tensorflow", "pytorch": "torch"}[backend.name]
    from ptycho.workflows.backend_selector import train_cdi_model_with_backend as door

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(__import__("sys").modules, module, None)
        with pytest.raises(RuntimeError, match=f"{phrase} backend selected.*pip install"):
            door(scan, None, config_of(backend.name))


def test_C_34_training_flags_are_all_written_down(text):
    own = _own_flags(train.build_parser(), ModelConfig, TrainingConfig)
    assert own == _written(text, "train-flags")


@pytest.mark.parametrize(
    ("accelerator", "device", "wanted"),
    [
        ("auto", "cuda", "gpu"),
        ("auto", "cpu", "cpu"),
        ("cpu", "cuda", "cpu"),
        ("gpu", "cpu", "gpu"),
    ],
)
def test_C_22_a_device_gives_way_to_an_accelerator_with_a_warning(accelerator, device, wanted):
    from ptycho_torch.cli.shared import resolve_accelerator

    with pytest.warns(DeprecationWarning, match="--accelerator"):
        assert resolve_accelerator(accelerator, device) == wanted
    assert resolve_accelerator(accelerator) == accelerator
    with pytest.raises(ValueError, match="tpu"):
        resolve_accelerator("tpu")


def test_C_36_inference_flags_are_all_written_down_and_used(text):
    parser = inference.build_parser()
    assert _own_flags(parser, InferenceConfig) == _written(text, "inference-flags")
    fields = {f.name for f in dataclasses.fields(inference.InferenceOptions)}
    source = inspect.getsource(inference.carry_out)
    assert all(re.search(rf"options\.{name}\b", source) for name in fields)


def test_C_39_named_history_entries_exist(text, backend, runs):
    (clause,) = [c for c in text.clauses if c.id == "4.5-1"]
    sentence = clause.text.partition("history` holds")[2]
    names = set(re.findall(r"`(\w+)`", sentence))
    assert {"loss", "nll", "mae", "train_loss", "val_loss"} <= names
    assert names <= set(runs(backend).history)


def test_C_44_doors_of_both_backends_have_one_signature(backends):
    one, other = (b.room("workflows.components") for b in backends.values())
    names = (
        "create_ptycho_data_container", "train_cdi_model", "run_cdi_example", "save_outputs",
        "reassemble_cdi_image", "load_inference_bundle", "load_data", "require_framework",
    )  # fmt: skip
    for name in names:
        parameters = [
            [
                (p.name, p.kind, p.default)
                for p in inspect.signature(getattr(m, name)).parameters.values()
            ]
            for m in (one, other)
        ]
        assert parameters[0] == parameters[1], name


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"mae_weight": 1.5}, "mae_weight"),
        ({"nepochs": 0}, "nepochs"),
        ({"model": ModelConfig(N=48)}, "N"),
    ],
)
def test_T_25_C_45_configurations_are_validated_at_every_door(
    backend, scan, config_of, fields, name
):
    from ptycho.workflows.backend_selector import train_cdi_model_with_backend

    config = dataclasses.replace(config_of(backend.name), **fields)
    doors = backend.room("workflows.components")
    for door in (train_cdi_model_with_backend, doors.train_cdi_model, doors.run_cdi_example):
        with pytest.raises(ValueError, match=rf"Config\.{name} is"):
            door(scan, None, config)
    validate_training_config(dataclasses.replace(config_of(backend.name), batch_size=7))


def test_T_25_inference_is_validated_too(backend, runs, tmp_path):
    config = InferenceConfig(
        ModelConfig(), runs(backend).bundle, tmp_path / "none.npz", neighbor_count=0,
        backend=backend.name,
    )  # fmt: skip
    with pytest.raises(ValueError, match="neighbor_count"):
        load_inference_bundle_with_backend(runs(backend).bundle, config)


def test_P_09_default_of_object_big_is_one_value(text):
    assert parse_literal(_row(text, "model-config", "object_big")["Default"]) is True
    assert ModelConfig().object_big is True
    assert dataclass_to_legacy_dict(ModelConfig())["object.big"] is True
    parser = train.build_parser()
    assert isinstance(parser, argparse.ArgumentParser)
    assert train.read_job(parser.parse_args([])).config.model.object_big is True


@pytest.mark.parametrize("table", ["model-config", "training-config", "inference-config"])
def test_P_12_every_field_arrives_in_the_legacy_dictionary(table):
    """Each field gets a value of its own, so that a forgotten or exchanged one shows."""
    kind = TABLES[table]
    names = [f.name for f in dataclasses.fields(kind) if f.name != "model"]
    values = {name: f"value of {name}" for name in names}
    given = values if table == "model-config" else {"model": ModelConfig(N=7), **values}
    flat = dataclass_to_legacy_dict(kind(**given))
    for name, value in values.items():
        assert flat[configuration.KEY_MAPPINGS.get(name, name)] == value
    if table != "model-config":
        assert flat["N"] == 7
