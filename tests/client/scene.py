"""A simulated scan as the client holds it: counts, a product in metres, its own object guess."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ptychodus.api.geometry import PixelGeometry
from ptychodus.api.object import Object, ObjectCenter
from ptychodus.api.probe import ProbeSequence
from ptychodus.api.probe_positions import ProbePosition, ProbePositionSequence
from ptychodus.api.product import Product, ProductMetadata
from ptychodus.api.reconstruct import ReconstructInput

from ptycho.core.metrics import evaluate
from ptycho.raw_data import RawData
from ptycho.simulation.settings import ScanSettings
from ptycho.simulation.simulate import simulate

#: Object pixel and object centre in metres; the centre is off the origin on purpose.
PIXEL, CENTRE = 10e-9, (3e-6, -2e-6)


@dataclass(frozen=True)
class Scene:
    """A scan in both worlds: ``raw`` with the truth, ``given`` as the client passes it."""

    raw: RawData
    given: ReconstructInput


def make_scene(
    N: int = 64,
    n_positions: int = 400,
    modes: int = 1,
    bad_pixels: np.ndarray | None = None,
    seed: int = 0,
    **settings,
) -> Scene:
    """Simulate photon counts and wrap them up as the client does."""
    raw = simulate(
        ScanSettings(N=N, n_positions=n_positions, modes=modes, counts=True, seed=seed, **settings)
    )
    height, width = raw.objectGuess.shape
    # Pixel j of the object lies (j - (width - 1) / 2) pixels from its centre; the client's
    # position is the middle of the patch, half a pixel before the pixel N/2 that ours names.
    x_m = CENTRE[0] + (raw.xcoords - 0.5 - (width - 1) / 2) * PIXEL
    y_m = CENTRE[1] + (raw.ycoords - 0.5 - (height - 1) / 2) * PIXEL
    pixels = PixelGeometry(width_m=PIXEL, height_m=PIXEL)
    positions = [
        ProbePosition(index=i, x_m=float(x), y_m=float(y))
        for i, (x, y) in enumerate(zip(x_m, y_m, strict=True))
    ]
    probe = np.asarray(raw.probeGuess, np.complex128)
    product = Product(
        metadata=ProductMetadata(
            name="scene",
            comments="",
            detector_distance_m=2.0,
            photon_energy_eV=10e3,
            probe_photon_count=1e9,
            exposure_time_s=1.0,
            mass_attenuation_m2_per_kg=0.0,
            tomography_angle_deg=0.0,
        ),
        probe_positions=ProbePositionSequence(positions),
        probes=ProbeSequence(probe if probe.ndim == 3 else probe[None], None, pixels),
        # The client's object is a guess, not the truth.
        object_=Object(np.ones((height, width), np.complex128), pixels, ObjectCenter(*CENTRE)),
        losses=[],
    )
    mask = np.zeros((N, N), bool) if bad_pixels is None else bad_pixels
    patterns = np.array(raw.diff3d)
    patterns[:, mask] = 0
    return Scene(raw, ReconstructInput(patterns, mask, product))


def emptied(given: ReconstructInput) -> ReconstructInput:
    """Return the same without a single pattern or position."""
    product = replace(given.product, probe_positions=ProbePositionSequence([]))
    return replace(given, diffraction_patterns=given.diffraction_patterns[:0], product=product)


def scores(scene: Scene, found: Object) -> dict[str, float]:
    """Score the client's object against the truth, placed where the client has placed it."""
    given = scene.given.product.object_
    assert found.get_center() == given.get_center()
    assert found.get_pixel_geometry() == given.get_pixel_geometry()
    array = found.get_layer(0)
    # Both arrays' geometric middles lie at the same point; S // 2 is what evaluate is told.
    middle = (np.array(scene.raw.objectGuess.shape[::-1]) - 1) / 2
    of_pixel = middle + array.shape[0] // 2 - (array.shape[0] - 1) / 2
    return evaluate(array, scene.raw.objectGuess, of_pixel, positions=scene.raw.positions).scores
