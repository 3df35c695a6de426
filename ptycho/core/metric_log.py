"""Logs of a training, epoch by epoch: CSV, TensorBoard or MLflow, the same from both backends.

None of them is needed to train. What a log needs besides is imported where it is opened, and
named with its ``pip`` command where it lacks.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import os
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ptycho.config.config import TrainingConfig
from ptycho.core.monitoring import Series
from ptycho.io.atomic import write_bytes

__all__ = ["MetricLog", "metric_log", "require_logger"]

#: Takes the number of complete epochs and the history of them all.
MetricLog = Callable[[int, Series], None]

_PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow"}
#: TensorBoard's own switch against importing TensorFlow, which it would do where it is installed.
_NO_TENSORFLOW = "tensorboard.compat.notf"


def require_logger(name: str) -> None:
    """Raise ``RuntimeError`` with the ``pip`` command where a logger's package is missing."""
    package = _PACKAGES.get(name)
    if package is None:
        return
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise RuntimeError(
            f"logger_backend {name!r} needs the package {package} ({error}): "
            f"pip install {package}, or choose 'csv' or 'none'"
        ) from error


@contextmanager
def metric_log(config: TrainingConfig, label: str) -> Iterator[MetricLog]:
    """Open the log that ``config.logger_backend`` names; ``label`` says who trains.

    ``csv`` is ``output_dir/metrics.csv``, one row per epoch, those before a resumption included.
    ``tensorboard`` writes events to ``output_dir/tensorboard``. ``mlflow`` records a run where
    ``MLFLOW_TRACKING_URI`` says, else in ``output_dir/mlruns``.

    Raises ``RuntimeError`` where a package is missing.
    """
    require_logger(config.logger_backend)
    openers: dict[str, Callable[[TrainingConfig, str], Any]] = {
        "none": lambda *_: contextlib.nullcontext(_silent),
        "csv": lambda *_: contextlib.nullcontext(_csv_log(config)),
        "tensorboard": _tensorboard_log,
        "mlflow": _mlflow_log,
    }
    with openers[config.logger_backend](config, label) as log:
        yield log


def _silent(epoch: int, history: Series) -> None:
    """Write nothing."""


def _last(epoch: int, history: Series) -> dict[str, float]:
    return {name: values[epoch - 1] for name, values in history.items()}


def _csv_log(config: TrainingConfig) -> MetricLog:
    path = Path(config.output_dir) / "metrics.csv"

    def write(epoch: int, history: Series) -> None:
        # The whole table each time, so that it is never half there.
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["epoch", *history])
        for number in range(epoch):
            table.writerow([number + 1, *(repr(values[number]) for values in history.values())])
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text.getvalue().encode())

    return write


@contextmanager
def _without_tensorflow() -> Iterator[None]:
    known = _NO_TENSORFLOW in sys.modules
    sys.modules.setdefault(_NO_TENSORFLOW, types.ModuleType(_NO_TENSORFLOW))
    try:
        yield
    finally:
        if not known:
            del sys.modules[_NO_TENSORFLOW]


@contextmanager
def _tensorboard_log(config: TrainingConfig, label: str) -> Iterator[MetricLog]:
    with _without_tensorflow():
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        writer = EventFileWriter(str(Path(config.output_dir) / "tensorboard"))

    def write(epoch: int, history: Series) -> None:
        values = _last(epoch, history).items()
        scalars = [Summary.Value(tag=name, simple_value=value) for name, value in values]
        summary = Summary(value=scalars)
        writer.add_event(Event(wall_time=time.time(), step=epoch, summary=summary))
        writer.flush()

    try:
        yield write
    finally:
        writer.close()


@contextmanager
def _mlflow_log(config: TrainingConfig, label: str) -> Iterator[MetricLog]:
    mlflow: Any = importlib.import_module("mlflow")
    if "MLFLOW_TRACKING_URI" not in os.environ:
        mlflow.set_tracking_uri((Path(config.output_dir) / "mlruns").absolute().as_uri())
    mlflow.set_experiment("ptychopinn")
    with mlflow.start_run(run_name=f"{label} {Path(config.output_dir).name}"):
        mlflow.log_params(_settings(config))

        def write(epoch: int, history: Series) -> None:
            mlflow.log_metrics(_last(epoch, history), step=epoch)

        yield write


def _settings(config: TrainingConfig) -> Mapping[str, Any]:
    own = {name: value for name, value in vars(config).items() if name != "model"}
    return {**own, **vars(config.model)}
