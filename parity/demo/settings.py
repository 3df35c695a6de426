"""Which training the demo runs on a scan."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.raw_data import RawData

#: Trained and compared in this order.
BACKENDS = ("tensorflow", "pytorch")

#: Epochs per backend unless asked otherwise: two, as on the built-in scan, and as many more as
#: give a smaller scan the same number of steps.
_LEAST_EPOCHS, _LEAST_STEPS = 2, 428
_BATCH = 4
_VALIDATION = 0.05

#: Probe energy that must lie in the central N/2 square for the padded decoder to suffice.
_CONFINED_ENERGY = 0.97


def read_scan(path: Path) -> RawData:
    """Read a scan that the demo can train on; ``ValueError`` without patterns or probe."""
    raw = RawData.from_file(path)
    if raw.diff3d is None or raw.probeGuess is None:
        raise ValueError(f"{path}: training needs diffraction patterns and probeGuess")
    return raw


def pattern_side(raw: RawData) -> int:
    """Return the side of the patterns in pixels."""
    return int(raw.amplitude().shape[-1])


def default_epochs(patterns: int) -> int:
    """Return the epochs that a scan of so many patterns is trained for unless asked otherwise."""
    steps = max(1, math.ceil(patterns * (1 - _VALIDATION) / _BATCH))
    return max(_LEAST_EPOCHS, math.ceil(_LEAST_STEPS / steps))


def confined_energy(probe: NDArray[Any]) -> float:
    """Return the share of the probe's energy (modes, N, N) inside its central N/2 square."""
    intensity = np.abs(np.atleast_3d(probe.T).T) ** 2
    N = intensity.shape[-1]
    centre = slice(N // 4, N - N // 4)
    return float(intensity[..., centre, centre].sum() / intensity.sum())


def stitched_side(N: int, pad_object: bool) -> int:
    """Return the side in pixels of the patch centres that the demo stitches.

    5/16 of N from patches that end at their central N/2 square, whose rim is poor; the whole
    N/2 square from a decoder that fills more: see ``docs/performance.md`` for what was tried.
    """
    return N * 5 // 16 if pad_object else N // 2


def training_fields(raw: RawData, epochs: int, seed: int, gridsize: int) -> dict[str, Any]:
    """Return the fields of the demo's training configuration, as JSON-ready values.

    Amplitude loss, a small network (``n_filters_scale=1``), small batches and a cosine learning
    rate: see ``docs/first_light.md`` and ``docs/performance.md`` for what was tried. A probe that
    reaches beyond the central N/2 square needs the decoder that fills the whole patch
    (``pad_object=False``).
    """
    return {
        "model": {
            "N": pattern_side(raw),
            "gridsize": gridsize,
            "n_filters_scale": 1,
            "pad_object": confined_energy(np.asarray(raw.probeGuess)) >= _CONFINED_ENERGY,
            "probe_big": False,
        },
        "batch_size": _BATCH,
        "nepochs": epochs,
        "mae_weight": 1.0,
        "nll_weight": 0.0,
        "n_groups": len(raw),
        "learning_rate": 1e-3,
        "scheduler": "WarmupCosine",
        "lr_warmup_epochs": 0,
        "lr_min_ratio": 0.02,
        "intensity_scale_trainable": False,
        "validation_fraction": _VALIDATION,
        "seed": seed,
    }
