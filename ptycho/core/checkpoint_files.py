"""Files of checkpoints: what they are called, and which of them is the best and the last.

A checkpoint is a bundle in ``output_dir/checkpoints`` named after the number of complete epochs and
the monitored value: ``epoch=0003-val_loss=0.0123.wts.h5.zip``. It predicts, and training goes on
from it, like any other bundle.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from ptycho.core.archive import ARCHIVE_NAME
from ptycho.core.monitoring import better

__all__ = ["FOLDER", "best_checkpoint", "checkpoint_name", "checkpoints_in", "last_checkpoint"]

#: Below a training's ``output_dir``.
FOLDER = "checkpoints"

_NAME = re.compile(
    rf"epoch=(?P<epoch>\d{{4,}})-(?P<metric>[a-z_]+)=(?P<value>\S+)\.{re.escape(ARCHIVE_NAME)}"
)


def checkpoint_name(epoch: int, metric: str, value: float) -> str:
    """Return the file name of the checkpoint of ``epoch`` complete epochs."""
    return f"epoch={epoch:04d}-{metric}={value:.6g}.{ARCHIVE_NAME}"


def checkpoints_in(folder: str | Path) -> dict[int, Path]:
    """Return the checkpoints in a training's ``output_dir``, or in ``checkpoints``, by epoch."""
    folder = Path(folder)
    if (folder / FOLDER).is_dir():
        folder = folder / FOLDER
    found = {}
    for path in folder.glob(f"epoch=*.{ARCHIVE_NAME}"):
        match = _NAME.fullmatch(path.name)
        if match is not None:
            found[int(match["epoch"])] = path
    return dict(sorted(found.items()))


def last_checkpoint(folder: str | Path) -> Path:
    """Return the checkpoint of the latest epoch; ``FileNotFoundError`` where there is none."""
    return _existing(folder)[-1]


def best_checkpoint(folder: str | Path, mode: str = "min") -> Path:
    """Return the earliest of the checkpoints with the lowest ("max": highest) monitored value.

    Raises ``FileNotFoundError`` where there is none.
    """
    best, *others = _existing(folder)
    for path in others:
        if better(_value(path), _value(best), mode):
            best = path
    return best


def _existing(folder: str | Path) -> list[Path]:
    found = list(checkpoints_in(folder).values())
    if not found:
        raise FileNotFoundError(
            f"no checkpoints (epoch=*.{ARCHIVE_NAME}) in {folder}: train with enable_checkpointing"
        )
    return found


def _value(path: Path) -> float:
    match = _NAME.fullmatch(path.name)
    try:
        return float(match["value"]) if match else math.nan
    except ValueError:
        return math.nan
