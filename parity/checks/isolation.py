"""I: each backend works where the other one's framework cannot be imported."""

from __future__ import annotations

import subprocess
from typing import Any

from parity.backends import Backend, NotOffered
from parity.checks import child
from parity.checks.recorder import Recorder
from parity.checks.registry import check

_TIMEOUT_SECONDS = 300


def _finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    outcome = child.finish(process, _TIMEOUT_SECONDS)
    if "not offered" in outcome:
        raise NotOffered(outcome["not offered"])
    return outcome


def isolated(run: Recorder, backend: Backend) -> dict[str, Any]:
    """Return what the isolated process of ``backend`` reported; all are started with the first."""
    started = run.once(
        "isolated processes",
        lambda: {name: child.start("-m", "parity.isolated", name) for name in run.backends},
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
