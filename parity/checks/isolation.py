"""I: each backend works where the other one's framework cannot be imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from parity.backends import Backend
from parity.checks.recorder import Recorder
from parity.checks.registry import check

_TIMEOUT_SECONDS = 300


def _run_isolated(backend: Backend) -> dict[str, Any]:
    command = [sys.executable, "-m", "parity.isolated", backend.name]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=environment,
        timeout=_TIMEOUT_SECONDS,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()[-400:]}")
    outcome: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return outcome


def isolated(run: Recorder, backend: Backend) -> dict[str, Any]:
    """Return what the isolated process of ``backend`` reported, run once."""
    return run.once(("isolated", backend.name), lambda: _run_isolated(backend))


@check("I-1", "Each backend trains, saves and loads with the other framework blocked", ("backend",))
def isolation(run: Recorder) -> None:
    """In a process of its own; our code may not even try to import the other framework."""
    for subject, outcome in run.collect(lambda b: isolated(run, b)).items():
        run.require(subject, outcome["steps"] == 1, f"trained {outcome['steps']} steps, not 1")
        run.require(subject, outcome["predicted"], "the loaded archive predicted nothing finite")
        tried = outcome["attempts"]
        run.require(subject, not tried, f"our code tried to import {tried}")
        run.require(subject, not outcome["loaded"], f"loaded in spite of it: {outcome['loaded']}")
