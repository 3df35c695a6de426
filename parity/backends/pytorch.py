"""The PyTorch backend as the checks see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends.protocol import Arrays
from parity.backends.wings import Wing
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.geometry import centre_window, merge_canvas_side
from ptycho.core.training_plan import check_groups
from ptycho.core.weights import Weights


class PyTorchBackend(Wing):
    """Adapter of the package ``ptycho_torch``."""

    name = "pytorch"
    package = "ptycho_torch"
    stitching_door = "helper"

    def round_trip(self, config: ModelConfig, weights: Weights) -> Weights:
        """Build the module from ``weights`` and read them back."""
        model = self.room("model")
        returned: Weights = model.get_canonical_weights(model.build_model(config, weights))
        return returned

    def native_sizes(self, config: ModelConfig, weights: Weights) -> list[int]:
        """Return the sizes of the module's state dictionary."""
        module = self.room("model").build_model(config, weights)
        return [value.numel() for value in module.state_dict().values()]

    def input_gradient(
        self,
        config: TrainingConfig,
        weights: Weights,
        x: NDArray[Any],
        offsets: NDArray[Any],
        intensity_scale: float,
        labels: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Differentiate a prediction and its loss."""
        import torch

        check_groups(len(x), "batch")
        model, losses = self.room("model"), self.room("losses")
        batch = model.to_batch(x, offsets, labels)
        seen = batch.x.clone().requires_grad_()
        side = merge_canvas_side(config.model.N, float(np.abs(offsets).max()))
        found = model.build_model(config.model, weights)(seen, batch.relative, side)
        predicted = found.amplitude, found.intensity, found.patches
        terms = losses.loss_terms(intensity_scale, batch.x, *predicted, batch.labels)
        losses.total_loss(config, terms).backward()
        gradient = torch.zeros_like(seen) if seen.grad is None else seen.grad
        return np.moveaxis(gradient.numpy(), 1, -1)

    def optimiser_steps(
        self,
        config: TrainingConfig,
        weights: Weights,
        gradients: Sequence[Arrays],
        rates: Sequence[float],
    ) -> Weights:
        """Apply the optimiser of ``PtychoPINN_Lightning``."""
        model = self.room("model")
        module = model.PtychoPINN_Lightning(
            model=model.plain_fields(config.model),
            training=model.plain_fields(config),
            modes=weights["probe"].shape[0],
        )
        model.set_canonical_weights(module.model, weights)
        optimiser = module.configure_optimizers()
        for rate, gradient in zip(rates, gradients, strict=True):
            holder = model.build_model(config.model, gradient)
            for group in optimiser.param_groups:
                group["lr"] = rate
            for parameter, value in zip(
                module.model.parameters(), holder.parameters(), strict=True
            ):
                parameter.grad = value.detach().clone()
            optimiser.step()
        moved: Weights = model.get_canonical_weights(module.model)
        return moved

    def merge(
        self, config: ModelConfig, patches: NDArray[Any], offsets: NDArray[Any]
    ) -> NDArray[Any]:
        """Call ``physics.merge`` and cut the central square."""
        import torch

        physics = self.room("physics")
        channels_first = np.moveaxis(patches, -1, 1)
        parts = np.stack([channels_first.real, channels_first.imag], axis=-2)
        relative = torch.from_numpy(np.ascontiguousarray(offsets[:, 0]))
        window = centre_window(config.N, config.pad_object, config.probe_big)
        side = merge_canvas_side(config.N, float(np.abs(offsets).max(initial=0)))
        canvas = physics.merge(
            torch.from_numpy(parts.astype(np.float32)),
            relative,
            side,
            torch.from_numpy(window[config.N // 2].copy()),
        )
        return physics.to_complex(physics.central(canvas, config.N)).numpy()[..., None]

    def train(
        self,
        config: TrainingConfig,
        container: PtychoDataContainer,
        steps: int,
        weights: Weights | None,
    ) -> Any:
        """Call ``training.train`` on the CPU."""
        execution = PyTorchExecutionConfig(accelerator="cpu", enable_progress_bar=False)
        return self.room("training").train(
            container,
            config,
            execution_config=execution,
            weights=weights,
            max_steps=steps,
            progress=False,
        )
