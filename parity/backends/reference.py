"""The float64 reference as a backend: it computes forward passes, losses, updates and merges.

It runs when asked for by name (``parity check --backend numpy``), without any framework. Checks
that hold a backend against the reference say nothing new of it; those that hold it against
analytic cases and stated properties do.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from parity.backends import oracle
from parity.backends.protocol import Arrays, NotOffered, TrainedRun
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.weights import Weights


def _not_offered(what: str) -> NoReturn:
    raise NotOffered(f"the NumPy reference has no {what}")


class ReferenceBackend:
    """Adapter of ``parity.backends.oracle``; results are rounded to single precision."""

    name = "numpy"

    def available(self) -> str | None:
        """Return None: NumPy is always there."""
        return None

    def evaluate(
        self, config: ModelConfig, weights: Weights, x: NDArray[Any], offsets: NDArray[Any]
    ) -> Arrays:
        """Return the stages of one forward pass."""
        return {
            name: np.asarray(value, np.complex64 if np.iscomplexobj(value) else np.float32)
            for name, value in oracle.evaluate(config, weights, x, offsets).items()
        }

    def evaluate_losses(
        self,
        config: TrainingConfig,
        intensity_scale: float,
        x: NDArray[Any],
        amplitude: NDArray[Any],
        intensity: NDArray[Any],
        patches: NDArray[Any] | None = None,
        labels: NDArray[Any] | None = None,
        bad_pixels: NDArray[Any] | None = None,
    ) -> dict[str, float]:
        """Return the loss terms of given predictions."""
        terms = oracle.evaluate_losses(
            config, intensity_scale, x, amplitude, intensity, patches, labels, bad_pixels
        )
        if labels is None and np.isnan(terms["loss"]):
            raise ValueError("this loss needs labels: give the data an objectGuess")
        return terms

    def loss_gradients(self, *given: Any, **named: Any) -> Arrays:
        """Raise :class:`NotOffered`: the reference differentiates along single directions."""
        _not_offered("gradient of every weight")

    def input_gradient(self, *given: Any, **named: Any) -> NDArray[Any]:
        """Raise :class:`NotOffered`: the reference differentiates along single directions."""
        _not_offered("gradient in every pixel")

    def optimiser_steps(
        self,
        config: TrainingConfig,
        weights: Weights,
        gradients: Sequence[Arrays],
        rates: Sequence[float],
    ) -> Weights:
        """Return the weights after the optimiser saw these gradients at these rates."""
        state = oracle.OptimiserState()
        moved: Arrays = {name: np.asarray(value, np.float64) for name, value in weights.items()}
        for gradient, rate in zip(gradients, rates, strict=True):
            exact = {name: np.asarray(value, np.float64) for name, value in gradient.items()}
            moved = oracle.optimiser_step(config, state, moved, exact, rate)
        return {name: value.astype(np.float32) for name, value in moved.items()}

    def round_trip(self, config: ModelConfig, weights: Weights) -> Weights:
        """Raise :class:`NotOffered`: canonical weights are its native ones."""
        _not_offered("native model")

    def native_sizes(self, config: ModelConfig, weights: Weights) -> list[int]:
        """Raise :class:`NotOffered`: canonical weights are its native ones."""
        _not_offered("native model")

    def merge(
        self, config: ModelConfig, patches: NDArray[Any], offsets: NDArray[Any]
    ) -> NDArray[Any]:
        """Merge object patches into group objects."""
        canvases = oracle.merge(
            config, np.asarray(patches, np.complex128), np.asarray(offsets, np.float64)
        )
        return oracle.centre(canvases, config.N).astype(np.complex64)

    def stitch(self, patches: NDArray[Any], offsets: NDArray[Any], M: int) -> NDArray[Any]:
        """Stitch patch by patch."""
        return oracle.stitch(patches[..., 0], offsets[:, 0, :, 0], M).astype(np.complex64)

    def train_steps(
        self,
        config: TrainingConfig,
        container: PtychoDataContainer,
        steps: int,
        weights: Weights | None = None,
    ) -> TrainedRun:
        """Raise :class:`NotOffered`."""
        _not_offered("training")

    def write_bundle(self, run: TrainedRun, directory: Path) -> Path:
        """Raise :class:`NotOffered`."""
        _not_offered("bundles")

    def load_and_predict(
        self, directory: Path, x: NDArray[Any], offsets: NDArray[Any]
    ) -> NDArray[Any]:
        """Raise :class:`NotOffered`."""
        _not_offered("bundles")
