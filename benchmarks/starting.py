"""Rows: how long commands and imports take, each in a fresh interpreter."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial

from benchmarks import resident
from benchmarks.rows import Row, Work

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
            "start", f"workflow of {backend}", partial(_workflow, backend),
            _BACKENDS[backend][1], above=0.3, runs=3,
        )  # fmt: skip


def _work(step: list[str], floor: list[str]) -> Work:
    """Return two runs of the interpreter, with what the first one and the second one held."""
    held = {"step": 0.0, "floor": 0.0}

    def run(which: str, arguments: list[str]) -> None:
        held[which] = resident.of_command([sys.executable, *arguments])

    def facts() -> dict[str, float]:
        return {"peak_mib": held["step"], "ready_mib": held["floor"]}

    return Work(partial(run, "step", step), partial(run, "floor", floor), facts)


def _command(name: str) -> Work:
    script = sys.executable.rpartition("/")[0] + f"/{name}"
    return _work([script, "--help"], ["-c", "pass"])


def _import(module: str) -> Work:
    return _work(["-c", f"import {module}"], ["-c", "import numpy"])


def _workflow(backend: str) -> Work:
    package, framework, foreign = _BACKENDS[backend]
    code = _WORKFLOW.format(backend=backend, package=package, foreign=foreign)
    return _work(["-c", code], ["-c", framework])
