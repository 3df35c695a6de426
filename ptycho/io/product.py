"""ptychodus products: HDF5 files with probe, object and positions in metres.

A product as ptychodus saves it has no patterns. With a group ``raw_data`` it is a whole scan, the
fields of ``ptycho.raw_data.RawData`` beside the product. The layout is in
``specs/data_contracts.md``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from ptycho.core.far_field import positions_in_metres, positions_in_pixels
from ptycho.io.atomic import replacing
from ptycho.io.hdf5 import Hdf5Reader

__all__ = ["is_product", "read_product", "write_product"]

_LOG = logging.getLogger(__name__)

RAW = "raw_data"
_POSITIONS = ("probe_position_x_m", "probe_position_y_m")
#: Numbers of a product that ``RawData.metadata`` keeps, under their own names.
_NUMBERS = (
    "detector_object_distance_m", "photon_energy_eV", "probe_photon_count", "exposure_time_s",
    "mass_attenuation_m2_per_kg", "tomography_angle_deg",
)  # fmt: skip
_TEXTS = ("name", "comments")
#: Older spelling of an attribute.
_ALIASES = {"probe_energy_eV": "photon_energy_eV"}
_GEOMETRY = ("pixel_width_m", "pixel_height_m", "center_x_m", "center_y_m")
#: Metadata key under which the object's geometry is kept.
_GEOMETRY_KEY = "object_geometry"
#: Name in ``raw_data`` -> argument of ``RawData``, where they differ.
_RAW_NAMES = {"diffraction": "diff3d"}
_RAW_ARRAYS = (
    "xcoords", "ycoords", "xcoords_start", "ycoords_start", "diffraction", "scan_index", "Y",
    "bad_pixels", "norm_Y_I",
)  # fmt: skip
#: Of these, stacks as large as the diffraction.
_PER_PATTERN = ("diffraction", "Y")


def is_product(file: Hdf5Reader) -> bool:
    """Whether the file has the datasets by which a product is known."""
    return all(file.has(name) for name in (*_POSITIONS, "probe", "object"))


def read_product(file: Hdf5Reader, patterns: bool = True) -> dict[str, Any]:
    """Return the arguments of ``RawData`` that a product has.

    Positions come from ``raw_data`` (object pixels) where it has them, else from the metres of
    the product. ``diff3d`` is None without ``raw_data``; without ``patterns``
    neither it nor ``Y`` is read. Raises as :class:`Hdf5Reader`.
    """
    values: dict[str, Any] = {"diff3d": None, "metadata": _metadata(file)}
    raw = file.has_group(RAW)
    if not (raw and file.has(f"{RAW}/probeGuess")):
        values["probeGuess"] = _modes(file.array("probe"), f"{file.path}: 'probe'")
    shape = file.shape("object")
    if len(shape) not in (2, 3):
        raise ValueError(f"{file.path}: 'object' has shape {shape}; expected (layers, H, W)")
    if raw and file.has(f"{RAW}/objectGuess"):
        pass  # an array like the product's, read below
    elif len(shape) == 2 or shape[0] == 1:
        values["objectGuess"] = file.array("object").reshape(shape[-2:])
    else:
        _LOG.warning("%s: the object has %d layers and is left out", file.path, shape[0])
    if raw and file.has(f"{RAW}/xcoords") and file.has(f"{RAW}/ycoords"):
        values["xcoords"], values["ycoords"] = (
            file.array(f"{RAW}/{name}") for name in ("xcoords", "ycoords")
        )
    else:
        values["xcoords"], values["ycoords"] = _positions(file, shape)
    if raw:
        values.update(_raw_values(file, patterns))
    return values


def _metadata(file: Hdf5Reader) -> dict[str, Any]:
    attributes = {_ALIASES.get(k, k): v for k, v in file.numbers().items()}
    metadata: dict[str, Any] = {k: attributes[k] for k in _NUMBERS if k in attributes}
    geometry = file.numbers("object")
    metadata[_GEOMETRY_KEY] = {key: geometry[key] for key in _GEOMETRY if key in geometry}
    photons = attributes.get("probe_photon_count", 0.0)
    if photons > 0:
        metadata["nphotons"] = photons
    return metadata


def _positions(file: Hdf5Reader, shape: tuple[int, ...]) -> list[NDArray[np.float64]]:
    geometry = file.numbers("object")
    missing = [key for key in _GEOMETRY if key not in geometry]
    if missing:
        raise ValueError(
            f"{file.path}: 'object' lacks the attributes {', '.join(missing)}, without which "
            "metres are not object pixels"
        )
    pixels = []
    for name, side, pixel, centre in zip(
        _POSITIONS, shape[:-3:-1], _GEOMETRY[:2], _GEOMETRY[2:], strict=True
    ):
        try:
            pixels.append(
                positions_in_pixels(file.array(name), geometry[pixel], geometry[centre], side)
            )
        except ValueError as error:
            raise ValueError(f"{file.path}: {name!r}: {error}") from None
    return pixels


def _modes(probe: NDArray[Any], what: str) -> NDArray[Any]:
    """Return the incoherent modes of (coherent, incoherent, H, W), (incoherent, H, W) or (H, W)."""
    if probe.ndim == 4:
        if len(probe) > 1:
            _LOG.warning("%s varies over the scan: its first variation is used", what)
        return probe[0]
    return probe


def _raw_values(file: Hdf5Reader, patterns: bool) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _RAW_ARRAYS:
        if file.has(f"{RAW}/{name}") and (patterns or name not in _PER_PATTERN):
            read = file.patterns if name == "diffraction" else file.array
            values[_RAW_NAMES.get(name, name)] = read(f"{RAW}/{name}")
    for name in ("probeGuess", "objectGuess"):
        if file.has(f"{RAW}/{name}"):
            values[name] = file.array(f"{RAW}/{name}")
    if "norm_Y_I" in values:
        values["norm_Y_I"] = values["norm_Y_I"][()]
    if file.has(f"{RAW}/measurement_domain"):
        values["measurement_domain"] = file.text(f"{RAW}/measurement_domain")
    if file.has(f"{RAW}/_metadata"):
        values["metadata"] = _json(file, f"{RAW}/_metadata")
    return values


def _json(file: Hdf5Reader, name: str) -> dict[str, Any]:
    try:
        metadata = json.loads(file.text(name))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file.path}: {name!r} is not JSON: {error}") from None
    if not isinstance(metadata, dict):
        raise ValueError(f"{file.path}: {name!r} is not a JSON object")
    return metadata


# --------------------------------------------------------------------------- writing


def write_product(path: str | Path, values: Mapping[str, Any]) -> Path:
    """Write the arguments of ``RawData`` as a product with ``raw_data``; return the path.

    ``values["metadata"]`` gives the product's attributes under their names, and the object's
    pixel size and centre as ``object_geometry``, a dictionary with ``pixel_width_m``,
    ``pixel_height_m``, ``center_x_m`` and ``center_y_m``. The file appears whole or not at all.

    Raises ``ValueError`` where the pixel size, the object or the probe is missing.
    """
    metadata = values.get("metadata") or {}
    stored = metadata.get(_GEOMETRY_KEY)
    given = _numbers(stored, _GEOMETRY) if isinstance(stored, Mapping) else {}
    geometry = {"center_x_m": 0.0, "center_y_m": 0.0, **given}
    missing = [key for key in _GEOMETRY if key not in geometry]
    missing += [key for key in ("objectGuess", "probeGuess") if values.get(key) is None]
    if missing:
        raise ValueError(
            f"{path}: a product needs {', '.join(missing)}: give metadata={{{_GEOMETRY_KEY!r}: "
            "{'pixel_width_m': ..., 'pixel_height_m': ...}}, probeGuess and objectGuess, or "
            "write an NPZ file"
        )
    try:
        text = json.dumps(values.get("metadata"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: metadata cannot be written as JSON: {error}") from error
    with replacing(path) as stream, h5py.File(stream.name, "w") as file:
        _write_root(file, values, metadata, geometry)
        group = file.create_group(RAW)
        for name in _RAW_ARRAYS:
            value = values.get(_RAW_NAMES.get(name, name))
            if value is not None:
                packed: dict[str, Any] = {}
                if name == "diffraction" and np.size(value):
                    # A pattern can then be read without its neighbours.
                    packed = {"compression": "gzip", "chunks": (1, *np.shape(value)[1:])}
                group.create_dataset(name, data=value, **packed)
        group["diffraction"].attrs["axis_canonical"] = "NHW"
        group.create_dataset("probeGuess", data=values["probeGuess"])
        group.create_dataset("objectGuess", data=values["objectGuess"])
        # Texts of fixed length: the reader takes no others.
        group["measurement_domain"] = np.bytes_(str(values.get("measurement_domain", "auto")))
        if values.get("metadata") is not None:
            group["_metadata"] = np.bytes_(text.encode())
        group.attrs["bundle_version"] = "1.0"
        group.attrs["contains_raw_data"] = 1
    return Path(path)


def _numbers(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, float]:
    """Return those of ``names`` that are numbers in ``values``."""
    return {
        name: float(values[name]) for name in names if isinstance(values.get(name), (int, float))
    }


def _write_root(
    file: h5py.File,
    values: Mapping[str, Any],
    metadata: Mapping[str, Any],
    geometry: Mapping[str, float],
) -> None:
    for key, number in {**dict.fromkeys(_NUMBERS, 0.0), **_numbers(metadata, _NUMBERS)}.items():
        file.attrs[key] = number
    for key in _TEXTS:
        # HDF5 takes neither NUL nor half a character.
        text = str(metadata.get(key, "")).replace("\0", "")
        file.attrs[key] = text.encode("utf-8", "replace").decode()
    obj, probe = np.asarray(values["objectGuess"]), np.asarray(values["probeGuess"])
    for name, key, side, axis in zip(
        _POSITIONS, ("xcoords", "ycoords"), obj.shape[::-1], (0, 1), strict=True
    ):
        pixel, centre = geometry[_GEOMETRY[axis]], geometry[_GEOMETRY[2 + axis]]
        file[name] = positions_in_metres(values[key], pixel, centre, side)
    file["probe_position_indexes"] = np.arange(len(values["xcoords"]))
    file["probe"] = (probe if probe.ndim == 3 else probe[None])[None].astype(complex)
    file["object"] = obj[None].astype(complex)
    for key in _GEOMETRY:
        file["object"].attrs[key] = geometry[key]
        if key.startswith("pixel"):
            file["probe"].attrs[key] = geometry[key]
    for name in ("object_layer_spacing_m", "loss_epochs", "loss_values"):
        file[name] = np.zeros(0)
