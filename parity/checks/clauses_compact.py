"""B-9, B-10: bundles with nothing in them that predicting does not need."""

from __future__ import annotations

import importlib
import io
import json
import tempfile
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

from parity.backends import Backend
from parity.checks.clauses_interrupt import interrupted
from parity.checks.observing import params_kept
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import sample
from parity.checks.scenes import room
from parity.checks.training import TWENTY_STEPS, twenty_steps
from ptycho.simulation.simulate import built_in_scan

_MEMBERS = {
    *("manifest.dill", "manifest.json", "autoencoder/model.h5"),
    *("autoencoder/params.dill", "autoencoder/params.json"),
    *("diffraction_to_obj/params.dill", "diffraction_to_obj/params.json"),
}


@check("B-9", "A compact bundle has the weights once and predicts as the whole one", ("backend",))
def compact_bundles(run: Recorder) -> None:
    """Written by each backend, read by each; its members and manifest by the standard library."""
    given = sample(TWENTY_STEPS.model, run.seed, batch=3)
    for writer, backend in run.backends.items():
        trained = twenty_steps(run, backend)
        with tempfile.TemporaryDirectory() as folder:
            whole = backend.write_bundle(trained, Path(folder) / "whole")
            compact = room(writer, "model_manager").save(
                Path(folder) / "compact", trained.trained, compact=True
            )
            with zipfile.ZipFile(compact) as archive:
                names = set(archive.namelist())
                manifest = json.loads(archive.read("manifest.json"))
            odd = sorted(names ^ _MEMBERS)
            run.require(writer, not odd, f"members too many or missing: {odd}")
            marked = manifest.get("compact") is True
            run.require(writer, marked, f"compact is {manifest.get('compact')!r} in the manifest")
            for reader, each in run.backends.items():
                same = _same(each, [whole, compact], given.x, given.offsets)
                run.require(reader, same, "another prediction", f"written by {writer}")


def _same(backend: Backend, paths: list[Path], x: np.ndarray, offsets: np.ndarray) -> bool:
    first, second = (backend.load_and_predict(path.parent, x, offsets) for path in paths)
    return np.array_equal(first, second)


@check("B-10", "--compact_bundle: compact when done, whole when interrupted", ("backend",))
def compact_by_command(run: Recorder) -> None:
    """By ``ptycho_train``, and by PyTorch's own command; the second training is cut short."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = built_in_scan(N=32, n_positions=25).to_file(folder / "scan.npz")
        for subject in run.backends:
            place = folder / subject
            commands = {"ptycho.cli.train": ["--backend", subject]}
            if subject == "pytorch":
                commands["ptycho_torch.train"] = ["--accelerator", "cpu"]
            for module, flags in commands.items():
                code, said = _trained(module, scan, place / module, flags)
                run.require(subject, code == 0, f"exit code {code}: {said[-400:]}", module)
                odd = sorted(_names(place / module) ^ _MEMBERS)
                run.require(subject, not odd, f"members too many or missing: {odd}", module)
            cut = place / "interrupted"
            code, said = interrupted(subject, scan, cut, 4, "--compact_bundle")
            run.require(subject, code == 130, f"exit code {code}: {said[-400:]}", "interrupted")
            kept = "autoencoder/training.h5" in _names(cut)
            run.require(subject, kept, "the state of the training is lost", "interrupted")


def _trained(module: str, scan: Path, output: Path, flags: list[str]) -> tuple[int, str]:
    """Train by a command for one epoch; return its exit code and what it said."""
    small = ["--n_filters_scale=1", "--n_groups=4", "--nepochs=1", "--validation_fraction=0"]
    files = [f"--train_data_file={scan}", f"--output_dir={output}"]
    said = io.StringIO()
    with params_kept(), redirect_stderr(said), redirect_stdout(io.StringIO()):
        code = importlib.import_module(module).main(
            [*files, *small, *flags, "--compact_bundle", "--quiet"]
        )
    return code, said.getvalue()


def _names(output: Path) -> set[str]:
    """Return the members of the bundle in a directory; none where there is none."""
    path = output / "wts.h5.zip"
    if not path.is_file():
        return set()
    with zipfile.ZipFile(path) as archive:
        return set(archive.namelist())
