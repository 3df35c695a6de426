"""What ``RawData.generate_grouped_data`` returns: groups, and legacy arrays on request."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.container import ObjectLabels
from ptycho.core.geometry import FloatArray, group_offsets, relative_coordinates
from ptycho.core.grouping import IndexArray
from ptycho.core.scaling import normalisation_factor

if TYPE_CHECKING:
    from ptycho.raw_data import RawData


class GroupedData(Mapping[str, Any]):
    """Groups drawn from a scan, a read-only mapping with the legacy keys.

    Every value but ``nn_indices`` is computed each time it is asked for:

    - ``nn_indices`` (B, C) int64;
    - ``diffraction`` (B, N, N, C), as stored; ``X_full`` the same, normalised amplitude float32;
      ``normalisation`` the factor between amplitude and ``X_full``;
    - ``coords_offsets`` (B, 1, 2, 1) group centres, ``coords_relative`` (B, 1, 2, C) =
      -(c_j - centre), ``coords_nn`` (B, 1, 2, C) members' positions [x, y], in pixels, and
      ``coords_start_...`` the same of the nominal positions;
    - ``Y`` (B, N, N, C) complex64 ground-truth patches or None, ``objectGuess`` (H, W) or None.

    ``raw`` is the scan and ``groups`` the indices, which ``draw(gridsize)`` gave and gives again.
    """

    def __init__(self, raw: RawData, gridsize: int, draw: Callable[[int], IndexArray]) -> None:
        self.raw = raw
        self.groups = draw(gridsize)
        self._draw = draw

    def drawn_again(self, gridsize: int) -> GroupedData:
        """Return groups of gridsize**2 positions, otherwise drawn as these were."""
        return GroupedData(self.raw, gridsize, self._draw)

    def __getitem__(self, key: str) -> Any:
        return _VALUES[key](self)

    def __iter__(self) -> Iterator[str]:
        return iter(_VALUES)

    def __len__(self) -> int:
        return len(_VALUES)


def _start(grouped: GroupedData) -> FloatArray:
    raw = grouped.raw
    return np.column_stack([raw.xcoords_start, raw.ycoords_start]).astype(np.float64)


def _absolute(positions: FloatArray, groups: IndexArray) -> FloatArray:
    return np.ascontiguousarray(positions[groups].transpose(0, 2, 1)[:, None])


def _gather(patterns: NDArray[Any] | None, groups: IndexArray) -> NDArray[Any]:
    if patterns is None:
        raise ValueError("RawData has no diffraction patterns: give diff3d")
    return np.ascontiguousarray(patterns[groups].transpose(0, 2, 3, 1))


def _factor(grouped: GroupedData) -> float:
    return normalisation_factor(grouped.raw.patterns)


def _normalised(grouped: GroupedData) -> NDArray[np.float32]:
    members = grouped.raw.patterns.gather(grouped.groups).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(members * np.float32(_factor(grouped)))


def _labels(grouped: GroupedData) -> NDArray[np.complex64] | None:
    labels = ObjectLabels.from_raw(grouped.raw)
    return None if labels is None else labels.gather(grouped.groups)


_VALUES: dict[str, Callable[[GroupedData], Any]] = {
    "diffraction": lambda g: _gather(g.raw.diff3d, g.groups),
    "X_full": _normalised,
    "normalisation": _factor,
    "coords_offsets": lambda g: group_offsets(g.raw.positions, g.groups),
    "coords_relative": lambda g: relative_coordinates(g.raw.positions, g.groups),
    "coords_nn": lambda g: _absolute(g.raw.positions, g.groups),
    "coords_start_offsets": lambda g: group_offsets(_start(g), g.groups),
    "coords_start_relative": lambda g: relative_coordinates(_start(g), g.groups),
    "coords_start_nn": lambda g: _absolute(_start(g), g.groups),
    "nn_indices": lambda g: g.groups,
    "Y": _labels,
    "objectGuess": lambda g: g.raw.objectGuess,
}
