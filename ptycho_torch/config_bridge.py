"""From the plugin's configurations (``config_params``) to those that both backends share.

A field is carried over, or it is refused or warned about by name where its value would ask for
what is not done here. Nothing here imports a framework.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ptycho.config import config as shared
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho_torch import config_params as plugin

__all__ = [
    "MODEL_TYPES",
    "to_execution_config",
    "to_inference_config",
    "to_model_config",
    "to_training_config",
]

logger = logging.getLogger(__name__)

#: The plugin's modes and what the shared configuration calls them.
MODEL_TYPES = {"Unsupervised": "pinn", "Supervised": "supervised"}
_ACTIVATIONS = {
    "silu": "swish", "SiLU": "swish",
    **{name: name for name in ("sigmoid", "swish", "softplus", "relu")},
}  # fmt: skip
_LOSSES = {"Poisson": {"nll_weight": 1.0}, "MAE": {"nll_weight": 0.0, "mae_weight": 1.0}}
_SCHEDULERS = {
    "Cosine": "WarmupCosine",
    **{
        name: name
        for name in ("Default", "Exponential", "Adaptive", "WarmupCosine", "ReduceLROnPlateau")
    },
}

#: Values that can be followed; any other changes the physics or the training, and is refused.
_OFFERED: dict[type, dict[str, tuple[Any, ...]]] = {
    plugin.DataConfig: {
        "neighbor_function": ("Nearest",),
        "normalize": ("Batch",),
        "probe_normalize": (True,),
        "probe_ramp_removal": (False,),
        "data_scaling": ("Parseval",),
        "phase_subtraction": (True, False),
    },
    plugin.ModelConfig: {
        "mode": tuple(MODEL_TYPES),
        "loss_function": tuple(_LOSSES),
        "amp_activation": tuple(_ACTIVATIONS),
        "use_shared_decoder": (False,),
        "num_datasets": (1,),
        "amp_loss": (None,),
        "phase_loss": (None,),
        "probe_mask": (None, True, False),
        "batch_norm": (False,),
        "eca_encoder": (False,),
        "cbam_encoder": (True, False),
        "cbam_bottleneck": (False,),
        "cbam_decoder": (False,),
        "eca_decoder": (False,),
        "spatial_decoder": (False,),
        "probe_reference_coeff": (0.0,),
        "amplitude_variance_loss": (False,),
    },
    plugin.TrainingConfig: {
        "framework": ("Lightning", "Default"),
        "orchestrator": ("Lightning",),
        "scheduler": tuple(_SCHEDULERS),
        "epochs_fine_tune": (0,),
        "enable_staged_finetuning": (False,),
        "n_devices": (1,),
    },
    plugin.InferenceConfig: {"patch_weighting": ("probe", "uniform")},
}

#: Fields that change nothing here; another value than the default is warned about.
_WITHOUT_EFFECT: dict[type, tuple[str, ...]] = {
    plugin.DataConfig: (
        "K_quadrant", "min_neighbor_distance", "max_neighbor_distance", "scan_pattern",
    ),
    plugin.ModelConfig: (
        "intensity_scale", "max_position_jitter", "amp_loss_coeff", "phase_loss_coeff",
        "edge_pad", "decoder_last_c_outer_fraction", "decoder_spatial_kernel", "offset",
        "amplitude_variance_coeff",
    ),
    plugin.TrainingConfig: (
        "fine_tune_gamma",
        *(f.name for f in dataclasses.fields(plugin.TrainingConfig) if "finetune_" in f.name),
    ),
    plugin.InferenceConfig: ("experiment_number", "pad_eval", "window"),
}  # fmt: skip

#: Values, the client's defaults among them, of which the other one is what happens here.
_DONE_OTHERWISE = {
    "cbam_encoder": (True, "the network has no attention blocks"),
    "phase_subtraction": (True, "labels keep their mean phase"),
    "patch_weighting": ("probe", "patches are stitched with equal weights"),
}


def to_model_config(
    data: plugin.DataConfig, model: plugin.ModelConfig, overrides: Mapping[str, Any] | None = None
) -> shared.ModelConfig:
    """Return the model that the plugin's configurations describe.

    ``overrides`` are fields of the result. Raises ``ValueError`` naming the field whose value
    cannot be followed.
    """
    _check(data)
    _check(model)
    fields = {
        "N": data.N,
        "gridsize": _gridsize(data, model),
        "n_filters_scale": model.n_filters_scale,
        "model_type": MODEL_TYPES[model.mode],
        "amp_activation": _ACTIVATIONS[model.amp_activation],
        "object_big": model.object_big,
        "probe_big": model.probe_big,
        "probe_mask": bool(model.probe_mask),
        "pad_object": model.pad_object,
        "probe_scale": data.probe_scale,
        "gaussian_smoothing_sigma": model.gaussian_smoothing_sigma,
    }
    return shared.ModelConfig(**{**fields, **(overrides or {})})


def to_training_config(
    model: shared.ModelConfig,
    data: plugin.DataConfig,
    plugin_model: plugin.ModelConfig,
    training: plugin.TrainingConfig,
    overrides: Mapping[str, Any] | None = None,
    *,
    n_positions: int | None = None,
) -> shared.TrainingConfig:
    """Return the training of ``model``; ``plugin_model`` says what it minimises.

    ``n_positions`` is the length of the scan: with groups of several members ``n_subsample``
    groups are drawn for each position, else one. ``overrides`` are fields of the result. Raises
    ``ValueError`` naming the field whose value cannot be followed.
    """
    _check(data)
    _check(plugin_model)
    _check(training)
    if plugin_model.loss_function == "Poisson" and not training.nll:
        raise ValueError(
            "TrainingConfig.nll is False but ModelConfig.loss_function is 'Poisson', which is the "
            "negative log-likelihood: set loss_function to 'MAE', or nll to True"
        )
    fields: dict[str, Any] = {
        "batch_size": training.batch_size,
        "nepochs": training.epochs,
        **_LOSSES[plugin_model.loss_function],
        "nphotons": data.nphotons,
        "neighbor_count": data.K,
        "intensity_scale_trainable": plugin_model.intensity_scale_trainable,
        "backend": "pytorch",
        "learning_rate": training.learning_rate,
        "gradient_clip_val": training.gradient_clip_val,
        "gradient_clip_algorithm": training.gradient_clip_algorithm,
        "scheduler": _SCHEDULERS[training.scheduler],
        "lr_warmup_epochs": training.warmup_epochs,
        "lr_min_ratio": training.min_lr_ratio,
    }
    if n_positions is not None:
        each = data.n_subsample if model.gridsize > 1 else 1
        fields |= {"n_groups": n_positions * each, "enable_oversampling": each > 1}
    return shared.TrainingConfig(model=model, **{**fields, **(overrides or {})})


def to_inference_config(
    model: shared.ModelConfig,
    data: plugin.DataConfig,
    inference: plugin.InferenceConfig,
    overrides: Mapping[str, Any] | None = None,
) -> shared.InferenceConfig:
    """Return how a scan is grouped for a reconstruction: one group for each position.

    The paths are placeholders unless ``overrides`` gives them. Raises ``ValueError`` naming the
    field whose value cannot be followed.
    """
    _check(inference)
    if not _whole(inference.middle_trim, 1) or inference.middle_trim > model.N:
        raise ValueError(
            f"InferenceConfig.middle_trim is {inference.middle_trim!r}; allowed: 1 to the patch "
            f"side, {model.N}"
        )
    if not _whole(inference.batch_size, 1):
        raise ValueError(
            f"InferenceConfig.batch_size is {inference.batch_size!r}; allowed: an integer >= 1"
        )
    fields = {
        "model_path": Path(),
        "test_data_file": Path(),
        "neighbor_count": data.K,
        "backend": "pytorch",
    }
    return shared.InferenceConfig(model=model, **{**fields, **(overrides or {})})


def to_execution_config(
    training: plugin.TrainingConfig, inference: plugin.InferenceConfig, cuda: bool
) -> PyTorchExecutionConfig:
    """Return what to run on; ``cuda`` tells whether there is such a device.

    The device "cuda" becomes the CPU, with a warning, where there is none. Raises ``ValueError``
    for more than one device: the client's child process cannot start others.
    """
    _check(training)
    accelerator = training.device
    if accelerator in ("cuda", "gpu") and not cuda:
        _warn_once(f"TrainingConfig.device is {accelerator!r}, which is not here: using the CPU")
        accelerator = "cpu"
    if training.num_workers:
        # The client's child process would have to spawn them, each with a copy of the scan.
        _inform_once(
            f"TrainingConfig.num_workers={training.num_workers!r} has no effect: the scan is in "
            "memory, and batches are gathered where they are used"
        )
    return PyTorchExecutionConfig(
        accelerator=accelerator,
        # On one device a strategy only decides how many processes are started for it.
        strategy="auto",
        accum_steps=training.accum_steps,
        inference_batch_size=inference.batch_size,
    )


def _gridsize(data: plugin.DataConfig, model: plugin.ModelConfig) -> int:
    size = tuple(data.grid_size)
    if len(size) != 2 or size[0] != size[1] or not _whole(size[0], 1):
        raise ValueError(
            f"DataConfig.grid_size is {size}; allowed: two equal integers >= 1 (groups are square)"
        )
    channels = size[0] ** 2
    for config, name in ((data, "C"), (model, "C_model"), (model, "C_forward")):
        value = getattr(config, name)
        if value != channels:
            raise ValueError(
                f"{type(config).__name__}.{name} is {value!r} but DataConfig.grid_size is {size}: "
                f"set the number of channels to {channels}, or grid_size to fit"
            )
    if model.decoder_last_amp_channels not in (1, channels):
        raise ValueError(
            f"ModelConfig.decoder_last_amp_channels is {model.decoder_last_amp_channels!r}; "
            f"allowed: 1 or C, {channels}"
        )
    return int(size[0])


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _same(value: Any, allowed: Any) -> bool:
    # Not 1 for True; and what is no plain value (a tensor) is compared with nothing.
    if isinstance(value, bool) != isinstance(allowed, bool):
        return False
    return isinstance(value, (str, int, float, type(None))) and bool(value == allowed)


def _check(config: Any) -> None:
    """Refuse what cannot be followed and warn of what does nothing, by the field's name."""
    kind = type(config)
    for name, allowed in _OFFERED[kind].items():
        value = getattr(config, name)
        if not any(_same(value, each) for each in allowed):
            raise ValueError(
                f"{kind.__name__}.{name} is {value!r}, which is not offered; allowed: "
                + ", ".join(map(repr, allowed))
            )
        other, instead = _DONE_OTHERWISE.get(name, (None, ""))
        if other is not None and value == other:
            _inform_once(f"{kind.__name__}.{name}={value!r} has no effect: {instead}")
    defaults = {f.name: f.default for f in dataclasses.fields(kind)}
    for name in _WITHOUT_EFFECT[kind]:
        if getattr(config, name) != defaults[name]:
            _warn_once(f"{kind.__name__}.{name}={getattr(config, name)!r} has no effect here")


@functools.cache
def _warn_once(text: str) -> None:
    logger.warning("%s", text)


@functools.cache
def _inform_once(text: str) -> None:
    logger.info("%s", text)
