"""Q-41 to Q-46: the forward model on waves and points, whose patterns can be written down."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends.protocol import Arrays
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import generator, probe_modes, sample, small_model
from parity.compare import compare
from ptycho.config.config import ModelConfig
from ptycho.core.weights import Weights, initial_weights, weight_shapes

_N = 32
_SCALE = 3.7
_FLOOR = 1e-6
_TOLERANCE = "forward.physics"


def flat_model(
    config: ModelConfig,
    amplitude: float | list[float],
    phase: float = 0.0,
    probe: NDArray[Any] | None = None,
) -> Weights:
    """Return weights whose object is the same everywhere, whatever the input.

    All kernels are zero; ``amplitude`` (one for all or one per channel) and ``phase`` are the
    biases in front of the heads' activations; exp(log_scale) is 3.7.
    """
    modes = np.ones((1, _N, _N), np.complex64) if probe is None else np.asarray(probe)
    weights: Weights = {
        name: np.zeros(shape, np.float32)
        for name, shape in weight_shapes(config, len(modes)).items()
    }
    for head, bias in (("amplitude_head", amplitude), ("phase_head", phase)):
        weights[f"{head}/inner/bias"][...] = bias
    weights["probe"] = np.stack([modes.real, modes.imag], axis=-1).astype(np.float32)
    weights["log_scale"] = np.asarray(math.log(_SCALE), np.float32)
    return weights


def sigmoid(value: float) -> float:
    """Return the logistic function."""
    return 1 / (1 + math.exp(-value))


def evaluated(
    run: Recorder, config: ModelConfig, weights: Weights, x: Any, offsets: Any, case: str = ""
) -> dict[str, Arrays]:
    """Return the outputs of each backend's forward pass."""
    return run.collect(lambda backend: backend.evaluate(config, weights, x, offsets), case)


def _merged(
    run: Recorder, config: ModelConfig, patches: Any, offsets: Any, case: str = ""
) -> dict[str, NDArray[Any]]:
    given, places = patches.astype(np.complex64), offsets.astype(np.float32)
    return run.collect(lambda backend: backend.merge(config, given, places), case)


def _evaluated(
    run: Recorder, config: ModelConfig, weights: Weights, offsets: Any = None, case: str = ""
) -> dict[str, Arrays]:
    channels = config.gridsize**2
    x = np.ones((1, _N, _N, channels), np.float32)
    given = np.zeros((1, 1, 2, channels), np.float32) if offsets is None else offsets
    return evaluated(run, config, weights, x, given, case)


def _judge(
    run: Recorder, results: dict[str, Arrays], expected: Any, case: str, channel: int = 0
) -> None:
    """Compare intensities in normalised units with ``expected`` (N, N), floor included."""
    for subject, result in results.items():
        found = result["intensity"][0, ..., channel].astype(np.float64) / _SCALE**2
        wanted = np.asarray(expected, np.float64) + _FLOOR
        run.judge(subject, [compare(found, wanted, "intensity", ("y", "x"))], _TOLERANCE, case)


def _wave(y: int, x: int, size: float) -> NDArray[np.complex128]:
    rows, columns = np.mgrid[:_N, :_N]
    return np.asarray(size * np.exp(2j * np.pi * (y * rows + x * columns) / _N))


def _point(row: int, column: int, size: float) -> NDArray[np.complex128]:
    image = np.zeros((_N, _N), np.complex128)
    image[row, column] = size
    return image


@check(
    "Q-41", "Plane waves give single peaks, two modes add, and the dark floor is 1e-6", ("backend",)
)
def waves(run: Recorder) -> None:
    """A wave of k periods over the pattern lands k pixels from N/2, with N squared its energy."""
    config = small_model(pad_object=False)
    size, amplitude = 0.02, sigmoid(0.4)
    modes = np.stack([_wave(3, -5, size), 2 * _wave(-7, 2, size)])
    results = _evaluated(run, config, flat_model(config, 0.4, 0.3, modes))
    peak = (amplitude * size * _N) ** 2
    expected = np.zeros((_N, _N))
    expected[_N // 2 + 3, _N // 2 - 5] = peak
    expected[_N // 2 - 7, _N // 2 + 2] = 4 * peak
    _judge(run, results, expected, "two plane waves")
    dark = expected == 0
    for subject, result in results.items():
        found = result["intensity"][0, ..., 0].astype(np.float64)[dark] / _SCALE**2
        compared = compare(found, np.full(found.shape, _FLOOR), "dark pixels", ("pixel",))
        run.judge(subject, [compared], _TOLERANCE, "floor")
        root = result["amplitude"].astype(np.float64) ** 2
        compared = compare(root, result["intensity"].astype(np.float64), "intensity")
        run.judge(subject, [compared], _TOLERANCE, "amplitude output")


@check(
    "Q-42",
    "The probe's gauge sets the energy of a pattern; a global phase changes none",
    ("backend",),
)
def gauge(run: Recorder) -> None:
    """A unit object gives (8/probe_scale)^2 (N/2)^2, whatever the size of the probe given."""
    for probe_scale, size in ((4.0, 1.0), (2.5, 3e4)):
        config = small_model(pad_object=False, probe_scale=probe_scale)
        given = size * probe_modes(_N, 2)
        # A sigmoid of 40 is one in single precision.
        weights = flat_model(config, 40.0, 0.2, np.ones((2, _N, _N), np.complex64))
        weights["probe"] = initial_weights(config, 0, given, 1.0)["probe"]
        case = f"probe_scale={probe_scale}, probe times {size:g}"
        for subject, result in _evaluated(run, config, weights, case=case).items():
            energy = result["intensity"].astype(np.float64).sum() / _SCALE**2 - _FLOOR * _N**2
            wanted = (8 / probe_scale) ** 2 * (_N / 2) ** 2
            run.judge(subject, [compare(energy, wanted, "energy")], _TOLERANCE, case)
    config = small_model(gridsize=2, pad_object=False)
    patterns: list[dict[str, Arrays]] = []
    for bias in (0.25, -0.7):
        drawn = sample(config, run.seed)
        turned = {
            name: np.zeros_like(value) if name.startswith("phase_head/inner") else value
            for name, value in drawn.weights.items()
        }
        turned["phase_head/inner/bias"] = np.full_like(turned["phase_head/inner/bias"], bias)
        patterns.append(evaluated(run, config, turned, drawn.x, drawn.offsets))
    first, second = patterns
    for subject in first.keys() & second.keys():
        a, b = first[subject], second[subject]
        compared = compare(a["intensity"], b["intensity"], "intensity")
        run.judge(subject, [compared], _TOLERANCE, "global phase")
        moved = float(np.angle(a["object"][0, 16, 16, 0] / b["object"][0, 16, 16, 0]))
        wanted = math.pi * (math.tanh(0.25) - math.tanh(-0.7))
        off = abs(math.remainder(moved - wanted, 2 * math.pi))
        run.require(subject, off < 1e-3, f"the object turned by {moved}, not {wanted}")


@check("Q-43", "The merge is made per group, and its canvas holds the largest offset", ("backend",))
def canvas(run: Recorder) -> None:
    """Patches so far apart that none touch come out whole; a group alone merges as in a batch."""
    config = small_model(gridsize=2, pad_object=False)
    corners = np.array([[-20, 20, -20, 20], [-20, -20, 20, 20]], np.float32)[None, None]
    biases, size = [-1.0, 0.0, 0.7, 1.6], 0.5
    weights = flat_model(config, biases, 0.1, _wave(2, 4, size)[None])
    results = _evaluated(run, config, weights, corners)
    for channel, bias in enumerate(biases):
        expected = np.zeros((_N, _N))
        expected[_N // 2 + 2, _N // 2 + 4] = (sigmoid(bias) * size * _N) ** 2
        _judge(run, results, expected, f"patches 40 pixels apart, channel {channel}", channel)
    rng = generator(run.seed, "canvas")
    real, imaginary = rng.normal(size=(2, 3, _N, _N, 4))
    patches = (real + 1j * imaginary).astype(np.complex64)
    spread = np.array([0.6, 5.0, 21.3])[:, None, None, None]
    offsets = (rng.uniform(-1, 1, (3, 1, 2, 4)) * spread).astype(np.float32)
    together = _merged(run, config, patches, offsets)
    for subject, merged in together.items():
        backend = run.backends[subject]
        alone = [backend.merge(config, patches[[i]], offsets[[i]])[0] for i in range(3)]
        compared = compare(merged, np.stack(alone), "object")
        run.judge(subject, [compared], "stitching.merge", "alone or in a batch")


@check(
    "Q-44", "The merged object stays within its patches; one pattern needs no merge", ("backend",)
)
def merge_range(run: Recorder) -> None:
    """Equal patches merge to themselves up to the last covered pixel, with and without border."""
    rng = generator(run.seed, "range")
    low, high = 0.4, 0.9
    # Quarters of a pixel: a pixel is covered by 1/16 at least, or not at all.
    offsets = np.round(rng.uniform(-9, 9, (2, 1, 2, 4)) * 4) / 4
    noise = rng.uniform(low, high, (2, _N, _N, 4))
    for probe_big in (True, False):
        config = small_model(gridsize=2, probe_big=probe_big)
        case = f"probe_big={probe_big}"
        for patches in (noise, np.full_like(noise, 0.7)):
            least, most = float(patches.min()), float(patches.max())
            merged = _merged(run, config, patches, offsets, case)
            for subject, obj in merged.items():
                size = np.abs(obj.astype(np.complex128))
                covered = size[size > 0]
                share = covered.size / size.size
                run.require(subject, share > 0.2, f"{share:.0%} of the object is covered", case)
                edges = np.array([covered.min(), covered.max(), most])
                bounds = np.array([max(covered.min(), least), min(covered.max(), most), most])
                compared = compare(edges, bounds, f"range within [{least}, {most}]", ("end",))
                run.judge(subject, [compared], "stitching.merge", case)
    single = small_model()
    drawn = sample(single, run.seed)
    results = evaluated(run, single, drawn.weights, drawn.x, drawn.offsets)
    for subject, result in results.items():
        same = np.array_equal(result["object"], result["patches"])
        run.require(subject, same, "object and patches differ for gridsize 1")


def _blurred_point(position: int, sigma: float) -> NDArray[np.float64]:
    """Return a point on a line of N pixels after the three taps, mirrored at pixel 0."""
    line = np.zeros(_N)
    side = math.exp(-1 / (2 * sigma**2)) if sigma else 0.0
    middle, side = 1 / (1 + 2 * side), side / (1 + 2 * side)
    line[position] = middle
    line[position + 1] += side
    if position > 0:
        # Mirrored about pixel 0, the point beside it counts twice there.
        line[position - 1] += 2 * side if position == 1 else side
    return line


@check(
    "Q-45",
    "Smoothing spreads a point of the exit wave by three taps, mirrored at the edge",
    ("backend",),
)
def smoothing(run: Recorder) -> None:
    """The pattern of a point is flat without smoothing and the taps' transform with it."""
    size, amplitude = 6.0, sigmoid(0.5)
    for sigma, row, column in ((0.0, 9, 20), (0.7, 9, 20), (1.4, 0, 1)):
        config = small_model(pad_object=False, gaussian_smoothing_sigma=sigma)
        weights = flat_model(config, 0.5, -0.2, _point(row, column, size)[None])
        case = f"sigma={sigma}, point at ({row}, {column})"
        y, x = (
            np.abs(np.fft.fftshift(np.fft.fft(_blurred_point(place, sigma)))) ** 2
            for place in (row, column)
        )
        expected = (amplitude * size / _N) ** 2 * np.outer(y, x)
        _judge(run, _evaluated(run, config, weights, case=case), expected, case)


@check("Q-46", "The probe mask lets through the disc of radius N/4 and nothing else", ("backend",))
def mask(run: Recorder) -> None:
    """Counted pixel by pixel, by the energy of the pattern and by points inside and outside."""
    config = small_model(pad_object=False, probe_mask=True)
    amplitude, middle = sigmoid(0.5), (_N - 1) / 2
    inside = sum(math.hypot(i - middle, j - middle) < _N / 4 for i in range(_N) for j in range(_N))
    probes = {
        "everywhere": (np.ones((_N, _N), np.complex128), inside),
        "last row inside": (_point(_N // 2 + _N // 4 - 1, _N // 2, 3.0), 9),
        "first row outside": (_point(_N // 2 + _N // 4, _N // 2, 3.0), 0),
        "corner": (_point(_N // 4, _N // 4, 3.0), 0),
    }
    for case, (probe, energy) in probes.items():
        weights = flat_model(config, 0.5, 0.0, probe[None])
        for subject, result in _evaluated(run, config, weights, case=case).items():
            found = result["intensity"].astype(np.float64).sum() / _SCALE**2
            wanted = energy * amplitude**2 + _FLOOR * _N**2
            run.judge(subject, [compare(found, wanted, "energy")], _TOLERANCE, case)
