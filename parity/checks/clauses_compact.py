"""B-9: bundles with nothing in them that predicting does not need."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from parity.backends import Backend
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import sample
from parity.checks.scenes import room
from parity.checks.training import TWENTY_STEPS, twenty_steps

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
