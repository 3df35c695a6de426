"""Settings of a process in which the gate runs, made before a framework is imported."""

from __future__ import annotations

import logging
import os

#: The ledger's figures were measured under these: on the CPU, one thread per operation.
SETTINGS = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "OMP_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}


def pin() -> None:
    """Set the variables that the user has not set."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def quieten() -> None:
    """Keep warnings that checks provoke out of the terminal; checks that expect one collect it."""
    for package in ("ptycho", "ptycho_torch"):
        logging.getLogger(package).addHandler(logging.NullHandler())
