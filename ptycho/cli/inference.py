"""``ptycho_inference``: reconstruct a scan with a trained bundle."""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho.cli import field_help
from ptycho.cli.arguments import Section, make_parser, merge
from ptycho.cli.console import run_command, say
from ptycho.cli.train import (
    EXECUTION_CHOICES,
    check_crop,
    declared_domain,
    naming,
    pattern_side,
    require_directory,
    require_file,
    warn_of_torch_flags,
)
from ptycho.config.config import InferenceConfig, ModelConfig, PyTorchExecutionConfig

if TYPE_CHECKING:
    from ptycho.raw_data import RawData

__all__ = ["InferenceJob", "InferenceOptions", "carry_out", "main"]

logger = logging.getLogger(__name__)


@dataclass
class InferenceOptions:
    """What ``ptycho_inference`` does besides predicting patches."""

    M: int = 20
    flip_x: bool = False
    flip_y: bool = False
    transpose: bool = False
    comparison_plot: bool = False


#: Execution settings that a reconstruction has no use for.
NOT_IN_INFERENCE = tuple(
    f.name
    for f in dataclasses.fields(PyTorchExecutionConfig)
    if f.name not in ("accelerator", "inference_batch_size")
)

SECTIONS = (
    Section(
        "inference",
        "inference",
        InferenceConfig,
        help=field_help.RUN,
        aliases={"test_data_file": ("test_data",)},
        hidden=("model",),
    ),
    Section("run", "stitching", InferenceOptions, help=field_help.RUN),
    Section(
        "torch",
        "PyTorch execution (--backend pytorch)",
        PyTorchExecutionConfig,
        prefix="torch",
        help=field_help.EXECUTION,
        choices=EXECUTION_CHOICES,
        hidden=NOT_IN_INFERENCE,
    ),
)


@dataclass(frozen=True)
class InferenceJob:
    """Everything one call of ``ptycho_inference`` was asked to do."""

    config: InferenceConfig
    options: InferenceOptions
    execution: PyTorchExecutionConfig | None


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``ptycho_inference``."""
    return make_parser(
        "ptycho_inference",
        "Reconstruct a scan with a bundle that either backend has written.",
        SECTIONS,
        epilog="Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.",
    )


def require_paths(given: Mapping[str, Any]) -> tuple[Path, Path]:
    """Return model_path and test_data_file; ``ValueError`` naming the flag that is missing."""
    for name in ("model_path", "test_data_file"):
        if name not in given:
            raise ValueError(f"--{name} is required (on the command line or in --config)")
    return given["model_path"], given["test_data_file"]


def read_job(namespace: argparse.Namespace) -> InferenceJob:
    """Turn flags and YAML into a job; raises ``ValueError`` or ``FileNotFoundError``."""
    values = merge(namespace, SECTIONS)
    require_paths(values["inference"])
    # The bundle brings the model's own configuration.
    config = InferenceConfig(model=ModelConfig(), **values["inference"])
    warn_of_torch_flags(values["torch"], config.backend)
    execution = None
    if config.backend == "pytorch":
        execution = PyTorchExecutionConfig(**values["torch"])
    return InferenceJob(config, InferenceOptions(**values["run"]), execution)


def infer(namespace: argparse.Namespace) -> None:
    """Carry out the parsed command."""
    carry_out(read_job(namespace), namespace)


def carry_out(job: InferenceJob, namespace: argparse.Namespace) -> None:
    """Reconstruct as ``job`` says, and save and tell what came of it."""
    config, options = job.config, job.options
    require_file(config.test_data_file, "--test_data_file")
    if not config.model_path.exists():
        raise FileNotFoundError(f"--model_path: no such file or directory: {config.model_path}")
    require_directory(config.output_dir, "--output_dir")

    from ptycho import params
    from ptycho.config.config import update_legacy_dict, validate_inference_config
    from ptycho.workflows.backend_selector import get_backend, load_inference_bundle_with_backend

    update_legacy_dict(params.cfg, config)  # CONFIG-001: before any data is read
    validate_inference_config(config)
    backend = get_backend(config.backend)
    raw = backend.load_data(
        config.test_data_file,
        n_subsample=config.n_subsample,
        subsample_seed=config.subsample_seed,
        measurement_domain=declared_domain(config.measurement_domain),
    )
    if options.comparison_plot and raw.objectGuess is None:
        raise ValueError(f"--comparison_plot: {config.test_data_file} has no objectGuess")
    check_crop(options.M, pattern_side(raw, config.test_data_file))
    model, restored = load_inference_bundle_with_backend(
        config.model_path, config, torch_execution_config=job.execution
    )
    check_fit(raw, restored, config)
    with naming(config.test_data_file):
        amplitude, phase, results = backend.reassemble_cdi_image(
            raw,
            config,
            model,
            flip_x=options.flip_x,
            flip_y=options.flip_y,
            transpose=options.transpose,
            M=options.M,
            keep_patches=config.debug,
        )
    backend.save_outputs(amplitude, phase, results, str(config.output_dir))
    say(f"reconstruction: {config.output_dir / 'reconstruction.npz'}", namespace)
    say(f"images: {config.output_dir}/reconstructed_{{amplitude,phase}}.png", namespace)
    if config.debug:
        say(f"patches: {write_debug(results, config.output_dir)}", namespace)
    if options.comparison_plot:
        say(f"comparison: {write_comparison(raw, results, config.output_dir)}", namespace)


def check_fit(raw: RawData, restored: dict[str, Any], config: InferenceConfig) -> None:
    """Raise ``ValueError`` unless the data's patterns have the size the model was trained on."""
    side, expected = pattern_side(raw, config.test_data_file), int(restored["N"])
    if side != expected:
        raise ValueError(
            f"the model in {config.model_path} takes {expected} x {expected} patterns, but "
            f"{config.test_data_file} has {side} x {side}"
        )


def write_debug(results: dict[str, Any], directory: Path) -> Path:
    """Write the patches before stitching and where they go; return the file."""
    from ptycho.io.npz import write_npz

    names = ("obj_tensor_full", "global_offsets")
    return write_npz(directory / "debug.npz", {name: results[name] for name in names})


def write_comparison(raw: RawData, results: dict[str, Any], directory: Path) -> Path:
    """Write a picture of the reconstruction beside the data's objectGuess; return its path."""
    import numpy as np

    from ptycho.cli.comparison import comparison_png
    from ptycho.core.metrics import evaluate
    from ptycho.io.atomic import write_bytes

    if raw.objectGuess is None:
        raise ValueError("the data has no objectGuess to compare with")
    canvas = results["recon_amp"] * np.exp(1j * results["recon_phase"])
    centre = np.asarray(results["global_offsets"], np.float64).reshape(-1, 2).mean(axis=0)
    evaluation = evaluate(canvas, raw.objectGuess, centre, positions=raw.positions)
    path = directory / "comparison_plot.png"
    write_bytes(path, comparison_png(evaluation))
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ptycho_inference`` and return its exit code."""
    return run_command(build_parser(), argv, infer)


if __name__ == "__main__":
    raise SystemExit(main())
