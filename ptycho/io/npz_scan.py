"""Scans in NPZ files: keys read into constructor arguments and written back."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.io.npz import ZIP_ERRORS, read_npz, write_npz
from ptycho.io.stored import StoredPatterns, stored_in_npz

__all__ = ["read_npz_scan", "write_npz_scan"]

_LOG = logging.getLogger(__name__)

_REQUIRED = ("xcoords", "ycoords", "diff3d|diffraction", "probeGuess")
_OPTIONAL = (
    "xcoords_start", "ycoords_start", "scan_index", "objectGuess", "Y", "norm_Y_I",
    "bad_pixels", "measurement_domain", "_metadata",
)  # fmt: skip
#: Names of the patterns, the first that a file has counts.
_PATTERNS = ("diff3d", "diffraction")
#: Keys whose value is a single entry.
_SCALARS = ("norm_Y_I", "measurement_domain")

Array = NDArray[Any]


def read_npz_scan(path: str | Path, in_place: bool = False) -> dict[str, Any]:
    """Read an NPZ file into the arguments of ``ptycho.raw_data.RawData`` that it has.

    ``diffraction`` is read for ``diff3d``, ``_metadata`` (JSON text) for ``metadata``. With
    ``in_place``, large patterns stay in the file where they can. Raises as
    :func:`ptycho.io.npz.read_npz`.
    """
    stored = _stored(Path(path)) if in_place else None
    skipped = _PATTERNS if stored else ()
    values: dict[str, Any] = dict(read_npz(path, _REQUIRED, _OPTIONAL, skipped))
    values.update([stored] if stored else [])
    alias = values.pop("diffraction", None)
    values["diff3d"] = values.pop("diff3d", alias)
    for key in _SCALARS:
        if key in values:
            values[key] = values[key][()]
    if "_metadata" in values:
        values["metadata"] = _parse_metadata(path, values.pop("_metadata"))
    return values


def _stored(path: Path) -> tuple[str, StoredPatterns] | None:
    try:
        return stored_in_npz(path, _PATTERNS)
    except ZIP_ERRORS:
        return None  # the reader of everything says it better


def write_npz_scan(path: str | Path, values: Mapping[str, Any]) -> Path:
    """Write arguments of ``RawData`` that are not None to an NPZ file; return its path.

    Raises ``ValueError`` where the metadata cannot be written as JSON.
    """
    arrays = {k: np.asarray(v) for k, v in values.items() if v is not None and k != "metadata"}
    if values.get("metadata") is not None:
        try:
            arrays["_metadata"] = np.asarray(json.dumps(values["metadata"]))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: metadata cannot be written as JSON: {error}") from error
    return write_npz(path, arrays)


def _parse_metadata(path: str | Path, text: Array) -> dict[str, Any] | None:
    try:
        metadata = json.loads(str(text[()]))
    except json.JSONDecodeError as error:
        _LOG.warning("%s: _metadata is not JSON and is ignored: %s", path, error)
        return None
    if not isinstance(metadata, dict):
        _LOG.warning("%s: _metadata is not a JSON object and is ignored", path)
        return None
    return metadata
