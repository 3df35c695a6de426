"""Q-47 to Q-49: what the network is made of, what it starts from, and what its heads do."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from parity.checks.clauses_physics import evaluated, flat_model, sigmoid
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import probe_modes, sample, small_model
from parity.compare import compare
from ptycho.config.config import ModelConfig
from ptycho.core.weights import Weights, initial_weights, weight_shapes

#: Filters of the encoder's blocks and of a decoder's, for one filter unit.
_FILTERS: dict[int, tuple[list[int], list[int]]] = {
    32: ([64, 128], [32]),
    64: ([32, 64, 128], [64, 32]),
    128: ([16, 32, 64, 128], [128, 64, 32]),
    256: ([8, 16, 32, 64, 128], [256, 128, 64, 32]),
}


def _everyone(run: Recorder, holds: bool, what: str, case: str = "") -> None:
    for name in run.backends:
        run.require(name, holds, what, case)


@check("Q-47", "Encoder and decoders have their blocks and filters", ("backend",), framework=False)
def filters(run: Recorder) -> None:
    """For every N, and twice as many with twice the filter unit."""
    for N, (encoder, decoder) in _FILTERS.items():
        for n in (1, 2):
            shapes = weight_shapes(ModelConfig(N=N, n_filters_scale=n))
            parts = {"encoder": encoder, "amplitude_decoder": decoder, "phase_decoder": decoder}
            for part, expected in parts.items():
                blocks = sorted({k.split("/")[1] for k in shapes if k.startswith(f"{part}/")})
                found = [shapes[f"{part}/{block}/conv2/kernel"][3] for block in blocks]
                wanted = [n * count for count in expected]
                _everyone(run, found == wanted, f"{part}: {found}; expected {wanted}", f"N={N}")


def _start(config: ModelConfig, seed: int) -> Weights:
    return initial_weights(config, seed, probe_modes(config.N, 1)[0], 5.0)


@check(
    "Q-48",
    "Initial weights: one stream per name, uniform, half as wide in the last layers",
    ("backend",),
    framework=False,
)
def initial(run: Recorder) -> None:
    """Drawn from seed and name alone: not from the rest of the network, nor a global generator."""
    config = small_model(gridsize=2, n_filters_scale=2)
    first = _start(config, 0)
    state = _global_state()
    second, other = _start(config, 0), _start(config, 1)
    _everyone(run, state == _global_state(), "the global generator was drawn from")
    without = _start(small_model(gridsize=2, n_filters_scale=2, probe_big=False), 0)
    seen: list[bytes] = []
    for name, value in first.items():
        _everyone(run, np.array_equal(value, second[name]), "differs in two draws", name)
        if name in without and without[name].shape == value.shape:
            same = np.array_equal(value, without[name])
            _everyone(run, same, "depends on other layers", name)
        if name.endswith("/bias"):
            _everyone(run, not value.any(), "is not zero", name)  # sigmoid(0) is a half
        elif name.endswith("/kernel"):
            seen.append(value.ravel()[:16].tobytes())
            _everyone(run, not np.array_equal(value, other[name]), "ignores the seed", name)
            _judge_width(run, name, value)
    _everyone(run, len(set(seen)) == len(seen), "two kernels begin with the same numbers")
    for activation, function in _ACTIVATIONS.items():
        bias = _start(small_model(amp_activation=activation), 0)["amplitude_head/inner/bias"]
        halves = [abs(function(float(value)) - 0.5) < 1e-6 for value in bias]
        _everyone(run, all(halves), f"amplitude starts from a bias of {bias}", activation)


def _global_state() -> str:
    return repr(np.random.get_state(legacy=False))  # noqa: NPY002  # the one that is to stay


def _judge_width(run: Recorder, name: str, kernel: NDArray[np.float32]) -> None:
    rows, columns, inputs, outputs = kernel.shape
    limit = math.sqrt(6 / (rows * columns * (inputs + outputs)))
    if name.endswith(("_head/inner/kernel", "_head/outer/kernel")):
        limit /= 2
    largest, spread = float(np.abs(kernel).max()), float(kernel.std())
    # The largest of n uniform numbers falls short of the limit by about 1/n of it.
    near = 1 - 12 / kernel.size
    holds = near * limit <= largest <= limit * (1 + 1e-6)
    _everyone(run, holds, f"largest {largest:.5f}, half-width {limit:.5f}", name)
    even = abs(spread * math.sqrt(3) / limit - 1) < 4 / math.sqrt(kernel.size)
    _everyone(run, even, f"deviation {spread:.5f} is not that of a uniform draw", name)


_ACTIVATIONS: dict[str, Callable[[float], float]] = {
    "sigmoid": sigmoid,
    "swish": lambda value: value * sigmoid(value),
    "softplus": lambda value: math.log(1 + math.exp(value)),
    "relu": lambda value: max(0.0, value),
}


@check("Q-49", "Heads apply their activations; an inner-only object is zero outside its square")
def heads(run: Recorder) -> None:
    """From the biases alone the patch is act(b) exp(i pi tanh(b')) everywhere."""
    for name, activation in _ACTIVATIONS.items():
        config = small_model(amp_activation=name, pad_object=False)
        weights = flat_model(config, 0.9, -0.35)
        x, offsets = np.ones((1, 32, 32, 1), np.float32), np.zeros((1, 1, 2, 1), np.float32)
        phase = math.pi * math.tanh(-0.35)
        value = activation(0.9) * complex(math.cos(phase), math.sin(phase))
        expected = np.full((1, 32, 32, 1), value)
        results = evaluated(run, config, weights, x, offsets, name)
        for subject, result in results.items():
            found = compare(result["patches"], expected, "patches", same_dtype=False)
            run.judge(subject, [found], "forward.network", name)
        for left, right in run.pairs(results):
            found = compare(left["patches"], right["patches"], "patches")
            run.judge(PAIR, [found], "forward.pair", name)
    for gridsize in (1, 2):
        config = small_model(gridsize=gridsize, probe_big=False)
        given = sample(config, run.seed)
        results = evaluated(run, config, given.weights, given.x, given.offsets)
        for subject, result in results.items():
            patches = result["patches"]
            inner = patches[:, 8:24, 8:24]
            outside = np.count_nonzero(patches) - np.count_nonzero(inner)
            run.require(subject, outside == 0, f"{outside} pixels outside are not zero")
            filled = np.count_nonzero(inner) / inner.size
            run.require(subject, bool(filled > 0.99), f"only {filled:.0%} of the square is filled")
