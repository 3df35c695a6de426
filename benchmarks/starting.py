"""Rows: how long commands and imports take, each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial

from benchmarks.rows import Action, Row, Work

_COMMANDS = (
    "ptycho_train", "ptycho_inference", "ptycho_simulate", "ptycho_overlap", "ptycho_evaluate",
    "ptycho_demo", "parity",
)  # fmt: skip
#: What a workflow needs before its first batch; nothing of the other framework may come along.
_WORKFLOW = """
import sys
from ptycho.workflows.backend_selector import get_backend
get_backend({backend!r}).require_framework()
import {package}.training, {package}.model_manager
foreign = {foreign!r} & set(sys.modules)
sys.exit(f"{backend} work imports {{foreign}}" if foreign else 0)
"""
_BACKENDS = {
    "tensorflow": ("ptycho", "import tensorflow", {"torch", "lightning"}),
    "pytorch": (
        "ptycho_torch",
        "import torch, lightning.pytorch",
        {"tensorflow", "keras"},
    ),
}


def rows() -> Iterator[Row]:
    """Yield the rows."""
    for name in _COMMANDS:
        yield Row(
            "start", f"{name} --help", partial(_command, name), "bare interpreter", seconds=0.5,
            runs=3,
        )  # fmt: skip
    for module in ("ptycho.config.config", "ptycho.raw_data"):
        yield Row(
            "start", f"import {module}", partial(_import, module), "import numpy", above=0.3, runs=3
        )
    for backend in _BACKENDS:
        yield Row(
            "start", f"workflow of {backend}", partial(_workflow, backend), "import the framework",
            above=0.3, runs=3,
        )  # fmt: skip


def _python(*arguments: str) -> Action:
    return partial(
        subprocess.run, [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL
    )


def _command(name: str) -> Work:
    script = sys.executable.rpartition("/")[0] + f"/{name}"
    return Work(_python(script, "--help"), _python("-c", "pass"))


def _import(module: str) -> Work:
    return Work(_python("-c", f"import {module}"), _python("-c", "import numpy"))


def _workflow(backend: str) -> Work:
    package, framework, foreign = _BACKENDS[backend]
    code = _WORKFLOW.format(backend=backend, package=package, foreign=foreign)
    return Work(_python("-c", code), _python("-c", framework))
