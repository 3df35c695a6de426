"""CXI files (Coherent X-ray Imaging Data Bank, version 1.6): the first entry as a scan.

``translation`` is that of the sample, so light falls on the object at its negative. Without
``basis_vectors`` the detector's columns run along -x and its rows along -y, which makes the
coordinates on the object the translation itself, as ptychodus writes and reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.far_field import object_pixel, positions_in_pixels, wavelength
from ptycho.core.geometry import FloatArray
from ptycho.io.hdf5 import Hdf5Reader
from ptycho.io.npz import MissingKeyError

__all__ = ["is_cxi", "read_cxi"]

_ENTRY = "entry_1"
_DETECTOR = f"{_ENTRY}/instrument_1/detector_1"
_SOURCE = f"{_ENTRY}/instrument_1/source_1"
_PTYCHODUS = f"{_ENTRY}/ptychodus"
_PATTERNS = (f"{_ENTRY}/data_1/data", f"{_DETECTOR}/data")
_TRANSLATIONS = (
    f"{_ENTRY}/sample_1/geometry_1/translation",
    f"{_ENTRY}/data_1/translation",
    f"{_DETECTOR}/translation",
)


def is_cxi(file: Hdf5Reader) -> bool:
    """Whether the file has the first entry of a CXI file and its version."""
    return file.has_group(_ENTRY) and (file.has("cxi_version") or file.has_group(_DETECTOR))


def read_cxi(file: Hdf5Reader, patterns: bool = True) -> dict[str, Any]:
    """Return the arguments of ``RawData`` that the first entry has. Raises as :class:`Hdf5Reader`.

    Positions are object pixels lambda z / (N p), or those that ptychodus has stored. Where there
    is an object, its middle is the origin (or ptychodus' centre), else the smallest coordinate
    comes to N/2. Masked pixels, whatever the reason, are bad. Without ``patterns``, ``diff3d`` is
    None and only the shape of the patterns is read.
    """
    stack = _first(file, _PATTERNS, "diffraction patterns", required=False)
    values: dict[str, Any] = {"diff3d": None, "metadata": _metadata(file)}
    side = None
    if stack is not None:
        shape = file.shape(stack)
        if len(shape) != 3:
            raise ValueError(f"{file.path}: {stack!r} has shape {shape}; expected (n, N, N)")
        side = shape[-2:]
    if file.has(f"{_DETECTOR}/mask"):
        values["bad_pixels"] = file.array(f"{_DETECTOR}/mask") != 0
    values["probeGuess"] = _probe(file)
    values["objectGuess"] = _object(file)
    values["xcoords"], values["ycoords"] = _positions(file, side, values["objectGuess"])
    if stack is not None and patterns:
        values["diff3d"] = file.patterns(stack)
    return values


def _first(file: Hdf5Reader, names: Sequence[str], what: str, required: bool = True) -> str | None:
    for name in names:
        if file.has(name):
            return name
    if required:
        raise MissingKeyError(f"{file.path} lacks {what}: none of {', '.join(names)}")
    return None


def _metadata(file: Hdf5Reader) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if file.has(f"{_PTYCHODUS}/probe_photon_count"):
        metadata["nphotons"] = file.number(f"{_PTYCHODUS}/probe_photon_count")
    if file.has(f"{_DETECTOR}/distance"):
        metadata["detector_object_distance_m"] = file.number(f"{_DETECTOR}/distance")
    return metadata


def _probe(file: Hdf5Reader) -> NDArray[Any] | None:
    # image_1 is the probe in ptychodus' files only; elsewhere it is the object.
    places = [f"{_SOURCE}/illumination"]
    if file.has_group(_PTYCHODUS):
        places.insert(0, f"{_ENTRY}/image_1/data")
    place = _first(file, places, "a probe", required=False)
    if place is None:
        return None
    probe = file.array(place)
    return probe[0] if probe.ndim == 4 else probe


def _object(file: Hdf5Reader) -> NDArray[Any] | None:
    place = f"{_ENTRY}/image_2/data" if file.has_group(_PTYCHODUS) else ""
    if not place or not file.has(place):
        return None
    shape = file.shape(place)
    layers = shape[0] if len(shape) == 3 else 1
    return file.array(place).reshape(shape[-2:]) if layers == 1 else None


# --------------------------------------------------------------------------- positions


def _positions(
    file: Hdf5Reader, side: tuple[int, ...] | None, obj: NDArray[Any] | None
) -> list[FloatArray]:
    name = _first(file, _TRANSLATIONS, "scan positions") or ""
    translation = file.array(name)
    if translation.ndim != 2 or translation.shape[1] not in (2, 3):
        raise ValueError(
            f"{file.path}: {name!r} has shape {translation.shape}; expected (n, 3), in metres"
        )
    columns_rows = _detector_axes(file)
    on_object = -translation[:, :2].astype(np.float64) @ columns_rows.T
    positions = []
    for axis, metres in enumerate(on_object.T):
        try:
            pixel = _pixel(file, side, axis)
            if obj is None:
                half = 0 if side is None else side[-1 - axis] / 2
                positions.append((metres - metres.min()) / pixel + half)
            else:
                centre = _stored(file, ("object_center_x_m", "object_center_y_m")[axis]) or 0.0
                positions.append(positions_in_pixels(metres, pixel, centre, obj.shape[::-1][axis]))
        except ValueError as error:
            raise ValueError(f"{file.path}: {error}") from None
    return positions


def _detector_axes(file: Hdf5Reader) -> FloatArray:
    """Return the directions of the detector's columns and rows, (2, 2) = [x, y] each."""
    name = f"{_DETECTOR}/basis_vectors"
    if not file.has(name):
        return np.array([[-1.0, 0.0], [0.0, -1.0]])
    basis = file.array(name).astype(np.float64)
    if basis.shape != (3, 2):
        raise ValueError(
            f"{file.path}: {name!r} has shape {basis.shape}; expected (3, 2): x, y, z of a step "
            "along the rows' axis and of one along the columns' axis"
        )
    lengths = np.linalg.norm(basis, axis=0)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise ValueError(f"{file.path}: {name!r} has a vector without length")
    return (basis / lengths)[:2, ::-1].T


def _pixel(file: Hdf5Reader, side: tuple[int, ...] | None, axis: int) -> float:
    """Return the object pixel along x (axis 0) or y (axis 1) in metres."""
    stored = _stored(file, ("object_pixel_width_m", "object_pixel_height_m")[axis])
    if stored is not None:
        return stored
    if side is None:
        raise ValueError("without patterns and without a stored object pixel, metres stay metres")
    if file.has(f"{_SOURCE}/wavelength"):
        length = file.number(f"{_SOURCE}/wavelength")
    else:
        length = wavelength(_needed(file, f"{_SOURCE}/energy"))
    size = _needed(file, f"{_DETECTOR}/{'xy'[axis]}_pixel_size")
    return object_pixel(length, _needed(file, f"{_DETECTOR}/distance"), side[-1 - axis], size)


def _stored(file: Hdf5Reader, name: str) -> float | None:
    place = f"{_PTYCHODUS}/{name}"
    return file.number(place) if file.has(place) else None


def _needed(file: Hdf5Reader, name: str) -> float:
    if not file.has(name):
        raise MissingKeyError(
            f"{file.path} lacks {name!r}, without which positions in metres are not object pixels"
        )
    return file.number(name)
