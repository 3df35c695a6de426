"""How well a reconstruction explains measured diffraction, where no true object is known.

The scan is simulated again with the reconstruction and the probe
(:mod:`ptycho.core.forward`) and its amplitudes are compared with the measured ones. Frames that
the training has not seen make it a test.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.forward import check_positions, intensity_batches

#: The scan's border is left out by this part of the patch side: beyond it lies no object.
_MARGIN = 0.25


@dataclass(frozen=True)
class DiffractionResidual:
    """Errors of re-simulated amplitudes S against measured ones A, over all frames and pixels.

    ``error`` is sum (A - s S)**2 / sum A**2 with the one scale s that fits best,
    ``mean_pattern_error`` the same figure for the mean measured pattern in the place of every S:
    what is known without any object. ``correlation`` is the median over the frames of the
    correlation of A and S after the mean frame of each is taken away; ``frames`` counts them.
    """

    error: float
    mean_pattern_error: float
    correlation: float
    frames: int


def diffraction_residual(
    reconstruction: NDArray[Any],
    centre: NDArray[Any],
    positions: NDArray[Any],
    probe: NDArray[Any],
    amplitude: NDArray[Any],
    bad_pixels: NDArray[np.bool_] | None = None,
) -> DiffractionResidual:
    """Compare the diffraction of ``reconstruction`` with measured amplitudes.

    ``reconstruction`` is the stitched object (S, S), complex, 0 where nothing was reconstructed,
    with its middle at ``centre`` [x, y]; ``positions`` (n, 2) = [x, y] in object pixels,
    ``probe`` (N, N) or (M, N, N), ``amplitude`` (n, N, N) the measured sqrt(counts), of which
    the pixels marked in ``bad_pixels`` (N, N) are not looked at. Frames whose middle square of
    side N/2 leaves the rectangle that the reconstruction covers are left out; elsewhere outside
    that rectangle the object is taken to be its mean value.

    Raises ``ValueError`` if fewer than two frames are left.
    """
    canvas = np.array(reconstruction, np.complex128)
    points = check_positions(positions) - np.asarray(centre, np.float64) + canvas.shape[0] / 2
    points = points - (canvas.shape[0] % 2) / 2
    covered = canvas != 0
    inside = _inside(covered, points, _MARGIN * amplitude.shape[-1])
    if inside.sum() < 2:
        raise ValueError(
            f"{int(inside.sum())} of {len(points)} frames lie inside the reconstruction; "
            f"expected at least 2: positions and centre are object pixels, [x, y]"
        )
    canvas[~covered] = canvas[covered].mean()
    measured = np.asarray(amplitude[inside], np.float64)
    simulated = np.empty_like(measured)
    for part, intensity in intensity_batches(canvas, points[inside], probe):
        simulated[part] = np.sqrt(intensity)
    if bad_pixels is not None:
        measured = np.where(bad_pixels, 0.0, measured)
        simulated = np.where(bad_pixels, 0.0, simulated)
    simulated *= float(np.sum(measured * simulated)) / float(np.sum(simulated**2))
    energy = float(np.sum(measured**2))
    mean = measured.mean(axis=0)
    return DiffractionResidual(
        error=float(np.sum((measured - simulated) ** 2)) / energy,
        mean_pattern_error=float(np.sum((measured - mean) ** 2)) / energy,
        correlation=_frame_correlation(measured - mean, simulated - simulated.mean(axis=0)),
        frames=len(measured),
    )


def _inside(covered: NDArray[np.bool_], points: NDArray[np.float64], margin: float) -> Any:
    """Tell which points lie in the covered rectangle, ``margin`` pixels away from its border."""
    rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        raise ValueError("the reconstruction is zero everywhere: there is nothing to simulate")
    low = np.array([columns[0], rows[0]]) + margin
    high = np.array([columns[-1], rows[-1]]) - margin
    return np.all((points >= low) & (points <= high), axis=1)


def _frame_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    products = np.sum(a * b, axis=(1, 2))
    norms = np.sqrt(np.sum(a**2, axis=(1, 2)) * np.sum(b**2, axis=(1, 2)))
    return float(np.median(np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0)))
