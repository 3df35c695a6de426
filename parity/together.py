"""A training by ``ptycho_train`` in two processes, as a user starts it.

``python -m parity.together SCAN PLACE [trouble]`` trains on a scan file. Each process is given a
directory of its own below ``PLACE``, 0 or 1, so that it shows who writes. With ``trouble`` the
second process dies in its second epoch. ``parity.checks.clauses_processes`` looks at what is left.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ptycho.cli import train
from ptycho.core.container import PtychoDataContainer

#: The training; its batches of 15, and the last of 9, do not divide by two.
SETTINGS = (
    "--backend=pytorch", "--nepochs=2", "--batch_size=15", "--n_groups=80", "--gridsize=1",
    "--n_filters_scale=1", "--validation_fraction=0.14", "--learning_rate=1e-4",
    "--torch-accelerator=cpu",
)  # fmt: skip
TWO = ("--torch-devices=2", "--torch-strategy=ddp")


def _die_at(batch: int) -> None:
    """End this process, without a word, when that batch (from 1) is gathered."""
    gather, gathered = PtychoDataContainer.batch_X, [0]

    def counted(self: PtychoDataContainer, indices: object) -> NDArray[np.float32]:
        gathered[0] += 1
        if gathered[0] == batch:
            os._exit(9)
        return gather(self, indices)

    PtychoDataContainer.batch_X = counted  # type: ignore[method-assign]  # this process only


def main(scan: str, place: str, trouble: str = "") -> int:
    """Train and return the exit code."""
    rank = os.environ.get("LOCAL_RANK", "0")
    if trouble and rank == "1":
        _die_at(9)
    output = Path(place) / rank
    return train.main([f"--train_data={scan}", f"--output_dir={output}", *SETTINGS, *TWO])


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
