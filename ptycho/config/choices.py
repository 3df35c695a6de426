"""Names among which a training chooses, for validation at run time (standard library only)."""

from __future__ import annotations

__all__ = ["LOGGERS", "METRICS", "MODES", "OPTIMIZERS", "SCHEDULERS"]

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULERS = (
    "Default",
    "Exponential",
    "MultiStage",
    "Adaptive",
    "WarmupCosine",
    "ReduceLROnPlateau",
)
METRICS = ("val_loss", "loss", "train_loss", "val_nll", "nll", "val_mae", "mae")
MODES = ("min", "max")
LOGGERS = ("none", "csv", "tensorboard", "mlflow")
