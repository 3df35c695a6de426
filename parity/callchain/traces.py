"""Traces made by workers: one process for each backend, its scenarios one after another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity import process
from parity.callchain.chain import CanonicalCall, events_of

__all__ = ["Trace", "missing_framework", "trace", "traces_of"]

_TIMEOUT_SECONDS = 300
_FRAMEWORK = {"tensorflow": "tensorflow", "pytorch": "lightning"}


@dataclass(frozen=True)
class Trace:
    """What one scenario did in one backend.

    ``chain`` is canonical, ``written`` the keys written to ``params.cfg``, ``configured`` the
    classes that ``update_legacy_dict`` was given, ``cpu_seconds`` what it took of the processor,
    ``taps`` named values.
    """

    scenario: str
    backend: str
    chain: list[CanonicalCall]
    written: tuple[str, ...]
    configured: tuple[str, ...]
    cpu_seconds: float
    taps: Mapping[str, Any]

    @property
    def events(self) -> list[str]:
        """Symbols and marks in order."""
        return list(events_of(self.chain))


def missing_framework(backend: str) -> str:
    """Return why a backend cannot be traced here, or an empty text."""
    from importlib.util import find_spec

    name = _FRAMEWORK[backend]
    return "" if find_spec(name) else f"{name} is not installed"


def _start(backend: str, scenarios: Sequence[str], out: Path) -> subprocess.Popen[str]:
    path = os.pathsep.join(p for p in sys.path if p)
    return subprocess.Popen(
        [sys.executable, "-m", "parity.callchain.worker", backend, str(out), *scenarios],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**process.SETTINGS, **os.environ, "PYTHONPATH": path},
    )


def _finish(backend: str, started: subprocess.Popen[str], out: Path) -> dict[str, Trace]:
    try:
        _, errors = started.communicate(timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        started.kill()
        started.communicate()
        raise
    if started.returncode != 0:
        raise RuntimeError(
            f"tracing {backend} ended with exit code {started.returncode}: {errors.strip()[-800:]}"
        )
    arrays = dict(np.load(out / "taps.npz"))
    found = {}
    for name, content in json.loads((out / "traces.json").read_text()).items():
        taps = {
            tap: arrays[tap] if value == {"array": True} else value
            for tap, value in content["taps"].items()
        }
        found[name] = Trace(
            scenario=name,
            backend=backend,
            chain=content["chain"],
            written=tuple(content["written"]),
            configured=tuple(content["configured"]),
            cpu_seconds=content["cpu_seconds"],
            taps=taps,
        )
    return found


def trace(backends: Sequence[str], scenarios: Sequence[str]) -> dict[str, dict[str, Trace]]:
    """Return backend -> scenario -> trace; the backends run side by side.

    Raises ``RuntimeError`` with the end of what a process said if it fails.
    """
    with tempfile.TemporaryDirectory() as name:
        outs = {backend: Path(name) / backend for backend in backends}
        started = {}
        try:
            for backend, out in outs.items():
                out.mkdir()
                started[backend] = _start(backend, scenarios, out)
            return {b: _finish(b, started[b], outs[b]) for b in backends}
        finally:
            for each in started.values():
                if each.poll() is None:
                    each.kill()
                    each.communicate()


_TRACED: dict[str, dict[str, Trace]] = {}


def traces_of(backends: tuple[str, ...]) -> dict[str, dict[str, Trace]]:
    """Return every scenario of the backends; each backend is traced once in this process."""
    from parity.callchain.jobs import DESCRIPTIONS

    _TRACED.update(trace([b for b in backends if b not in _TRACED], tuple(DESCRIPTIONS)))
    return {backend: _TRACED[backend] for backend in backends}
