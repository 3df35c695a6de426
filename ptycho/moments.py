"""The optimiser's moments in terms of the canonical weights: taken out and put back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ptycho.core.training_state import TrainingState
from ptycho.core.weights import Weights
from ptycho.optimisers import OptimiserState

__all__ = ["get_moments", "set_moments"]


def get_moments(
    optimizer: OptimiserState, names: Sequence[str]
) -> tuple[tuple[Weights, Weights], int]:
    """Return copies of the first and second moments by canonical name, and the steps taken.

    ``names`` are those of the optimiser's variables. What it does not keep is zero: gradient
    descent has no second moments.
    """
    zeros = [np.zeros(variable.shape, np.float32) for variable in optimizer.variables]
    first, second = (
        {name: np.array(each, np.float32) for name, each in zip(names, kept or zeros, strict=True)}
        for kept in (optimizer.first, optimizer.second)
    )
    return (first, second), int(optimizer.step.numpy())


def set_moments(optimizer: OptimiserState, names: Sequence[str], state: TrainingState) -> None:
    """Give an optimiser the moments and the step count of an earlier run.

    Raises ``KeyError`` naming a weight that trains here and did not there.
    """
    for kept, moments in ((optimizer.first, state.first), (optimizer.second, state.second)):
        for name, variable in zip(names, kept, strict=False):
            variable.assign(moments[name])
    optimizer.step.assign(state.step)
