"""Configuration dataclasses of both backends (standard library only).

Constructors never validate: the client builds configurations in steps (``N=0`` first, the
detector size later), pickles them and mutates them. :func:`validate_model_config`,
:func:`validate_training_config` and :func:`validate_inference_config` are called at the doors
(training, inference, command lines) and raise ``ValueError`` naming field, value and what is
allowed.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ptycho.config.choices import LOGGERS, METRICS, MODES, OPTIMIZERS, SCHEDULERS
from ptycho.config.deprecation import DeprecatedSetting
from ptycho.config.environment import BACKEND_VARIABLE, from_environment
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.config.yaml_file import load_yaml_config

__all__ = [
    "KEY_MAPPINGS",
    "SUPPORTED_N",
    "InferenceConfig",
    "ModelConfig",
    "PyTorchExecutionConfig",
    "TrainingConfig",
    "dataclass_to_legacy_dict",
    "load_yaml_config",
    "update_legacy_dict",
    "validate_inference_config",
    "validate_model_config",
    "validate_sampling",
    "validate_training_config",
]

#: Patch sides with a network (``ptycho.core.weights.encoder_filters`` gives the rule).
SUPPORTED_N = (32, 64, 128, 256)

_CHOICES: dict[str, tuple[str, ...]] = {
    "model_type": ("pinn", "supervised"),
    "architecture": ("cnn",),
    "amp_activation": ("sigmoid", "swish", "softplus", "relu"),
    "backend": ("tensorflow", "pytorch"),
    "gradient_clip_algorithm": ("norm", "value"),
    "optimizer": OPTIMIZERS,
    "scheduler": SCHEDULERS,
    "checkpoint_monitor_metric": METRICS,
    "checkpoint_mode": MODES,
    "logger_backend": LOGGERS,
    "measurement_domain": ("auto", "amplitude", "counts"),
}


@dataclass
class ModelConfig:
    """What the network and the physics around it look like.

    ``N`` is the side of a diffraction pattern in pixels and may be 0 until the data is known.
    ``gridsize**2`` neighbouring positions form a group, seen as channels. ``probe_scale`` sets
    the gauge between probe and object (``ptycho.core.scaling.normalise_probe``).
    ``gaussian_smoothing_sigma`` (pixels) blurs the exit wave.
    """

    N: int = 64
    gridsize: int = 1
    n_filters_scale: int = 2
    model_type: Literal["pinn", "supervised"] = "pinn"
    architecture: Literal["cnn"] = "cnn"
    amp_activation: Literal["sigmoid", "swish", "softplus", "relu"] = "sigmoid"
    object_big: bool = True
    probe_big: bool = True
    probe_mask: bool = False
    pad_object: bool = True
    probe_scale: float = 4.0
    gaussian_smoothing_sigma: float = 0.0


@dataclass
class TrainingConfig:
    """One training run.

    ``n_groups`` is the number of groups drawn from the scan (512 unless given; ``n_images`` is
    its deprecated name). ``nphotons`` is the mean number of photons per pattern that sets the
    intensity scale. ``seed`` fixes initial weights, grouping, validation split and epoch order.
    ``resume`` is a saved model whose training goes on until it has had ``nepochs`` in all.
    """

    model: ModelConfig
    train_data_file: Path | None = None
    test_data_file: Path | None = None
    batch_size: int = 16
    nepochs: int = 50
    mae_weight: float = 0.0
    nll_weight: float = 1.0
    realspace_mae_weight: float = 0.0
    realspace_weight: float = 0.0
    nphotons: float = 1e9
    n_groups: int | None = None
    n_images: int | None = None
    n_subsample: int | None = None
    subsample_seed: int | None = None
    neighbor_count: int = 4
    enable_oversampling: bool = False
    neighbor_pool_size: int | None = None
    positions_provided: bool = True
    probe_trainable: bool = False
    intensity_scale_trainable: bool = True
    output_dir: Path = field(default_factory=lambda: Path("training_outputs"))
    sequential_sampling: bool = False
    backend: Literal["tensorflow", "pytorch"] = field(
        default_factory=lambda: from_environment(BACKEND_VARIABLE, "tensorflow")
    )
    seed: int = 42
    validation_fraction: float = 0.05
    learning_rate: float = 1e-3
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    momentum: float = 0.9
    weight_decay: float = 0.0
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] = "norm"
    scheduler: Literal[
        "Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine", "ReduceLROnPlateau"
    ] = "Default"
    lr_warmup_epochs: int = 0
    lr_min_ratio: float = 0.1
    plateau_factor: float = 0.5
    plateau_patience: int = 2
    plateau_min_lr: float = 5e-5
    plateau_threshold: float = 0.0
    stage_1_epochs: int = 0
    stage_2_epochs: int = 0
    stage_3_lr_factor: float = 0.1
    early_stop_patience: int | None = None
    enable_checkpointing: bool = False
    checkpoint_save_top_k: int = 1
    checkpoint_monitor_metric: Literal[
        "val_loss", "loss", "train_loss", "val_nll", "nll", "val_mae", "mae"
    ] = "val_loss"
    checkpoint_mode: Literal["min", "max"] = "min"
    logger_backend: Literal["none", "csv", "tensorboard", "mlflow"] = "none"
    measurement_domain: Literal["auto", "amplitude", "counts"] = "auto"
    resume: Path | None = None

    def __post_init__(self) -> None:
        _adopt_n_images(self)
        if self.n_groups is None:
            self.n_groups = 512


@dataclass
class InferenceConfig:
    """One reconstruction with a trained bundle; ``n_groups=None`` means every scan position."""

    model: ModelConfig
    model_path: Path
    test_data_file: Path
    n_groups: int | None = None
    n_images: int | None = None
    n_subsample: int | None = None
    subsample_seed: int | None = None
    neighbor_count: int = 4
    enable_oversampling: bool = False
    neighbor_pool_size: int | None = None
    debug: bool = False
    output_dir: Path = field(default_factory=lambda: Path("inference_outputs"))
    backend: Literal["tensorflow", "pytorch"] = field(
        default_factory=lambda: from_environment(BACKEND_VARIABLE, "tensorflow")
    )
    seed: int = 42
    measurement_domain: Literal["auto", "amplitude", "counts"] = "auto"

    def __post_init__(self) -> None:
        _adopt_n_images(self)


def _adopt_n_images(config: TrainingConfig | InferenceConfig) -> None:
    if config.n_images is not None and config.n_groups is None:
        warnings.warn("n_images is deprecated: use n_groups", DeprecatedSetting, stacklevel=4)
        config.n_groups = config.n_images


# --------------------------------------------------------------------------- legacy dictionary

#: Dataclass field -> key in ``params.cfg`` where the two differ.
KEY_MAPPINGS: dict[str, str] = {
    "object_big": "object.big",
    "probe_big": "probe.big",
    "probe_mask": "probe.mask",
    "probe_trainable": "probe.trainable",
    "intensity_scale_trainable": "intensity_scale.trainable",
    "positions_provided": "positions.provided",
    "output_dir": "output_prefix",
    "train_data_file": "train_data_file_path",
    "test_data_file": "test_data_file_path",
    "seed": "npseed",
}


def dataclass_to_legacy_dict(obj: Any) -> dict[str, Any]:
    """Return the flat legacy dictionary of a configuration dataclass.

    The nested ``model`` is merged in, names follow :data:`KEY_MAPPINGS`, paths become strings;
    ``None`` values are kept.
    """
    flat: dict[str, Any] = {f.name: getattr(obj, f.name) for f in dataclasses.fields(obj)}
    model = flat.pop("model", None)
    if model is not None:
        flat.update({f.name: getattr(model, f.name) for f in dataclasses.fields(model)})
    return {
        KEY_MAPPINGS.get(name, name): str(value) if isinstance(value, Path) else value
        for name, value in flat.items()
    }


def update_legacy_dict(cfg: MutableMapping[str, Any], obj: Any) -> None:
    """Write a configuration into ``cfg`` (normally ``ptycho.params.cfg``).

    ``None`` means "not set here" and leaves an existing entry alone. Raises ``TypeError`` for a
    ``PyTorchExecutionConfig``, which says how one backend runs and is nobody else's business.
    """
    if isinstance(obj, PyTorchExecutionConfig):
        raise TypeError(
            "PyTorchExecutionConfig is not written to params.cfg: give it to the workflow as "
            "torch_execution_config"
        )
    cfg.update({k: v for k, v in dataclass_to_legacy_dict(obj).items() if v is not None})


# --------------------------------------------------------------------------- validation


def _require(ok: bool, config: Any, name: str, allowed: str) -> None:
    if not ok:
        value = getattr(config, name)
        raise ValueError(f"{type(config).__name__}.{name} is {value!r}; allowed: {allowed}")


def _check_choices(config: Any) -> None:
    for f in dataclasses.fields(config):
        if f.name in _CHOICES:
            allowed = _CHOICES[f.name]
            _require(getattr(config, f.name) in allowed, config, f.name, f"one of {allowed}")


def _is_int(value: Any) -> bool:
    # NumPy integers come from array shapes; bool is an int that nobody means.
    return not isinstance(value, bool) and hasattr(value, "__index__")


def _is_real(value: Any) -> bool:
    try:
        return not isinstance(value, (bool, str)) and math.isfinite(float(value))
    except (TypeError, ValueError, OverflowError):
        return False


def _check_int(config: Any, name: str, minimum: int, optional: bool = False) -> None:
    value = getattr(config, name)
    ok = (value is None and optional) or (_is_int(value) and value >= minimum)
    _require(ok, config, name, f"an integer >= {minimum}" + (" or None" if optional else ""))


def _check_real(
    config: Any,
    name: str,
    low: float,
    high: float,
    *,
    low_open: bool = False,
    high_open: bool = False,
) -> None:
    value = getattr(config, name)
    ok = (
        _is_real(value)
        and (low < value if low_open else low <= value)
        and (value < high if high_open else value <= high)
    )
    interval = f"{'(' if low_open else '['}{low}, {high}{')' if high_open else ']'}"
    _require(ok, config, name, f"a finite number in {interval}")


def _check_bools(config: Any) -> None:
    for f in dataclasses.fields(config):
        if f.type == "bool":
            _require(isinstance(getattr(config, f.name), bool), config, f.name, "True or False")


def validate_model_config(config: ModelConfig) -> None:
    """Raise ``ValueError`` unless a network can be built from ``config``."""
    _require(_is_int(config.N) and config.N in SUPPORTED_N, config, "N", f"one of {SUPPORTED_N}")
    _require(_is_int(config.gridsize) and 1 <= config.gridsize <= 5, config, "gridsize", "1 to 5")
    _check_int(config, "n_filters_scale", 1)
    _check_choices(config)
    _check_bools(config)
    _check_real(config, "probe_scale", 0.0, math.inf, low_open=True)
    _check_real(config, "gaussian_smoothing_sigma", 0.0, math.inf)


def validate_sampling(config: TrainingConfig | InferenceConfig) -> None:
    """Raise ``ValueError`` unless the fields that say how a scan is grouped are allowed.

    It is what a reconstruction with a loaded model takes from either configuration.
    """
    for name in ("n_images", "n_groups", "n_subsample", "neighbor_pool_size"):
        _check_int(config, name, 1, optional=True)
    _check_int(config, "neighbor_count", 1)
    _check_int(config, "subsample_seed", 0, optional=True)
    _check_int(config, "seed", 0)
    domains = _CHOICES["measurement_domain"]
    known = config.measurement_domain in domains
    _require(known, config, "measurement_domain", f"one of {domains}")


def _check_run(config: TrainingConfig | InferenceConfig) -> None:
    validate_sampling(config)
    _check_choices(config)
    _check_bools(config)


def validate_training_config(config: TrainingConfig) -> None:
    """Raise ``ValueError`` unless ``config`` (and its model) describes a possible training.

    ``FileNotFoundError`` if there is nothing at ``resume``.
    """
    validate_model_config(config.model)
    _check_run(config)
    _check_int(config, "batch_size", 1)
    _check_int(config, "nepochs", 1)
    for name in ("mae_weight", "nll_weight", "realspace_mae_weight", "realspace_weight"):
        _check_real(config, name, 0.0, 1.0)
    if config.model.model_type == "pinn" and not (config.mae_weight or config.nll_weight):
        raise ValueError(
            "TrainingConfig.mae_weight and nll_weight are both 0: a 'pinn' model has nothing to "
            "fit; set one of them above 0"
        )
    _check_real(config, "nphotons", 0.0, math.inf, low_open=True)
    _check_real(config, "validation_fraction", 0.0, 0.5)
    _check_real(config, "learning_rate", 0.0, math.inf, low_open=True)
    _check_real(config, "weight_decay", 0.0, math.inf)
    for name in ("adam_beta1", "adam_beta2", "momentum"):
        # 1 would divide by 0 in the bias correction, and never forget a gradient.
        ok = _is_real(getattr(config, name)) and 0 <= getattr(config, name) < 1
        _require(ok, config, name, "a finite number in [0, 1)")
    if config.gradient_clip_val is not None:
        _check_real(config, "gradient_clip_val", 0.0, math.inf, low_open=True)
    _check_int(config, "lr_warmup_epochs", 0)
    _check_real(config, "lr_min_ratio", 0.0, 1.0)
    _check_real(config, "plateau_factor", 0.0, 1.0, low_open=True)
    _check_int(config, "plateau_patience", 0)
    _check_real(config, "plateau_min_lr", 0.0, math.inf)
    _check_real(config, "plateau_threshold", 0.0, math.inf)
    _check_int(config, "stage_1_epochs", 0)
    _check_int(config, "stage_2_epochs", 0)
    _check_real(config, "stage_3_lr_factor", 0.0, 1.0, low_open=True)
    if config.scheduler == "MultiStage" and not (config.stage_1_epochs or config.stage_2_epochs):
        raise ValueError(
            "TrainingConfig.stage_1_epochs and stage_2_epochs are both 0: 'MultiStage' has no "
            "stages; set one of them above 0"
        )
    _check_int(config, "early_stop_patience", 1, optional=True)
    _check_int(config, "checkpoint_save_top_k", -1)
    if config.resume is not None and not Path(config.resume).exists():
        raise FileNotFoundError(
            f"TrainingConfig.resume: no saved model (wts.h5.zip) at {config.resume}"
        )


def validate_inference_config(config: InferenceConfig) -> None:
    """Raise unless ``config`` points at an existing bundle and data file.

    ``ValueError`` for a bad field, ``FileNotFoundError`` for a missing path. The model part is
    not checked: the bundle's own configuration wins.
    """
    _check_run(config)
    for name in ("model_path", "test_data_file"):
        path = Path(getattr(config, name))
        if not path.exists():
            raise FileNotFoundError(f"InferenceConfig.{name}: no such file or directory: {path}")
