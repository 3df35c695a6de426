"""Diffraction patterns that stay in their file, read when asked for.

Uncompressed members of NPZ files and datasets of HDF5 that lie in one piece are read in place;
datasets in chunks by h5py, where a chunk holds few patterns. Everything else is worth no second
reading and is loaded whole (:data:`FEW`, :data:`LARGE`).
"""

from __future__ import annotations

import copy
import os
import weakref
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.io.npz_member import fill, find_plain_member, look_through

__all__ = ["FEW", "LARGE", "StoredPatterns", "stored_in_hdf5", "stored_in_npz"]

#: Bytes of patterns below which a file is loaded whole.
LARGE = 1 << 26
#: The most patterns that a chunk of HDF5 may hold: to read one, all of them are read.
FEW = 8


class StoredPatterns:
    """Patterns (n, N, N) in a file; indexing along the first axis reads them.

    It has the ``shape``, ``dtype`` and ``ndim`` of an array, and ``np.asarray`` reads it whole. It
    can be pickled, for processes that load data. ``offset`` is where the patterns begin in the
    file; without one, ``name`` is that of a dataset which h5py reads. ``sound`` says that all have
    been looked at and none is negative, NaN or infinite.

    Reading raises ``ValueError`` naming the file where it has been replaced, cut or changed since
    it was opened.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        offset: int | None = None,
        name: str = "",
    ) -> None:
        self.path = Path(path).absolute()
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self._offset, self._name = offset, name
        self._stamp = _stamp(self.path.stat())
        self._opened: tuple[int, Any] | None = None
        self.sound = False

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray[Any]:
        if index is ... or index is None or (isinstance(index, tuple) and _skips(index)):
            return np.asarray(self[:])[index]
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) else (index, ())
        chosen = np.arange(len(self))[first]
        wanted, places = np.unique(chosen, return_inverse=True)
        read = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        for start, stop in _runs(wanted):
            self._read_into(read[start:stop], int(wanted[start]))
        if chosen.ndim == 1 and np.array_equal(wanted, chosen):
            found = read
        else:
            found = read[places.reshape(np.shape(chosen))]
        return found[(slice(None),) * np.ndim(chosen) + rest] if rest else found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("these patterns are in a file: an array of them is a copy")
        return self[:].astype(dtype or self.dtype, copy=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    def without_last_axis(self) -> StoredPatterns:
        """Return the same patterns with a last axis of length 1 dropped."""
        same = copy.copy(self)
        same.shape = self.shape[:-1]
        return same

    # ------------------------------------------------------------------ reading

    def _read_into(self, rows: NDArray[Any], first: int) -> None:
        """Fill ``rows`` with the patterns from number ``first`` on."""
        try:
            opened = self._file()
            if self._offset is None:
                rows[...] = opened[self._name][first : first + len(rows)].reshape(rows.shape)
                return
            row = self.dtype.itemsize * int(np.prod(self.shape[1:]))
            if not fill(opened, rows.reshape(-1).view(np.uint8).data, self._offset + first * row):
                raise OSError("it has been cut off")
        except (OSError, KeyError, RuntimeError) as error:
            raise ValueError(f"{self.path}: the patterns cannot be read: {error}") from None

    def _file(self) -> Any:
        """Return the file, opened in this process."""
        if self._opened is None or self._opened[0] != os.getpid():
            if self._offset is None:
                import h5py

                file: Any = h5py.File(self.path, "r")
            else:
                file = self.path.open("rb", buffering=0)
            self._opened = os.getpid(), file
            weakref.finalize(self, file.close)
        file = self._opened[1]
        handle = file.id.get_vfd_handle() if self._offset is None else file.fileno()
        if _stamp(os.fstat(handle)) != self._stamp:
            raise OSError("it has been changed since it was opened")
        return file


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _skips(index: tuple[Any, ...]) -> bool:
    return not index or any(part is ... or part is None for part in index)


def _runs(indices: NDArray[np.integer]) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of the stretches of sorted indices that follow one another."""
    if not len(indices):
        return
    breaks = np.flatnonzero(np.diff(indices) != 1) + 1
    yield from zip([0, *breaks.tolist()], [*breaks.tolist(), len(indices)], strict=True)


# --------------------------------------------------------------------------- NPZ


def stored_in_npz(path: Path, keys: tuple[str, ...]) -> tuple[str, StoredPatterns] | None:
    """Return the key and the patterns of the first of ``keys`` that can stay in an NPZ file.

    None where there is no such member, or it is compressed, small, or no plain array in C order.
    The member's checksum is verified and its values looked at. Raises ``ValueError`` naming the
    file where it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        for key in keys:
            member = archive.NameToInfo.get(f"{key}.npy")
            if member is None:
                continue
            return None if member.file_size < LARGE else _npz_member(path, key, member)
    return None


def _npz_member(path: Path, key: str, info: zipfile.ZipInfo) -> tuple[str, StoredPatterns] | None:
    with path.open("rb") as file:
        stamp = _stamp(os.fstat(file.fileno()))
        member = find_plain_member(path, file, info)
        if member is None or len(member.shape) < 3:
            return None
        undamaged, sound = look_through(file, member)
        if not undamaged:
            raise ValueError(f"{path} is damaged: wrong checksum of {key!r}")
    stored = StoredPatterns(path, member.shape, member.dtype, member.offset)
    stored.sound, stored._stamp = sound, stamp
    return key, stored


# --------------------------------------------------------------------------- HDF5


def stored_in_hdf5(path: Path, dataset: Any) -> StoredPatterns | None:
    """Return the patterns of an h5py dataset, or None where it is to be loaded whole.

    The dataset has been found safe to read (``ptycho.io.hdf5``).
    """
    import h5py

    shape, dtype = dataset.shape, dataset.dtype
    if len(shape) < 3 or dtype.itemsize * int(np.prod(shape, dtype=object)) < LARGE:
        return None
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        as_in_memory = dataset.id.get_type().equal(h5py.h5t.py_create(dtype))
        if offset is None or dataset.file.userblock_size or not as_in_memory:
            return None
        return StoredPatterns(path, shape, dtype, offset)
    whole_patterns = dataset.chunks[1:] == shape[1:]
    if dataset.chunks[0] > FEW or not whole_patterns:
        return None
    return StoredPatterns(path, shape, dtype, None, dataset.name)
