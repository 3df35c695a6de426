"""Simulated scans: the reference forward model with photon noise, as :class:`RawData`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.forward import (
    check_positions,
    intensity_batches,
    pattern_energies,
    photon_counts,
    probe_modes,
    scale_probe,
)
from ptycho.core.overlap import effective_diameter, linear_overlap
from ptycho.raw_data import RawData
from ptycho.simulation.objects import make_object
from ptycho.simulation.probes import incoherent_modes, make_probe
from ptycho.simulation.scans import make_scan, object_shape
from ptycho.simulation.settings import ScanSettings

__all__ = ["ScanSettings", "built_in_scan", "simulate", "simulate_scan"]

#: Pixels between the outermost patches and the border of the object.
_MARGIN = 2


def _count_dtype(largest_energy: float) -> type[np.unsignedinteger[Any]]:
    """Return an unsigned integer type that no pixel of a pattern of that energy can overflow."""
    bound = largest_energy + 20 * math.sqrt(largest_energy) + 100
    for dtype in (np.uint16, np.uint32):
        if bound < np.iinfo(dtype).max:
            return dtype
    return np.uint64


def simulate_scan(
    obj: NDArray[Any],
    probe: NDArray[Any],
    positions: NDArray[Any],
    nphotons: float,
    rng: np.random.Generator,
    counts: bool = False,
    metadata: Mapping[str, Any] | None = None,
) -> RawData:
    """Return the scan that ``nphotons`` photons per pattern, on average, would have measured.

    ``obj`` (H, W) is the complex transmission, ``probe`` (N, N) or (M, N, N) complex of any
    scale, ``positions`` (n, 2) = [x, y] in object pixels. The result's ``objectGuess`` is the
    truth and its ``probeGuess`` the probe in sqrt(photons), so that
    ``sum_m |F(probeGuess_m * patch)|**2`` is the expected number of photons; both complex64, and
    it is these rounded ones that are simulated. ``diff3d`` is float32 amplitude, the square root
    of Poisson counts, or with ``counts=True`` the counts, unsigned integers. ``metadata`` is
    added to what is recorded: photons, sizes, overlap.

    The photons drawn depend on ``rng`` alone, not on how the scan is batched. Raises
    ``ValueError`` for misshapen input, a photon number that is not positive, or an object that
    lets no light pass.
    """
    points, truth = check_positions(positions), np.asarray(obj, np.complex64)
    scaled = scale_probe(probe, truth, points, nphotons).astype(np.complex64)
    N, M = probe_modes(scaled).shape[-1], len(probe_modes(scaled))
    dtype: Any = np.float32
    if counts:
        dtype = _count_dtype(float(pattern_energies(truth, points, scaled).max()))
    patterns = np.empty((len(points), N, N), dtype)
    photons = 0
    for part, intensity in intensity_batches(truth, points, scaled):
        drawn = photon_counts(intensity, rng)
        photons += int(drawn.sum())
        patterns[part] = drawn if counts else np.sqrt(drawn)
    diameter = effective_diameter(scaled)
    record = {
        "nphotons": float(nphotons),
        "N": N,
        "n_positions": len(points),
        "modes": M,
        "counts": counts,
        "photons_per_pattern": photons / len(points),
        "probe_diameter": diameter,
        "overlap": linear_overlap(points, diameter) if len(points) > 1 else None,
    }
    return RawData(
        xcoords=points[:, 0].copy(),
        ycoords=points[:, 1].copy(),
        xcoords_start=None,
        ycoords_start=None,
        diff3d=patterns,
        probeGuess=scaled,
        scan_index=None,
        objectGuess=truth,
        metadata={**record, **(metadata or {})},
        measurement_domain="counts" if counts else "amplitude",
    )


def simulate(settings: ScanSettings, probe: NDArray[Any] | None = None) -> RawData:
    """Return the scan that ``settings`` describe; the same settings give the same bytes.

    ``probe`` (N, N) or (modes, N, N), complex, lights the object instead of the probe that the
    settings name; ``ValueError`` unless its side is ``settings.N``.
    """
    streams = np.random.SeedSequence(settings.seed).spawn(3)
    of_object, of_scan, of_photons = (np.random.default_rng(stream) for stream in streams)
    positions = make_scan(
        settings.scan, settings.n_positions, settings.spacing, settings.N, of_scan, _MARGIN
    )
    obj = make_object(
        settings.object,
        object_shape(positions, settings.N, _MARGIN),
        of_object,
        absorption=settings.absorption,
        phase_shift=settings.phase_shift,
    )
    if probe is None:
        probe = make_probe(settings.probe, settings.N)
        if settings.modes > 1:
            probe = incoherent_modes(probe, settings.modes)
        described = settings.as_dict()
    else:
        if probe_modes(probe).shape[-1] != settings.N:
            raise ValueError(
                f"the probe has {probe.shape[-1]} x {probe.shape[-1]} pixels and N is {settings.N}"
            )
        described = {**settings.as_dict(), "probe": "given", "modes": len(probe_modes(probe))}
    return simulate_scan(
        obj,
        probe,
        positions,
        settings.nphotons,
        of_photons,
        counts=settings.counts,
        metadata={"simulation": described, "seed": settings.seed},
    )


def built_in_scan(seed: int = 0, N: int = 64, **changes: Any) -> RawData:
    """Return the scan of the demo and the tutorials: gold-like particles under a zone plate.

    ``changes`` are further fields of :class:`ScanSettings`. The object is of one material, so
    its amplitude and its phase show the same particles. The probe is a defocused zone-plate
    beam: its spherical wave makes each pattern an in-line hologram of the patch that it lights,
    upright and about twice as large, in which a convolutional network finds the object's
    structure where it lies. An in-focus or flat-phase probe hides it in the phase of the far
    field; such scans need far longer training.
    """
    return simulate(ScanSettings(seed=seed, N=N, **changes))
