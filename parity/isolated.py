"""One backend at work in a process in which the other frameworks cannot be imported.

``python -m parity.isolated NAME`` prints one line of JSON; ``parity.checks.isolation`` reads it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.backends import Backend

#: Top-level modules that belong to one backend.
FRAMEWORKS = {
    "tensorflow": frozenset({"tensorflow", "keras"}),
    "pytorch": frozenset({"torch", "lightning", "pytorch_lightning", "lightning_fabric"}),
}

_OURS = ("ptycho.", "ptycho_torch.", "parity.")


class Absence:
    """Makes some top-level modules absent, and notes which of our modules asked for them."""

    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.attempts: list[str] = []

    def hides(self, module: str) -> bool:
        """Tell whether ``module`` is to be absent, and take note of who wants it."""
        if module.partition(".")[0] not in self.names:
            return False
        importer = _importer()
        if importer.startswith(_OURS):
            self.attempts.append(f"{module} (from {importer})")
        return True


class FilteredFinder:
    """A finder of ``sys.meta_path`` that does not find what is absent."""

    def __init__(self, finder: Any, absence: Absence) -> None:
        self._finder = finder
        self.absence = absence

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        """Return None for an absent module, else what the finder says."""
        if self.absence.hides(fullname):
            return None
        spec: ModuleSpec | None = self._finder.find_spec(fullname, path, target)
        return spec


def _importer() -> str:
    """Return the name of the module whose code asked for the import."""
    frame = sys._getframe(1)  # the import system has no public way to ask
    skipped = ("importlib", "_frozen_importlib", __name__)
    while frame.f_back is not None:
        frame = frame.f_back
        name = str(frame.f_globals.get("__name__", ""))
        if not name.startswith(skipped):
            return name
    return ""


def train_and_write(backend: Backend, folder: Path) -> tuple[int, str]:
    """Train one step and write the bundle; return the steps taken and the archive's SHA-256."""
    from parity.checks.samples import scan_container, small_model, training

    config = training(small_model(), batch_size=4, nepochs=1)
    run = backend.train_steps(config, scan_container(1, 0, groups=4), 1)
    archive = backend.write_bundle(run, folder).read_bytes()
    return len(run.step_losses), hashlib.sha256(archive).hexdigest()


def work(name: str) -> dict[str, object]:
    """Train one step, save, load and predict with backend ``name``; return what happened."""
    import numpy as np

    from parity.backends import load_backends
    from parity.checks.samples import sample, small_model

    backend = load_backends()[name]
    given = sample(small_model(), 0)
    with tempfile.TemporaryDirectory() as folder:
        steps, digest = train_and_write(backend, Path(folder))
        predicted = backend.load_and_predict(Path(folder), given.x, given.offsets)
    finite = bool(np.isfinite(predicted).all())
    return {"steps": steps, "predicted": finite, "archive": digest}


def serve(name: str) -> dict[str, object]:
    """Do with backend ``name`` what the client's first plugin does; return what came of it.

    The calls are those of the client, in its order. ``fallback`` is what is said when the bundle
    was written by the other backend, whose framework is missing.
    """
    import numpy as np

    from parity.checks.observing import messages
    from parity.checks.samples import small_model
    from ptycho import loader, model_manager, params, probe, tf_helper
    from ptycho.config.config import InferenceConfig, TrainingConfig, update_legacy_dict
    from ptycho.config.environment import BACKEND_VARIABLE
    from ptycho.core.bundle import read_bundle, write_bundle
    from ptycho.core.progress import hidden_progress
    from ptycho.simulation.simulate import built_in_scan
    from ptycho.workflows.components import load_inference_bundle, run_cdi_example, save_outputs

    os.environ[BACKEND_VARIABLE] = name
    raw = built_in_scan(N=32, n_positions=9)
    config = TrainingConfig(small_model(), batch_size=4, nepochs=1, n_groups=9, output_dir=Path())
    with tempfile.TemporaryDirectory() as place:
        folder, other = Path(place) / "trained", Path(place) / "other"
        update_legacy_dict(params.cfg, config)
        with hidden_progress():
            amplitude, phase, results = run_cdi_example(raw, raw, config)
        model_manager.save(folder)
        save_outputs(amplitude, phase, results, str(folder))
        update_legacy_dict(params.cfg, InferenceConfig(small_model(), Path(), Path()))
        model, _ = load_inference_bundle(folder)
        probe.set_probe_guess(None, raw.probeGuess)
        grouped = raw.generate_grouped_data(32, K=7, nsamples=1, gridsize=config.model.gridsize)
        seen = loader.load(lambda: grouped, raw.probeGuess, which=None, create_split=False)
        inputs = [seen.X * params.get("intensity_scale"), seen.local_offsets]
        patches = model.predict(inputs)
        picture = tf_helper.reassemble_position(patches, seen.global_offsets, M=20)
        bundle = read_bundle(folder)
        (foreign,) = set(FRAMEWORKS) - {name}
        write_bundle(other, dataclasses.replace(bundle, backend=foreign), {})
        asked = attempts_of_ours()
        with messages("ptycho.workflows.backend_selector") as said:
            again = load_inference_bundle(other)[0].predict(inputs)
    return {
        "tag": bundle.backend,
        "shape": list(patches.shape),
        "finite": bool(np.isfinite(picture).all() and np.iscomplexobj(picture)),
        "same": bool(np.array_equal(patches, again)),
        "asked": asked,
        "fallback": said,
    }


def attempts_of_ours() -> list[str]:
    """Return which of our modules have asked for what is absent so far."""
    finders = (finder for finder in sys.meta_path if isinstance(finder, FilteredFinder))
    return sorted({attempt for finder in finders for attempt in finder.absence.attempts})


def main() -> int:
    """Block every framework but the named backend's, work, and print the outcome."""
    from parity.backends import NotOffered

    name = sys.argv[1]
    others = [modules for key, modules in FRAMEWORKS.items() if key != name]
    absence = Absence(frozenset().union(*others))
    sys.meta_path[:] = [FilteredFinder(finder, absence) for finder in sys.meta_path]
    try:
        outcome = work(name)
        attempts = attempts_of_ours()
        outcome["client"] = serve(name) if name in FRAMEWORKS else {}
    except NotOffered as reason:
        outcome, attempts = {"not offered": str(reason)}, attempts_of_ours()
    loaded = sorted(absence.names & set(sys.modules))
    sys.stdout.write("\n" + json.dumps({**outcome, "attempts": attempts, "loaded": loaded}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
