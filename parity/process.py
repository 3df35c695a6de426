"""Settings of a process in which the gate runs, made before a framework is imported.

The one place for threads and flags: the same machine, seed and settings give the same bits. Every
report names what was in force.
"""

from __future__ import annotations

import logging
import os
from importlib import metadata

#: The ledger's figures were measured under these: on the CPU, one thread per operation, the
#: order of sums fixed, no reduced precision.
SETTINGS = {
    "CUDA_VISIBLE_DEVICES": "-1",
    "NVIDIA_TF32_OVERRIDE": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
}

#: What rounds differently in other versions.
_PACKAGES = ("numpy", "scipy", "tensorflow", "keras", "torch", "lightning")


def pin() -> None:
    """Set the variables that the user has not set."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


def in_force() -> dict[str, str]:
    """Return the settings as they are in this process, and the versions of what computes."""
    found = {name: os.environ.get(name) or "unset" for name in SETTINGS}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


def in_force_line() -> str:
    """Return the same in one line, for reports that are read."""
    found = in_force()
    variables = [f"{name}={found.pop(name)}" for name in SETTINGS]
    versions = [f"{package} {version}" for package, version in found.items()]
    return f"under {' '.join(variables)}, {', '.join(versions)}"


def quieten() -> None:
    """Keep warnings that checks provoke out of the terminal; checks that expect one collect it."""
    for package in ("ptycho", "ptycho_torch"):
        logging.getLogger(package).addHandler(logging.NullHandler())
