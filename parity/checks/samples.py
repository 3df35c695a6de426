"""Seeded inputs for the checks: asymmetric on purpose, so that a flip or a swap shows."""

from __future__ import annotations

import dataclasses
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import ObjectLabels, PtychoDataContainer
from ptycho.core.scaling import intensity_scale, normalise_probe
from ptycho.core.weights import Weights, weight_shapes

#: Photons per pattern in the checks; s0 is 19.8 at N = 32, so scaling mistakes are not near 1.
NPHOTONS = 1e5

#: What exp(log_scale) is in units of s0, so that the two cannot be confused.
_SCALE_RATIO = 1.1

#: Heads map to phases of about one radian, as trained ones do, and not to several turns.
_HEAD_KERNELS = ("_head/inner/kernel", "_head/outer/kernel")
_HEAD_GAIN = 0.3

#: How many weights of an output channel :func:`with_short_sums` leaves.
_TAPS = 4


def small_model(**fields: Any) -> ModelConfig:
    """Return a small model (N = 32, one filter unit) with some fields changed."""
    return ModelConfig(**{"N": 32, "n_filters_scale": 1, **fields})


def training(model: ModelConfig, **fields: Any) -> TrainingConfig:
    """Return a training configuration for ``model`` at the photon count of the checks."""
    return TrainingConfig(model=model, **{"nphotons": NPHOTONS, "n_groups": 16, **fields})


def describe(config: ModelConfig | TrainingConfig) -> str:
    """Return the fields that differ from their defaults, to reproduce a case by."""
    parts = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            parts.append(f"{field.name}=({describe(value)})")  # type: ignore[arg-type]  # instance
        elif value not in (field.default, _factory_default(field)):
            parts.append(f"{field.name}={value!r}")
    return ", ".join(parts) or "defaults"


def _factory_default(field: dataclasses.Field[Any]) -> Any:
    factory = field.default_factory
    return None if factory is dataclasses.MISSING else factory()


@dataclass(frozen=True)
class Sample:
    """Inputs of one forward pass with its labels."""

    weights: Weights
    x: NDArray[np.float32]
    offsets: NDArray[np.float32]
    labels: NDArray[np.complex64]
    intensity_scale: float


def generator(seed: int, name: str) -> np.random.Generator:
    """Return a generator of its own for each seed and purpose."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def probe_modes(N: int, modes: int) -> NDArray[np.complex64]:
    """Return off-centre, curved and tilted Gaussian probe modes, (modes, N, N)."""
    y, x = (np.mgrid[:N, :N] - N / 2) / N
    stack = []
    for m in range(modes):
        envelope = np.exp(-(((x - 0.04) / 0.16) ** 2) - ((y + 0.03 - 0.1 * m) / 0.21) ** 2)
        stack.append(envelope * np.exp(1j * (9 * x**2 + 5 * y**2 + (2 + m) * x - y)) / (1 + m))
    return np.stack(stack).astype(np.complex64)


def diffraction(rng: np.random.Generator, N: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return normalised amplitudes (*shape, N, N): a lopsided peak with speckle, some zeros."""
    y, x = (np.mgrid[:N, :N] - N / 2) / N
    peak = np.exp(-(((x - 0.05) / 0.12) ** 2) - ((y + 0.02) / 0.17) ** 2) + 0.02
    amplitude = peak * rng.gamma(2.0, 0.5, (*shape, N, N))
    amplitude[rng.random(amplitude.shape) < 0.1] = 0.0
    energy = np.sum(amplitude**2, axis=(-2, -1), keepdims=True)
    return np.asarray(amplitude * (N / 2) / np.sqrt(energy), np.float32)


def _coordinates(
    rng: np.random.Generator, batch: int, channels: int, spread: float
) -> NDArray[np.float32]:
    if channels == 1:
        return np.zeros((batch, 1, 2, 1), np.float32)
    raw = rng.uniform(-spread, spread, (batch, 1, 2, channels))
    return np.asarray(raw - raw.mean(axis=-1, keepdims=True), np.float32)


def _weights(rng: np.random.Generator, config: ModelConfig, modes: int, scale: float) -> Weights:
    """Return weights wide enough that every layer and bias matters to the output."""
    probe = normalise_probe(probe_modes(config.N, modes), config.probe_scale)
    weights: Weights = {}
    for name, shape in weight_shapes(config, modes).items():
        if name.endswith("/kernel"):
            limit = math.sqrt(6 / math.prod(shape[:3]))
            if name.endswith(_HEAD_KERNELS):
                limit *= _HEAD_GAIN
            weights[name] = rng.uniform(-limit, limit, shape).astype(np.float32)
        else:
            weights[name] = rng.normal(0, 0.1, shape).astype(np.float32)
    weights["probe"] = np.stack([probe.real, probe.imag], axis=-1)
    weights["log_scale"] = np.asarray(math.log(scale), np.float32)
    return weights


def sample(
    config: ModelConfig, seed: int, batch: int = 2, modes: int = 1, spread: float = 4.3
) -> Sample:
    """Return weights (biases included) and inputs for ``config``; offsets within ``spread``."""
    N, channels = config.N, config.gridsize**2
    rng = generator(seed, describe(config))
    scale = intensity_scale(NPHOTONS, N)
    weights = _weights(rng, config, modes, scale * _SCALE_RATIO)
    amplitude = np.moveaxis(diffraction(rng, N, (batch, channels)), 1, -1)
    labels = rng.uniform(0.2, 1.0, amplitude.shape) * np.exp(1j * rng.normal(0, 1, amplitude.shape))
    return Sample(
        weights,
        np.ascontiguousarray(amplitude * np.float32(scale)),
        _coordinates(rng, batch, channels, spread),
        labels.astype(np.complex64),
        scale,
    )


def with_short_sums(given: Sample, seed: int) -> Sample:
    """Return the sample with kernels of ``_TAPS`` weights for each output channel, the rest zero.

    A convolution library adds up thousands of float32 products, and its rounding is most of what a
    backend differs from the reference by. Where all but a few are zero it rounds a few times: what
    is left is the backend's own.
    """
    rng = generator(seed, "taps")
    weights = dict(given.weights)
    for name in sorted(weights):
        if name.endswith("/kernel"):
            kernel = weights[name]
            taps = kernel.reshape(-1, kernel.shape[-1])
            rank = rng.random(taps.shape).argsort(axis=0).argsort(axis=0)
            sparse = np.where(rank < _TAPS, taps * np.float32(math.sqrt(len(taps) / _TAPS)), 0)
            weights[name] = sparse.reshape(kernel.shape).astype(np.float32)
    return dataclasses.replace(given, weights=weights)


def scan_container(gridsize: int, seed: int, groups: int = 16) -> PtychoDataContainer:
    """Return a labelled container of ``groups`` random groups over 40 jittered positions.

    Two probe modes: one alone leaves dark pixels, in which the Poisson loss magnifies rounding.
    """
    rng = generator(seed, f"scan{gridsize}")
    N, count = 32, 40
    positions = np.stack(np.meshgrid(np.arange(8), np.arange(5)), axis=-1).reshape(-1, 2) * 3.0
    positions = positions + rng.uniform(-0.9, 0.9, positions.shape) + 40.0
    members = np.stack([rng.permutation(count)[: gridsize**2] for _ in range(groups)])
    labels = rng.uniform(0.3, 0.9, (count, N, N)) * np.exp(1j * rng.normal(0, 0.5, (count, N, N)))
    return PtychoDataContainer(
        diffraction(rng, N, (count,)),
        members.astype(np.int64),
        positions,
        probe_modes(N, 2),
        1.0,
        ObjectLabels(N, patches=labels.astype(np.complex64)),
    )
