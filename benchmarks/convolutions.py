"""Nothing but a network's convolutions, in either framework: what its steps are measured beside."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ptycho.config.config import ModelConfig
from ptycho.core.weights import conv_layers

Action = Callable[[], Any]
Actions = dict[str, Action]


@dataclass(frozen=True)
class Conv:
    """A 3 x 3 convolution of the network, on images of ``side`` pixels.

    ``doubled`` images are upsampled ones: what is carried out is a transposed convolution of the
    small image, with 4 x 4 taps and stride 2 (``layers.DoubledConv``).
    """

    inputs: int
    outputs: int
    side: int
    first: bool
    doubled: bool

    @property
    def flops(self) -> float:
        """Floating-point operations forward, per group; biases are not counted."""
        return 2.0 * 9 * self.inputs * self.outputs * self.side**2


def convolutions_of(model: ModelConfig) -> list[Conv]:
    """Return the convolutions of a network, as its table of layers has them."""
    layers = conv_layers(model)
    return [
        Conv(
            each.inputs, each.outputs, _side(each.name, model), each is layers[0],
            _is_doubled(each.name),
        )
        for each in layers
    ]  # fmt: skip


def _side(name: str, model: ModelConfig) -> int:
    part, layer = name.split("/")[:2]
    if part == "encoder":
        return model.N >> (int(layer.removeprefix("block")) - 1)
    if part.endswith("_decoder"):
        return 8 << (int(layer.removeprefix("block")) - 1)
    at_full_size = layer == "outer" or (layer == "inner" and not model.pad_object)
    return model.N if at_full_size else model.N // 2


def _is_doubled(name: str) -> bool:
    part, layer, *rest = name.split("/")
    if part.endswith("_decoder"):
        return layer != "block1" and rest == ["conv1"]
    return part.endswith("_head") and rest in ([], ["conv1"])


def torch_convolutions(convs: list[Conv], size: int) -> tuple[Action, Action]:
    """Return them in PyTorch, with gradients and without."""
    import torch
    from torch.nn import functional as F

    def tensor(*shape: int, grad: bool = True) -> Any:
        made = torch.rand(*shape).to(memory_format=torch.channels_last)
        return made.requires_grad_(grad)

    sides = [c.side // 2 if c.doubled else c.side for c in convs]
    shapes = [(c.inputs, c.outputs, 4, 4) if c.doubled else (c.outputs, c.inputs, 3, 3)
              for c in convs]  # fmt: skip
    inputs = [
        tensor(size, c.inputs, side, side, grad=not c.first)
        for c, side in zip(convs, sides, strict=True)
    ]
    kernels = [tensor(*shape) for shape in shapes]
    biases = [torch.zeros(c.outputs, requires_grad=True) for c in convs]
    slopes = [tensor(size, c.outputs, c.side, c.side, grad=False) for c in convs]
    sources = [each for each in (*inputs, *kernels, *biases) if each.requires_grad]
    arguments = list(zip(convs, inputs, kernels, biases, strict=True))

    def forward() -> list[Any]:
        return [
            F.conv_transpose2d(*each, stride=2, padding=1)
            if conv.doubled
            else F.conv2d(*each, padding=1)
            for conv, *each in arguments
        ]

    def predict() -> None:
        with torch.inference_mode():
            forward()

    return lambda: torch.autograd.grad(forward(), sources, slopes), predict


def tensorflow_convolutions(convs: list[Conv], size: int) -> tuple[Action, Action]:
    """Return them in TensorFlow, with gradients and without."""
    import tensorflow as tf

    sides = [c.side // 2 if c.doubled else c.side for c in convs]
    shapes = [(4, 4, c.outputs, c.inputs) if c.doubled else (3, 3, c.inputs, c.outputs)
              for c in convs]  # fmt: skip
    inputs = [
        tf.random.uniform((size, side, side, c.inputs))
        for c, side in zip(convs, sides, strict=True)
    ]
    kernels = [tf.random.uniform(shape) for shape in shapes]
    biases = [tf.zeros(c.outputs) for c in convs]
    slopes = [tf.random.uniform((size, c.side, c.side, c.outputs)) for c in convs]

    def convolved(conv: Conv, x: Any, kernel: Any) -> Any:
        if not conv.doubled:
            return tf.nn.conv2d(x, kernel, strides=1, padding="SAME")
        shape = (size, conv.side, conv.side, conv.outputs)
        return tf.nn.conv2d_transpose(x, kernel, shape, strides=2, padding="SAME")

    def forward(inputs: Any, kernels: Any, biases: Any) -> Any:
        return [
            tf.nn.bias_add(convolved(*each), bias)
            for *each, bias in zip(convs, inputs, kernels, biases, strict=True)
        ]

    @tf.function(autograph=False)
    def gradients(inputs: Any, kernels: Any, biases: Any, slopes: Any) -> Any:
        with tf.GradientTape() as tape:
            sources = [*inputs[1:], *kernels, *biases]
            tape.watch(sources)
            outputs = forward(inputs, kernels, biases)
        # What is not returned would not be computed.
        return [*outputs, *tape.gradient(outputs, sources, output_gradients=slopes)]

    predicted = tf.function(forward, autograph=False)
    return (
        lambda: gradients(inputs, kernels, biases, slopes)[0].numpy(),
        lambda: predicted(inputs, kernels, biases)[0].numpy(),
    )


def both(
    bare: Callable[[list[Conv], int], tuple[Action, Action]], convs: list[Conv], size: int
) -> Actions:
    """Return the floors of a batch: the convolutions of the table of layers, and as carried out."""
    found: Actions = {}
    plain = [dataclasses.replace(each, doubled=False) for each in convs]
    for what, each in (("floor", plain), ("carried out", convs)):
        found[f"{what} of step"], found[f"{what} of prediction"] = bare(each, size)
    return found
