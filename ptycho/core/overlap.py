"""Overlap of a scan: how much light neighbouring patterns, and groups of patterns, share.

Everything comes from the positions (n, 2) = [x, y] in object pixels and the probe; the patterns
are never touched. Definitions: ``specs/overlap_metrics.md``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial import cKDTree

from ptycho.core.coverage import Coverage, largest_gap, measure_coverage

__all__ = [
    "UNITS",
    "area_overlap",
    "effective_diameter",
    "group_measures",
    "intensity_overlap",
    "linear_overlap",
    "measure_overlap",
    "neighbour_distance",
]

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.integer]

#: Every measure and its unit, in the order in which they are reported.
UNITS: dict[str, str] = {
    "positions": "1",
    "repeated_positions": "1",
    "probe_diameter": "pixels",
    "spacing": "pixels",
    "spacing_least": "pixels",
    "spacing_largest": "pixels",
    "linear_overlap": "1",
    "area_overlap": "1",
    "area_overlap_least": "1",
    "intensity_overlap": "1",
    "field_area": "pixels^2",
    "lit_fraction": "1",
    "coverage_mean": "patterns",
    "coverage_median": "patterns",
    "coverage_least": "patterns",
    "coverage_largest": "patterns",
    "largest_gap": "pixels",
    "groups": "1",
    "group_span": "pixels",
    "within_group_area_overlap": "1",
    "within_group_intensity_overlap": "1",
    "within_group_least": "1",
    "between_group_overlap": "1",
    "uses_per_position": "1",
    "unused_positions": "1",
}

_NEIGHBOURS = 4
#: Groups that stand for all of them where lit areas are compared, and points per disc there.
_GROUPS_COMPARED, _DISC_POINTS = 512, 512
#: Distances held at once.
_BATCH = 4_000_000


# --------------------------------------------------------------------------- probe and pairs


def _intensity(probe: NDArray[Any]) -> FloatArray:
    modes = np.abs(np.asarray(probe)).astype(np.float64)
    if modes.ndim not in (2, 3):
        raise ValueError(f"probe has shape {modes.shape}; expected (N, N) or (modes, N, N)")
    largest = float(modes.max(initial=0.0))
    if not (math.isfinite(largest) and largest > 0):
        raise ValueError("the probe is empty or not finite: it has no lit area")
    # Relative to the largest value: squares of very large or small ones leave float's range.
    squared = (modes / largest) ** 2
    return squared if squared.ndim == 2 else squared.sum(axis=0)


def effective_diameter(probe: NDArray[Any]) -> float:
    """Return the diameter in pixels of the disc that is as large as the probe's lit area.

    ``probe`` is (N, N) or (M, N, N) complex, of any scale. The lit area is
    ``(sum I)**2 / sum I**2`` with I the intensity summed over modes: exactly the area of a
    uniform disc. Raises ``ValueError`` for a probe that is empty or not finite.
    """
    intensity = _intensity(probe)
    area = float(intensity.sum() ** 2 / (intensity**2).sum())
    return 2 * math.sqrt(area / math.pi)


def area_overlap(distance: Any, diameter: float) -> FloatArray:
    """Return the shared part of two equal discs ``distance`` pixels apart, in [0, 1]."""
    u = np.minimum(np.asarray(distance, np.float64) / diameter, 1.0)
    shared: FloatArray = 2 / math.pi * (np.arccos(u) - u * np.sqrt(1 - u**2))
    return shared


def intensity_overlap(probe: NDArray[Any], shifts: FloatArray) -> FloatArray:
    """Return ``sum I(r) I(r - d) / sum I**2`` at the vectors d, ``shifts`` (..., 2) = [x, y].

    ``probe`` is (N, N) or (M, N, N) complex, of any scale; the result has shape (...).
    """
    intensity = _intensity(probe)
    height, width = intensity.shape
    spectrum = np.fft.rfft2(intensity, (2 * height, 2 * width))
    shared = np.fft.fftshift(np.fft.irfft2(np.abs(spectrum) ** 2, (2 * height, 2 * width)))
    where = np.stack([shifts[..., 1] + height, shifts[..., 0] + width])
    values = map_coordinates(shared / shared[height, width], where, order=1, mode="constant")
    overlap: FloatArray = np.clip(values, 0.0, 1.0)
    return overlap


# --------------------------------------------------------------------------- neighbours


def _neighbours(positions: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return distances (n, k) to the k = 4 nearest others and vectors (n, k, 2) to them."""
    nearest = min(_NEIGHBOURS, len(positions) - 1)
    distances, found = cKDTree(positions).query(positions, k=np.arange(1, nearest + 2))
    # The first is the position itself, or another at its very place.
    others = positions[found[:, 1:]]
    return distances[:, 1:], others - positions[:, None]


def neighbour_distance(positions: FloatArray) -> float:
    """Return the typical distance in pixels between neighbours; nan for one position alone.

    It is the median over positions of the mean distance to the four nearest others, which is
    the step of a raster.
    """
    if len(positions) < 2:
        return math.nan
    distances, _ = _neighbours(positions)
    return float(np.median(distances.mean(axis=1)))


def linear_overlap(positions: FloatArray, diameter: float) -> float:
    """Return ``1 - neighbour distance / probe diameter``, at least 0; nan for one position."""
    return _linear(neighbour_distance(positions), diameter)


def _linear(distance: float, diameter: float) -> float:
    return distance if math.isnan(distance) else max(0.0, 1 - distance / diameter)


def _neighbour_measures(
    positions: FloatArray, probe: NDArray[Any], diameter: float
) -> dict[str, float]:
    if len(positions) < 2:
        return {}
    distances, vectors = _neighbours(positions)
    nearest, spacing = distances[:, 0], float(np.median(distances.mean(axis=1)))
    return {
        "spacing": spacing,
        "spacing_least": float(nearest.min()),
        "spacing_largest": float(nearest.max()),
        "linear_overlap": _linear(spacing, diameter),
        "area_overlap": float(area_overlap(distances, diameter).mean()),
        "area_overlap_least": float(area_overlap(nearest, diameter).min()),
        "intensity_overlap": float(intensity_overlap(probe, vectors).mean()),
    }


def _coverage_measures(coverage: Coverage) -> dict[str, float]:
    inside = coverage.counts[coverage.field]
    if not len(inside):
        return {"field_area": 0}
    return {
        "field_area": len(inside),
        "lit_fraction": float((inside > 0).mean()),
        "coverage_mean": float(inside.mean()),
        "coverage_median": float(np.median(inside)),
        "coverage_least": int(inside.min()),
        "coverage_largest": int(inside.max()),
    }


# --------------------------------------------------------------------------- groups


def group_measures(
    positions: FloatArray, groups: IndexArray, probe: NDArray[Any], diameter: float
) -> dict[str, float]:
    """Return the measures of ``groups`` (B, C), indices into ``positions`` (n, 2).

    Overlaps within groups need two members or more, the one between groups two groups.
    """
    count, channels = groups.shape
    members = positions[groups]
    uses = np.bincount(groups.ravel(), minlength=len(positions))
    measures: dict[str, float] = {
        "groups": count,
        "uses_per_position": float(uses.mean()),
        "unused_positions": int((uses == 0).sum()),
    }
    if channels > 1:
        one, other = np.triu_indices(channels, 1)
        vectors = members[:, other] - members[:, one]
        distances = np.hypot(vectors[..., 0], vectors[..., 1])
        pairs = area_overlap(distances, diameter).mean(axis=1)
        measures |= {
            "group_span": float(distances.max(axis=1).mean()),
            "within_group_area_overlap": float(pairs.mean()),
            "within_group_intensity_overlap": float(intensity_overlap(probe, vectors).mean()),
            "within_group_least": float(pairs.min()),
        }
    if count > 1:
        measures["between_group_overlap"] = _between(members, diameter)
    return measures


def _between(members: FloatArray, diameter: float) -> float:
    """Return the mean share of a group's lit area that the group nearest to it lights too."""
    count, channels, _ = members.shape
    _, found = cKDTree(members.mean(axis=1)).query(members.mean(axis=1), k=2)
    nearest = np.where(found[:, 0] == np.arange(count), found[:, 1], found[:, 0])
    chosen = np.unique(np.linspace(0, count - 1, min(count, _GROUPS_COMPARED)).astype(np.int64))
    disc = _disc_points(_DISC_POINTS) * (diameter / 2)
    size = max(1, _BATCH // (channels * channels * len(disc)))
    shares = []
    for start in range(0, len(chosen), size):
        part = chosen[start : start + size]
        points = (members[part][:, :, None] + disc).reshape(len(part), -1, 2)
        # A point in several discs of its group counts once in all.
        weights = 1 / _discs_around(points, members[part], diameter)
        shared = _discs_around(points, members[nearest[part]], diameter) > 0
        shares.append((weights * shared).sum(axis=1) / weights.sum(axis=1))
    return float(np.concatenate(shares).mean())


def _disc_points(count: int) -> FloatArray:
    """Return ``count`` points (count, 2) spread evenly over the unit disc (Vogel's spiral)."""
    order = np.arange(count) + 0.5
    radius, angle = np.sqrt(order / count), order * math.pi * (3 - math.sqrt(5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


def _discs_around(points: FloatArray, centres: FloatArray, diameter: float) -> NDArray[np.int64]:
    """Return how many of the discs at ``centres`` (s, C, 2) hold each of ``points`` (s, p, 2)."""
    x = points[:, :, None, 0] - centres[:, None, :, 0]
    y = points[:, :, None, 1] - centres[:, None, :, 1]
    held: NDArray[np.int64] = (x**2 + y**2 <= (diameter / 2) ** 2).sum(axis=2)
    return held


# --------------------------------------------------------------------------- all of them


def measure_overlap(
    positions: NDArray[Any],
    probe: NDArray[Any],
    groups: IndexArray | None = None,
    *,
    diameter: float | None = None,
) -> dict[str, float]:
    """Return all measures of a scan by name, units in :data:`UNITS`; nan where undefined.

    Numbers of things are ``int``, all else ``float``.

    ``positions`` (n, 2) = [x, y] in object pixels; ``probe`` (N, N) or (M, N, N) complex, of any
    scale; ``groups`` (B, C) indices of positions, without which the group measures are nan;
    ``diameter`` in pixels replaces the probe's own.

    Raises ``ValueError`` for misshapen or non-finite positions, an empty probe, or a diameter
    that is not positive.
    """
    points = np.asarray(positions, np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"positions have shape {points.shape}; expected (n, 2) = [x, y], n > 0")
    if not np.isfinite(points).all():
        raise ValueError("positions contain NaN or infinity")
    across = effective_diameter(probe) if diameter is None else float(diameter)
    if not (math.isfinite(across) and across > 0):
        raise ValueError(f"diameter is {diameter}; expected a positive number of pixels")
    found: dict[str, float] = {
        "positions": len(points),
        "repeated_positions": len(points) - len(np.unique(points, axis=0)),
        "probe_diameter": across,
        "largest_gap": largest_gap(points),
    }
    found |= _neighbour_measures(points, probe, across)
    found |= _coverage_measures(measure_coverage(points, across))
    if groups is not None:
        found |= group_measures(points, groups, probe, across)
    return {name: found.get(name, math.nan) for name in UNITS}
