"""ptychodus training data in HDF5: patterns, probe, object and positions in object pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ptycho.io.hdf5 import Hdf5Reader

__all__ = ["is_training_file", "read_training_file"]

_REQUIRED = ("patterns", "probe", "probe_position_x_px", "probe_position_y_px")


def is_training_file(file: Hdf5Reader) -> bool:
    """Whether the file has the datasets by which training data are known."""
    return all(file.has(name) for name in _REQUIRED)


def read_training_file(file: Hdf5Reader, patterns: bool = True) -> dict[str, Any]:
    """Return the arguments of ``RawData`` that the file has. Raises as :class:`Hdf5Reader`.

    Without ``patterns``, ``diff3d`` is None and the patterns are not read.

    ptychodus counts a patch's position from its middle, at (N - 1)/2: half a pixel less.
    """
    values: dict[str, Any] = {
        "diff3d": file.patterns("patterns") if patterns else None,
        "probeGuess": file.array("probe"),
    }
    for name, axis in (("xcoords", "x"), ("ycoords", "y")):
        values[name] = file.array(f"probe_position_{axis}_px").astype(np.float64) + 0.5
    for name, key in (("objectGuess", "object"), ("bad_pixels", "bad_pixels")):
        if file.has(key):
            values[name] = file.array(key)
    numbers = ("photon_energy_eV", "detector_object_distance_m")
    values["metadata"] = {name: file.number(name) for name in numbers if file.has(name)}
    return values
