"""Scan files: the NPZ keys of a scan, read into constructor arguments and written back."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.io.npz import read_npz, write_npz

_LOG = logging.getLogger(__name__)

_REQUIRED = ("xcoords", "ycoords", "diff3d|diffraction", "probeGuess")
_OPTIONAL = (
    "xcoords_start", "ycoords_start", "scan_index", "objectGuess", "Y", "norm_Y_I",
    "bad_pixels", "measurement_domain", "_metadata",
)  # fmt: skip
#: Keys whose value is a single entry.
_SCALARS = ("norm_Y_I", "measurement_domain")
#: Metadata entries that should agree with a configuration.
_PHYSICS = ("nphotons", "N", "gridsize")

Array = NDArray[Any]


def read_scan(path: str | Path) -> dict[str, Any]:
    """Read a scan file into the arguments of ``ptycho.raw_data.RawData`` that it has.

    ``diffraction`` is read for ``diff3d``, ``_metadata`` (JSON text) for ``metadata``. Patterns
    (H, W, n) are recognised by the number of positions and turned to (n, H, W); a last axis of
    length 1 after (n, N, N) is dropped. Raises as :func:`ptycho.io.npz.read_npz`.
    """
    values: dict[str, Any] = dict(read_npz(path, _REQUIRED, _OPTIONAL))
    alias = values.pop("diffraction", None)
    patterns = values.pop("diff3d", alias)
    values["diff3d"] = _pattern_first(_without_channel(patterns), values["xcoords"].size)
    if "Y" in values:
        values["Y"] = _without_channel(values["Y"])
    for key in _SCALARS:
        if key in values:
            values[key] = values[key][()]
    if "_metadata" in values:
        values["metadata"] = _parse_metadata(path, values.pop("_metadata"))
    return values


def write_scan(path: str | Path, values: Mapping[str, Any]) -> Path:
    """Write arguments of ``RawData`` that are not None to a scan file; return its path.

    Raises ``ValueError`` where the metadata cannot be written as JSON.
    """
    arrays = {k: np.asarray(v) for k, v in values.items() if v is not None and k != "metadata"}
    if values.get("metadata") is not None:
        try:
            arrays["_metadata"] = np.asarray(json.dumps(values["metadata"]))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: metadata cannot be written as JSON: {error}") from error
    return write_npz(path, arrays)


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


def _without_channel(array: Array) -> Array:
    return array[..., 0] if array.ndim == 4 and array.shape[-1] == 1 else array


def _pattern_first(patterns: Array, n: int) -> Array:
    if patterns.ndim == 3 and patterns.shape[0] != n and patterns.shape[2] == n:
        return np.ascontiguousarray(np.moveaxis(patterns, 2, 0))
    return patterns


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
