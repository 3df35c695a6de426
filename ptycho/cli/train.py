"""``ptycho_train``: train a model on a scan and write its bundle."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho.cli import field_help
from ptycho.cli.arguments import Section, Values, make_parser, merge
from ptycho.cli.console import run_command, say
from ptycho.cli.overlap import sampling_line
from ptycho.config.config import ModelConfig, PyTorchExecutionConfig, TrainingConfig
from ptycho.config.execution import CHOICES

if TYPE_CHECKING:
    from ptycho.raw_data import RawData

__all__ = ["Job", "RunOptions", "SaveOptions", "carry_out", "main"]

logger = logging.getLogger(__name__)

BUNDLE_NAME = "wts.h5.zip"


@dataclass
class RunOptions:
    """What ``ptycho_train`` does besides training."""

    do_stitching: bool = False
    M: int = 20
    flip_x: bool = False
    flip_y: bool = False
    transpose: bool = False


@dataclass
class SaveOptions:
    """What ``ptycho_train`` writes into the bundle."""

    compact_bundle: bool = False


#: Values of execution settings whose types leave them open.
EXECUTION_CHOICES = {name: CHOICES[name] for name in ("accelerator", "precision")}

EXECUTION_SECTION = Section(
    "torch",
    "PyTorch execution (--backend pytorch)",
    PyTorchExecutionConfig,
    prefix="torch",
    help=field_help.EXECUTION,
    choices=EXECUTION_CHOICES,
)

SECTIONS = (
    Section("model", "model", ModelConfig, help=field_help.MODEL),
    Section(
        "training",
        "training",
        TrainingConfig,
        help=field_help.RUN,
        aliases={"train_data_file": ("train_data",), "test_data_file": ("test_data",)},
        hidden=("model",),
    ),
    Section("run", "stitching", RunOptions, help=field_help.RUN),
    Section("saving", "saving", SaveOptions, help=field_help.RUN),
    EXECUTION_SECTION,
)


@dataclass(frozen=True)
class Job:
    """Everything one call of ``ptycho_train`` was asked to do."""

    config: TrainingConfig
    options: RunOptions
    execution: PyTorchExecutionConfig | None
    given: Values
    saving: SaveOptions = field(default_factory=SaveOptions)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``ptycho_train``."""
    return make_parser(
        "ptycho_train",
        "Train a ptychography network on a scan and write its bundle (wts.h5.zip).",
        SECTIONS,
        epilog="Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.",
    )


def read_job(namespace: argparse.Namespace) -> Job:
    """Turn flags and YAML into a job; raises ``ValueError`` or ``FileNotFoundError``."""
    values = merge(namespace, SECTIONS)
    config = TrainingConfig(model=ModelConfig(**values["model"]), **values["training"])
    execution = None
    if values["torch"] or config.backend == "pytorch":
        execution = PyTorchExecutionConfig(**values["torch"])
    warn_of_torch_flags(values["torch"], config.backend)
    saving = SaveOptions(**values["saving"])
    return Job(config, RunOptions(**values["run"]), execution, values, saving)


def warn_of_torch_flags(given: Mapping[str, Any], backend: str) -> None:
    """Say which of PyTorch's execution settings another backend does not look at."""
    if given and backend != "pytorch":
        flags = ", ".join(f"--torch-{name}" for name in sorted(given))
        logger.warning("%s: no effect with --backend %s", flags, backend)


def require_file(path: Path | None, flag: str) -> Path:
    """Return ``path`` if it is a file, else raise naming the flag."""
    if path is None:
        raise ValueError(f"{flag} is required (on the command line or in --config)")
    if not path.exists():
        raise FileNotFoundError(f"{flag}: no such file: {path}")
    if path.is_dir():
        raise IsADirectoryError(f"{flag}: {path} is a directory; expected a scan file")
    return path


def require_directory(path: Path, flag: str) -> None:
    """Raise naming the flag unless ``path`` is, or can become, a directory."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{flag}: {path} is not a directory")


def pattern_side(raw: RawData, path: Path | None) -> int:
    """Return the side of the patterns in pixels; ``ValueError`` if the file holds none."""
    if raw.diff3d is None:
        raise ValueError(f"{path}: the file holds no diffraction patterns (diff3d)")
    return int(raw.diff3d.shape[-1])


def adopt_data_facts(job: Job, raw: RawData) -> TrainingConfig:
    """Return the configuration with what only the data knows: N and, if stored, nphotons.

    Given values win for ``nphotons``; an ``N`` that disagrees with the data is a ``ValueError``.
    """
    config = job.config
    side = pattern_side(raw, config.train_data_file)
    given = job.given["model"].get("N")
    if given is not None and given != side:
        raise ValueError(
            f"N is {given}, but the patterns in {config.train_data_file} are {side} x {side}"
        )
    changes: dict[str, Any] = {"model": dataclasses.replace(config.model, N=side)}
    stored = (raw.metadata or {}).get("nphotons")
    if stored is not None and "nphotons" not in job.given["training"]:
        logger.info("nphotons %g is taken from the data's metadata", float(stored))
        changes["nphotons"] = float(stored)
    return dataclasses.replace(config, n_images=None, **changes)


def prepare_output_dir(directory: Path) -> None:
    """Create ``directory``; say so if a bundle there is going to be replaced."""
    require_directory(directory, "--output_dir")
    directory.mkdir(parents=True, exist_ok=True)
    if (directory / BUNDLE_NAME).exists():
        logger.warning("%s is replaced when this training is done", directory / BUNDLE_NAME)


@contextmanager
def _taken_back_if_empty(directory: Path) -> Iterator[None]:
    """Remove ``directory`` after an error if it was made within and holds nothing."""
    new = not directory.exists()
    try:
        yield
    except BaseException:
        if new:
            with suppress(OSError):
                directory.rmdir()
        raise


@contextmanager
def naming(*files: Path | None) -> Iterator[None]:
    """Put the scan files' names before what is said of their positions."""
    from ptycho.core.position_checks import PositionError

    try:
        yield
    except PositionError as error:
        names = " or ".join(str(path) for path in files if path is not None)
        raise ValueError(f"{names}: {error}") from error


def train(namespace: argparse.Namespace) -> None:
    """Carry out the parsed command."""
    carry_out(read_job(namespace), namespace)


def carry_out(job: Job, namespace: argparse.Namespace) -> None:
    """Train as ``job`` says, and save and tell what came of it."""
    train_file = require_file(job.config.train_data_file, "--train_data_file")
    test_file = job.config.test_data_file
    if test_file is not None:
        require_file(test_file, "--test_data_file")

    from ptycho import params
    from ptycho.config.config import update_legacy_dict, validate_training_config
    from ptycho.workflows.backend_selector import get_backend, run_cdi_example_with_backend

    update_legacy_dict(params.cfg, job.config)  # CONFIG-001: before any data is read
    validate_training_config(job.config)
    backend = get_backend(job.config.backend)
    domain = declared_domain(job.config.measurement_domain)
    raw = backend.load_data(
        train_file,
        n_subsample=job.config.n_subsample,
        subsample_seed=job.config.subsample_seed,
        measurement_domain=domain,
    )
    config = adopt_data_facts(job, raw)
    check_crop(job.options.M, config.model.N)
    test = None
    if test_file is not None:
        test = backend.load_data(test_file, measurement_domain=domain)
    with _taken_back_if_empty(config.output_dir), naming(train_file, test_file):
        prepare_output_dir(config.output_dir)
        if leads(job):
            say(f"scan:    {sampling_line(raw)}", namespace)
        amplitude, phase, results = run_cdi_example_with_backend(
            raw,
            test if test is not None or not job.options.do_stitching else raw,
            config,
            **dataclasses.asdict(job.options),
            torch_execution_config=job.execution if config.backend == "pytorch" else None,
        )
        if results.get("process"):
            return  # the first process of this training writes and tells
        interrupted = "interrupted" in results["history"]
        if interrupted and not results["step_losses"]:
            raise KeyboardInterrupt  # nothing was reached that may replace what is there
        # An interrupted training is to go on: its bundle keeps what that needs.
        compact = {"compact": True} if job.saving.compact_bundle and not interrupted else {}
        model_manager(backend.__name__).save(config.output_dir, **compact)
        backend.save_outputs(amplitude, phase, results, str(config.output_dir))
        report(namespace, config, results, amplitude is not None)
        if interrupted:
            logger.warning("training was interrupted; what it had reached is saved")
            raise KeyboardInterrupt


def leads(job: Job) -> bool:
    """Return whether this is the process that tells; Lightning gives others their LOCAL_RANK."""
    several = job.execution is not None and job.execution.devices != 1
    return not several or os.environ.get("LOCAL_RANK", "0") == "0"


def declared_domain(domain: str) -> str | None:
    """Return the domain to impose on the data, ``None`` to keep what the file says."""
    return None if domain == "auto" else domain


def check_crop(M: int, N: int) -> None:
    """Raise ``ValueError`` unless the central M x M square fits a pattern."""
    if not 0 < M <= N:
        raise ValueError(f"M is {M}; allowed: 1 to N = {N}")


def model_manager(workflow_module: str) -> Any:
    """Return the module that saves and loads models of the backend behind a workflow module."""
    package = workflow_module.partition(".")[0]
    return importlib.import_module(f"{package}.model_manager")


def report(
    namespace: argparse.Namespace, config: TrainingConfig, results: Mapping[str, Any], image: bool
) -> None:
    """Tell what was reached and where it lies."""
    losses = results["history"].get("loss") or [float("nan")]
    say(
        f"trained {len(losses)} epochs with {config.backend} in {results['seconds']:.1f} s, "
        f"loss {losses[-1]:.4g}",
        namespace,
    )
    say(f"model:   {config.output_dir / BUNDLE_NAME}", namespace)
    say(f"history: {config.output_dir / 'history.json'}", namespace)
    if image:
        say(f"images:  {config.output_dir}/reconstructed_{{amplitude,phase}}.png", namespace)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ptycho_train`` and return its exit code."""
    return run_command(build_parser(), argv, train)


if __name__ == "__main__":
    raise SystemExit(main())
