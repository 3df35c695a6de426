"""I: each backend works where the other one's framework cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from parity.backends import Backend, NotOffered
from parity.checks.recorder import Recorder
from parity.checks.registry import check

_TIMEOUT_SECONDS = 300


def _start(backend: Backend) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "parity.isolated", backend.name],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )


def _finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        output, errors = process.communicate(timeout=_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    if process.returncode != 0:
        raise RuntimeError(f"exit code {process.returncode}: {errors.strip()[-400:]}")
    outcome: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
    if "not offered" in outcome:
        raise NotOffered(outcome["not offered"])
    return outcome


def isolated(run: Recorder, backend: Backend) -> dict[str, Any]:
    """Return what the isolated process of ``backend`` reported; all are started with the first."""
    started = run.once(
        "isolated processes", lambda: {name: _start(b) for name, b in run.backends.items()}
    )
    return run.once(("isolated", backend.name), lambda: _finish(started[backend.name]))


@check("I-1", "Each backend trains, saves and loads with the other framework blocked", ("backend",))
def isolation(run: Recorder) -> None:
    """In a process of its own; our code may not even try to import the other framework."""
    for subject, outcome in run.collect(lambda b: isolated(run, b)).items():
        run.require(subject, outcome["steps"] == 1, f"trained {outcome['steps']} steps, not 1")
        run.require(subject, outcome["predicted"], "the loaded archive predicted nothing finite")
        tried = outcome["attempts"]
        run.require(subject, not tried, f"our code tried to import {tried}")
        run.require(subject, not outcome["loaded"], f"loaded in spite of it: {outcome['loaded']}")
