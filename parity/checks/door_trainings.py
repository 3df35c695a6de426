"""Two short trainings by each backend's doors, watched; the checks of section 4.5 share them."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest import mock

from numpy.typing import NDArray

from parity.callchain.scenario import BackendName
from parity.checks.recorder import Recorder
from parity.checks.samples import small_model
from parity.checks.scenes import doors, params_restored
from ptycho.config.config import TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.progress import hidden_progress
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan

EXECUTION = PyTorchExecutionConfig(accelerator="cpu")


@dataclass(frozen=True)
class Watched:
    """What a call of ``run_cdi_example`` returned, printed, and left on the disk.

    ``strays`` are the files below working directory, home and temporary directory.
    """

    config: TrainingConfig
    scan: RawData
    amplitude: NDArray[Any] | None
    phase: NDArray[Any] | None
    results: dict[str, Any]
    printed: str
    strays: list[str]


def scan() -> RawData:
    """Return the scan that is trained on: 25 patterns of 32 x 32 pixels."""
    return built_in_scan(N=32, n_positions=25)


def _config(subject: str, **fields: Any) -> TrainingConfig:
    given: dict[str, Any] = {"n_groups": 12, "batch_size": 3, "seed": 3, **fields}
    config = TrainingConfig(model=small_model(), **given)
    if subject in ("tensorflow", "pytorch"):
        config.backend = cast(BackendName, subject)
    return config


@contextlib.contextmanager
def _elsewhere(folder: Path) -> Iterator[None]:
    """Work in ``folder/cwd`` with home and temporary directory beside it."""
    for name in ("cwd", "home", "tmp"):
        (folder / name).mkdir()
    before = Path.cwd()
    home = {"HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    os.chdir(folder / "cwd")
    try:
        temporary = mock.patch.object(tempfile, "tempdir", str(folder / "tmp"))
        with mock.patch.dict(os.environ, home), temporary:
            yield
    finally:
        os.chdir(before)


def _watch(subject: str, config: TrainingConfig, test: RawData | None) -> Watched:
    doors(subject).require_framework()
    printed, given = io.StringIO(), scan()
    with tempfile.TemporaryDirectory() as name, params_restored():
        folder = Path(name)
        config.output_dir = folder / "out"
        streams = (contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed))
        with _elsewhere(folder), streams[0], streams[1]:
            amplitude, phase, results = doors(subject).run_cdi_example(
                given, test, config, M=10, do_stitching=True, execution_config=EXECUTION
            )
        outside = (path for path in folder.rglob("*") if folder / "out" not in path.parents)
        strays = sorted(str(path.relative_to(folder)) for path in outside)
    kept = {"cwd", "home", "tmp", "out"}
    return Watched(
        config,
        given,
        amplitude,
        phase,
        results,
        printed.getvalue(),
        [path for path in strays if path not in kept],
    )


def with_validation(run: Recorder, subject: str) -> Watched:
    """Two epochs with progress, validation and test data; probe fixed, scale trained."""
    config = _config(subject, nepochs=2, validation_fraction=0.25)
    return run.once(
        ("validated training", subject),
        lambda: _watch(subject, config, built_in_scan(1, N=32, n_positions=9)),
    )


def without_validation(run: Recorder, subject: str) -> Watched:
    """One silent epoch without validation and test data; probe trained, scale fixed."""
    config = _config(
        subject,
        nepochs=1,
        validation_fraction=0.0,
        probe_trainable=True,
        intensity_scale_trainable=False,
    )

    def watch() -> Watched:
        with hidden_progress():
            return _watch(subject, config, None)

    return run.once(("plain training", subject), watch)
