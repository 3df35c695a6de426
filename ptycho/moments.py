"""The optimiser's moments in terms of the canonical weights: taken out and put back."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from ptycho.core.training_state import TrainingState
from ptycho.core.weights import Weights
from ptycho.model import canonical_variables

__all__ = ["get_moments", "set_moments"]


def get_moments(optimizer: Any, model: keras.Model) -> tuple[tuple[Weights, Weights], int]:
    """Return copies of the first and second moments by canonical name, and the steps taken.

    What the optimiser does not keep is zero: gradient descent has no second moments.
    """
    indices = _indices(optimizer, model)
    first, second = (
        {
            name: np.array(every[index], np.float32) if every else _zeros(model, name)
            for name, index in indices.items()
        }
        for every in _kept(optimizer)
    )
    return (first, second), int(optimizer.iterations.numpy())


def set_moments(optimizer: Any, model: keras.Model, state: TrainingState) -> None:
    """Give a built optimiser the moments and the step count of an earlier run.

    Raises ``KeyError`` naming a weight that trains here and did not there.
    """
    for name, index in _indices(optimizer, model).items():
        for kept, moments in zip(_kept(optimizer), (state.first, state.second), strict=True):
            if kept:
                kept[index].assign(moments[name])
    optimizer.iterations.assign(state.step)


def _kept(optimizer: Any) -> tuple[list[Any], list[Any]]:
    """Return the optimiser's own variables of first and second moments; empty if it has none."""
    if isinstance(optimizer, keras.optimizers.SGD):
        return (optimizer.momentums if optimizer.momentum else []), []
    return optimizer._momentums, optimizer._velocities


def _zeros(model: keras.Model, name: str) -> np.ndarray:
    return np.zeros(dict(canonical_variables(model))[name].shape, np.float32)


def _indices(optimizer: Any, model: keras.Model) -> dict[str, int]:
    """Return canonical name -> the optimiser's index of every weight that trains."""
    trained = {id(variable) for variable in model.trainable_variables}
    return {
        name: optimizer._get_variable_index(variable)
        for name, variable in canonical_variables(model)
        if id(variable) in trained
    }
