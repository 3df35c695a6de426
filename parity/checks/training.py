"""U and T: optimiser steps against the reference, and short trainings against each other."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends import Backend, TrainedRun, oracle
from parity.backends.protocol import Arrays
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import (
    describe,
    generator,
    sample,
    scan_container,
    small_model,
    training,
)
from parity.compare import compare, compare_named, median
from ptycho.config.config import TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.training_plan import plan_training

_EXPONENTIAL_DECAY = 0.95


def _spread_gradients(seed: int, shapes: Arrays, steps: int) -> list[Arrays]:
    """Return gradients from 1e-11 to 10 in size, so that epsilon matters for some and not all."""
    rng = generator(seed, "gradients")

    def draw(like: NDArray[Any]) -> NDArray[np.float32]:
        size = 10.0 ** rng.uniform(-11, 1, like.shape)
        return np.asarray(rng.choice([-1.0, 1.0], like.shape) * size, np.float32)

    first = {name: draw(value) for name, value in shapes.items()}
    return [
        {name: value * np.float32(1 - 0.4 * step) for name, value in first.items()}
        for step in range(steps)
    ]


@check("U-1", "The optimiser is Adam as published, epsilon outside the bias correction")
def optimiser(run: Recorder) -> None:
    """Four steps on given gradients of all sizes, from zero, so that no digit is lost."""
    config = training(small_model(), probe_trainable=True, adam_beta1=0.85, adam_beta2=0.99)
    start = {n: np.zeros_like(v) for n, v in sample(config.model, run.seed).weights.items()}
    _judge_updates(run, config, start)


@check("U-3", "Gradient descent with momentum, and weight decay of all three optimisers")
def descent_and_decay(run: Recorder) -> None:
    """Four steps at changing rates; from zero, and from weights of all sizes that decay.

    Adam adds the decay to the gradient and takes a step of full size along the sum: where the two
    cancel, along rounding. So of these weights the root mean square of a tensor is judged.
    """
    sgd = training(small_model(), probe_trainable=True, optimizer="sgd", momentum=0.8)
    values = sample(sgd.model, run.seed).weights
    zero = {name: np.zeros_like(value) for name, value in values.items()}
    _judge_updates(run, sgd, zero)
    _judge_updates(run, dataclasses.replace(sgd, momentum=0.0), zero)
    for name in ("adam", "adamw", "sgd"):
        config = dataclasses.replace(sgd, optimizer=name, weight_decay=0.3)
        _judge_updates(run, config, values, single=name != "adam")


def _judge_updates(
    run: Recorder, config: TrainingConfig, start: Arrays, single: bool = True
) -> None:
    gradients = _spread_gradients(run.seed, start, 4)
    rates = [1e-3, 1e-3, 5e-4, 2e-3]
    exact, state = {n: v.astype(np.float64) for n, v in start.items()}, oracle.OptimiserState()
    for rate, gradient in zip(rates, gradients, strict=True):
        widened = {name: value.astype(np.float64) for name, value in gradient.items()}
        exact = oracle.optimiser_step(config, state, exact, widened, rate)
    moved = run.collect(lambda b: b.optimiser_steps(config, start, gradients, rates))
    case = describe(config)
    if single:
        run.judge_against(moved, exact, "training.adam", case)
    else:
        run.judge_against(moved, exact, "training.decay", case, figure="rms")


def _rate(config: TrainingConfig, epoch: int) -> float:
    decay = _EXPONENTIAL_DECAY**epoch if config.scheduler == "Exponential" else 1.0
    return config.learning_rate * decay


def _reference_updates(
    backend: Backend, config: TrainingConfig, container: PtychoDataContainer, epochs: int
) -> Arrays:
    """Return the change of each weight under float64 Adam, fed with the backend's gradients."""
    plan = plan_training(container, config)
    start = {name: np.asarray(value, np.float64) for name, value in plan.weights.items()}
    exact, state = dict(start), oracle.OptimiserState()
    for epoch in range(epochs):
        for batch in plan.epoch(epoch):
            rounded = {name: value.astype(np.float32) for name, value in exact.items()}
            x = container.batch_X(batch) * np.float32(plan.intensity_scale)
            offsets = container.batch_offsets(batch)
            gradients = backend.loss_gradients(config, rounded, x, offsets, plan.intensity_scale)
            clipped = oracle.clip_gradients(config, gradients)
            exact = oracle.optimiser_step(config, state, exact, clipped, _rate(config, epoch))
    return {name: exact[name] - start[name] for name in exact}


_FOUR_STEPS: dict[str, Any] = {"batch_size": 4, "nepochs": 2, "validation_fraction": 0.0}

#: Four steps of eight groups, clipped by norm on a schedule.
CLIPPED_STEPS = training(
    small_model(probe_big=False),
    **_FOUR_STEPS,
    gradient_clip_val=0.05,
    scheduler="Exponential",
    probe_trainable=True,
)


@check("U-2", "Training steps: batches, clipping, schedule and Adam as in float64", ("backend",))
def steps(run: Recorder) -> None:
    """Four steps over two epochs, clipped by norm on a schedule, and clipped by value.

    Adam makes steps of full size from gradients that are rounding noise, so single elements may
    differ: the root mean square over a tensor is judged.
    """
    by_value = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": "value"}
    container = scan_container(1, run.seed, groups=8)
    for config in (CLIPPED_STEPS, training(CLIPPED_STEPS.model, **_FOUR_STEPS, **by_value)):
        _judge_steps(run, config, container)


def _judge_steps(run: Recorder, config: TrainingConfig, container: PtychoDataContainer) -> None:
    case = describe(config)
    start = plan_training(container, config).weights
    results = run.collect(lambda b: b.train_steps(config, container, 4), case)
    for subject, result in results.items():
        expected = _reference_updates(run.backends[subject], config, container, epochs=2)
        moved = {n: np.asarray(v, np.float64) - start[n] for n, v in result.weights.items()}
        trained = [name for name in expected if name != "probe" or config.probe_trainable]
        found = compare_named(moved, expected, trained)
        run.judge(subject, found, "training.update", case, "rms")
        run.judge(subject, [median(found, "rms")], "training.update_median", case, "rms")
        if not config.probe_trainable:
            still = not np.any(moved["probe"])
            run.require(subject, still, "the probe moved though it is not trainable", case)


#: Small steps: at the default rate a difference in the last bit of one weight grows a thousandfold
#: in ten steps, within one backend as between two.
TWENTY_STEPS = training(
    small_model(gridsize=2),
    batch_size=4,
    nepochs=5,
    validation_fraction=0.2,
    mae_weight=0.2,
    learning_rate=1e-4,
)


def twenty_steps(run: Recorder, backend: Backend) -> TrainedRun:
    """Return the backend's run of 20 steps; the archives are made of it as well."""
    container = scan_container(2, run.seed, groups=20)
    return run.once(
        ("twenty steps", backend.name), lambda: backend.train_steps(TWENTY_STEPS, container, 20)
    )


def curves_of(result: TrainedRun) -> Arrays:
    """Return the losses of the steps and the history of a training as arrays."""
    lists = {"step_losses": result.step_losses, **result.history}
    return {name: np.asarray(values, np.float64) for name, values in lists.items()}


@check("T-1", "Twenty training steps from one seed: same losses in both, bit-equal on repetition")
def trainings(run: Recorder) -> None:
    """Five epochs with validation; the histories carry the same names and lengths."""
    container = scan_container(2, run.seed, groups=20)
    first = run.collect(lambda b: twenty_steps(run, b))
    again = run.collect(lambda b: b.train_steps(TWENTY_STEPS, container, 20))
    for subject in first.keys() & again.keys():
        losses = first[subject].step_losses
        what = f"{len(losses)} step losses, from {losses[0]} to {losses[-1]}; expected 20, falling"
        run.require(subject, len(losses) == 20 and losses[-1] < losses[0], what)
        same = compare_named(curves_of(first[subject]), curves_of(again[subject]))
        run.judge_equal(subject, same, "repeated run")
        weights = compare_named(first[subject].weights, again[subject].weights)
        run.judge_equal(subject, weights, "repeated run")
    for left, right in run.pairs(first):
        early = compare(left.step_losses[:3], right.step_losses[:3], "step_losses", ("step",))
        run.judge(PAIR, [early], "training.first_losses", describe(TWENTY_STEPS))
        found = compare_named(curves_of(left), curves_of(right))
        run.judge(PAIR, found, "training.losses", describe(TWENTY_STEPS))
        found = compare_named(left.weights, right.weights)
        run.judge(PAIR, found, "training.weights", describe(TWENTY_STEPS), "rms")
