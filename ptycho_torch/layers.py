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
from ptycho.core.geometry import FOLDED_TAPS
from ptycho.core.weights import OUTER_CHANNELS, ConvLayer

__all__ = ["ACTIVATIONS", "Block", "Decoder", "Encoder", "Head", "conv_of_doubled", "scaled_tanh"]

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


def _conv(layers: LayerTable, name: str) -> nn.Conv2d:
    layer = layers[name]
    # skip_init: the usual constructor would draw from the global generator.
    conv = nn.utils.skip_init(nn.Conv2d, layer.inputs, layer.outputs, 3, padding=1)
    return conv.to(memory_format=torch.channels_last)


class Block(nn.Module):
    """Two 3 x 3 convolutions, each followed by a ReLU; the image keeps its size."""

    def __init__(self, layers: LayerTable, name: str) -> None:
        super().__init__()
        self.conv1 = _conv(layers, f"{name}/conv1")
        self.conv2 = _conv(layers, f"{name}/conv2")

    def forward(self, features: Tensor) -> Tensor:
        """Return the block's features."""
        return F.relu_(self.linear(features))

    def linear(self, features: Tensor) -> Tensor:
        """Return the block's features before the last ReLU."""
        return self.conv2(F.relu_(self.conv1(features)))


class _Chain(nn.Module):
    """Blocks ``block1``, ``block2``, ... with a change of size after each."""

    def __init__(self, layers: LayerTable, name: str) -> None:
        super().__init__()
        number = 1
        while f"{name}/block{number}/conv1" in layers:
            self.add_module(f"block{number}", Block(layers, f"{name}/block{number}"))
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
    """Blocks, each followed by 2 x nearest upsampling: latent image to (B, 32 n, N/2, N/2)."""

    def forward(self, features: Tensor) -> Tensor:
        """Return the features of the last block."""
        for block in self.blocks():
            features = _double(block(features))
        return features


def _double(features: Tensor) -> Tensor:
    return F.interpolate(features, scale_factor=2, mode="nearest")


def conv_of_doubled(conv: nn.Conv2d, features: Tensor) -> Tensor:
    """Return ``conv`` of the 2 x nearest-upsampled features, worked out on the small image.

    Of the nine pixels under the kernel some are copies of one, so for each of the four places
    inside a small pixel the kernel adds up to one on the small image. With the few output
    channels of a head this takes a third of the time.
    """
    fold = torch.tensor(FOLDED_TAPS, dtype=conv.weight.dtype, device=features.device)
    # One axis after the other, so that both wings add up in one order.
    rows = torch.einsum("atk,oikl->aoitl", fold, conv.weight)
    kernels = torch.einsum("aoitl,bsl->oabits", rows, fold)
    kernels = kernels.reshape(-1, *conv.weight.shape[1:])
    biases = None if conv.bias is None else conv.bias.repeat_interleave(4)
    return F.pixel_shuffle(F.conv2d(features, kernels, biases, padding=1), 2)


class Head(nn.Module):
    """From a decoder's features (B, 32 n, N/2, N/2) to an image per patch, (B, O, N, N).

    With ``pad_object`` the activated image fills the central N/2 square, and with ``probe_big``
    the swish of an outer branch, fed by the last feature channels, fills the border.
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
            self.up_block = Block(layers, f"{name}/up_block")
        self.inner = _conv(layers, f"{name}/inner")
        if self.border:
            self.outer_block = Block(layers, f"{name}/outer_block")
            self.outer = _conv(layers, f"{name}/outer")
            outside = torch.ones(config.N, config.N)
            outside[self.margin : -self.margin, self.margin : -self.margin] = 0
            self.register_buffer("outside", outside, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Return the activated image."""
        if not self.pad:
            return self.activation(conv_of_doubled(self.inner, self.up_block(features)))
        inner = features
        if self.border:
            # Not two slices, whose gradients would each fill an image of all channels.
            sizes = [features.shape[1] - OUTER_CHANNELS, OUTER_CHANNELS]
            inner, rim = features.split(sizes, dim=1)
        image = F.pad(self.activation(self.inner(inner)), [self.margin] * 4)
        if self.border:
            outer = conv_of_doubled(self.outer, self.outer_block(rim))
            image = image + F.silu(outer) * self.outside
        return image
