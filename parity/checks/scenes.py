"""What checks of the doors share: a backend's modules, a bundle, and ``params.cfg`` kept."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from parity.backends import Backend
from parity.callchain.scenario import package_of
from parity.checks.recorder import Recorder
from parity.checks.training import twenty_steps
from ptycho import params

#: A normalisation factor that no default and no other scale equals.
NORMALISATION = 0.7310585786300049

#: The stitching door of each package.
_STITCHERS = {"ptycho": "ptycho.tf_helper", "ptycho_torch": "ptycho_torch.helper"}


def room(subject: str, name: str) -> ModuleType:
    """Return a module of a backend's package."""
    return importlib.import_module(f"{package_of(subject)}.{name}")


def doors(subject: str) -> ModuleType:
    """Return a backend's ``workflows.components``."""
    return room(subject, "workflows.components")


def stitcher(subject: str) -> ModuleType:
    """Return the module with a backend's ``reassemble_position``."""
    return importlib.import_module(_STITCHERS[package_of(subject)])


@contextlib.contextmanager
def params_restored() -> Iterator[None]:
    """Put ``params.cfg`` back as it was."""
    before = dict(params.cfg)
    try:
        yield
    finally:
        params.cfg.clear()
        params.cfg.update(before)


def bundle_bytes(run: Recorder, backend: Backend) -> bytes:
    """Return the archive of the shared training, with a normalisation factor of its own."""

    def write() -> bytes:
        trained = twenty_steps(run, backend)
        marked = dataclasses.replace(trained.trained, normalisation=NORMALISATION)
        with tempfile.TemporaryDirectory() as folder:
            path = backend.write_bundle(dataclasses.replace(trained, trained=marked), Path(folder))
            return path.read_bytes()

    return run.once(("bundle bytes", backend.name), write)


def written_bundle(run: Recorder, backend: Backend, directory: Path) -> Path:
    """Write that archive into ``directory`` and return its path."""
    path = directory / "wts.h5.zip"
    directory.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bundle_bytes(run, backend))
    return path
