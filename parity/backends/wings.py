"""What the two built-in backends have in common: the same rooms under the same names."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends.protocol import Arrays, TrainedRun
from ptycho import params
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.weights import Weights
from ptycho.workflows.backend_selector import bundle_reader


class Wing:
    """A backend whose rooms are the modules of one package.

    Subclasses say how the package's tensors are reached; everything else has one name in both.
    """

    name: str
    package: str
    stitching_door: str

    def room(self, name: str) -> ModuleType:
        """Import and return one of the package's modules."""
        return importlib.import_module(f"{self.package}.{name}")

    def available(self) -> str | None:
        """Return None, or what is missing, as the package's own door says it."""
        try:
            self.room("workflows.components").require_framework()
        except (ImportError, RuntimeError) as error:
            return str(error)
        return None

    def evaluate(
        self, config: ModelConfig, weights: Weights, x: NDArray[Any], offsets: NDArray[Any]
    ) -> Arrays:
        """Return the stages of one forward pass."""
        outputs: Arrays = self.room("model").evaluate(config, weights, x, offsets)
        return outputs

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
        terms: Mapping[str, float] = self.room("losses").evaluate_losses(
            config, intensity_scale, x, amplitude, intensity, patches, labels, bad_pixels
        )
        return dict(terms)

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
        gradients: Arrays = self.room("training").loss_gradients(
            config, weights, x, offsets, intensity_scale, labels, bad_pixels
        )
        return gradients

    def stitch(self, patches: NDArray[Any], offsets: NDArray[Any], M: int) -> NDArray[Any]:
        """Stitch through ``reassemble_position``."""
        door = self.room(self.stitching_door)
        return np.squeeze(np.asarray(door.reassemble_position(patches, offsets, M=M)))

    def train_steps(
        self,
        config: TrainingConfig,
        container: PtychoDataContainer,
        steps: int,
        weights: Weights | None = None,
    ) -> TrainedRun:
        """Train quietly on the CPU."""
        trained = self.train(config, container, steps, weights)
        return TrainedRun(
            list(trained.step_losses), dict(trained.history), trained.weights, trained
        )

    def train(
        self,
        config: TrainingConfig,
        container: PtychoDataContainer,
        steps: int,
        weights: Weights | None,
    ) -> Any:
        """Call the package's ``training.train``."""
        raise NotImplementedError

    def write_bundle(self, run: TrainedRun, directory: Path) -> Path:
        """Save ``run`` with the package's ``model_manager``."""
        manager = self.room("model_manager")
        return Path(manager.save(directory, run.trained))

    def load_and_predict(
        self, directory: Path, x: NDArray[Any], offsets: NDArray[Any]
    ) -> NDArray[Any]:
        """Load by ``load_inference_bundle`` and predict; ``params.cfg`` is left as it was."""
        before = dict(params.cfg)
        try:
            predictor, _ = bundle_reader(self.room("workflows.components"))(directory)
        finally:
            params.cfg.clear()
            params.cfg.update(before)
        return np.asarray(predictor.predict([x, offsets]))
