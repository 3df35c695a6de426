"""``python -m ptycho_torch.train``: train with PyTorch; ``ptycho_train`` under its own flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ptycho.cli import field_help
from ptycho.cli.arguments import Section, make_parser, merge
from ptycho.cli.console import run_command
from ptycho.cli.train import (
    EXECUTION_CHOICES,
    Job,
    RunOptions,
    SaveOptions,
    carry_out,
    require_file,
)
from ptycho.config.config import ModelConfig, PyTorchExecutionConfig, TrainingConfig
from ptycho.config.execution import TRAINING_FIELDS
from ptycho_torch.cli.shared import (
    DEPRECATED_HELP,
    Deprecated,
    build_execution_config_from_args,
    validate_paths,
)

__all__ = ["build_parser", "main"]

SECTIONS = (
    Section("model", "model", ModelConfig, help=field_help.MODEL),
    Section(
        "training",
        "training",
        TrainingConfig,
        help=field_help.RUN,
        aliases={
            "train_data_file": ("train_data",),
            "test_data_file": ("test_data",),
            "nepochs": ("max_epochs",),
            "checkpoint_monitor_metric": ("checkpoint_monitor",),
            "logger_backend": ("logger",),
        },
        negations={"enable_checkpointing": ("disable_checkpointing",)},
        hidden=("model", "backend"),
    ),
    Section("run", "stitching", RunOptions, help=field_help.RUN),
    Section("saving", "saving", SaveOptions, help=field_help.RUN),
    Section(
        "torch",
        "execution",
        PyTorchExecutionConfig,
        help=field_help.EXECUTION,
        choices=EXECUTION_CHOICES,
        aliases={"accum_steps": ("accumulate_grad_batches",)},
        hidden=TRAINING_FIELDS,  # flags of the training already
    ),
    Section(
        "deprecated",
        "deprecated",
        Deprecated,
        help=DEPRECATED_HELP,
        choices={"device": ("cpu", "cuda")},
    ),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    return make_parser(
        "python -m ptycho_torch.train",
        "Train a ptychography network with PyTorch and write its bundle (wts.h5.zip).",
        SECTIONS,
        epilog="Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.",
    )


def read_job(namespace: argparse.Namespace) -> Job:
    """Turn flags and YAML into a job; raises ``ValueError`` or ``FileNotFoundError``."""
    from ptycho_torch.config_factory import create_training_payload

    values = merge(namespace, SECTIONS)
    execution = build_execution_config_from_args(values, "training")
    given = dict(values["training"])
    output_dir = given.pop("output_dir", TrainingConfig(ModelConfig()).output_dir)
    train_file = require_file(given.pop("train_data_file", None), "--train_data_file")
    validate_paths(None, given.get("test_data_file"), output_dir)
    payload = create_training_payload(
        train_file, output_dir, {**values["model"], **given}, execution
    )
    options, saving = RunOptions(**values["run"]), SaveOptions(**values["saving"])
    return Job(payload.training_config, options, payload.execution_config, values, saving)


def train(namespace: argparse.Namespace) -> None:
    """Carry out the parsed command."""
    carry_out(read_job(namespace), namespace)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), argv, train)


if __name__ == "__main__":
    raise SystemExit(main())
