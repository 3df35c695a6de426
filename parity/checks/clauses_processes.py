"""J: several processes that train one model."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from parity import together
from parity.callchain.scenario import tiny_config
from parity.checks.observing import doors, params_kept
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.compare.arrays import compare
from ptycho.cli import train
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.progress import hidden_progress
from ptycho.simulation.simulate import built_in_scan
from ptycho.workflows.backend_selector import train_cdi_model_with_backend

_TIMEOUT_SECONDS = 300


@dataclass
class _Runs:
    """Two trainings that have been started, and the folder in which they write."""

    folder: tempfile.TemporaryDirectory[str]
    scan: Path
    started: dict[str, subprocess.Popen[str]]

    def ended(self, name: str) -> tuple[int | None, str, str]:
        """Return exit code, None where it hangs, and both outputs."""
        process = self.started[name]
        try:
            output, errors = process.communicate(timeout=_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            return None, *process.communicate()
        return process.returncode, output, errors

    def files(self, name: str, rank: int) -> list[str]:
        """Return what one of the processes has left in its directory."""
        place = Path(self.folder.name) / name / str(rank)
        return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def _started(seed: int) -> _Runs:
    folder = tempfile.TemporaryDirectory()
    place = Path(folder.name)
    scan = built_in_scan(N=32, n_positions=80, seed=3).to_file(place / "scan.npz")
    # A test under way may have left the number of a process here.
    kept = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "WORLD_SIZE")}
    command = [sys.executable, "-m", "parity.together", str(scan)]
    started = {
        name: subprocess.Popen(
            [*command, str(place / name), *trouble],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**kept, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        for name, trouble in (("two", []), ("trouble", ["trouble"]))
    }
    return _Runs(folder, scan, started)


@check("J-12", "Two processes train as one, and end together", ("backend",), prepare=_started)
def together_as_one(run: Recorder) -> None:
    """PyTorch's by the command; TensorFlow trains in one process, whatever PyTorch is asked."""
    runs = run.prepared(_started)
    with runs.folder:
        if "pytorch" in run.backends:
            doors("pytorch").require_framework()
            _as_one(run, runs)
            _ends(run, runs)
        for process in runs.started.values():
            if process.poll() is None:
                process.kill()
                process.communicate()
    if "tensorflow" in run.backends:
        _alone(run)


def _as_one(run: Recorder, runs: _Runs) -> None:
    code, output, errors = runs.ended("two")
    run.require("pytorch", code == 0, f"the exit code is {code}: {errors[-400:]}")
    if code != 0:
        return
    place = Path(runs.folder.name)
    flags = [f"--train_data={runs.scan}", f"--output_dir={place / 'one'}", *together.SETTINGS]
    said = io.StringIO()
    with params_kept(), redirect_stdout(said), redirect_stderr(io.StringIO()):
        train.main(flags)
    one = json.loads((place / "one" / "history.json").read_text())
    two = json.loads((place / "two" / "0" / "history.json").read_text())
    run.require("pytorch", one.keys() == two.keys(), f"{sorted(one)} became {sorted(two)}")
    for name in one:
        losses = compare(np.array(two.get(name, [])), np.array(one[name]), name)
        run.judge("pytorch", [losses], "processes.losses", name)
    lines = (len(output.splitlines()), len(said.getvalue().splitlines()))
    run.require("pytorch", lines[0] == lines[1], f"{lines[0]} lines, one process {lines[1]}")
    told = errors.count("epoch 1/2")
    run.require("pytorch", told == 1, f"the first epoch is told {told} times")
    files = runs.files("two", 0), runs.files("two", 1)
    whole = files == (["history.json", "wts.h5.zip"], [])
    run.require("pytorch", whole, f"the two processes wrote {files}")


def _ends(run: Recorder, runs: _Runs) -> None:
    code, _, errors = runs.ended("trouble")
    run.require("pytorch", code is not None, "one process died and the other waits for it")
    run.require("pytorch", code != 0, f"one process died and the exit code is {code}: {errors}")
    files = runs.files("trouble", 0) + runs.files("trouble", 1)
    run.require("pytorch", not files, f"one process died and {files} were written")


def _alone(run: Recorder) -> None:
    execution = PyTorchExecutionConfig(devices=2, strategy="ddp", enable_progress_bar=False)
    refused = mock.Mock(side_effect=AssertionError("a process was started"))
    scan, config = built_in_scan(N=32, n_positions=25), tiny_config("tensorflow")
    with hidden_progress(), params_kept(), mock.patch.object(subprocess, "Popen", refused):
        results = train_cdi_model_with_backend(scan, None, config, torch_execution_config=execution)
    found = np.isfinite(results["step_losses"])
    run.require("tensorflow", bool(found.all()), "the losses are not finite")
    run.require("tensorflow", results["process"] == 0, f"process {results['process']}")
