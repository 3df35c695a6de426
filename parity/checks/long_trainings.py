"""T-2: fifty steps, the backends beside what the last bit of one kernel does within each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import describe, scan_container
from parity.checks.training import TWENTY_STEPS
from parity.compare import Comparison, compare
from ptycho.config.config import TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.training_plan import plan_training

_STEPS = 50
#: At 1e-4 the last bit of one kernel moves a loss of these fifty by up to 1.4e-3 within one
#: backend, and a comparison of two says nothing below that; here by up to 3.0e-4.
_FIFTY_STEPS = dataclasses.replace(TWENTY_STEPS, nepochs=13, learning_rate=3e-5)
_NUDGED = "encoder/block1/conv1/kernel"


def apart(left: Sequence[float], right: Sequence[float], name: str) -> Comparison:
    """Compare two curves of losses value by value, each relative to itself."""
    ratio = np.asarray(left, np.float64) / np.asarray(right, np.float64)
    return compare(ratio, np.ones_like(ratio), name, ("step",))


def nudged(config: TrainingConfig, container: PtychoDataContainer) -> dict[str, NDArray[Any]]:
    """Return the initial weights with every element of one kernel moved to the next number."""
    weights = dict(plan_training(container, config).weights)
    weights[_NUDGED] = np.nextafter(weights[_NUDGED], np.float32(np.inf))
    return weights


@check("T-2", "Fifty steps from one seed part the backends no more than a last bit parts one")
def fifty_steps(run: Recorder) -> None:
    """At a learning rate at which each agrees with itself after that, within the tolerance."""
    config, container = _FIFTY_STEPS, scan_container(2, run.seed, groups=20)
    case = describe(config)
    runs = run.collect(lambda b: b.train_steps(config, container, _STEPS), case)
    weights = nudged(config, container)
    again = run.collect(lambda b: b.train_steps(config, container, _STEPS, weights), case)
    whole = {}
    for subject, result in runs.items():
        losses = result.step_losses
        fell = len(losses) == _STEPS and losses[-1] < 0.9 * losses[0]
        what = f"{len(losses)} losses, from {losses[0]} to {losses[-1]}; expected 50 that fall"
        run.require(subject, fell, what, case)
        if len(losses) == _STEPS:
            whole[subject] = losses
    for subject in whole.keys() & again.keys():
        found = apart(whole[subject], again[subject].step_losses, "step_losses")
        run.judge(subject, [found], "training.fifty", f"last bit of {_NUDGED}")
    for left, right in run.pairs(whole):
        run.judge(PAIR, [apart(left, right, "step_losses")], "training.fifty", case)
