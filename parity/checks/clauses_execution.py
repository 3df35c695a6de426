"""Q-36 and Q-37: execution settings of the loaders, and those that win over the training's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast
from unittest import mock

from parity.callchain.scenario import BackendName
from parity.checks.clauses_inference import refusal
from parity.checks.door_trainings import scan
from parity.checks.observing import messages
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import small_model
from parity.checks.scenes import doors, params_restored, room
from ptycho import params
from ptycho.config.config import TrainingConfig
from ptycho.config.execution import TRAINING_FIELDS, PyTorchExecutionConfig
from ptycho.workflows import backend_selector


class _CapturedError(Exception):
    """Ends a training where it was to be watched."""


def _training(subject: str, **fields: Any) -> TrainingConfig:
    given = {"n_groups": 8, "batch_size": 4, "nepochs": 1, **fields}
    config = TrainingConfig(model=small_model(), **given)
    config.backend = cast(BackendName, subject)
    return config


@check("Q-36", "Settings of the workers reach the data loaders", ("backend",))
def loaders(run: Recorder) -> None:
    """Four settings unlike the defaults; without workers two of them are left out."""
    asked: dict[str, Any] = {"pin_memory": True, "persistent_workers": False, "prefetch_factor": 5}
    for subject in run.backends:
        if subject != "pytorch":
            run.require(subject, not _handed(subject), "it was handed execution settings")
            continue
        import torch.utils.data

        for workers in (2, 0):
            execution = PyTorchExecutionConfig("cpu", num_workers=workers, **asked)
            made = mock.Mock(side_effect=_CapturedError)
            train = doors(subject).train_cdi_model
            watched = mock.patch.object(torch.utils.data, "DataLoader", made)
            with watched, params_restored(), messages("ptycho_torch.dataloader") as warned:
                kind, text = refusal(
                    train, scan(), None, _training(subject), execution_config=execution
                )
            run.require(subject, made.called, f"no loader was made: {kind} {text}")
            found = made.call_args.kwargs if made.called else {}
            wanted = {**asked, "num_workers": workers}
            wanted |= {} if workers else {"prefetch_factor": None}
            for name, value in wanted.items():
                what = f"{name} is {found.get(name)!r}, not {value!r}"
                run.require(subject, found.get(name) == value, what, f"{workers} workers")
            told = any("prefetch_factor" in text for text in warned)
            run.require(subject, told == (not workers), f"warnings {warned}", f"{workers} workers")


def _handed(subject: str) -> bool:
    """Tell whether the dispatcher hands a backend the execution settings it is given."""
    door = mock.Mock(return_value={"history": {}})
    watched = mock.patch.object(doors(subject), "train_cdi_model", door)
    with watched, params_restored(), messages(backend_selector.__name__):
        backend_selector.train_cdi_model_with_backend(
            None, None, _training(subject), torch_execution_config=PyTorchExecutionConfig()
        )
    return "execution_config" in door.call_args.kwargs


@check("Q-37", "Execution settings win over the training's, beside params.cfg", ("backend",))
def precedence(run: Recorder) -> None:
    """Each of them in what the training gets; a training with some, in its bundle and its steps."""
    every: dict[str, Any] = {
        "learning_rate": 3e-4,
        "scheduler": "Exponential",
        "gradient_clip_val": 0.25,
        "gradient_clip_algorithm": "value",
        "enable_checkpointing": True,
        "checkpoint_save_top_k": 4,
        "checkpoint_monitor_metric": "mae",
        "checkpoint_mode": "max",
        "early_stop_patience": 9,
        "logger_backend": "csv",
    }
    for subject in run.backends:
        if subject != "pytorch":
            run.require(subject, not _handed(subject), "it was handed execution settings")
            continue
        run.require(subject, every.keys() == set(TRAINING_FIELDS), f"{TRAINING_FIELDS}")
        train, config = doors(subject).train_cdi_model, _training(subject)
        with tempfile.TemporaryDirectory() as folder, params_restored():
            config.output_dir = Path(folder)
            execution = PyTorchExecutionConfig("cpu", enable_progress_bar=False, **every)
            trained = mock.Mock(side_effect=_CapturedError)
            with mock.patch.object(room(subject, "training"), "train", trained):
                refusal(train, scan(), None, config, execution_config=execution)
            given = trained.call_args.args[1] if trained.called else config
            for name, value in every.items():
                run.require(subject, getattr(given, name) == value, f"{name} is not {value}")
                default = getattr(config, name)
                found = params.cfg.get(name)
                run.require(subject, found == default, f"params.cfg has {name}={found!r}", "cfg")
            results = train(scan(), None, config, execution_config=execution)
            found = params.cfg["learning_rate"]
            run.require(subject, found == 1e-3, f"params.cfg has learning_rate={found}", "cfg")
            rate = results["history"]["learning_rate"]
            run.require(subject, rate == [3e-4], f"it trained at {rate}", "steps")
            kept = room(subject, "model_manager").last_trained().params
            archived = {name: kept.get(name) for name in every}
            run.require(subject, archived == every, f"the bundle has {archived}", "bundle")
