"""Scan files of every format, told apart by what they hold and not by their names."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ptycho.io.npz import MissingKeyError, read_npz
from ptycho.io.npz_scan import read_npz_scan, write_npz_scan
from ptycho.io.stored import StoredPatterns

__all__ = ["metadata_differences", "read_geometry", "read_scan", "write_scan"]

#: First bytes of an HDF5 file.
_HDF5 = b"\x89HDF\r\n\x1a\n"
#: Suffixes under which a scan is written as a product.
_PRODUCT_SUFFIXES = (".h5", ".hdf5")
#: Metadata entries that should agree with a configuration.
_PHYSICS = ("nphotons", "N", "gridsize")


def read_scan(path: str | Path, in_place: bool = False) -> dict[str, Any]:
    """Read a scan file into the arguments of ``ptycho.raw_data.RawData`` that it has.

    NPZ, ptychodus product, ptychodus training data or CXI. Patterns (H, W, n) are recognised by
    the number of positions and turned to (n, H, W); where n is H as well, they are taken as
    (n, H, W). A last axis of length 1 after (n, N, N) is dropped. With ``in_place``, large patterns
    stay in the file where they can (:mod:`ptycho.io.stored`).

    Raises ``FileNotFoundError``, ``IsADirectoryError``; ``KeyError`` naming what is missing;
    ``ValueError`` where the file is none of these formats, is damaged, or points at other files.
    """
    path = _existing(path)
    if _is_hdf5(path):
        values = _read_hdf5(path, in_place=in_place)
    else:
        values = _read_npz(path, in_place)
    if values["diff3d"] is not None:
        patterns = _without_channel(values["diff3d"])
        values["diff3d"] = _pattern_first(patterns, values["xcoords"].size)
    if values.get("Y") is not None:
        values["Y"] = _without_channel(values["Y"])
    return values


def read_geometry(path: str | Path) -> dict[str, Any]:
    """Read ``xcoords``, ``ycoords`` and ``probeGuess`` of a scan file; patterns are not read.

    Raises as :func:`read_scan`; ``KeyError`` too where an HDF5 file has no probe.
    """
    path = _existing(path)
    names = ("xcoords", "ycoords", "probeGuess")
    if not _is_hdf5(path):
        _require_npz(path)
        return dict(read_npz(path, names, ()))
    values = _read_hdf5(path, patterns=False)
    if values.get("probeGuess") is None:
        raise MissingKeyError(f"{path} has no probe")
    return {name: values[name] for name in names}


def write_scan(path: str | Path, values: Mapping[str, Any]) -> Path:
    """Write arguments of ``RawData`` that are not None to a scan file; return its path.

    A path ending in ``.h5`` or ``.hdf5`` becomes a ptychodus product with the scan in its group
    ``raw_data``, any other an NPZ file. Raises ``ValueError`` where the metadata cannot be
    written as JSON, or a product lacks what it needs.
    """
    if Path(path).suffix.lower() in _PRODUCT_SUFFIXES:
        from ptycho.io.product import write_product

        return write_product(path, values)
    return write_npz_scan(path, values)


def metadata_differences(metadata: Mapping[str, Any], config: Any) -> list[str]:
    """Tell where a scan file's metadata and a ``TrainingConfig`` or ``ModelConfig`` disagree."""
    stored = metadata.get("physics_parameters", metadata)
    differences = []
    for name in _PHYSICS:
        current = getattr(config, name, getattr(getattr(config, "model", None), name, None))
        if name not in stored or current is None:
            continue
        if not math.isclose(float(stored[name]), float(current), rel_tol=1e-9):
            differences.append(f"{name} is {stored[name]} in the file, {current} configured")
    return differences


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a directory; expected a scan file")
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    return path


def _is_hdf5(path: Path) -> bool:
    # A user block may stand before the signature: 512 bytes, or a power of two times that.
    with path.open("rb") as stream:
        size, start = path.stat().st_size, 0
        while start < min(size, 1 << 24):
            stream.seek(start)
            if stream.read(len(_HDF5)) == _HDF5:
                return True
            start = max(512, 2 * start)
    return False


def _read_npz(path: Path, in_place: bool) -> dict[str, Any]:
    _require_npz(path)
    return read_npz_scan(path, in_place)


def _require_npz(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"{path} is no scan: not an NPZ file (a zip archive of NumPy arrays) and not an HDF5 "
            "file (ptychodus product, CXI), or it is cut off"
        )


def _read_hdf5(path: Path, patterns: bool = True, in_place: bool = False) -> dict[str, Any]:
    # h5py takes a moment to import, which NPZ files need not wait for.
    from ptycho.io.cxi import is_cxi, read_cxi
    from ptycho.io.hdf5 import open_hdf5
    from ptycho.io.product import is_product, read_product
    from ptycho.io.training_file import is_training_file, read_training_file

    with open_hdf5(path, in_place) as file:
        if is_product(file):
            return read_product(file, patterns)
        if is_training_file(file):
            return read_training_file(file, patterns)
        if is_cxi(file):
            return read_cxi(file, patterns)
        raise ValueError(
            f"{path} is an HDF5 file but no scan: it is neither a ptychodus product (probe, "
            "object, probe_position_x_m, ...), nor ptychodus training data (patterns, probe, "
            f"...), nor CXI (entry_1); its root has {', '.join(file.names()) or 'nothing'}"
        )


def _without_channel(array: Any) -> Any:
    if array.ndim != 4 or array.shape[-1] != 1:
        return array
    return array.without_last_axis() if isinstance(array, StoredPatterns) else array[..., 0]


def _pattern_first(patterns: Any, n: int) -> Any:
    if patterns.ndim == 3 and patterns.shape[0] != n and patterns.shape[2] == n:
        return np.ascontiguousarray(np.moveaxis(np.asarray(patterns), 2, 0))
    return patterns
