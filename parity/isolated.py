"""One backend at work in a process in which the other frameworks cannot be imported.

``python -m parity.isolated NAME`` prints one line of JSON; ``parity.checks.isolation`` reads it.
"""

from __future__ import annotations

import hashlib
import json
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
        self._absence = absence

    def __getattr__(self, name: str) -> Any:
        return getattr(self._finder, name)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        """Return None for an absent module, else what the finder says."""
        if self._absence.hides(fullname):
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


def main() -> int:
    """Block every framework but the named backend's, work, and print the outcome."""
    from parity.backends import NotOffered

    name = sys.argv[1]
    others = [modules for key, modules in FRAMEWORKS.items() if key != name]
    absence = Absence(frozenset().union(*others))
    sys.meta_path[:] = [FilteredFinder(finder, absence) for finder in sys.meta_path]
    try:
        outcome = work(name)
    except NotOffered as reason:
        outcome = {"not offered": str(reason)}
    loaded = sorted(absence.names & set(sys.modules))
    attempts = sorted(set(absence.attempts))
    sys.stdout.write("\n" + json.dumps({**outcome, "attempts": attempts, "loaded": loaded}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
