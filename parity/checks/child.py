"""Other interpreters that a check asks for, started before the first check runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any


def start(*arguments: str, settings: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start Python with ``arguments``; it finds the modules that this process finds.

    It has this process's environment, but for the variables in ``settings``.
    """
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            **(settings or {}),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        },
    )


def finish(process: subprocess.Popen[str], timeout_seconds: float) -> dict[str, Any]:
    """Wait and return the JSON of the last line that the process wrote.

    Raises ``RuntimeError`` with the end of its standard error where it failed, and
    ``subprocess.TimeoutExpired``, having ended it, where it takes too long.
    """
    try:
        output, errors = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"exit code {process.returncode}: {errors.strip()[-400:]}")
    outcome: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    return outcome
