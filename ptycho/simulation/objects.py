"""Specimens: seeded thickness maps and the complex transmission functions made of them.

Most specimens are of a single material: a thickness map ``t`` in [0, 1] gives the transmission
``exp(-(beta + i*delta) * t)`` (projection approximation; beta and delta stand for
``2*pi*beta_k*T/lambda`` and ``2*pi*delta_k*T/lambda`` at full thickness T), so amplitude
``exp(-beta*t)`` and phase ``-delta*t`` show the same structure. ``grf`` is the exception: its
amplitude and its phase are independent.

Shapes are (H, W) in pixels; edges are anti-aliased over one pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from ptycho.simulation.settings import OBJECTS

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
Shape = tuple[int, int]
Thickness = Callable[[Shape, np.random.Generator], FloatArray]


def single_material(
    thickness: NDArray[np.floating], absorption: float = 0.35, phase_shift: float = 0.8
) -> ComplexArray:
    """Return the transmission ``exp(-(absorption + i*phase_shift) * thickness)``, complex128.

    ``thickness`` is (H, W) relative to the full thickness, at which the amplitude is
    ``exp(-absorption)`` and the phase ``-phase_shift`` radians.
    """
    return np.exp(-(absorption + 1j * phase_shift) * np.asarray(thickness, np.float64))


def _coverage(distance: FloatArray) -> FloatArray:
    """Return the covered fraction of a pixel ``distance`` pixels inside a straight edge."""
    return np.clip(0.5 + distance, 0.0, 1.0)


def _grid(shape: Shape) -> tuple[FloatArray, FloatArray]:
    """Return row (H, 1) and column (1, W) coordinates from the middle of the map."""
    rows = np.arange(shape[0], dtype=np.float64) - (shape[0] - 1) / 2
    columns = np.arange(shape[1], dtype=np.float64) - (shape[1] - 1) / 2
    return rows[:, None], columns[None, :]


def _to_unit_range(values: FloatArray) -> FloatArray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)


def siemens_star_thickness(
    shape: Shape,
    rng: np.random.Generator,
    *,
    spokes: int = 24,
    rings: int = 5,
    gap: float = 3.0,
    hub: float = 0.1,
    rotation: float | None = None,
) -> FloatArray:
    """Return a Siemens star: radial spokes around an empty hub, cut by ``rings`` circular gaps.

    ``gap`` is the gaps' width in pixels, ``hub`` the hub's radius relative to half the shorter
    side; the star fills the corners. ``rotation`` in radians is drawn from ``rng`` if None.
    """
    rows, columns = _grid(shape)
    radius, angle = np.hypot(rows, columns), np.arctan2(rows, columns)
    if rotation is None:
        rotation = float(rng.uniform(0, 2 * math.pi / spokes))
    # arcsin(cos) is the triangle wave whose slope is the distance along the arc to the edge.
    wave = np.arcsin(np.clip(np.cos(spokes * (angle - rotation)), -1, 1))
    star = _coverage(wave * radius / spokes)
    edges = np.linspace(hub, 1.45, rings + 1) * min(shape) / 2
    for edge in edges:
        star *= 1 - _coverage(gap / 2 - np.abs(radius - edge))
    return star * _coverage(radius - edges[0])


def particles_thickness(
    shape: Shape,
    rng: np.random.Generator,
    *,
    radius: tuple[float, float] = (3.0, 7.0),
    elongation: float = 1.0,
    fill: float = 1.5,
) -> FloatArray:
    """Return particles in one layer; where two meet they merge and the thicker one counts.

    Radii are uniform in ``radius`` (pixels); particles are added until their summed area is
    ``fill`` times the map's. They are spheres, or with ``elongation`` above 1 ellipsoids whose
    axes differ by up to that ratio. The thickest point is 1.
    """
    sheet = np.zeros(shape, np.float64)
    area, wanted = 0.0, fill * shape[0] * shape[1]
    while area < wanted:
        centre = rng.uniform((0, 0), shape)
        long = float(rng.uniform(*radius))
        axes = np.array([long, long / rng.uniform(1, elongation)])
        window, profile = _ellipsoid(shape, centre, axes, float(rng.uniform(0, math.pi)))
        sheet[window] = np.maximum(sheet[window], float(axes[1]) * profile)
        area += math.pi * float(axes.prod())
    return sheet / sheet.max() if sheet.any() else sheet


def _ellipsoid(
    shape: Shape, centre: FloatArray, axes: FloatArray, turn: float
) -> tuple[tuple[slice, slice], FloatArray]:
    """Return the window of a map that an ellipsoid falls on and its relative thickness there."""
    reach = float(axes.max()) + 1
    top, left = (max(0, int(c - reach)) for c in centre)
    bottom, right = (
        max(low, min(n, int(c + reach) + 2))
        for low, n, c in zip((top, left), shape, centre, strict=True)
    )
    rows = np.arange(top, bottom)[:, None] - centre[0]
    columns = np.arange(left, right)[None, :] - centre[1]
    along = (columns * math.cos(turn) + rows * math.sin(turn)) / axes[0]
    across = (rows * math.cos(turn) - columns * math.sin(turn)) / axes[1]
    profile = np.sqrt(np.clip(1 - along**2 - across**2, 0, None))
    return (slice(top, bottom), slice(left, right)), profile


def lines_thickness(
    shape: Shape,
    rng: np.random.Generator,
    *,
    density: float = 0.25,
    widths: tuple[float, ...] = (1.5, 3.0, 6.0, 12.0),
) -> FloatArray:
    """Return straight lines in random directions, of several ``widths`` (pixels); crossings add.

    ``density`` is the number of lines per pixel of the longer side.
    """
    rows, columns = _grid(shape)
    half_diagonal = math.hypot(*shape) / 2
    sheet = np.zeros(shape, np.float64)
    for i in range(max(4, round(density * max(shape)))):
        angle, offset = rng.uniform(0, math.pi), rng.uniform(-1, 1) * half_diagonal
        width = widths[i % len(widths)]
        distance = np.abs(rows * math.cos(angle) + columns * math.sin(angle) - offset)
        sheet += rng.uniform(0.3, 1.0) * _coverage(width / 2 - distance)
    return _to_unit_range(sheet)


def cells_thickness(
    shape: Shape,
    rng: np.random.Generator,
    *,
    radius: tuple[float, float] = (14.0, 26.0),
    fill: float = 0.7,
) -> FloatArray:
    """Return flat cells: overlapping ellipsoids with a nucleus and granules in each.

    Semi-axes are uniform in ``radius`` (pixels); cells are added until their summed area is
    ``fill`` times the map's.
    """
    sheet = np.zeros(shape, np.float64)

    def add(centre: FloatArray, axes: FloatArray, turn: float, height: float) -> None:
        window, profile = _ellipsoid(shape, centre, axes, turn)
        sheet[window] += height * profile

    area, wanted = 0.0, fill * shape[0] * shape[1]
    while area < wanted:
        centre, axes = rng.uniform((0, 0), shape), rng.uniform(*radius, size=2)
        turn, reach = float(rng.uniform(0, math.pi)), 0.4 * float(axes.min())
        add(centre, axes, turn, 0.5)
        add(centre + rng.uniform(-0.5, 0.5, 2) * reach, 0.35 * axes, turn, 0.4)
        for _ in range(8):
            granule = centre + rng.uniform(-1.5, 1.5, 2) * reach
            add(granule, rng.uniform(1.5, 3.0, size=2), 0.0, 0.25)
        area += math.pi * float(axes.prod())
    return sheet / sheet.max() if sheet.any() else sheet


def random_field(
    shape: Shape, rng: np.random.Generator, *, exponent: float = 3.0, finest: float = 4.0
) -> FloatArray:
    """Return a Gaussian random field scaled to [0, 1], shape (H, W), periodic.

    Its power spectrum is ``(k + k0)**-exponent`` with the lowest frequency k0, cut off smoothly
    at the period ``finest`` pixels.
    """
    frequency = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    lowest = 1 / max(shape)
    spectrum = (frequency + lowest) ** (-exponent / 2) * np.exp(-((frequency * finest) ** 2))
    noise = np.fft.rfft2(rng.standard_normal(shape))
    return _to_unit_range(np.fft.irfft2(noise * spectrum, s=shape))


def mixed_thickness(shape: Shape, rng: np.random.Generator) -> FloatArray:
    """Return four quadrants: star, particles, lines, and cells."""
    top, left = shape[0] // 2, shape[1] // 2
    sheet = np.empty(shape, np.float64)
    builders: tuple[Thickness, ...] = (
        siemens_star_thickness, particles_thickness, lines_thickness, cells_thickness,
    )  # fmt: skip
    for i, builder in enumerate(builders):
        rows = slice(0, top) if i < 2 else slice(top, None)
        columns = slice(0, left) if i % 2 == 0 else slice(left, None)
        window = sheet[rows, columns]
        sheet[rows, columns] = builder((window.shape[0], window.shape[1]), rng)
    return sheet


#: Thickness maps of the single-material specimens, by name.
THICKNESS: dict[str, Thickness] = {
    "siemens_star": siemens_star_thickness,
    "particles": particles_thickness,
    "lines": lines_thickness,
    "cells": cells_thickness,
    "test_pattern": mixed_thickness,
}


def make_object(
    name: str,
    shape: Shape,
    rng: np.random.Generator,
    *,
    absorption: float = 0.35,
    phase_shift: float = 0.8,
    blur: float = 0.7,
) -> ComplexArray:
    """Return the specimen ``name`` as a complex128 transmission function of ``shape`` (H, W).

    Amplitudes lie in [exp(-absorption), 1], phases in [-phase_shift, 0]. ``blur`` is the sigma
    in pixels with which single-material thickness is smoothed (no edge is sharper than the
    optics resolve). For ``grf`` amplitude and phase come from two independent fields.

    Raises ``ValueError`` for an unknown name or a side below 8 pixels.
    """
    if name not in OBJECTS:
        raise ValueError(f"object {name!r} is unknown; allowed: {', '.join(OBJECTS)}")
    if min(shape) < 8:
        raise ValueError(f"object shape is {tuple(shape)}; both sides must be at least 8 pixels")
    if name == "grf":
        absorbing, shifting = random_field(shape, rng), random_field(shape, rng)
        return np.exp(-(absorption * absorbing + 1j * phase_shift * shifting))
    thickness = THICKNESS[name](shape, rng)
    if blur > 0:
        thickness = gaussian_filter(thickness, blur)
    return single_material(thickness, absorption, phase_shift)
