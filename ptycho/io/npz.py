"""NPZ files without pickle: written atomically, read with errors that name file and key."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.io.atomic import replacing
from ptycho.io.npz_member import HEADER_ERRORS, find_plain_member, read_plain_member

__all__ = ["ZIP_ERRORS", "MissingKeyError", "read_npz", "write_npz"]

Array = NDArray[Any]

#: What the zip module raises: ``RuntimeError`` where it is asked for what it cannot do.
ZIP_ERRORS = (zipfile.BadZipFile, RuntimeError)
#: Bytes from which on a member is read by this package: below, NumPy takes no longer.
_LARGE = 1 << 20


class MissingKeyError(KeyError):
    """A key that a file needs is not in it; unlike ``KeyError`` it prints its message as it is."""

    def __str__(self) -> str:
        return str(self.args[0])


def read_npz(
    path: str | Path,
    required: Collection[str],
    optional: Collection[str],
    skipped: Collection[str] = (),
) -> dict[str, Array]:
    """Read the required keys and those optional ones that the file has; no others are opened.

    A required key may offer alternatives as ``"diff3d|diffraction"``. Keys that are ``skipped``
    are not read.

    Raises ``FileNotFoundError``, ``IsADirectoryError``; :class:`MissingKeyError` naming the
    missing keys and those present; ``ValueError`` where the file is not an NPZ archive or is
    damaged, or where one of the keys holds pickled Python objects, which are never loaded.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; expected an NPZ file")
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is not an NPZ file (a zip archive of NumPy arrays) or is cut off")
    try:
        # NumPy leaves a file open that it opens itself where the zip module finds it damaged.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            _require_keys(path, archive.files, required)
            wanted = {*optional, *(name for key in required for name in key.split("|"))}
            wanted -= set(skipped)
            return {key: _read_key(path, archive, key) for key in archive.files if key in wanted}
    except ZIP_ERRORS as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def _require_keys(path: Path, present: Collection[str], required: Collection[str]) -> None:
    missing = [key for key in required if not set(key.split("|")) & set(present)]
    if missing:
        names = ", ".join(key.replace("|", " (or ") + ")" * ("|" in key) for key in missing)
        raise MissingKeyError(
            f"{path} lacks {names}; it has {', '.join(sorted(present)) or 'no keys'}"
        )


def _read_key(path: Path, archive: Any, key: str) -> Array:
    try:
        value = _plain(path, archive, key)
        if value is None:
            value = archive[key]
    except (*HEADER_ERRORS, *ZIP_ERRORS, OSError, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise ValueError(
                f"{path}: key {key!r} holds pickled Python objects, which are never loaded; "
                "store it as a plain array or leave it out"
            ) from None
        raise ValueError(f"{path}: key {key!r} cannot be read: {error}") from error
    if isinstance(value, np.ndarray):
        return value
    raise ValueError(f"{path}: key {key!r} is not a NumPy array")


def _plain(path: Path, archive: Any, key: str) -> Array | None:
    """Return a large plain array, or None where NumPy is to read it, or to say what is wrong."""
    info = archive.zip.NameToInfo.get(f"{key}.npy")
    if info is None or info.file_size < _LARGE or key in archive.zip.NameToInfo:
        return None
    with archive.zip.open(info.filename):
        pass  # what the directory says of the member and what stands there agree
    file = archive.zip.fp
    try:
        member = find_plain_member(path, file, info)
    except ValueError:
        return None  # NumPy finds it too, and says it as ever
    return None if member is None else read_plain_member(file, member)


def write_npz(path: str | Path, arrays: Mapping[str, Array]) -> Path:
    """Write arrays to an NPZ file and return its path, with ``.npz`` appended if missing.

    The file appears whole or not at all: it is written beside its place and then renamed.

    Raises ``FileNotFoundError`` for a missing directory, and ``ValueError`` naming a key whose
    array holds Python objects; nothing is written then.
    """
    for key, value in arrays.items():
        if value.dtype.hasobject:
            raise ValueError(f"{path}: key {key!r} holds Python objects, which are never written")
    target = Path(path)
    if not target.name.endswith(".npz"):
        target = target.with_name(target.name + ".npz")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"no such directory: {target.parent} (to write {target.name})")
    members: dict[str, Any] = dict(arrays)
    with replacing(target) as stream:
        np.savez(stream, **members)
    return target
