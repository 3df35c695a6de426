"""The three judges of a stage: each backend by its own rooms, and the float64 reference.

Channels are last and arrays are NumPy wherever values cross from one judge to another.
"""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from parity.backends.oracle import losses, network, physics, stitching
from parity.backends.oracle.model import evaluate
from parity.callchain.scenario import package_of
from ptycho.config.config import TrainingConfig
from ptycho.core.geometry import merge_canvas_side
from ptycho.core.weights import Weights

__all__ = ["REFERENCE", "Judge", "judge_of"]

REFERENCE = "float64"

Array = NDArray[Any]

#: Of a prediction: several batches, the last one smaller, so that none of them goes unseen.
_BATCH = 7


class Judge(Protocol):
    """Computes single stages of the model of ``config`` with ``weights``."""

    def block(self, name: str, features: Array) -> Array:
        """Return the features behind a block and its change of size, (B, rows, columns, C)."""
        ...

    def head(self, name: str, features: Array) -> Array:
        """Return the image of the ``amplitude`` or ``phase`` head, (B, N, N, C)."""
        ...

    def scaled(self, x: Array) -> Array:
        """Return x / exp(log_scale)."""
        ...

    def merged(self, amplitude: Array, phase: Array, offsets: Array) -> Array:
        """Return each group's object, (B, N, N)."""
        ...

    def waves(self, amplitude: Array, phase: Array, offsets: Array) -> Array:
        """Return the exit waves, (B, C, modes, N, N)."""
        ...

    def amplitude(self, waves: Array) -> Array:
        """Return the predicted amplitude, (B, N, N, C)."""
        ...

    def loss(self, x: Array, amplitude: Array, scale: float) -> Array:
        """Return the training loss, ()."""
        ...

    def predict(self, x: Array, offsets: Array, scales: tuple[float, float]) -> Array:
        """Return the object patches that a loaded model predicts, (B, N, N, 1)."""
        ...

    def stitch(self, patches: Array, offsets: Array, M: int) -> Array:
        """Return the stitched object, (S, S)."""
        ...


class _Own:
    """What a judge is made of."""

    def __init__(self, config: TrainingConfig, weights: Weights) -> None:
        self.config, self.model, self.weights = config, config.model, weights


class _Reference(_Own):
    def block(self, name: str, features: Array) -> Array:
        return network.block(self.weights, name, features)

    def head(self, name: str, features: Array) -> Array:
        return network.head(self.weights, self.model, name, features)

    def scaled(self, x: Array) -> Array:
        return network.scaled_input(self.weights, x)

    def _canvas(self, amplitude: Array, phase: Array, offsets: Array) -> Array:
        patches = amplitude.astype(np.float64) * np.exp(1j * phase.astype(np.float64))
        return physics.merge(self.model, patches, offsets.astype(np.float64))

    def merged(self, amplitude: Array, phase: Array, offsets: Array) -> Array:
        return physics.centre(self._canvas(amplitude, phase, offsets), self.model.N)[..., 0]

    def waves(self, amplitude: Array, phase: Array, offsets: Array) -> Array:
        canvas = self._canvas(amplitude, phase, offsets)
        patches = physics.extract(self.model, canvas, offsets.astype(np.float64))
        return physics.exit_waves(self.model, self.weights["probe"], patches)

    def amplitude(self, waves: Array) -> Array:
        intensity = physics.far_field(waves.astype(np.complex128))
        outputs = physics.intensity_outputs(float(self.weights["log_scale"]), intensity)
        return outputs["amplitude"]

    def loss(self, x: Array, amplitude: Array, scale: float) -> Array:
        predicted = amplitude.astype(np.float64)
        return np.asarray(
            losses.evaluate_losses(self.config, scale, x, predicted, predicted**2)["loss"]
        )

    def predict(self, x: Array, offsets: Array, scales: tuple[float, float]) -> Array:
        return evaluate(self.model, self.weights, x, offsets)["object"]

    def stitch(self, patches: Array, offsets: Array, M: int) -> Array:
        return stitching.stitch(patches[..., 0], offsets[:, 0, :, 0], M)


def _halved(features: Array) -> Array:
    """Return the image of which ``features`` are the 2 x nearest-upsampled one."""
    return features[:, ::2, ::2]


class _Wing(_Own):
    """What both backends have under one name.

    A decoder's features are upsampled by the backends inside the convolution that comes next, so
    that their blocks and heads begin and end with the small image.
    """

    backend: str
    door: str

    def _block(self, name: str, features: Array) -> Array:
        raise NotImplementedError

    def _head(self, name: str, features: Array) -> Array:
        raise NotImplementedError

    def block(self, name: str, features: Array) -> Array:
        if name.startswith("encoder"):
            return self._block(name, features)
        small = features if name.endswith("/block1") else _halved(features)
        return network.upsample(self._block(name, small))

    def head(self, name: str, features: Array) -> Array:
        return self._head(name, _halved(features))

    def room(self, name: str) -> Any:
        return importlib.import_module(f"{package_of(self.backend)}.{name}")

    def loss(self, x: Array, amplitude: Array, scale: float) -> Array:
        given = (self.config, scale, x, amplitude, amplitude**2)
        return np.asarray(self.room("losses").evaluate_losses(*given)["loss"], np.float32)

    def predict(self, x: Array, offsets: Array, scales: tuple[float, float]) -> Array:
        predictor = self.room("model_manager").ObjectPredictor(self.model, self.weights, *scales)
        return np.asarray(predictor.predict([x, offsets], batch_size=_BATCH))

    def stitch(self, patches: Array, offsets: Array, M: int) -> Array:
        door = self.room(self.door)
        return np.asarray(door.reassemble_position(patches, offsets, M=M))[..., 0]


class _TensorFlow(_Wing):
    backend, door = "tensorflow", "tf_helper"

    def __init__(self, config: TrainingConfig, weights: Weights) -> None:
        super().__init__(config, weights)
        self._stages = self.room("model").build_models(config.model, weights).stages

    def _layer(self, name: str) -> Any:
        return self._stages.get_layer(name.replace("/", "."))

    def _between(self, start: str, end: str, features: Array) -> Array:
        """Return the output of layer ``end`` where the input of ``start`` has these values."""
        import keras

        first = self._layer(start).input
        model = keras.Model(first, self._layer(end).output)
        return np.asarray(model(features))

    def _block(self, name: str, features: Array) -> Array:
        last = "pool" if name.startswith("encoder") else "conv2"
        return self._between(f"{name}/conv1", f"{name}/{last}", features)

    def _head(self, name: str, features: Array) -> Array:
        head = f"{name}_head"
        if not self.model.pad_object:
            return self._between(f"{head}/up_block/conv1", f"{head}/inner/activation", features)
        if not self.model.probe_big:
            return self._between(f"{head}/inner", f"{head}/padding", features)
        return self._between(f"{head}/features", f"{head}/sum", features)

    def scaled(self, x: Array) -> Array:
        return np.asarray(self._layer("intensity_scale")(x)[0])

    def _patches(self, amplitude: Array, phase: Array) -> Any:
        return self._layer("patches")([amplitude, phase])

    def merged(self, amplitude: Array, phase: Array, offsets: Array) -> Array:
        canvas = self._layer("canvas")([self._patches(amplitude, phase), offsets])
        return np.asarray(self._layer("object")(canvas))[..., 0]

    def waves(self, amplitude: Array, phase: Array, offsets: Array) -> Array:
        canvas = self._layer("canvas")([self._patches(amplitude, phase), offsets])
        return np.asarray(self._layer("illumination")(self._layer("extracted")([canvas, offsets])))

    def amplitude(self, waves: Array) -> Array:
        power = self._layer("diffracted")(waves)
        return np.asarray(self._layer("amplitude")([power, self.weights["log_scale"]]))


class _PyTorch(_Wing):
    backend, door = "pytorch", "helper"

    def __init__(self, config: TrainingConfig, weights: Weights) -> None:
        super().__init__(config, weights)
        self._model = self.room("model").build_model(config.model, weights).eval()

    def _run(self, function: Callable[..., Any], *arrays: Array) -> Array:
        """Return what a function of NCHW tensors returns, channels last."""
        import torch

        tensors = [
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(a, -1, 1), np.float32))
            for a in arrays
        ]
        with torch.inference_mode():
            return np.moveaxis(function(*tensors).numpy(), 1, -1)

    def _parts(self, amplitude: Array, phase: Array, offsets: Array) -> tuple[Any, Any, int]:
        """Return patches as the physics has them, coordinates, and the canvas side."""
        import torch

        tensors = [torch.from_numpy(np.moveaxis(a, -1, 1).copy()) for a in (amplitude, phase)]
        a, phi = tensors
        patches = torch.stack([a * phi.cos(), a * phi.sin()], dim=-2)
        side = merge_canvas_side(self.model.N, float(np.abs(offsets).max()))
        return patches, torch.from_numpy(np.ascontiguousarray(offsets[:, 0])), side

    def _block(self, name: str, features: Array) -> Array:
        path = name.replace("/", ".")
        chain = copy.copy(self._model.get_submodule(path.rpartition(".")[0]))
        # The chain's own forward, with this block alone.
        chain.blocks = lambda: iter([self._model.get_submodule(path)])
        return self._run(chain.forward, features)

    def _head(self, name: str, features: Array) -> Array:
        return self._run(self._model.get_submodule(f"{name}_head"), features)

    def scaled(self, x: Array) -> Array:
        return self._run(lambda image: image / self._model.log_scale.exp(), x)

    def _propagated(self, amplitude: Array, phase: Array, offsets: Array) -> tuple[Any, Any]:
        """Return the model's prediction and the exit waves on the way to it."""
        import torch

        rooms = self.room("physics")
        seen: list[Any] = []
        original = rooms.illuminate

        def watched(*given: Any, **named: Any) -> Any:
            seen.append(original(*given, **named))
            return seen[-1]

        rooms.illuminate = watched
        try:
            with torch.inference_mode():
                prediction = self._model.propagate(*self._parts(amplitude, phase, offsets))
        finally:
            rooms.illuminate = original
        return prediction, seen[0]

    def merged(self, amplitude: Array, phase: Array, offsets: Array) -> Array:
        return np.asarray(self._propagated(amplitude, phase, offsets)[0].object.numpy())

    def waves(self, amplitude: Array, phase: Array, offsets: Array) -> Array:
        return np.asarray(self._propagated(amplitude, phase, offsets)[1].numpy())

    def amplitude(self, waves: Array) -> Array:
        import torch

        with torch.inference_mode():
            intensity = self.room("physics").diffract(torch.from_numpy(waves))
            found = self._model.log_scale.exp() * intensity.sqrt()
        return np.moveaxis(found.numpy(), 1, -1)


_JUDGES: dict[str, Callable[[TrainingConfig, Weights], Judge]] = {
    REFERENCE: _Reference,
    "tensorflow": _TensorFlow,
    "pytorch": _PyTorch,
}


def judge_of(name: str, config: TrainingConfig, weights: Weights) -> Judge:
    """Return the judge of that name; importing its framework is its first act."""
    return _JUDGES[name](config, weights)
