"""What the checks ask of a backend: NumPy in, NumPy out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.weights import Weights

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class TrainedRun:
    """What a training of some steps left: losses per step, canonical weights, the model."""

    step_losses: list[float]
    history: dict[str, list[float]]
    weights: Weights
    trained: Any


class NotOffered(BaseException):
    """Raised by a backend for what it does not do; its verdict becomes ``not-run``.

    No ``Exception``, so that it passes through checks that look at whatever a backend raises.
    """


class Backend(Protocol):
    """One backend. Every method may import its framework; constructing one may not.

    A third backend may leave methods out by raising :class:`NotOffered`, saying what it lacks.

    Shapes: ``x`` (B, N, N, C) float32 = s0 * X, ``offsets`` (B, 1, 2, C) float32 relative
    coordinates in pixels, ``labels`` (B, N, N, C) complex64, ``bad_pixels`` (N, N) bool.
    """

    @property
    def name(self) -> str:
        """Name in verdicts: "tensorflow", "pytorch", or an entry point's own."""
        ...

    def available(self) -> str | None:
        """Return None where the backend can run, else the reason why it cannot."""
        ...

    def evaluate(
        self, config: ModelConfig, weights: Weights, x: NDArray[Any], offsets: NDArray[Any]
    ) -> Arrays:
        """Return ``object``, ``patches``, ``amplitude`` and ``intensity`` of one forward pass."""
        ...

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
        """Return ``nll``, ``mae``, ``realspace`` and ``loss`` of given predictions."""
        ...

    def loss_gradients(
        self,
        config: TrainingConfig,
        weights: Weights,
        x: NDArray[Any],
        offsets: NDArray[Any],
        intensity_scale: float,
        labels: NDArray[Any] | None = None,
        bad_pixels: NDArray[Any] | None = None,
    ) -> Arrays:
        """Return the gradient of the training loss by canonical name."""
        ...

    def input_gradient(
        self,
        config: TrainingConfig,
        weights: Weights,
        x: NDArray[Any],
        offsets: NDArray[Any],
        intensity_scale: float,
        labels: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Return the gradient (B, N, N, C) of the training loss in what the network sees.

        The measured amplitudes that its prediction is compared with stay ``x``.
        """
        ...

    def optimiser_steps(
        self,
        config: TrainingConfig,
        weights: Weights,
        gradients: Sequence[Arrays],
        rates: Sequence[float],
    ) -> Weights:
        """Return the weights after the backend's optimiser saw these gradients at these rates."""
        ...

    def round_trip(self, config: ModelConfig, weights: Weights) -> Weights:
        """Put canonical weights into a native model and read them back."""
        ...

    def native_sizes(self, config: ModelConfig, weights: Weights) -> list[int]:
        """Return the number of elements of each variable of a native model."""
        ...

    def merge(
        self, config: ModelConfig, patches: NDArray[Any], offsets: NDArray[Any]
    ) -> NDArray[Any]:
        """Merge object patches (B, N, N, C) complex64 into group objects (B, N, N, 1)."""
        ...

    def stitch(self, patches: NDArray[Any], offsets: NDArray[Any], M: int) -> NDArray[Any]:
        """Stitch (K, N, N, 1) at (K, 1, 2, 1) through the backend's public door."""
        ...

    def train_steps(
        self,
        config: TrainingConfig,
        container: PtychoDataContainer,
        steps: int,
        weights: Weights | None = None,
    ) -> TrainedRun:
        """Train for at most ``steps`` optimiser steps; ``weights`` default to the seeded ones."""
        ...

    def write_bundle(self, run: TrainedRun, directory: Path) -> Path:
        """Write the bundle of a training into ``directory`` and return the archive's path."""
        ...

    def load_and_predict(
        self, directory: Path, x: NDArray[Any], offsets: NDArray[Any]
    ) -> NDArray[Any]:
        """Load a bundle of either backend by the public door and predict (B, N, N, 1)."""
        ...
