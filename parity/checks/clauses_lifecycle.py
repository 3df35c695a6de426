"""Q-51 to Q-53: the order of a run's stages, and which learning rate each step takes."""

from __future__ import annotations

import dataclasses
import math
from unittest import mock

import numpy as np

from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.rows_run import stages_of
from parity.checks.samples import scan_container, small_model, training
from ptycho.core.schedule import LearningRateSchedule
from ptycho.core.training_plan import plan_training

#: Job -> pairs of stages, the first before the second.
_ORDER = {
    "train": (
        ("configure", "group"),
        ("configure", "build"),
        ("group", "scale"),
        ("scale", "save"),
        ("loss", "save"),
    ),
    "infer": (("restore", "group"), ("group", "scale"), ("scale", "infer"), ("infer", "stitch")),
}


@check("Q-51", "A training and an inference pass their stages in order", ("backend",))
def order(run: Recorder) -> None:
    """By the first entry into each stage's function in a traced run."""
    for subject in run.backends:
        entered = stages_of(run, subject)
        for job, pairs in _ORDER.items():
            found = entered[job]
            for first, second in pairs:
                both = first in found and second in found
                holds = both and found.index(first) < found.index(second)
                run.require(subject, holds, f"{first} before {second}: {found}", job)


@check("Q-52", "Every step takes its learning rate from the schedule", ("backend",))
def learning_rates(run: Recorder) -> None:
    """A schedule of 2.5e-3 and then nothing: the first step of Adam moves weights by just that."""
    config = training(small_model(), batch_size=4, nepochs=2, validation_fraction=0.0)
    container = scan_container(1, run.seed, groups=8)
    start = plan_training(container, config).weights
    for subject, backend in run.backends.items():
        asked: list[int] = []

        def rate(self: LearningRateSchedule, step: int, seen: list[int] = asked) -> float:
            seen.append(step)
            return 2.5e-3 if step == 0 else 0.0

        with mock.patch.object(LearningRateSchedule, "rate", rate):
            result = backend.train_steps(config, container, 4)
        steps = sorted(set(asked))
        run.require(subject, steps == [0, 1, 2, 3], f"rates were asked for steps {steps}")
        # Elsewhere gradients may be as small as epsilon, and steps shorter than the rate.
        moves = {
            name: float(np.abs(np.asarray(value, np.float64) - start[name]).max())
            for name, value in result.weights.items()
            if name.startswith(("encoder/", "amplitude_decoder/")) and name.endswith("/kernel")
        }
        off = {name: move for name, move in moves.items() if abs(move / 2.5e-3 - 1) > 1e-3}
        what = f"largest moves after rates of 2.5e-3, 0, 0, 0: {off}"
        run.require(subject, len(moves) >= 6 and not off, what)


@check("Q-53", "MultiStage and Adaptive follow their formulas in both backends")
def schedules(run: Recorder) -> None:
    """The rate of each epoch's last step; Adaptive is worked out from the losses recorded."""
    plain = training(small_model(), batch_size=4, validation_fraction=0.2)
    plain = dataclasses.replace(plain, nepochs=6, plateau_factor=0.4, plateau_min_lr=2e-3)
    stages = dataclasses.replace(
        plain,
        scheduler="MultiStage",
        learning_rate=1e-4,
        stage_1_epochs=2,
        stage_2_epochs=2,
        stage_3_lr_factor=0.2,
    )
    # High enough for a loss that goes up and down.
    adaptive = dataclasses.replace(plain, scheduler="Adaptive", learning_rate=2e-2)
    container = scan_container(1, run.seed, groups=10)
    # Two steps an epoch: the fall takes steps 4 to 7, and 5 and 7 are the last of their epochs.
    cosine = [0.2 + 0.8 * (1 + math.cos(math.pi * done / 4)) / 2 for done in (1, 3)]
    wanted = [1e-4 * factor for factor in (1, 1, *cosine, 0.2, 0.2)]
    rates = {}
    for subject, backend in run.backends.items():
        found = rates[subject] = backend.train_steps(stages, container, 12).history["learning_rate"]
        close = len(found) == 6 and np.allclose(found, wanted, rtol=1e-12)
        run.require(subject, close, f"{found}; expected {wanted}", "MultiStage")
        history = backend.train_steps(adaptive, container, 12).history
        losses, expected = history["val_loss"], [2e-2]
        for before, after in zip([math.inf, *losses], losses[:-1], strict=False):
            last = expected[-1]
            expected.append(min(last * 1.05, 2e-2) if after < before else max(last * 0.4, 2e-3))
        close = np.allclose(history["learning_rate"], expected, rtol=1e-12)
        what = f"{history['learning_rate']}; expected {expected} of {losses}"
        run.require(subject, close, what, "Adaptive")
        run.require(subject, min(expected) < 2e-2, f"{losses} never rose", "Adaptive")
    for left, right in run.pairs(rates):
        run.require(PAIR, left == right, f"{left} and {right}", "MultiStage")
