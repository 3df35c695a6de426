"""The float64 reference: a second, independent reading of ``docs/architecture.md`` section 3.

It shares with the backends nothing but the names and shapes of the canonical weights: no tensor
library, no banded shift matrices (it samples directly), no FFT (it multiplies by DFT matrices).
Where it and a backend differ, one of the two has misread the page, and the page decides.
"""

from __future__ import annotations

from parity.backends.oracle.losses import evaluate_losses, extracted_patches, loss
from parity.backends.oracle.model import evaluate, propagate
from parity.backends.oracle.network import object_patches
from parity.backends.oracle.optimisers import OptimiserState, clip_gradients, optimiser_step
from parity.backends.oracle.physics import centre, diffraction_intensity, extract, merge, shift
from parity.backends.oracle.stitching import stitch

__all__ = [
    "OptimiserState",
    "optimiser_step",
    "centre",
    "clip_gradients",
    "diffraction_intensity",
    "evaluate",
    "evaluate_losses",
    "extract",
    "extracted_patches",
    "loss",
    "merge",
    "object_patches",
    "propagate",
    "shift",
    "stitch",
]
