"""J: what Ctrl-C leaves of a training that a command runs."""

from __future__ import annotations

import io
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from parity.callchain.scenario import package_of
from parity.checks.observing import doors, params_kept
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from ptycho.cli import train
from ptycho.core.container import PtychoDataContainer
from ptycho.simulation.simulate import built_in_scan


def interrupted(
    subject: str, scan: Path, output: Path, batch: int, *more: object
) -> tuple[int, str]:
    """Train by the command; Ctrl-C comes when that batch (from 1) is gathered.

    Returns the exit code and what was said. ``more`` are further flags.
    """
    gather, gathered = PtychoDataContainer.batch_X, [0]

    def press(self: PtychoDataContainer, indices: object) -> NDArray[np.float32]:
        gathered[0] += 1
        if gathered[0] == batch:
            raise KeyboardInterrupt
        return gather(self, indices)

    flags = ["--train_data_file", scan, "--output_dir", output, "--backend", subject]
    flags += ["--n_filters_scale", 1, "--n_groups", 12, "--batch_size", 4, "--nepochs", 50]
    flags += ["--validation_fraction", 0, "--torch-accelerator", "cpu", *more]
    said = io.StringIO()
    pressed = mock.patch.object(PtychoDataContainer, "batch_X", press)
    with params_kept(), pressed, redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = train.main([str(flag) for flag in flags])
    return code, said.getvalue()


@check("J-11", "Ctrl-C saves what training had reached, whole, and nothing else", ("backend",))
def interrupt(run: Recorder) -> None:
    """In the third epoch, and before the first step, over an earlier file."""
    for subject in run.backends:
        package_of(subject)
        doors(subject).require_framework()
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            scan = built_in_scan(N=32, n_positions=25).to_file(folder / "scan.npz")
            code, said = interrupted(subject, scan, folder / "out", 8)
            run.require(subject, code == 130, f"the exit code is {code}", "third epoch")
            run.require(subject, "Traceback" not in said, f"said {said[-400:]!r}", "third epoch")
            files = sorted(path.name for path in (folder / "out").iterdir())
            whole = {"wts.h5.zip", "history.json"} <= set(files) and not [
                name for name in files if name.startswith(".") or "tmp" in name
            ]
            run.require(subject, whole, f"left {files}", "third epoch")
            with params_kept():
                model, _ = doors(subject).load_inference_bundle(folder / "out")
            patches = model.predict([np.ones((1, 32, 32, 1)), np.zeros((1, 1, 2, 1))])
            run.require(subject, bool(np.isfinite(patches).all()), "predicts nothing finite")
            earlier = folder / "kept" / "wts.h5.zip"
            earlier.parent.mkdir()
            earlier.write_bytes(b"an earlier bundle")
            code, said = interrupted(subject, scan, earlier.parent, 1)
            run.require(subject, code == 130, f"the exit code is {code}", "first step")
            files = sorted(path.name for path in earlier.parent.iterdir())
            same = files == [earlier.name] and earlier.read_bytes() == b"an earlier bundle"
            run.require(subject, same, f"left {files}, or replaced the bundle", "first step")
