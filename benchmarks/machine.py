"""What a figure was measured on; no names of hosts, users or places."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from parity import process

_PACKAGES = ("ptychopinn", "numpy", "scipy", "h5py", "tensorflow", "keras", "torch", "lightning")
#: Threads of one operation; those that run operations side by side are TensorFlow's alone.
_EACH = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
_THREADS = (*_EACH, "TF_NUM_INTEROP_THREADS")


def with_threads(count: int) -> dict[str, str]:
    """Return the environment of a process with so many threads for each operation."""
    return {**os.environ, **dict.fromkeys(_EACH, str(count)), "TF_CPP_MIN_LOG_LEVEL": "3"}


def facts(environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return processor, memory, versions and settings, as JSON-ready values.

    ``environment`` is that of the processes that are measured; by default this one's.
    """
    variables = os.environ if environment is None else environment
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_average": round(os.getloadavg()[0], 2),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "threads": {name: variables[name] for name in _THREADS if name in variables},
        "settings": process.in_force(environment),
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or "unknown"
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    flags = "AVX-512" if "avx512f" in text else "AVX2" if "avx2" in text else "no AVX2"
    return f"{names[0] if names else platform.machine()}, {flags}"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
