"""Checkpoints: which bundles a training leaves behind on its way, the same in both backends."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from ptycho.config.config import TrainingConfig
from ptycho.core.checkpoint_files import FOLDER, checkpoint_name, checkpoints_in
from ptycho.core.monitoring import Series, monitored
from ptycho.core.training_plan import TrainedModel

__all__ = ["Checkpoints", "Write", "check_folder"]

#: Writes a trained model to a path that ends in ``.zip``.
Write = Callable[[Path, TrainedModel], object]

_ALL = -1


class Checkpoints:
    """Keeps the ``checkpoint_save_top_k`` best epochs, and always the last one (0: none, -1: all).

    A training that goes on from another keeps the other's checkpoints among its own.
    """

    def __init__(self, config: TrainingConfig, write: Write) -> None:
        self._config, self._write = config, write
        self._on = _writes(config)
        self._folder = Path(config.output_dir) / FOLDER
        check_folder(config)

    def end_epoch(self, epoch: int, history: Series, snapshot: Callable[[], TrainedModel]) -> None:
        """Write the checkpoint of the ``epoch`` complete epochs; delete those no longer wanted.

        ``history`` has their values, ``snapshot`` returns the model as it is.
        """
        if not self._on:
            return
        name, values = monitored(history, self._config.checkpoint_monitor_metric)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / checkpoint_name(epoch, name, values[epoch - 1])
        before = checkpoints_in(self._folder).get(epoch, path)
        self._write(path, snapshot())
        if before != path:
            before.unlink()
        # Those of later epochs belong to a training that had come further.
        lying = {n: path for n, path in checkpoints_in(self._folder).items() if n <= epoch}
        for number in lying.keys() - self._kept(list(lying), values):
            lying[number].unlink()

    def _kept(self, epochs: list[int], values: list[float]) -> set[int]:
        if self._config.checkpoint_save_top_k == _ALL:
            return set(epochs)
        sign = 1 if self._config.checkpoint_mode == "min" else -1

        def rank(epoch: int) -> tuple[bool, float, int]:
            # Of equal ones the earlier; what is not a number comes last.
            value = values[epoch - 1]
            return math.isnan(value), 0.0 if math.isnan(value) else sign * value, epoch

        best = sorted(epochs, key=rank)[: self._config.checkpoint_save_top_k]
        return {*best, epochs[-1]}


def check_folder(config: TrainingConfig) -> None:
    """Raise ``ValueError`` where a training's checkpoints would mix with those of another."""
    folder = Path(config.output_dir) / FOLDER
    if _writes(config) and checkpoints_in(folder) and not _resumes(config):
        raise ValueError(
            f"{folder} holds the checkpoints of another training: resume it, move them away, or "
            "choose another output_dir"
        )


def _writes(config: TrainingConfig) -> bool:
    return config.enable_checkpointing and config.checkpoint_save_top_k != 0


def _resumes(config: TrainingConfig) -> bool:
    """Tell whether ``config.resume`` lies where this training writes."""
    if config.resume is None:
        return False
    resumed, own = (Path(path).absolute() for path in (config.resume, config.output_dir))
    return own in (resumed, *resumed.parents)
