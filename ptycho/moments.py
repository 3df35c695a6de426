"""Adam's moments in terms of the canonical weights: taken out of the optimiser and put back."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ptycho.core.training_state import TrainingState
from ptycho.core.weights import Weights
from ptycho.model import canonical_variables

__all__ = ["get_moments", "set_moments"]


def get_moments(optimizer: Any, model: keras.Model) -> tuple[tuple[Weights, Weights], int]:
    """Return copies of the first and second moments by canonical name, and the steps taken."""
    indices = _indices(optimizer, model)
    first, second = (
        {name: np.array(every[index], np.float32) for name, index in indices.items()}
        for every in (optimizer._momentums, optimizer._velocities)
    )
    return (first, second), int(optimizer.iterations.numpy())


def set_moments(optimizer: Any, model: keras.Model, state: TrainingState) -> None:
    """Give a built optimiser the moments and the step count of an earlier run.

    Raises ``KeyError`` naming a weight that trains here and did not there.
    """
    for name, index in _indices(optimizer, model).items():
        optimizer._momentums[index].assign(state.first[name])
        optimizer._velocities[index].assign(state.second[name])
    optimizer.iterations.assign(state.step)


def _indices(optimizer: Any, model: keras.Model) -> dict[str, int]:
    """Return canonical name -> the optimiser's index of every weight that trains."""
    trained = {id(variable) for variable in model.trainable_variables}
    return {
        name: optimizer._get_variable_index(variable)
        for name, variable in canonical_variables(model)
        if id(variable) in trained
    }
