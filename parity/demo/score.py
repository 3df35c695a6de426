"""Scores of the demo's reconstructions: against the reference, and between the backends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.demo.settings import BACKENDS
from ptycho.core.alignment import align, scan_area
from ptycho.core.metrics import evaluate
from ptycho.core.residual import diffraction_residual
from ptycho.raw_data import RawData

Image = NDArray[np.complex128]
Pair = tuple[str, str]


@dataclass
class Scores:
    """Scores by backend and for the pair, with the images that were scored.

    ``images`` are the reconstructions, complex, aligned to ``reference`` where there is one and
    to TensorFlow's where there is none, cut to the scanned area.
    """

    of: dict[str, dict[str, float]]
    pair: dict[str, float] = field(default_factory=dict)
    images: dict[str, Image] = field(default_factory=dict)
    reference: Image | None = None

    @property
    def has_reference(self) -> bool:
        """Tell whether the scan came with an object to compare with."""
        return self.reference is not None


@dataclass(frozen=True)
class _Stitched:
    object: NDArray[np.complex64]
    centre: NDArray[np.float64]
    load_seconds: float
    reconstruct_seconds: float


def _read(path: Path) -> _Stitched:
    with np.load(path, allow_pickle=False) as file:
        return _Stitched(
            file["object"],
            file["centre"],
            float(file["load_seconds"]),
            float(file["reconstruct_seconds"]),
        )


def _difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the largest difference of two images, relative to the largest modulus."""
    return float(np.abs(a - b).max() / max(np.abs(a).max(), np.abs(b).max()))


def _against_reference(
    scores: Scores, raw: RawData, reference: NDArray[Any], stitched: Mapping[str, _Stitched]
) -> None:
    for name, result in stitched.items():
        scored = evaluate(result.object, reference, result.centre, positions=raw.positions)
        scores.of[name].update(scored.scores)
        scores.images[name] = scored.alignment.reconstruction
        scores.reference = scored.alignment.truth
    tensorflow, pytorch = (scores.of[name] for name in BACKENDS)
    for key in ("amplitude_ssim", "phase_ssim", "phase_correlation"):
        scores.pair[f"{key}_difference"] = abs(tensorflow[key] - pytorch[key])


def _against_the_data(scores: Scores, raw: RawData, stitched: Mapping[str, _Stitched]) -> None:
    for name, result in stitched.items():
        found = diffraction_residual(
            result.object,
            result.centre,
            raw.positions,
            np.asarray(raw.probeGuess),
            raw.amplitude(),
            raw.bad_pixels,
        )
        scores.of[name]["diffraction_error"] = found.error
        scores.of[name]["diffraction_error_of_the_mean_pattern"] = found.mean_pattern_error
        scores.of[name]["diffraction_correlation"] = found.correlation


def _against_each_other(scores: Scores, raw: RawData, stitched: Mapping[str, _Stitched]) -> None:
    first, second = (stitched[name].object for name in BACKENDS)
    middle = (first.shape[0] // 2) - stitched[BACKENDS[0]].centre
    area = scan_area(raw.positions + middle, first.shape)
    aligned = align(second, first, area=area)
    scores.images = dict(zip(BACKENDS, (aligned.truth, aligned.reconstruction), strict=True))


def score_all(raw: RawData, files: Mapping[Pair, Path]) -> Scores:
    """Score the reconstructions in ``files``, keyed by (loading, writing) backend."""
    stitched = {pair: _read(path) for pair, path in files.items()}
    own = {name: stitched[name, name] for name in BACKENDS}
    scores = Scores(of={name: {} for name in BACKENDS})
    if raw.objectGuess is not None:
        _against_reference(scores, raw, raw.objectGuess, own)
    else:
        _against_each_other(scores, raw, own)
    _against_the_data(scores, raw, own)
    for reader in BACKENDS:
        scores.of[reader]["load_seconds"] = own[reader].load_seconds
        scores.of[reader]["reconstruct_seconds"] = own[reader].reconstruct_seconds
        (writer,) = (name for name in BACKENDS if name != reader)
        key = f"{writer}_bundle_read_by_{reader}_differs_by"
        scores.pair[key] = _difference(stitched[reader, writer].object, own[writer].object)
    return scores
