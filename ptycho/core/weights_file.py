"""``model.h5``: canonical weights and scales as an HDF5 file, in memory.

One float32 dataset per canonical weight, in groups along the slashes of its name; root attributes
``intensity_scale``, ``normalisation``, ``format_version`` and ``backend``. HDF5 can point at
other files and at code (external and soft links, external and virtual storage, filter plugins),
so reading admits nothing but plain contiguous datasets, and checks every shape before it
allocates anything.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from ptycho.config.config import ModelConfig
from ptycho.core.archive import BadWeights
from ptycho.core.weights import Weights, check_weights

FORMAT_VERSION = "2.0"

_LIBVER = ("earliest", "v110")
_MAX_DEPTH = 8
_MAX_OBJECTS = 1024
_ATTRIBUTES: dict[str, type] = {
    "backend": str,
    "format_version": str,
    "intensity_scale": float,
    "normalisation": float,
}


@dataclass(eq=False)
class WeightsFile:
    """What a ``model.h5`` holds."""

    weights: Weights
    backend: str
    intensity_scale: float
    normalisation: float


def dump_weights(content: WeightsFile) -> bytes:
    """Return the bytes of a ``model.h5``; equal content gives equal bytes.

    Raises ``ValueError`` naming a weight that is not float32 or not finite, or a bad scale.
    """
    _check_values(content)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=_LIBVER) as file:
        attributes = {**vars(content), "format_version": FORMAT_VERSION}
        for name, kind in _ATTRIBUTES.items():
            # bytes: text of fixed length, which needs no heap in the file.
            file.attrs[name] = (
                np.bytes_(attributes[name]) if kind is str else kind(attributes[name])
            )
        for name in sorted(content.weights):
            file.create_dataset(name, data=content.weights[name], dtype="<f4", track_times=False)
    return buffer.getvalue()


def _check_values(content: WeightsFile) -> None:
    for name, value in content.weights.items():
        if value.dtype != np.float32:
            raise ValueError(f"weight {name!r} is {value.dtype}; expected float32")
        if not np.isfinite(value).all():
            raise ValueError(f"weight {name!r} contains NaN or infinity: the training diverged")
    for name in ("intensity_scale", "normalisation"):
        value = getattr(content, name)
        if not (isinstance(value, (int, float, np.number)) and 0 < value < math.inf):
            raise ValueError(f"{name} is {value!r}; expected a finite number above 0")


def load_weights(data: bytes, config: ModelConfig, where: str) -> WeightsFile:
    """Return the content of a ``model.h5`` that fits ``config``.

    ``probe`` may be absent. Raises ``BadWeights`` naming ``where``, the dataset and the reason.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            datasets = _datasets(file)
            _check_extents(datasets, len(data))
            _check_shapes(datasets, config)
            attributes = {name: _attribute(file, name, kind) for name, kind in _ATTRIBUTES.items()}
            weights = {name: np.asarray(dataset[()]) for name, dataset in datasets.items()}
        version = attributes.pop("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"format_version is {version!r}; expected {FORMAT_VERSION!r}")
        content = WeightsFile(weights=weights, **attributes)
        _check_values(content)
    # HDF5 reports broken files through any of these.
    except (ValueError, TypeError, OSError, RuntimeError, LookupError, OverflowError) as error:
        raise BadWeights(f"{where}: {_text(error)}; save the model again") from error
    return content


def _text(error: Exception) -> str:
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return name -> dataset; ``ValueError`` for every kind of link or object but plain ones."""
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
                found[name] = _dataset(group, key, name)
            else:
                raise ValueError(f"{name!r} is neither a group nor a dataset")
    return found


def _dataset(group: h5py.Group, key: str, name: str) -> h5py.Dataset:
    # The low-level call: h5py.Dataset asks for the extent, for which HDF5 opens the files that a
    # virtual dataset points at.
    dataset = h5py.h5d.open(group.id, key.encode("utf-8", "surrogateescape"))
    plist = dataset.get_create_plist()
    if plist.get_layout() != h5py.h5d.CONTIGUOUS or plist.get_external_count():
        raise ValueError(f"{name!r} is not stored in one piece in this file")
    if plist.get_nfilters():
        raise ValueError(f"{name!r} is filtered")
    if not dataset.get_type().equal(h5py.h5t.IEEE_F32LE):
        raise ValueError(f"{name!r} is not of type float32")
    return h5py.Dataset(dataset)


def _check_extents(datasets: dict[str, h5py.Dataset], file_bytes: int) -> None:
    total = 0
    for name, dataset in datasets.items():
        if dataset.shape is None:
            raise ValueError(f"{name!r} is empty")
        size = 4 * math.prod(dataset.shape)
        total += size
        if total > file_bytes or dataset.id.get_storage_size() != size:
            raise ValueError(f"{name!r} has shape {dataset.shape}, more than the file holds")


def _check_shapes(datasets: dict[str, h5py.Dataset], config: ModelConfig) -> None:
    zero = np.zeros((), np.float32)
    stand_ins = {name: np.broadcast_to(zero, d.shape) for name, d in datasets.items()}
    stand_ins.setdefault("probe", np.broadcast_to(zero, (1, config.N, config.N, 2)))
    check_weights(stand_ins, config)


def _attribute(file: h5py.File, name: str, kind: type) -> Any:
    if name not in file.attrs:
        raise ValueError(f"attribute {name!r} is missing")
    attribute = file.attrs.get_id(name)
    if attribute.shape != () or attribute.dtype.kind != ("S" if kind is str else "f"):
        raise ValueError(f"attribute {name!r} is not a single value of type {kind.__name__}")
    return kind(file.attrs[name].decode("ascii") if kind is str else file.attrs[name])
