"""Rewriting a bundle for another backend."""

from __future__ import annotations

from pathlib import Path

from ptycho.core.archive import archive_file
from ptycho.core.bundle import read_bundle
from ptycho.workflows.backend_selector import get_backend

__all__ = ["convert"]


def convert(source: Path, target: Path, backend: str, force: bool = False) -> Path:
    """Write the bundle at ``source`` with the native payload of ``backend``; return its path.

    ``target`` is a directory, made if missing, or a path ending in ``.zip``. Canonical weights,
    scales, configuration and the state of the training stay as they are.

    Raises ``FileNotFoundError`` or ``ArchiveError`` for a source that cannot be read,
    ``FileExistsError`` where the target exists and ``force`` is not set, ``NotADirectoryError``
    where a file stands in its way, and ``RuntimeError`` where the backend's framework is missing;
    nothing is written then.
    """
    module = get_backend(backend)
    bundle = read_bundle(source, reader=backend)
    place = archive_file(target)
    if place.parent.exists() and not place.parent.is_dir():
        raise NotADirectoryError(f"{place.parent} is a file: give a directory or a .zip path")
    if place.exists() and not force:
        raise FileExistsError(f"{place} exists already: give --force to replace it")
    module.require_framework()
    written: Path = module.model_manager.convert(target, bundle)
    return written
