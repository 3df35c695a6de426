"""Grouped scan data for a network: the patterns held once, gathered by index on demand."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.geometry import FloatArray, group_offsets, relative_coordinates
from ptycho.core.grouping import IndexArray, draw_groups
from ptycho.core.patterns import Patterns
from ptycho.core.position_checks import check_group_spread, check_scan_extent
from ptycho.core.sampling import grouping_generator
from ptycho.core.scaling import normalisation_factor
from ptycho.core.stitching import extract_patches

if TYPE_CHECKING:
    from ptycho.raw_data import RawData

__all__ = ["ObjectLabels", "PtychoDataContainer"]


@dataclass(frozen=True)
class ObjectLabels:
    """Ground-truth object patches, one per scan position, N x N and centred on it.

    Either ``patches`` (n, N, N) complex are stored, or they are cut from ``obj`` (H, W) complex
    at ``positions`` (n, 2) = [x, y] when asked for.
    """

    N: int
    patches: NDArray[np.complexfloating] | None = None
    obj: NDArray[np.complexfloating] | None = None
    positions: FloatArray | None = None

    @classmethod
    def from_raw(cls, raw: RawData) -> ObjectLabels | None:
        """Return the labels of a scan: its ``Y``, else its ``objectGuess``, else None."""
        if raw.Y is not None:
            return cls(raw.Y.shape[-1], patches=raw.Y)
        if raw.objectGuess is not None and raw.diff3d is not None:
            return cls(raw.diff3d.shape[-1], obj=raw.objectGuess, positions=raw.positions)
        return None

    def gather(self, members: NDArray[np.integer]) -> NDArray[np.complex64]:
        """Return labels of position indices (b, C) as (b, N, N, C)."""
        if self.patches is not None:
            found = self.patches[members]
        elif self.obj is not None and self.positions is not None:
            cut = extract_patches(self.obj, self.positions[members.ravel()], self.N)
            found = cut.reshape(*members.shape, self.N, self.N)
        else:
            raise ValueError("ObjectLabels needs patches, or obj and positions")
        return np.ascontiguousarray(found.transpose(0, 2, 3, 1), dtype=np.complex64)


class PtychoDataContainer:
    """Groups of diffraction patterns with their coordinates, probe and optional labels.

    Only the patterns of the whole scan are held, as they were stored; arrays of groups are
    gathered when asked.

    ``patterns`` are the scan's (n, N, N), or an array of amplitude; ``groups`` (B, C) indices
    into them, ``positions`` (n, 2)
    = [x, y] in object pixels, ``probe`` (N, N) or (modes, N, N) complex or None,
    ``normalisation`` the factor from amplitude to network input X. Raises ``ValueError`` where
    these do not fit.
    """

    def __init__(
        self,
        patterns: Patterns | NDArray[np.floating],
        groups: IndexArray,
        positions: FloatArray,
        probe: NDArray[Any] | None,
        normalisation: float,
        labels: ObjectLabels | None = None,
    ) -> None:
        if not isinstance(patterns, Patterns):
            patterns = Patterns(np.asarray(patterns, np.float32))
        self.patterns = patterns
        self.groups = np.asarray(groups, dtype=np.int64)
        self.positions = np.asarray(positions, dtype=np.float64)
        self.probe = None if probe is None else np.asarray(probe, dtype=np.complex64)
        self.normalisation = float(normalisation)
        self.labels = labels
        self._check()

    @classmethod
    def from_raw(
        cls,
        raw: RawData,
        *,
        N: int,
        gridsize: int,
        n_groups: int | None,
        seed: int,
        neighbor_count: int = 4,
        sequential: bool = False,
        oversample: bool = False,
        pool_size: int | None = None,
        normalisation: float | None = None,
    ) -> PtychoDataContainer:
        """Draw groups from a scan (:func:`ptycho.core.grouping.draw_groups`).

        ``n_groups=None`` means one group per scan position. The normalisation factor is that of
        the whole scan unless given (a trained model's data must be scaled as in training).

        Raises ``ValueError`` where the scan has no patterns or another pattern side than ``N``.
        """
        patterns = raw.patterns
        if patterns.shape[-1] != N:
            raise ValueError(f"patterns are {patterns.shape[-1]} pixels wide but N is {N}")
        groups = draw_groups(
            raw.positions,
            gridsize,
            len(raw) if n_groups is None else n_groups,
            grouping_generator(seed),
            neighbor_count=neighbor_count,
            sequential=sequential,
            oversample=oversample,
            pool_size=pool_size,
        )
        factor = normalisation_factor(patterns) if normalisation is None else normalisation
        labels = ObjectLabels.from_raw(raw)
        return cls(patterns, groups, raw.positions, raw.probeGuess, factor, labels)

    def subset(self, indices: Any) -> PtychoDataContainer:
        """Return a container of some of the groups (indices or a slice); shares the patterns."""
        return PtychoDataContainer(
            self.patterns,
            self.groups[indices],
            self.positions,
            self.probe,
            self.normalisation,
            self.labels,
        )

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def N(self) -> int:
        """Side of a diffraction pattern in pixels."""
        return self.patterns.shape[2]

    @property
    def amplitude(self) -> NDArray[np.float32]:
        """Amplitude of every pattern, (n, N, N); a new array unless stored just so."""
        return self.patterns.amplitude()

    @property
    def bad_pixels(self) -> NDArray[np.bool_] | None:
        """Pixels (N, N) that were not measured and have no part in the loss, or None."""
        return self.patterns.bad_pixels

    def masked_as(self, bad_pixels: NDArray[np.bool_] | None) -> PtychoDataContainer:
        """Return the container with these bad pixels if it has none of its own; data are shared.

        Groups, scales and labels stay as they are.
        """
        masked = copy.copy(self)
        masked.patterns = self.patterns.masked_as(bad_pixels)
        return masked

    @property
    def channels(self) -> int:
        """Members of a group, C."""
        return self.groups.shape[1]

    @property
    def gridsize(self) -> int:
        """Square root of :attr:`channels`."""
        return math.isqrt(self.channels)

    @property
    def nn_indices(self) -> IndexArray:
        """The groups under their legacy name."""
        return self.groups

    @property
    def has_labels(self) -> bool:
        """Whether :meth:`batch_labels` has something to give."""
        return self.labels is not None

    # ------------------------------------------------------------------ batches

    def batch_X(self, indices: Any) -> NDArray[np.float32]:
        """Return normalised amplitude of these groups, (b, N, N, C)."""
        members = self.groups[indices]
        batch, channels = members.shape
        x = np.empty((batch, self.N, self.N, channels), np.float32)
        factor = np.float32(self.normalisation)
        for channel in range(channels):
            np.multiply(self.patterns.gather(members[:, channel]), factor, out=x[..., channel])
        return x

    def batch_offsets(self, indices: Any) -> NDArray[np.float32]:
        """Return relative coordinates of these groups, (b, 1, 2, C), in pixels."""
        return relative_coordinates(self.positions, self.groups[indices]).astype(np.float32)

    def batch_labels(self, indices: Any) -> NDArray[np.complex64]:
        """Return ground-truth patches of these groups, (b, N, N, C), each centred on its member.

        Raises ``ValueError`` where the scan came with no ground truth.
        """
        if self.labels is None:
            raise ValueError(
                "the data has no labels: give RawData the ground truth as Y (n, N, N) or "
                "objectGuess (H, W), or train with model_type 'pinn' and realspace_weight 0"
            )
        return self.labels.gather(self.groups[indices])

    # ------------------------------------------------------------------ everything at once

    @property
    def X(self) -> NDArray[np.float32]:
        """Normalised amplitude of all groups, (B, N, N, C), gathered on each access."""
        return self.batch_X(slice(None))

    @property
    def Y(self) -> NDArray[np.complex64] | None:
        """Ground-truth patches of all groups, (B, N, N, C), or None."""
        return self.batch_labels(slice(None)) if self.has_labels else None

    @property
    def Y_I(self) -> NDArray[np.float32] | None:
        """Modulus of :attr:`Y`, or None."""
        labels = self.Y
        return None if labels is None else np.abs(labels)

    @property
    def Y_phi(self) -> NDArray[np.float32] | None:
        """Phase of :attr:`Y` in radians, or None."""
        labels = self.Y
        return None if labels is None else np.angle(labels)

    @cached_property
    def local_offsets(self) -> FloatArray:
        """Relative coordinates -(c_j - centre), (B, 1, 2, C), in pixels."""
        return relative_coordinates(self.positions, self.groups)

    @cached_property
    def global_offsets(self) -> FloatArray:
        """Group centres, (B, 1, 2, 1), in pixels."""
        return group_offsets(self.positions, self.groups)

    @property
    def coords_nominal(self) -> NDArray[np.float32]:
        """The :attr:`local_offsets` in single precision."""
        return self.local_offsets.astype(np.float32)

    #: Legacy names of the same coordinates.
    coords_true = coords_nominal
    coords = coords_nominal

    def _check(self) -> None:
        shape, groups, n = self.patterns.shape, self.groups, len(self.positions)
        if len(shape) != 3 or shape[1] != shape[2]:
            raise ValueError(f"amplitude has shape {shape}; expected (n, N, N)")
        if self.positions.shape != (n, 2) or shape[0] != n:
            raise ValueError(
                f"{shape[0]} patterns but positions of shape {self.positions.shape}; "
                "expected (n, 2) with one position per pattern"
            )
        if groups.ndim != 2 or self.gridsize**2 != self.channels:
            raise ValueError(f"groups have shape {groups.shape}; expected (B, gridsize**2)")
        if groups.size and not (groups.min() >= 0 and groups.max() < n):
            raise ValueError(f"groups hold indices outside 0..{n - 1}")
        check_scan_extent(self.positions, self.N)
        check_group_spread(self.positions, groups, self.N)
        if not (np.isfinite(self.normalisation) and self.normalisation > 0):
            raise ValueError(f"normalisation factor is {self.normalisation}; it must be positive")
