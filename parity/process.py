"""Settings of a process in which the gate runs, made before a framework is imported.

The one place for threads and flags: the same machine, seed and settings give the same bits. Every
report names what was in force.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
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


def in_force(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the settings as they are in this process, and the versions of what computes.

    What frameworks that are imported say they use follows. With ``environment`` the settings are
    those of a process that is started with it, whose frameworks nobody can ask here.
    """
    variables = os.environ if environment is None else environment
    found = {name: variables.get(name) or "unset" for name in SETTINGS}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found if environment is not None else {**found, **in_use()}


def with_threads(count: int) -> dict[str, str]:
    """Return the variables of a process in which an operation takes ``count`` threads.

    Those of NumPy stay: what the checks prepare for the backends is the same in both processes.
    Threads that wait sleep, since there may be more of them than cores.
    """
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
    return {
        **{name: os.environ.get(name, value) for name, value in SETTINGS.items()},
        **dict.fromkeys(names, str(count)),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def in_use() -> dict[str, str]:
    """Return what the frameworks that are imported say they use: threads, precision.

    Nothing is imported to ask. TensorFlow's 0 threads are those of the variables.
    """
    found: dict[str, str] = {}
    torch, tensorflow = sys.modules.get("torch"), sys.modules.get("tensorflow")
    if torch is not None:
        found["torch threads"] = str(torch.get_num_threads())
        found["torch deterministic"] = str(torch.are_deterministic_algorithms_enabled())
        found["torch matmul precision"] = str(torch.get_float32_matmul_precision())
    if tensorflow is not None:
        config = tensorflow.config
        found["tensorflow threads"] = str(config.threading.get_intra_op_parallelism_threads())
        found["tensorflow TF32"] = str(config.experimental.tensor_float_32_execution_enabled())
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
