"""The TensorFlow backend as the checks see it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends.protocol import Arrays
from parity.backends.wings import Wing
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.geometry import centre_window
from ptycho.core.training_plan import check_groups
from ptycho.core.weights import Weights


class TensorFlowBackend(Wing):
    """Adapter of the package ``ptycho``."""

    name = "tensorflow"
    package = "ptycho"
    stitching_door = "tf_helper"

    def round_trip(self, config: ModelConfig, weights: Weights) -> Weights:
        """Build the Keras autoencoder from ``weights`` and read them back."""
        model = self.room("model")
        returned: Weights = model.get_canonical_weights(
            model.build_models(config, weights).autoencoder
        )
        return returned

    def native_sizes(self, config: ModelConfig, weights: Weights) -> list[int]:
        """Return the sizes of the Keras autoencoder's variables."""
        autoencoder = self.room("model").build_models(config, weights).autoencoder
        return [int(np.prod(variable.shape)) for variable in autoencoder.weights]

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
        """Return the gradients, computed eagerly: compiling would take longer than one batch."""
        import tensorflow as tf

        before = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            return super().loss_gradients(
                config, weights, x, offsets, intensity_scale, labels, bad_pixels
            )
        finally:
            tf.config.run_functions_eagerly(before)

    def input_gradient(
        self,
        config: TrainingConfig,
        weights: Weights,
        x: NDArray[Any],
        offsets: NDArray[Any],
        intensity_scale: float,
        labels: NDArray[Any] | None = None,
    ) -> NDArray[Any]:
        """Differentiate the stages and their loss, eagerly."""
        import tensorflow as tf

        check_groups(len(x), "batch")
        losses = self.room("losses")
        stages_of = self.room("model").build_models(config.model, weights).stages
        truth = None if labels is None else tf.constant(np.moveaxis(labels, -1, 1))
        seen = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(seen)
            stages = stages_of([seen, tf.constant(offsets)], training=True)
            predicted = [stages[name] for name in ("amplitude", "intensity", "extracted")]
            terms = losses.loss_terms(intensity_scale, tf.constant(x), *predicted, truth)
            loss = losses.total_loss(config, terms)
        zero = tf.UnconnectedGradients.ZERO
        return np.asarray(tape.gradient(loss, seen, unconnected_gradients=zero))

    def optimiser_steps(
        self,
        config: TrainingConfig,
        weights: Weights,
        gradients: Sequence[Arrays],
        rates: Sequence[float],
    ) -> Weights:
        """Apply the optimiser of ``training.TrainingStep``."""
        model = self.room("model")
        models, holder = (
            model.build_models(config.model, weights, probe_trainable=True) for _ in range(2)
        )
        step = self.room("training").TrainingStep(models, config, 1.0)
        for rate, gradient in zip(rates, gradients, strict=True):
            model.set_canonical_weights(holder.autoencoder, gradient)
            values = [variable.value for variable in holder.autoencoder.trainable_variables]
            step.apply(rate, values)
        moved: Weights = model.get_canonical_weights(models.autoencoder)
        return moved

    def merge(
        self, config: ModelConfig, patches: NDArray[Any], offsets: NDArray[Any]
    ) -> NDArray[Any]:
        """Call ``physics.merge`` and cut the central square."""
        import tensorflow as tf

        physics = self.room("physics")
        channels_first = tf.constant(np.ascontiguousarray(np.moveaxis(patches, -1, 1)))
        relative = tf.constant(np.ascontiguousarray(offsets[:, 0]))
        window = centre_window(config.N, config.pad_object, config.probe_big)
        canvas = physics.merge(channels_first, relative, tf.constant(window[config.N // 2]))
        return np.asarray(physics.central(canvas, config.N))[..., None]

    def train(
        self,
        config: TrainingConfig,
        container: PtychoDataContainer,
        steps: int,
        weights: Weights | None,
    ) -> Any:
        """Call ``training.train`` on the CPU."""
        import tensorflow as tf

        with tf.device("/CPU:0"):
            return self.room("training").train(
                container, config, weights=weights, max_steps=steps, progress=False
            )
