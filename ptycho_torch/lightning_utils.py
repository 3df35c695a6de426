"""Where the plugin's trainings leave their checkpoints; importing this loads no framework."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

__all__ = ["CHECKPOINTS", "LAST", "find_best_checkpoint", "new_run_dir"]

#: The folder of checkpoints in a run's folder, and the one that every training leaves.
CHECKPOINTS = "checkpoints"
LAST = "last.ckpt"


def new_run_dir(output_dir: str | Path) -> Path:
    """Return the folder of a new run in ``output_dir``, named by the time; it is not made."""
    return Path(output_dir) / datetime.now(UTC).strftime("run_%Y%m%d_%H%M%S_%f")


def find_best_checkpoint(run_dir: str | Path) -> Path | None:
    """Return the checkpoint of a run to go on with, or None where there is none.

    It is a ``best*.ckpt`` where some other trainer left one, else ``last.ckpt``, else the newest;
    trainings here keep the weights of their last epoch.
    """
    found = sorted((Path(run_dir) / CHECKPOINTS).glob("*.ckpt"), key=lambda p: p.stat().st_mtime)
    if not found:
        return None
    return max(found, key=lambda path: (path.name.startswith("best"), path.name == LAST))
