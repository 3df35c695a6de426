"""Parts of a measured scan: one to train on, one to be looked at for the first time."""

from __future__ import annotations

import numpy as np

from ptycho.raw_data import RawData


def part(scan: RawData, keep: np.ndarray) -> RawData:
    """Return the scan at the positions for which ``keep``, (n,) bool, holds."""
    return RawData(
        scan.xcoords[keep],
        scan.ycoords[keep],
        None,
        None,
        scan.diff3d[keep],
        scan.probeGuess,
        None,
        objectGuess=scan.objectGuess,
        bad_pixels=scan.bad_pixels,
        measurement_domain=scan.measurement_domain,
    )
