"""Y-1 to Y-7: how trainings end early, and what they leave on their way."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from parity.backends import Backend, TrainedRun
from parity.checks.clauses_inference import refusal
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import scan_container, small_model, training
from parity.checks.scenes import doors, params_restored
from parity.compare import compare_named
from ptycho.config.config import TrainingConfig
from ptycho.core.container import PtychoDataContainer

#: Two steps an epoch. The loss falls, so by the mode "max" no epoch is better than the first.
_FALLING = training(
    small_model(), batch_size=4, nepochs=5, validation_fraction=0.2, learning_rate=1e-4
)
_EPOCHS = 3


def _container(run: Recorder) -> PtychoDataContainer:
    return run.once("scan that endings are trained on", lambda: scan_container(1, run.seed, 10))


def _trained(run: Recorder, backend: Backend, config: TrainingConfig) -> TrainedRun:
    return backend.train_steps(config, _container(run), 1000)


@check("Y-1", "Training stops when it makes no progress, in the same epoch in both")
def stops(run: Recorder) -> None:
    """Two epochs after the best; after an epoch trained by an earlier run; not while it falls."""
    patient = dataclasses.replace(_FALLING, early_stop_patience=2, checkpoint_mode="max")
    ended: dict[str, int] = {}
    for subject, backend in run.backends.items():
        result = _trained(run, backend, patient)
        losses = result.history["val_loss"]
        falls = all(a > b for a, b in zip(losses, losses[1:], strict=False))
        run.require(subject, falls, f"the loss does not fall: {losses}")
        run.require(subject, len(losses) == 3, f"{len(losses)} epochs, not 3, by max")
        ended[subject] = len(losses)
        on = _trained(run, backend, dataclasses.replace(patient, checkpoint_mode="min"))
        epochs = len(on.history["loss"])
        run.require(subject, epochs == 5, f"{epochs} epochs, not 5, by min")
        with tempfile.TemporaryDirectory() as folder:
            begun = _trained(run, backend, dataclasses.replace(patient, nepochs=1))
            bundle = backend.write_bundle(begun, Path(folder))
            resumed = _trained(run, backend, dataclasses.replace(patient, resume=bundle))
        epochs = len(resumed.history["loss"])
        run.require(subject, epochs == 3, f"{epochs} epochs, not 3, after a resumption")
    for left, right in run.pairs(ended):
        run.require(PAIR, left == right, f"one ended after {left} epochs, the other after {right}")


@check("Y-2", "Without validation groups the training's metric is monitored", ("backend",))
def fallback(run: Recorder) -> None:
    """Of a validation that there is not: it ends the training, and checkpoints say its name."""
    for subject, backend in run.backends.items():
        config = dataclasses.replace(
            _FALLING, validation_fraction=0.0, early_stop_patience=1, checkpoint_mode="max"
        )
        for metric, name in (("val_loss", "loss"), ("val_nll", "nll")):
            with tempfile.TemporaryDirectory() as folder:
                changes: dict[str, Any] = {
                    "checkpoint_monitor_metric": metric,
                    "enable_checkpointing": True,
                    "output_dir": Path(folder),
                }
                result = _trained(run, backend, dataclasses.replace(config, **changes))
                found = sorted(path.name for path in Path(folder).rglob("*.zip"))
            epochs = len(result.history["loss"])
            run.require(subject, epochs == 2, f"{epochs} epochs, not 2", metric)
            named = len(found) == 2 and all(f"-{name}=" in each for each in found)
            run.require(subject, named, f"checkpoints {found}", metric)


@dataclasses.dataclass(frozen=True)
class _Left:
    """A training of three epochs that left everything, and two that went on from a checkpoint."""

    whole: TrainedRun
    rest: dict[str, TrainedRun]
    files: dict[str, list[str]]
    tables: dict[str, list[list[str]]]


def _left(run: Recorder, backend: Backend) -> _Left:
    def train() -> _Left:
        with tempfile.TemporaryDirectory() as name, _without_loggers():
            top = Path(name)
            fields: dict[str, Any] = {
                "nepochs": _EPOCHS,
                "enable_checkpointing": True,
                "checkpoint_save_top_k": -1,
                "logger_backend": "csv",
            }
            config = dataclasses.replace(_FALLING, output_dir=top / "whole", **fields)
            whole = _trained(run, backend, config)
            lying = sorted((top / "whole" / "checkpoints").iterdir())
            files = {"whole": [path.name for path in lying]}
            lying[2].unlink()  # as if the training had been killed in its last epoch
            rest: dict[str, TrainedRun] = {}
            for case, point, kept in (
                ("file", lying[0], {"checkpoint_save_top_k": 1}),
                ("folder", top / "whole" / "checkpoints", {"checkpoint_save_top_k": 0}),
            ):
                changes: dict[str, Any] = {"resume": point, "output_dir": top / case, **kept}
                rest[case] = _trained(run, backend, dataclasses.replace(config, **changes))
                found = (top / case / "checkpoints").glob("*")
                files[case] = sorted(path.name for path in found)
            tables = {}
            for case in ("whole", "file"):
                with (top / case / "metrics.csv").open(encoding="utf-8") as file:
                    tables[case] = list(csv.reader(file))
        return _Left(whole, rest, files, tables)

    return run.once(("training with checkpoints", backend.name), train)


@check("Y-3", "Checkpoints: one an epoch, of which the best and the last stay", ("backend",))
def kept(run: Recorder) -> None:
    """All of three; the best, which is the last; none. Their names say epoch and value."""
    for subject, backend in run.backends.items():
        left = _left(run, backend)
        losses = left.whole.history["val_loss"]
        names = [
            f"epoch={i:04d}-val_loss={losses[i - 1]:.6g}.wts.h5.zip" for i in range(1, _EPOCHS + 1)
        ]
        run.require(subject, left.files["whole"] == names, f"{left.files['whole']}", "all")
        run.require(subject, left.files["file"] == names[-1:], f"{left.files['file']}", "best")
        run.require(subject, left.files["folder"] == [], f"{left.files['folder']}", "none")


@check("Y-4", "A training goes on from a checkpoint, bit by bit", ("backend",))
def goes_on(run: Recorder) -> None:
    """From the first epoch's file, and from a folder by the last file in it."""
    for subject, backend in run.backends.items():
        left = _left(run, backend)
        for case, steps in (("file", 4), ("folder", 2)):
            rest = left.rest[case]
            same = rest.step_losses == left.whole.step_losses[-steps:]
            run.require(subject, same and len(rest.step_losses) == steps, "step losses", case)
            weights = compare_named(rest.weights, left.whole.weights)
            run.judge_equal(subject, weights, case)


@check("Y-5", "Checkpoints of two trainings do not mix", ("backend",))
def apart(run: Recorder) -> None:
    """The folder is named before the data, which here is none, is looked at."""
    for subject in run.backends:
        with tempfile.TemporaryDirectory() as name, params_restored():
            folder = Path(name) / "checkpoints"
            folder.mkdir()
            other = folder / "epoch=0001-val_loss=1.wts.h5.zip"
            other.touch()
            config = dataclasses.replace(_FALLING, output_dir=Path(name), enable_checkpointing=True)
            kind, text = refusal(doors(subject).train_cdi_model, object(), None, config)
            run.require(subject, kind == "ValueError" and str(folder) in text, f"{kind}: {text}")
            run.require(subject, other.exists(), "the other's checkpoint is gone")


# --------------------------------------------------------------------------- logs


@contextlib.contextmanager
def _without_loggers() -> Iterator[None]:
    """Make the packages of the logs impossible to import."""
    with mock.patch.dict(sys.modules, {"mlflow": None, "tensorboard": None}):
        yield


def _figures(table: list[list[str]]) -> dict[str, Any]:
    return {name: np.array(column, float) for name, *column in zip(*table, strict=True)}


@check("Y-6", "The CSV log is the history, row by row, and the same in both")
def tables(run: Recorder) -> None:
    """Of a whole training and of one that went on: no value is lost or rounded."""
    for subject, backend in run.backends.items():
        left = _left(run, backend)
        wanted = {n: np.array(v, float) for n, v in left.whole.history.items() if n != "train_loss"}
        wanted["epoch"] = np.arange(1.0, _EPOCHS + 1)
        for case in ("whole", "file"):
            found = _figures(left.tables[case])
            run.require(subject, found.keys() == wanted.keys(), f"columns {sorted(found)}", case)
            run.judge_equal(subject, compare_named(found, wanted, sorted(wanted)), case)
    every = {
        subject: _left(run, backend).tables["whole"] for subject, backend in run.backends.items()
    }
    for first, second in run.pairs(every):
        run.require(PAIR, first[0] == second[0], f"columns {first[0]} and {second[0]}")
        apart = compare_named(_figures(first), _figures(second))
        run.judge(PAIR, apart, "training.losses")


class _Recorded:
    """A package that only remembers what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, dict[str, float]]] = []

    def mlflow(self) -> types.ModuleType:
        module: Any = types.ModuleType("mlflow")
        module.set_tracking_uri = module.set_experiment = module.log_params = lambda *_: None
        module.start_run = lambda **_: contextlib.nullcontext()
        module.log_metrics = lambda values, step: self.told.append((step, dict(values)))
        return module

    def tensorboard(self) -> dict[str, types.ModuleType]:
        names: dict[str, dict[str, Any]] = {
            "tensorboard.compat.proto.event_pb2": {"Event": types.SimpleNamespace},
            "tensorboard.compat.proto.summary_pb2": {"Summary": _Summary},
            "tensorboard.summary.writer.event_file_writer": {"EventFileWriter": self._writer},
        }
        made = {"tensorboard": types.ModuleType("tensorboard")}
        for name, content in names.items():
            made[name] = types.ModuleType(name)
            vars(made[name]).update(content)
        return made

    def _writer(self, folder: str) -> Any:
        def add(event: Any) -> None:
            self.told.append((event.step, {v.tag: v.simple_value for v in event.summary.value}))

        return types.SimpleNamespace(add_event=add, flush=lambda: None, close=lambda: None)


class _Summary(types.SimpleNamespace):
    Value = types.SimpleNamespace


@check(
    "Y-7", "Log packages get every epoch's values, and are missed only where chosen", ("backend",)
)
def packages(run: Recorder) -> None:
    """With stand-ins for both packages; without them, a refusal before the data is looked at."""
    for subject, backend in run.backends.items():
        for name in ("tensorboard", "mlflow"):
            package = _Recorded()
            stand_in = package.tensorboard() if name == "tensorboard" else {}
            modules = {**stand_in, **({"mlflow": package.mlflow()} if name == "mlflow" else {})}
            with tempfile.TemporaryDirectory() as folder, mock.patch.dict(sys.modules, modules):
                changes: dict[str, Any] = {"logger_backend": name, "output_dir": Path(folder)}
                config = dataclasses.replace(_FALLING, nepochs=2, **changes)
                history = dict(_trained(run, backend, config).history)
            history.pop("train_loss")
            wanted = [(i + 1, {n: v[i] for n, v in history.items()}) for i in range(2)]
            run.require(subject, package.told == wanted, f"told {package.told}", name)
            with params_restored(), _without_loggers():
                kind, text = refusal(doors(subject).train_cdi_model, object(), None, config)
            told = kind == "RuntimeError" and f"pip install {name}" in text
            run.require(subject, told, f"{kind}: {text}", f"without {name}")
