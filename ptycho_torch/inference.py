"""``python -m ptycho_torch.inference``: reconstruct with PyTorch; ``ptycho_inference`` in short."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from ptycho.cli import field_help
from ptycho.cli.arguments import Section, make_parser, merge
from ptycho.cli.console import run_command
from ptycho.cli.inference import (
    NOT_IN_INFERENCE,
    InferenceJob,
    InferenceOptions,
    carry_out,
    require_paths,
)
from ptycho.cli.train import EXECUTION_CHOICES
from ptycho.config.config import InferenceConfig, ModelConfig, PyTorchExecutionConfig
from ptycho_torch.cli.shared import (
    DEPRECATED_HELP,
    DeprecatedInference,
    build_execution_config_from_args,
    validate_paths,
)

__all__ = ["build_parser", "main"]

SECTIONS = (
    Section(
        "inference",
        "inference",
        InferenceConfig,
        help=field_help.RUN,
        aliases={"test_data_file": ("test_data",)},
        hidden=("model", "backend"),
    ),
    Section("run", "stitching", InferenceOptions, help=field_help.RUN),
    Section(
        "torch",
        "execution",
        PyTorchExecutionConfig,
        help=field_help.EXECUTION,
        choices=EXECUTION_CHOICES,
        hidden=NOT_IN_INFERENCE,
    ),
    Section(
        "deprecated",
        "deprecated",
        DeprecatedInference,
        help=DEPRECATED_HELP,
        choices={"device": ("cpu", "cuda")},
    ),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    return make_parser(
        "python -m ptycho_torch.inference",
        "Reconstruct a scan, with PyTorch, from a bundle that either backend has written.",
        SECTIONS,
        epilog="Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.",
    )


def read_job(namespace: argparse.Namespace) -> InferenceJob:
    """Turn flags and YAML into a job; raises ``ValueError`` or ``FileNotFoundError``."""
    from ptycho_torch.config_factory import create_inference_payload

    values = merge(namespace, SECTIONS)
    execution = build_execution_config_from_args(values, "inference")
    given = dict(values["inference"])
    model_path, test_file = require_paths(given)
    output_dir = given.pop(
        "output_dir", InferenceConfig(ModelConfig(), model_path, test_file).output_dir
    )
    validate_paths(None, test_file, output_dir)
    for name in ("model_path", "test_data_file"):
        del given[name]
    payload = create_inference_payload(model_path, test_file, output_dir, given, execution)
    return InferenceJob(
        payload.inference_config, InferenceOptions(**values["run"]), payload.execution_config
    )


def infer(namespace: argparse.Namespace) -> None:
    """Carry out the parsed command."""
    carry_out(read_job(namespace), namespace)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return run_command(build_parser(), argv, infer)


if __name__ == "__main__":
    raise SystemExit(main())
