"""HDF5 files from strangers: read without leaving the file and without believing its sizes.

HDF5 can point at other files (external links, external storage, virtual datasets) and declare
arrays far larger than what it stores. Nothing here follows the one or allocates the other.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho.io.npz import MissingKeyError
from ptycho.io.stored import stored_in_hdf5

__all__ = ["Hdf5Reader", "open_hdf5"]

#: Soft links followed one after the other before it is taken for a circle.
_MAX_LINKS = 16
#: Declared bytes per stored byte; deflate reaches 1032.
_MAX_RATIO = 1100
#: Below this size nobody asks how much is stored.
_SMALL = 1 << 20
#: What h5py raises on broken files.
_BROKEN = (ValueError, TypeError, OSError, RuntimeError, LookupError, OverflowError, MemoryError)


@contextmanager
def open_hdf5(path: Path, in_place: bool = False) -> Iterator[Hdf5Reader]:
    """Open a file for reading; ``ValueError`` where it is no HDF5, or turns out to be damaged.

    With ``in_place``, :meth:`Hdf5Reader.patterns` leaves large patterns in the file.
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path} cannot be opened as HDF5 (cut off?): {error}") from None
    try:
        with file:
            yield Hdf5Reader(file, path, in_place)
    except _BROKEN as error:
        if isinstance(error, (ValueError, KeyError)) and str(path) in str(error):
            raise
        raise ValueError(f"{path} is damaged: {error}") from None


class Hdf5Reader:
    """Datasets and attributes of one file by their paths, soft links within the file included.

    Errors are ``ValueError``, or :class:`MissingKeyError` for what is not there; they name the
    file and the place in it.
    """

    def __init__(self, file: h5py.File, path: Path, in_place: bool = False) -> None:
        self._file = file
        self.path = path
        self._in_place = in_place

    def has(self, name: str) -> bool:
        """Whether there is a dataset at ``name``."""
        return self._kind(name) == h5py.h5o.TYPE_DATASET

    def has_group(self, name: str) -> bool:
        """Whether there is a group at ``name``."""
        return self._kind(name) == h5py.h5o.TYPE_GROUP

    def names(self) -> list[str]:
        """Return the names in the root group, at most twelve."""
        return sorted(self._file)[:12]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of the dataset at ``name``; nothing is read."""
        return self._checked(name)[0]

    def array(self, name: str) -> NDArray[Any]:
        """Return the numbers at ``name``, in the file's dtype and shape."""
        _, dataset = self._checked(name)
        try:
            return np.asarray(dataset[()])
        except _BROKEN as error:
            raise ValueError(f"{self.path}: {name!r} cannot be read: {error}") from None

    def patterns(self, name: str) -> Any:
        """Return the patterns at ``name``, an array or ``StoredPatterns`` still in the file."""
        if self._in_place:
            stored = stored_in_hdf5(self.path, self._checked(name)[1])
            if stored is not None:
                return stored
        return self.array(name)

    def number(self, name: str) -> float:
        """Return the only number at ``name``."""
        shape = self.shape(name)
        if math.prod(shape) != 1:
            raise ValueError(f"{self.path}: {name!r} has shape {shape}; expected one number")
        return float(self.array(name).reshape(()).real)

    def text(self, name: str) -> str:
        """Return the text of fixed length at ``name``."""
        dataset = self._dataset(name)
        if dataset.shape != () or dataset.dtype.kind != "S":
            raise ValueError(f"{self.path}: {name!r} is not one text of fixed length")
        return bytes(dataset[()]).decode("utf-8", "replace")

    def numbers(self, name: str = "/") -> dict[str, float]:
        """Return the attributes of the object at ``name`` that are single finite numbers."""
        place = self._file if name == "/" else self._open(name)
        found: dict[str, float] = {}
        for key in place.attrs:
            attribute = place.attrs.get_id(key)
            # Text of variable length lies in a heap, in whose ruins HDF5 can search for ever.
            if attribute.dtype.kind in "iuf" and math.prod(attribute.shape) == 1:
                value = float(np.asarray(place.attrs[key]).reshape(()))
                if math.isfinite(value):
                    found[key] = value
        return found

    # ------------------------------------------------------------------ places

    def _resolve(self, name: str, followed: int = 0) -> tuple[h5py.Group, str] | None:
        """Return the group and key of a hard link, or None where there is nothing."""
        if followed > _MAX_LINKS:
            raise ValueError(f"{self.path}: {name!r} is a circle of links")
        parts = [part for part in name.split("/") if part not in ("", ".")]
        group: Any = self._file
        for depth, part in enumerate(parts):
            link = group.get(part, getlink=True)
            if link is None:
                return None
            if isinstance(link, h5py.SoftLink):
                start = "" if link.path.startswith("/") else group.name
                target = "/".join([start, link.path, *parts[depth + 1 :]])
                return self._resolve(target, followed + 1)
            if not isinstance(link, h5py.HardLink):
                raise ValueError(
                    f"{self.path}: {'/'.join(parts[: depth + 1])!r} is a link to another file, "
                    "which is not followed: copy the data into this file (h5repack, h5copy)"
                )
            if depth == len(parts) - 1:
                return group, part
            if _type_of(group, part) != h5py.h5o.TYPE_GROUP:
                return None
            group = group[part]
        return None

    def _kind(self, name: str) -> int | None:
        place = self._resolve(name)
        return None if place is None else _type_of(*place)

    def _open(self, name: str) -> Any:
        if self._kind(name) == h5py.h5o.TYPE_DATASET:
            return self._dataset(name)
        place = self._resolve(name)
        if place is None:
            raise MissingKeyError(f"{self.path} lacks {name!r}")
        return place[0][place[1]]

    # ------------------------------------------------------------------ datasets

    def _dataset(self, name: str) -> h5py.Dataset:
        place = self._resolve(name) if self.has(name) else None
        if place is None:
            raise MissingKeyError(
                f"{self.path} lacks the dataset {name!r}; its root has {', '.join(self.names())}"
            )
        group, key = place
        # The low-level call: h5py.Dataset asks for the extent, for which HDF5 opens the files
        # that a virtual dataset points at.
        dataset = h5py.h5d.open(group.id, key.encode("utf-8", "surrogateescape"))
        plist = dataset.get_create_plist()
        if plist.get_layout() == h5py.h5d.VIRTUAL or plist.get_external_count():
            raise ValueError(
                f"{self.path}: {name!r} is stored in other files (virtual dataset or external "
                "storage), which are not read: copy the data into this file (h5repack)"
            )
        for index in range(plist.get_nfilters()):
            code, _, _, label = plist.get_filter(index)
            if not h5py.h5z.filter_avail(code):
                raise ValueError(
                    f"{self.path}: {name!r} is compressed with filter {code} "
                    f"({label.decode('ascii', 'replace')}), which this HDF5 lacks: rewrite it "
                    "with gzip (h5repack -f GZIP=4), or import hdf5plugin first"
                )
        return h5py.Dataset(dataset)

    def _checked(self, name: str) -> tuple[tuple[int, ...], h5py.Dataset]:
        dataset = self._dataset(name)
        try:
            dtype, shape = dataset.dtype, dataset.shape
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path}: {name!r} has no dtype of numbers: {error}") from None
        if dtype.kind not in "buifc":
            raise ValueError(f"{self.path}: {name!r} has dtype {dtype}; expected numbers")
        if shape is None:
            raise ValueError(f"{self.path}: {name!r} is empty (it has no shape)")
        size = dtype.itemsize * math.prod(shape)
        stored = dataset.id.get_storage_size()
        if size > _SMALL and size > _MAX_RATIO * stored:
            raise ValueError(
                f"{self.path}: {name!r} declares shape {shape}, {size} bytes, but the file holds "
                f"{stored} of them: it is unfinished or made up"
            )
        if size > _machine_memory():
            raise ValueError(
                f"{self.path}: {name!r} has shape {shape}, {size / 2**30:.1f} GiB, more than the "
                "memory of this machine: cut the scan"
            )
        return shape, dataset


def _type_of(group: h5py.Group, key: str) -> int:
    return int(h5py.h5o.get_info(group.id, key.encode("utf-8", "surrogateescape")).type)


def _machine_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
