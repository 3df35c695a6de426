"""Layers of the ``cnn`` network, NCHW; module names are the canonical weight names.

A module's parameter ``encoder.block1.conv1.weight`` is, in OIHW order, the canonical
``encoder/block1/conv1/kernel``. Nothing here draws random numbers: parameters hold what memory
held until canonical weights are set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ptycho.config.config import ModelConfig
from ptycho.core.weights import OUTER_CHANNELS, ConvLayer

__all__ = ["ACTIVATIONS", "Block", "Decoder", "DoubledConv", "Encoder", "Head", "scaled_tanh"]

Activation = Callable[[Tensor], Tensor]
LayerTable = dict[str, ConvLayer]

ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": torch.sigmoid,
    "swish": F.silu,
    "softplus": F.softplus,
    "relu": F.relu,
}


def scaled_tanh(values: Tensor) -> Tensor:
    """Return pi * tanh(values), the phase in radians."""
    return torch.pi * torch.tanh(values)


class DoubledConv(nn.Conv2d):
    """A 3 x 3 convolution of the 2 x nearest-upsampled image, worked out on the small image.

    (B, I, rows, columns) becomes (B, O, 2 rows, 2 columns). A pixel of the small image reaches
    4 x 4 places of the large one, so this is a transposed convolution with stride 2. It takes 4/9
    of the operations, since of nine pixels under the kernel some are copies of one. Zero padding
    and strides of one are meant.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Convolve."""
        # A pixel's two copies are seen one after the other: the taps plus themselves, one place on.
        # First the rows, then the columns, so that both wings add up in one order.
        taps = self.weight.transpose(0, 1).flip(2, 3)
        taps = F.pad(taps, [0, 0, 0, 1]) + F.pad(taps, [0, 0, 1, 0])
        taps = F.pad(taps, [0, 1]) + F.pad(taps, [1, 0])
        return F.conv_transpose2d(features, taps, self.bias, stride=2, padding=1)


def _conv(layers: LayerTable, name: str, kind: type[nn.Conv2d] = nn.Conv2d) -> nn.Conv2d:
    layer = layers[name]
    # skip_init: the usual constructor would draw from the global generator.
    conv = nn.utils.skip_init(kind, layer.inputs, layer.outputs, 3, padding=1)
    return conv.to(memory_format=torch.channels_last)


class Block(nn.Module):
    """Two 3 x 3 convolutions, each followed by a ReLU; ``first`` is the kind of the first one."""

    def __init__(self, layers: LayerTable, name: str, first: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        self.conv1 = _conv(layers, f"{name}/conv1", first)
        self.conv2 = _conv(layers, f"{name}/conv2")

    def forward(self, features: Tensor) -> Tensor:
        """Return the block's features."""
        return F.relu_(self.linear(features))

    def linear(self, features: Tensor) -> Tensor:
        """Return the block's features before the last ReLU."""
        return self.conv2(F.relu_(self.conv1(features)))


class _Chain(nn.Module):
    """Blocks ``block1``, ``block2``, ... with a change of size between them.

    ``later`` is the kind of the first convolution in each block but the first.
    """

    later: type[nn.Conv2d] = nn.Conv2d

    def __init__(self, layers: LayerTable, name: str) -> None:
        super().__init__()
        number = 1
        while f"{name}/block{number}/conv1" in layers:
            first = nn.Conv2d if number == 1 else self.later
            self.add_module(f"block{number}", Block(layers, f"{name}/block{number}", first))
            number += 1

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks in order."""
        yield from self.children()  # type: ignore[misc]  # add_module only adds blocks


class Encoder(_Chain):
    """Blocks, each followed by 2 x 2 max-pooling: (B, C, N, N) to an 8 x 8 latent image."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the latent image."""
        for block in self.blocks():
            # The maximum of rectified values is the rectified maximum, of a quarter as many.
            features = F.relu_(F.max_pool2d(block.linear(features), 2))
        return features


class Decoder(_Chain):
    """Blocks with 2 x nearest upsampling between them: latent image to (B, 32 n, N/4, N/4)."""

    later = DoubledConv

    def forward(self, features: Tensor) -> Tensor:
        """Return the features of the last block, before their upsampling."""
        for block in self.blocks():
            features = block(features)
        return features


class Head(nn.Module):
    """From a decoder's features (B, 32 n, N/4, N/4) to an image per patch, (B, O, N, N).

    The features are upsampled by the convolution that comes first, and once more where a block
    precedes the last one. With ``pad_object`` the activated image fills the central N/2 square, and
    with ``probe_big`` the swish of an outer branch, fed by the last feature channels, fills the
    border.
    """

    def __init__(
        self, layers: LayerTable, name: str, config: ModelConfig, activation: Activation
    ) -> None:
        super().__init__()
        self.activation = activation
        self.margin = config.N // 4
        self.pad = config.pad_object
        self.border = config.pad_object and config.probe_big
        if not self.pad:
            self.up_block = Block(layers, f"{name}/up_block", DoubledConv)
        self.inner = _conv(layers, f"{name}/inner", DoubledConv)
        if self.border:
            self.outer_block = Block(layers, f"{name}/outer_block", DoubledConv)
            self.outer = _conv(layers, f"{name}/outer", DoubledConv)
            outside = torch.ones(config.N, config.N)
            outside[self.margin : -self.margin, self.margin : -self.margin] = 0
            self.register_buffer("outside", outside, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the activated image."""
        if not self.pad:
            return self.activation(self.inner(self.up_block(features)))
        inner = features
        if self.border:
            # Not two slices, whose gradients would each fill an image of all channels.
            sizes = [features.shape[1] - OUTER_CHANNELS, OUTER_CHANNELS]
            inner, rim = features.split(sizes, dim=1)
        image = F.pad(self.activation(self.inner(inner)), [self.margin] * 4)
        if self.border:
            image = image + F.silu(self.outer(self.outer_block(rim))) * self.outside
        return image
