"""Several processes that train one model together, as Lightning starts and ends them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

__all__ = ["check_processes"]


def check_processes(trainer: Any) -> None:
    """Raise ``ValueError`` unless this process can train together with those it is to start.

    ``trainer`` is a ``lightning.pytorch.Trainer``. Lightning starts the other processes of a
    strategy such as ``ddp`` by running the program again, which needs a program in a file. The
    processes of ``ddp_spawn`` and the like would take with them what training has found.
    """
    strategy = trainer.strategy
    if strategy.launcher is None:
        return
    started_by = str(getattr(strategy, "_start_method", None) or "popen")
    if any(word in started_by for word in ("spawn", "fork")):
        raise ValueError(
            f"PyTorchExecutionConfig.strategy starts processes by {started_by!r}, which end with "
            "what they have trained; allowed: 'ddp', which runs the program once in each process"
        )
    if trainer.world_size == 1:
        return
    environment = strategy.cluster_environment
    main = sys.modules["__main__"]
    in_file = getattr(main, "__spec__", None) is not None or Path(sys.argv[0]).is_file()
    if not environment.creates_processes_externally and not in_file:
        raise ValueError(
            "PyTorchExecutionConfig.devices asks for several processes, and each runs this "
            "program again, which is not in a file: write it into one, or set devices=1"
        )
