"""Canonical weights of the ``cnn`` network: names, shapes, and seeded initial values.

Kernels are HWIO, (3, 3, in, out), biases (out,), ``probe`` is (modes, N, N, 2) = real and
imaginary part, ``log_scale`` is a scalar; all float32. Both backends use these names, so weights
move between them by name.

The filters: with k = log2(N) - 3 encoder blocks the last has 128 n filters and each earlier one
half of the next (n = ``n_filters_scale``), which leaves an 8 x 8 latent image for every N. Each
decoder has k - 1 blocks whose filters halve down to 32 n, so it ends at N/2 x N/2.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import SUPPORTED_N, ModelConfig
from ptycho.core.scaling import normalise_probe

Weights = dict[str, NDArray[np.float32]]

#: Feature channels that feed the border branch of a head when ``probe_big`` is on.
OUTER_CHANNELS = 4

#: Width of the initial values of the last convolutions, relative to the others' rule.
_LAST_LAYER_GAIN = 0.5
#: Where each activation of the amplitude is 1/2; swish(x) = x / (1 + exp(-x)) has no closed form.
HALF_AMPLITUDE = {
    "sigmoid": 0.0,
    "swish": 0.7388350311316078,
    "softplus": math.log(math.expm1(0.5)),
    "relu": 0.5,
}

#: Weights of the physics around the network.
PHYSICAL = frozenset({"probe", "log_scale"})

#: Decoders and what their head's activation is.
DECODERS = ("amplitude", "phase")


@dataclass(frozen=True)
class ConvLayer:
    """One 3 x 3 convolution: canonical name, channels, and whether a ReLU follows it."""

    name: str
    inputs: int
    outputs: int
    relu: bool = True

    @property
    def kernel_shape(self) -> tuple[int, int, int, int]:
        """Kernel shape, HWIO."""
        return (3, 3, self.inputs, self.outputs)


def _block(name: str, inputs: int, outputs: int) -> list[ConvLayer]:
    return [
        ConvLayer(f"{name}/conv1", inputs, outputs),
        ConvLayer(f"{name}/conv2", outputs, outputs),
    ]


def encoder_filters(N: int, n: int) -> list[int]:
    """Return the encoder's filters per block; ``ValueError`` for an N without a network."""
    if N not in SUPPORTED_N:
        raise ValueError(f"N is {N}; allowed: one of {SUPPORTED_N}")
    blocks = int(math.log2(N)) - 3
    return [128 * n >> (blocks - 1 - i) for i in range(blocks)]


def decoder_filters(N: int, n: int) -> list[int]:
    """Return a decoder's filters per block."""
    blocks = len(encoder_filters(N, n)) - 1
    return [32 * n << (blocks - 1 - i) for i in range(blocks)]


def object_channels(config: ModelConfig) -> int:
    """Return how many object patches the network emits per group."""
    return config.gridsize**2 if config.object_big else 1


def _chain(name: str, inputs: int, filters: list[int]) -> list[ConvLayer]:
    layers: list[ConvLayer] = []
    for i, outputs in enumerate(filters, start=1):
        layers += _block(f"{name}/block{i}", inputs, outputs)
        inputs = outputs
    return layers


def conv_layers(config: ModelConfig) -> list[ConvLayer]:
    """Return every convolution of the network in canonical order.

    A head is ``inner`` (from the decoder's features) and, with ``pad_object`` and ``probe_big``,
    a border branch ``outer_block`` + ``outer`` fed by the last four feature channels. Without
    ``pad_object`` it is ``up_block`` + ``inner`` at full size.
    """
    N, n = config.N, config.n_filters_scale
    filters = encoder_filters(N, n)
    layers = _chain("encoder", config.gridsize**2, filters)
    features, outputs = 32 * n, object_channels(config)
    last = n * (2048 // N)
    for decoder in DECODERS:
        layers += _chain(f"{decoder}_decoder", filters[-1], decoder_filters(N, n))
        head = f"{decoder}_head"
        if not config.pad_object:
            layers += _block(f"{head}/up_block", features, last)
            layers.append(ConvLayer(f"{head}/inner", last, outputs, relu=False))
        elif config.probe_big:
            layers.append(ConvLayer(f"{head}/inner", features - OUTER_CHANNELS, outputs, False))
            layers += _block(f"{head}/outer_block", OUTER_CHANNELS, last)
            layers.append(ConvLayer(f"{head}/outer", last, outputs, relu=False))
        else:
            layers.append(ConvLayer(f"{head}/inner", features, outputs, relu=False))
    return layers


def weight_shapes(config: ModelConfig, modes: int = 1) -> dict[str, tuple[int, ...]]:
    """Return canonical name -> shape, in canonical order."""
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in conv_layers(config):
        shapes[f"{layer.name}/kernel"] = layer.kernel_shape
        shapes[f"{layer.name}/bias"] = (layer.outputs,)
    shapes["log_scale"] = ()
    shapes["probe"] = (modes, config.N, config.N, 2)
    return shapes


def initial_weights(
    config: ModelConfig, seed: int, probe: NDArray[np.complexfloating], intensity_scale: float
) -> Weights:
    """Return the seeded initial weights of a model.

    Kernels are U(-a, a) with a = sqrt(6 / (fan_in + fan_out)) (Glorot & Bengio, 2010), those of
    the last convolutions (no ReLU follows) half as wide, so that the first phases do not wrap.
    Biases are zero but for the amplitude head's, which makes the first amplitudes about 1/2
    whatever the activation: the probe's gauge expects that, and swish learns nothing from 0.
    Each is drawn from its own stream, seeded by ``seed`` and its name, so adding a layer leaves
    the others as they were. ``probe`` (N, N) or (modes, N, N) is brought to the model's gauge;
    ``log_scale`` is log(intensity_scale).
    """
    weights: Weights = {}
    for layer in conv_layers(config):
        fan_in, fan_out = 9 * layer.inputs, 9 * layer.outputs
        limit = (1.0 if layer.relu else _LAST_LAYER_GAIN) * math.sqrt(6 / (fan_in + fan_out))
        stream = np.random.SeedSequence([seed, zlib.crc32(layer.name.encode())])
        kernel = np.random.default_rng(stream).uniform(-limit, limit, layer.kernel_shape)
        weights[f"{layer.name}/kernel"] = kernel.astype(np.float32)
        weights[f"{layer.name}/bias"] = np.zeros(layer.outputs, np.float32)
    weights["amplitude_head/inner/bias"][:] = HALF_AMPLITUDE[config.amp_activation]
    weights["log_scale"] = np.asarray(math.log(intensity_scale), np.float32)
    modes = normalise_probe(probe, config.probe_scale)
    weights["probe"] = np.stack([modes.real, modes.imag], axis=-1).astype(np.float32)
    return weights


def check_weights(weights: Weights, config: ModelConfig) -> None:
    """Raise ``ValueError`` naming the first weight that is missing, extra or mis-shaped."""
    modes = weights["probe"].shape[0] if "probe" in weights and weights["probe"].ndim == 4 else 1
    expected = weight_shapes(config, modes)
    for name, shape in expected.items():
        if name not in weights:
            raise ValueError(f"weight {name!r} is missing")
        if weights[name].shape != shape:
            raise ValueError(f"weight {name!r} has shape {weights[name].shape}; expected {shape}")
    extra = sorted(set(weights) - set(expected))
    if extra:
        raise ValueError(f"unknown weights: {', '.join(extra)}")
