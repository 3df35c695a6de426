"""``model.h5``: canonical weights and scales as an HDF5 file, in memory.

One float32 dataset per canonical weight, in groups along the slashes of its name; root attributes
``intensity_scale``, ``normalisation``, ``format_version`` and ``backend``. Reading admits plain
datasets only (``ptycho.core.safe_hdf5``), and checks every shape before it allocates anything.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass

import h5py
import numpy as np

from ptycho.config.config import ModelConfig
from ptycho.core.archive import BadWeights
from ptycho.core.safe_hdf5 import READ_ERRORS, attribute, error_text, plain_datasets
from ptycho.core.weights import Weights, check_weights

FORMAT_VERSION = "2.0"

#: HDF5 formats that may be used; a given one makes equal content equal bytes.
LIBVER = ("earliest", "v110")
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
    with h5py.File(buffer, "w", libver=LIBVER) as file:
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
            datasets = plain_datasets(file, len(data))
            _check_shapes(datasets, config)
            attributes = {name: attribute(file, name, kind) for name, kind in _ATTRIBUTES.items()}
            weights = {name: np.asarray(dataset[()]) for name, dataset in datasets.items()}
        version = attributes.pop("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"format_version is {version!r}; expected {FORMAT_VERSION!r}")
        content = WeightsFile(weights=weights, **attributes)
        _check_values(content)
    except READ_ERRORS as error:
        raise BadWeights(f"{where}: {error_text(error)}; save the model again") from error
    return content


def _check_shapes(datasets: dict[str, h5py.Dataset], config: ModelConfig) -> None:
    zero = np.zeros((), np.float32)
    stand_ins = {name: np.broadcast_to(zero, d.shape) for name, d in datasets.items()}
    stand_ins.setdefault("probe", np.broadcast_to(zero, (1, config.N, config.N, 2)))
    check_weights(stand_ins, config)
