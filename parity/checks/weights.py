"""W: canonical weights enter and leave a native model unchanged, and training starts from them."""

from __future__ import annotations

import numpy as np

from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import (
    describe,
    probe_modes,
    sample,
    scan_container,
    small_model,
    training,
)
from parity.compare import compare_named
from ptycho.config.config import ModelConfig
from ptycho.core.scaling import intensity_scale
from ptycho.core.weights import Weights, initial_weights, weight_shapes


def _distinct(config: ModelConfig, seed: int, modes: int) -> Weights:
    """Return weights in which no two elements are equal."""
    shapes = weight_shapes(config, modes)
    total = sum(int(np.prod(shape)) for shape in shapes.values())
    values = np.random.default_rng(seed).permutation(total).astype(np.float32) / np.float32(total)
    weights, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        weights[name] = values[start : start + size].reshape(shape)
        start += size
    return weights


@check("W-1", "Canonical weights fill the native model one to one and come back bit by bit")
def bijection(run: Recorder) -> None:
    """Every variable of the native model has one canonical weight, and the reverse."""
    models = (
        (small_model(), 1),
        (small_model(gridsize=2, probe_big=False), 2),
        (small_model(N=64, gridsize=2, pad_object=False), 1),
    )
    for config, modes in models:
        _judge_bijection(run, config, modes)


def _judge_bijection(run: Recorder, config: ModelConfig, modes: int) -> None:
    case = f"{describe(config)}, modes={modes}"
    given = _distinct(config, run.seed, modes)
    sizes = sorted(value.size for value in given.values())
    returned = run.collect(lambda b: b.round_trip(config, given), case)
    for subject, weights in returned.items():
        run.judge_equal(subject, compare_named(weights, given), case)
    native = run.collect(lambda b: sorted(b.native_sizes(config, given)), case)
    for subject, found in native.items():
        what = f"{len(found)} native variables of {sum(found)} elements"
        expected = f"{len(sizes)} canonical weights of {sum(sizes)}"
        run.require(subject, found == sizes, f"{what}, but {expected}", case)
    for left, right in run.pairs(returned):
        run.judge_equal(PAIR, compare_named(left, right), case)


@check("W-2", "Training from a seed starts from the canonical initial weights, bit by bit")
def initial(run: Recorder) -> None:
    """The first step from the seed and from the weights given explicitly are the same step."""
    config = training(small_model(gridsize=2), seed=7 + run.seed, batch_size=4)
    container = scan_container(2, run.seed)
    scale = intensity_scale(config.nphotons, config.model.N)
    start = initial_weights(config.model, config.seed, probe_modes(config.model.N, 2), scale)
    seeded = run.collect(lambda b: b.train_steps(config, container, 1))
    given = run.collect(lambda b: b.train_steps(config, container, 1, start))
    for subject in seeded.keys() & given.keys():
        first, second = seeded[subject], given[subject]
        run.judge_equal(subject, compare_named(first.weights, second.weights), "after one step")
        losses = [result.step_losses[0] for result in (first, second)]
        run.require(subject, losses[0] == losses[1], f"first losses (seed, given): {losses}")
    _judge_returned_start(run)


def _judge_returned_start(run: Recorder) -> None:
    config = small_model(gridsize=2)
    start = sample(config, run.seed).weights
    returned = run.collect(lambda b: b.round_trip(config, start))
    for left, right in run.pairs(returned):
        run.judge_equal(PAIR, compare_named(left, right), "initial weights of one seed")
