"""What ``python -m ptycho_torch.train`` and ``python -m ptycho_torch.inference`` share.

Their flags are those of ``ptycho_train`` and ``ptycho_inference``; the execution settings, which
those have with ``--torch-`` in front, stand without it here, and some flags have a second name.
Nothing here imports torch.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ptycho.cli.arguments import Values
from ptycho.cli.train import require_directory, require_file
from ptycho.config.deprecation import DeprecatedSetting
from ptycho.config.execution import PyTorchExecutionConfig

__all__ = [
    "DEPRECATED_HELP",
    "Deprecated",
    "DeprecatedInference",
    "build_execution_config_from_args",
    "resolve_accelerator",
    "validate_paths",
]

#: Help of the deprecated flags.
DEPRECATED_HELP = {
    "device": "deprecated: --accelerator",
    "disable_mlflow": "deprecated: --logger none",
    "num_workers": "deprecated: a reconstruction starts no processes",
}


@dataclass
class Deprecated:
    """Flags of earlier training commands."""

    device: Literal["cpu", "cuda"] | None = None
    disable_mlflow: bool = False


@dataclass
class DeprecatedInference:
    """Flags of earlier inference commands."""

    device: Literal["cpu", "cuda"] | None = None
    num_workers: int = 0


def resolve_accelerator(accelerator: str = "auto", device: str | None = None) -> str:
    """Return the accelerator to run on; ``device`` is the deprecated way to name it.

    A ``device`` gives way to an ``accelerator`` other than "auto"; either way a
    ``DeprecationWarning`` says what to write. "auto" stays: Lightning finds the hardware. Raises
    ``ValueError`` for "tpu" and other names that are not offered.
    """
    if device is not None:
        instead = {"cuda": "gpu"}.get(device, device)
        chosen = instead if accelerator == "auto" else accelerator
        warnings.warn(
            f"--device is deprecated: use --accelerator {instead}; running on {chosen}",
            DeprecatedSetting,
            stacklevel=2,
        )
        accelerator = chosen
    return PyTorchExecutionConfig(accelerator=accelerator).accelerator


def build_execution_config_from_args(
    values: Values, mode: Literal["training", "inference"] = "training"
) -> PyTorchExecutionConfig:
    """Return the execution settings of a command's merged values, deprecated flags translated.

    ``values`` are those that somebody gave, per section (:func:`ptycho.cli.arguments.merge`). A
    deprecated flag that was given warns and says what to write. Raises ``ValueError`` naming a
    field whose value is not allowed.
    """
    given, old = dict(values["torch"]), values["deprecated"]
    if "device" in old:
        given["accelerator"] = resolve_accelerator(given.get("accelerator", "auto"), old["device"])
    if mode == "training" and old.get("disable_mlflow"):
        warnings.warn(
            "--disable_mlflow is deprecated: use --logger none", DeprecatedSetting, stacklevel=2
        )
        given.setdefault("logger_backend", "none")
    if mode == "inference" and "num_workers" in old:
        warnings.warn(
            "--num-workers has no effect: a reconstruction starts no processes",
            DeprecatedSetting,
            stacklevel=2,
        )
    return PyTorchExecutionConfig(**given)


def validate_paths(
    train_file: Path | None, test_file: Path | None, output_dir: Path | None
) -> None:
    """Raise unless the scan files are there and ``output_dir`` is, or can become, a directory.

    ``FileNotFoundError``, ``IsADirectoryError`` or ``NotADirectoryError`` naming flag and path;
    what is ``None`` is not looked at. Nothing is created.
    """
    if train_file is not None:
        require_file(train_file, "--train_data_file")
    if test_file is not None:
        require_file(test_file, "--test_data_file")
    if output_dir is not None:
        require_directory(output_dir, "--output_dir")
