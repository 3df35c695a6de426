"""F: the forward pass of each backend against the float64 reference, and against each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from parity.backends import oracle
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import describe, sample, small_model, with_short_sums
from parity.compare import compare_named
from ptycho.config.config import ModelConfig

_OUTPUTS = ("patches", "object", "amplitude", "intensity")


def _judge(run: Recorder, config: ModelConfig, short: bool = False, **inputs: Any) -> None:
    case = ", ".join([describe(config), *(f"{k}={v}" for k, v in inputs.items())])
    family = "forward_short" if short else "forward"
    given = sample(config, run.seed, **inputs)
    if short:
        case, given = f"{case}, short sums", with_short_sums(given, run.seed)
    network = oracle.object_patches(config, given.weights, given.x.astype(np.float64))
    results = run.collect(
        lambda backend: backend.evaluate(config, given.weights, given.x, given.offsets), case
    )
    for subject, result in results.items():
        # Physics is judged on the patches that it was given: the network's rounding is larger.
        physics = oracle.propagate(config, given.weights, result["patches"], given.offsets)
        found = compare_named(result, {"patches": network}, ["patches"], same_dtype=False)
        run.judge(subject, found, f"{family}.network", case)
        found = compare_named(result, physics, _OUTPUTS[1:], same_dtype=False)
        run.judge(subject, found, "forward.physics", case)
        # Of scale a faint pixel may be off by a few per cent: there the pixel itself is the scale.
        faint = [each for each in found if each.name == "amplitude"]
        run.judge(subject, faint, "forward.faint", case, "elementwise")
    for left, right in run.pairs(results):
        run.judge(PAIR, compare_named(left, right, _OUTPUTS), f"{family}.pair", case)
    for subject, result in results.items():
        for name in _OUTPUTS:
            expected = "complex64" if name in ("patches", "object") else "float32"
            dtype = str(result[name].dtype) if name in result else "missing"
            run.require(subject, dtype == expected, f"{name} is {dtype}, not {expected}", case)


@check("F-1", "One pattern per group, N = 32 and 64, agrees with the float64 reference")
def single_patterns(run: Recorder) -> None:
    """Network, illumination and diffraction without a merge."""
    _judge(run, small_model())
    _judge(run, small_model(N=64, n_filters_scale=2))


@check("F-2", "Groups of 4 and 9 patterns are merged and taken apart as the reference does")
def groups(run: Recorder) -> None:
    """Sub-pixel, wide and whole-pixel offsets; two canvas sizes within one call."""
    _judge(run, small_model(gridsize=2))
    _judge(run, small_model(gridsize=2), spread=21.7, batch=3)
    _judge(run, small_model(gridsize=2), spread=0.0)
    _judge(run, small_model(gridsize=3))
    _judge(run, small_model(N=64, gridsize=2))


@check("F-3", "Every combination of object_big, pad_object and probe_big")
def heads(run: Recorder) -> None:
    """Inner, border and full-size heads, one patch or one per position."""
    for pad_object in (True, False):
        for probe_big in (True, False):
            _judge(run, small_model(gridsize=2, pad_object=pad_object, probe_big=probe_big))
    _judge(run, small_model(gridsize=2, object_big=False))
    _judge(run, small_model(gridsize=2, object_big=False, probe_big=False))


@check("F-4", "Every amplitude activation")
def activations(run: Recorder) -> None:
    """With and without the border branch, which must keep its own activation."""
    for activation in ("swish", "softplus", "relu", "sigmoid"):
        _judge(run, small_model(amp_activation=activation))
    _judge(run, small_model(amp_activation="softplus", pad_object=False))


@check("F-5", "Two incoherent probe modes")
def modes(run: Recorder) -> None:
    """Intensities of the modes add."""
    _judge(run, small_model(), modes=2)
    _judge(run, small_model(gridsize=2), modes=2)


@check("F-6", "Probe mask and smoothing of the exit wave, alone and together")
def mask_and_smoothing(run: Recorder) -> None:
    """The blur comes before the mask."""
    _judge(run, small_model(probe_mask=True))
    _judge(run, small_model(gaussian_smoothing_sigma=0.7))
    _judge(run, small_model(gridsize=2, probe_mask=True, gaussian_smoothing_sigma=1.3), modes=2)


@check("F-7", "Where the sums of the convolutions are short, every head and activation")
def short_sums(run: Recorder) -> None:
    """Without the rounding of long sums the networks are held ten times closer."""
    for pad_object in (True, False):
        for probe_big in (True, False):
            config = small_model(gridsize=2, pad_object=pad_object, probe_big=probe_big)
            _judge(run, config, short=True)
    for activation in ("swish", "softplus", "relu"):
        _judge(run, small_model(amp_activation=activation), short=True)
    _judge(run, small_model(N=64, n_filters_scale=2), short=True, modes=2)
