"""The probe: a default one, and the legacy door that stores a guess in ``params.cfg``."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ptycho import params
from ptycho.core.scaling import normalise_probe

__all__ = ["get_default_probe", "set_probe_guess"]

#: Radius of the default probe's disc as a fraction of the patch side.
_DISC_RADIUS = 0.17


def get_default_probe(N: int) -> NDArray[np.complex64]:
    """Return a flat disc of radius 0.17 N with soft edges (1 pixel), complex64 (N, N).

    It is centred between pixels, at (N - 1)/2. Raises ``ValueError`` for N below 1.
    """
    from scipy.ndimage import gaussian_filter  # slow to import and seldom needed

    if N < 1:
        raise ValueError(f"probe side N is {N}; it must be at least 1")
    axis = np.arange(N) - (N - 1) / 2
    # A disc must hold at least the central pixels, however small N is.
    radius = max(_DISC_RADIUS * N, math.sqrt(0.5))
    disc = (np.hypot(axis[:, None], axis[None, :]) <= radius).astype(np.float64)
    probe: NDArray[np.complex64] = gaussian_filter(disc, 1.0, mode="constant").astype(np.complex64)
    return probe


def set_probe_guess(X_train: Any = None, probe_guess: ArrayLike | None = None) -> Any:
    """Store a probe, complex64 (N, N) or (modes, N, N), as ``params.cfg['probe']``; return it.

    Without a guess it is the default probe of the side of ``X_train`` (B, N, N, ...), or of
    ``params.cfg['N']``. The probe is stored as given; models bring it to their gauge
    (:func:`ptycho.core.scaling.normalise_probe`).

    Raises ``ValueError`` for a probe of another shape, not finite, or empty.
    """
    if probe_guess is None:
        side = params.get("N") if X_train is None else np.shape(X_train)[1]
        probe = get_default_probe(int(side))
    else:
        probe = np.asarray(probe_guess).astype(np.complex64)
        normalise_probe(probe, 1.0)  # checks shape and content
    params.set("probe", probe)
    return probe
