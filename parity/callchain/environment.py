"""Where a trace was made, without naming the host or its paths."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from parity import process

__all__ = ["FORMAT_VERSION", "SCHEMA", "trace_environment"]

FORMAT_VERSION = 1

_DISTRIBUTIONS = (
    "h5py",
    "keras",
    "lightning",
    "numpy",
    "ptychopinn",
    "scipy",
    "tensorflow",
    "torch",
)

_TEXT = {"type": "string"}
_TEXTS = {"type": "object", "additionalProperties": _TEXT}

#: JSON schema of ``env/trace_env.json``.
SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "additionalProperties": False,
    "required": [
        *("format_version", "initiative", "timestamp", "python", "system", "machine"),
        *("packages", "settings", "scenarios", "backends"),
    ],
    "properties": {
        "format_version": {"const": FORMAT_VERSION},
        "initiative": _TEXT,
        "timestamp": {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}T\d{6}Z$"},
        "python": _TEXT,
        "system": _TEXT,
        "machine": _TEXT,
        "packages": _TEXTS,
        "settings": _TEXTS,
        "scenarios": {"type": "array", "items": _TEXT},
        "backends": _TEXTS,
    },
}


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"


def trace_environment(
    initiative: str, timestamp: str, scenarios: Sequence[str], skipped: Mapping[str, str]
) -> dict[str, Any]:
    """Return what ``env/trace_env.json`` holds; ``skipped`` maps a backend to why, or to ""."""
    return {
        "format_version": FORMAT_VERSION,
        "initiative": initiative,
        "timestamp": timestamp,
        "python": ".".join(map(str, sys.version_info[:3])),
        "system": platform.system(),
        "machine": platform.machine(),
        "packages": {name: _version(name) for name in _DISTRIBUTIONS},
        "settings": {name: process.in_force()[name] for name in process.SETTINGS},
        "scenarios": list(scenarios),
        "backends": {name: why or "traced" for name, why in skipped.items()},
    }
