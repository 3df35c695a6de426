"""HDF5 files from strangers: plain datasets and single-valued attributes, nothing else.

HDF5 can point at other files and at code (external and soft links, external and virtual storage,
filter plugins). :func:`plain_datasets` admits contiguous little-endian numbers only and checks
every extent against the size of the file before anything is allocated.
"""

from __future__ import annotations

import math
from typing import Any

import h5py

__all__ = ["READ_ERRORS", "attribute", "error_text", "plain_datasets"]

_MAX_DEPTH = 8
_MAX_OBJECTS = 4096
_TYPES = {"float32": h5py.h5t.IEEE_F32LE, "float64": h5py.h5t.IEEE_F64LE}
_KINDS: dict[type, str] = {str: "S", float: "f", int: "i"}

#: What h5py raises on broken files.
READ_ERRORS = (ValueError, TypeError, OSError, RuntimeError, LookupError, OverflowError)


def error_text(error: Exception) -> str:
    """Return the message of an error of h5py, without the quotes of a ``KeyError``."""
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def plain_datasets(
    file: h5py.File, file_bytes: int, dtypes: tuple[str, ...] = ("float32",)
) -> dict[str, h5py.Dataset]:
    """Return name -> dataset of numbers of these types; nothing has been read from them yet.

    ``file_bytes`` is the size of the file. Raises ``ValueError`` for every kind of link or object
    but plain ones, and for shapes that take more bytes than the file has.
    """
    found: dict[str, h5py.Dataset] = {}
    pending: list[tuple[str, Any]] = [("", file)]
    objects = 0
    while pending:
        prefix, group = pending.pop()
        for key in group:
            name = f"{prefix}{key}"
            objects += 1
            if objects > _MAX_OBJECTS or name.count("/") > _MAX_DEPTH:
                raise ValueError(f"{name!r}: more groups or datasets than any network has")
            if type(group.get(key, getlink=True)) is not h5py.HardLink:
                raise ValueError(f"{name!r} is a link to another place; it was not followed")
            kind = group.get(key, getclass=True)
            if kind is h5py.Group:
                pending.append((f"{name}/", group[key]))
            elif kind is h5py.Dataset:
                found[name] = _dataset(group, key, name, dtypes)
            else:
                raise ValueError(f"{name!r} is neither a group nor a dataset")
    _check_extents(found, file_bytes)
    return found


def _dataset(group: h5py.Group, key: str, name: str, dtypes: tuple[str, ...]) -> h5py.Dataset:
    # The low-level call: h5py.Dataset asks for the extent, for which HDF5 opens the files that a
    # virtual dataset points at.
    dataset = h5py.h5d.open(group.id, key.encode("utf-8", "surrogateescape"))
    plist = dataset.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count():
        raise ValueError(f"{name!r} is not stored in one piece in this file")
    if plist.get_nfilters():
        raise ValueError(f"{name!r} is filtered")
    if not any(dataset.get_type().equal(_TYPES[each]) for each in dtypes):
        raise ValueError(f"{name!r} is not of type {' or '.join(dtypes)}")
    return h5py.Dataset(dataset)


def _check_extents(datasets: dict[str, h5py.Dataset], file_bytes: int) -> None:
    total = 0
    for name, dataset in datasets.items():
        if dataset.shape is None:
            raise ValueError(f"{name!r} is empty")
        size = dataset.dtype.itemsize * math.prod(dataset.shape)
        total += size
        if total > file_bytes or dataset.id.get_storage_size() != size:
            raise ValueError(f"{name!r} has shape {dataset.shape}, more than the file holds")


def attribute(file: h5py.File, name: str, kind: type) -> Any:
    """Return the root attribute ``name``, a single str, float or int (``kind``).

    Raises ``ValueError`` where it is missing or something else.
    """
    if name not in file.attrs:
        raise ValueError(f"attribute {name!r} is missing")
    found = file.attrs.get_id(name)
    if found.shape != () or found.dtype.kind != _KINDS[kind]:
        raise ValueError(f"attribute {name!r} is not a single value of type {kind.__name__}")
    return kind(file.attrs[name].decode("ascii") if kind is str else file.attrs[name])
