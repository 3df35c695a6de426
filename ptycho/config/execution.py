"""How the PyTorch backend runs (standard library only); never written to ``params.cfg``."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ptycho.config.choices import LOGGERS, METRICS, MODES, SCHEDULERS

__all__ = ["CHOICES", "TRAINING_FIELDS", "PyTorchExecutionConfig", "with_execution"]

Config = TypeVar("Config")

#: What fields whose types leave it open may be.
CHOICES: dict[str, tuple[object, ...]] = {
    "accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
    "deterministic": (True, False, "warn"),
    "precision": ("32-true", "16-mixed", "bf16-mixed"),
}
_CHOICES_OR_NONE: dict[str, tuple[object, ...]] = {
    "scheduler": SCHEDULERS,
    "gradient_clip_algorithm": ("norm", "value"),
    "checkpoint_monitor_metric": METRICS,
    "checkpoint_mode": MODES,
    "logger_backend": LOGGERS,
}
_SWITCHES = ("enable_progress_bar", "pin_memory", "persistent_workers")

#: Fields of ``TrainingConfig`` that may be given here too; ``None`` leaves the choice to it.
TRAINING_FIELDS = (
    "learning_rate",
    "scheduler",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "enable_checkpointing",
    "checkpoint_save_top_k",
    "checkpoint_monitor_metric",
    "checkpoint_mode",
    "early_stop_patience",
    "logger_backend",
)


@dataclass
class PyTorchExecutionConfig:
    """Run-time settings of the PyTorch backend; raises ``ValueError`` if bad.

    Devices, strategy, precision and accumulation go to ``lightning.pytorch.Trainer``, workers to
    the data loaders. The fields from ``learning_rate`` on are those of ``TrainingConfig``: where
    they are not ``None`` they win over it, in this backend (:func:`with_execution`).
    """

    accelerator: str = "auto"
    devices: int | Literal["auto"] = 1
    num_nodes: int = 1
    strategy: str = "auto"
    deterministic: bool | Literal["warn"] = True
    precision: str = "32-true"
    accum_steps: int = 1
    num_workers: int = 0
    pin_memory: bool = False
    persistent_workers: bool = True
    prefetch_factor: int | None = None
    enable_progress_bar: bool = True
    inference_batch_size: int | None = None
    learning_rate: float | None = None
    scheduler: (
        Literal[
            "Default", "Exponential", "MultiStage", "Adaptive", "WarmupCosine", "ReduceLROnPlateau"
        ]
        | None
    ) = None
    gradient_clip_val: float | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    enable_checkpointing: bool | None = None
    checkpoint_save_top_k: int | None = None
    checkpoint_monitor_metric: (
        Literal["val_loss", "loss", "train_loss", "val_nll", "nll", "val_mae", "mae"] | None
    ) = None
    checkpoint_mode: Literal["min", "max"] | None = None
    early_stop_patience: int | None = None
    logger_backend: Literal["none", "csv", "tensorboard", "mlflow"] | None = None

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            self._require(getattr(self, name) in allowed, name, f"one of {allowed}")
        for name, allowed in _CHOICES_OR_NONE.items():
            known = getattr(self, name) in (*allowed, None)
            self._require(known, name, f"one of {allowed} or None")
        for name in _SWITCHES:
            self._require(isinstance(getattr(self, name), bool), name, "True or False")
        switch = isinstance(self.enable_checkpointing, (bool, type(None)))
        self._require(switch, "enable_checkpointing", "True, False or None")
        self._require(isinstance(self.strategy, str), "strategy", "a Lightning strategy's name")
        self._check_int("accum_steps", 1)
        self._check_int("num_workers", 0)
        self._check_int("num_nodes", 1)
        self._check_int("inference_batch_size", 1, optional=True)
        self._check_int("prefetch_factor", 1, optional=True)
        self._check_int("checkpoint_save_top_k", -1, optional=True)
        self._check_int("early_stop_patience", 1, optional=True)
        if self.devices != "auto":
            self._check_int("devices", 1)
        for name in ("learning_rate", "gradient_clip_val"):
            value = getattr(self, name)
            holds = value is None or _positive(value)
            self._require(holds, name, "a finite number above 0, or None")

    def _check_int(self, name: str, minimum: int, optional: bool = False) -> None:
        value = getattr(self, name)
        if optional and value is None:
            return
        whole = isinstance(value, int) and not isinstance(value, bool)
        self._require(whole and value >= minimum, name, f"an integer >= {minimum}")

    def _require(self, holds: bool, name: str, allowed: str) -> None:
        if not holds:
            value = getattr(self, name)
            raise ValueError(f"PyTorchExecutionConfig.{name} is {value!r}; allowed: {allowed}")


def _positive(value: Any) -> bool:
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return real and math.isfinite(value) and value > 0


def with_execution(config: Config, execution: PyTorchExecutionConfig) -> Config:
    """Return a training configuration with what the execution settings say otherwise."""
    given = {name: getattr(execution, name) for name in TRAINING_FIELDS}
    changes = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(config, **changes) if changes else config  # type: ignore[type-var]
