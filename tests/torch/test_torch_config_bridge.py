"""The plugin's configurations: every field is followed, refused, or warned about by name."""

from __future__ import annotations

import dataclasses
import logging
import pickle
import subprocess
import sys

import pytest

from parity.checks import clauses_plugin
from ptycho.config import config as shared
from ptycho_torch import config_bridge, config_params
from ptycho_torch.config_bridge import (
    to_execution_config,
    to_inference_config,
    to_model_config,
    to_training_config,
)
from ptycho_torch.config_params import (
    DataConfig,
    DatagenConfig,
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
)

KINDS = (DataConfig, ModelConfig, TrainingConfig, InferenceConfig)

#: What the client of version 1.7.0 passes where the user has changed nothing.
CLIENT = {
    DataConfig: {"N": 128, "C": 4, "grid_size": (2, 2), "x_bounds": (0.1, 0.9)},
    ModelConfig: {
        "mode": "Unsupervised", "amp_activation": "silu", "decoder_last_amp_channels": 4,
        "C_model": 4, "C_forward": 4, "probe_mask": None, "amp_loss": None, "phase_loss": None,
    },
    TrainingConfig: {"strategy": "ddp_spawn", "framework": "Lightning", "device": "cuda"},
    InferenceConfig: {"middle_trim": 32, "batch_size": 1000},
}  # fmt: skip


def bridged(changes: dict[type, dict] | None = None) -> dict:
    """Return everything that the bridge makes of the client's defaults and some changes."""
    configs = {kind: kind(**{**CLIENT[kind], **(changes or {}).get(kind, {})}) for kind in KINDS}
    data, model, training, inference = configs.values()
    network = to_model_config(data, model)
    return {
        "model": network,
        "training": to_training_config(network, data, model, training, n_positions=10),
        "inference": to_inference_config(network, data, inference),
        "execution": to_execution_config(training, inference, cuda=True),
    }


@pytest.fixture(autouse=True)
def _say_everything_again():
    config_bridge._warn_once.cache_clear()
    config_bridge._inform_once.cache_clear()


def test_the_clients_defaults_are_accepted_without_a_warning(caplog):
    with caplog.at_level(logging.INFO):
        found = bridged()
    assert not [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    # What does not happen although the client asks for it by default is said all the same.
    for name in ("cbam_encoder", "patch_weighting", "phase_subtraction", "num_workers"):
        assert name in caplog.text
    shared.validate_training_config(found["training"])
    assert found["model"] == shared.ModelConfig(
        N=128, gridsize=2, n_filters_scale=2, model_type="pinn", amp_activation="swish"
    )
    training = found["training"]
    assert (training.nll_weight, training.mae_weight) == (1.0, 0.0)
    assert (training.n_groups, training.enable_oversampling) == (70, True)
    assert training.neighbor_count == 6
    assert not training.intensity_scale_trainable
    assert training.backend == found["inference"].backend == "pytorch"
    assert found["inference"].n_groups is None
    assert found["execution"].accelerator == "cuda"


#: Fields whose effect is not in the bridge, and fields in which both values mean the same here.
ELSEWHERE = {
    "x_bounds", "y_bounds", "C", "C_model", "C_forward", "decoder_last_amp_channels",
    "middle_trim", "batch_size", "notes", "model_name", "strategy", "num_workers", "nll",
}  # fmt: skip
OBEYED_ANYWAY = {"cbam_encoder", "patch_weighting", "phase_subtraction"}
FIELDS = [(kind, f.name) for kind in KINDS for f in dataclasses.fields(kind)]


def other_value(kind: type, name: str):
    return clauses_plugin.other_value(kind(**CLIENT[kind]), name)


@pytest.mark.parametrize(
    ("kind", "name"), [f for f in FIELDS if f[1] not in ELSEWHERE | OBEYED_ANYWAY]
)
def test_no_field_is_silently_ignored(kind, name, caplog):
    before = bridged()
    caplog.clear()
    after, refusal = None, ""
    try:
        after = bridged({kind: {name: other_value(kind, name)}})
    except ValueError as error:
        refusal = str(error)
    if after is None:
        assert f"{kind.__name__}.{name}" in refusal
        return
    warned = any(
        f"{kind.__name__}.{name}=" in r.getMessage()
        for r in caplog.records
        if r.levelno >= logging.WARNING
    )
    assert warned != (after != before), "either it changes something or a warning says it does not"


def test_a_warning_comes_once(caplog):
    for _ in range(3):
        bridged({DataConfig: {"max_neighbor_distance": 5.0}})
    assert caplog.text.count("max_neighbor_distance") == 1


@pytest.mark.parametrize("name", sorted(OBEYED_ANYWAY))
def test_the_value_that_happens_anyway_is_taken_in_silence(name, caplog):
    kind = next(kind for kind, field in FIELDS if field == name)
    with caplog.at_level(logging.INFO):
        bridged({kind: {name: "uniform" if name == "patch_weighting" else False}})
    assert name not in caplog.text


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({DataConfig: {"C": 1}}, "DataConfig.C is 1"),
        ({ModelConfig: {"C_model": 9}}, "ModelConfig.C_model"),
        ({ModelConfig: {"decoder_last_amp_channels": 3}}, "decoder_last_amp_channels"),
        ({DataConfig: {"grid_size": (2, 3)}}, "DataConfig.grid_size"),
        ({TrainingConfig: {"nll": False}}, "TrainingConfig.nll"),
        ({TrainingConfig: {"n_devices": 2}}, "TrainingConfig.n_devices"),
        ({ModelConfig: {"batch_norm": 1}}, "ModelConfig.batch_norm"),
        ({ModelConfig: {"probe_mask": object()}}, "ModelConfig.probe_mask"),
        ({InferenceConfig: {"middle_trim": 0}}, "InferenceConfig.middle_trim"),
        ({InferenceConfig: {"middle_trim": 129}}, "128"),
        ({InferenceConfig: {"batch_size": 0}}, "InferenceConfig.batch_size"),
        ({TrainingConfig: {"device": "tpu"}}, "accelerator"),
    ],
)
def test_what_cannot_be_followed_is_refused_by_name(changes, named):
    with pytest.raises(ValueError, match=named.replace(".", r"\.")):
        bridged(changes)


def test_losses_and_schedules():
    mae = bridged({ModelConfig: {"loss_function": "MAE"}, TrainingConfig: {"nll": False}})
    assert (mae["training"].nll_weight, mae["training"].mae_weight) == (0.0, 1.0)
    cosine = {"scheduler": "Cosine", "warmup_epochs": 3, "min_lr_ratio": 0.2}
    training = bridged({TrainingConfig: cosine})["training"]
    assert (training.scheduler, training.lr_warmup_epochs, training.lr_min_ratio) == (
        "WarmupCosine", 3, 0.2,
    )  # fmt: skip


def test_single_patterns_are_one_group_each():
    ones = {"C_model": 1, "C_forward": 1, "decoder_last_amp_channels": 1}
    found = bridged({DataConfig: {"C": 1, "grid_size": (1, 1)}, ModelConfig: ones})
    assert found["model"].gridsize == 1
    assert (found["training"].n_groups, found["training"].enable_oversampling) == (10, False)


def test_overrides_come_last():
    network = to_model_config(DataConfig(), ModelConfig(), {"n_filters_scale": 5})
    assert network.n_filters_scale == 5
    training = to_training_config(
        network, DataConfig(), ModelConfig(), TrainingConfig(), {"seed": 7}, n_positions=3
    )
    assert training.seed == 7
    with pytest.raises(TypeError, match="nonsense"):
        to_model_config(DataConfig(), ModelConfig(), {"nonsense": 1})


def test_the_device_falls_back_to_the_cpu_with_a_warning(caplog):
    found = to_execution_config(TrainingConfig(), InferenceConfig(), cuda=False)
    assert found.accelerator == "cpu"
    assert "TrainingConfig.device" in caplog.text


def test_configurations_survive_pickling_and_need_no_framework():
    for kind in (*KINDS, DatagenConfig):
        assert pickle.loads(pickle.dumps(kind())) == kind()
    code = (
        "import sys, ptycho_torch.config_params as c; "
        "print({m.partition('.')[0] for m in sys.modules} & {'torch', 'lightning', 'numpy'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_every_configuration_is_public():
    assert {kind.__name__ for kind in (*KINDS, DatagenConfig)} == set(config_params.__all__)
