"""Derivatives of the reference loss by central differences in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Difference of the loss that a step aims at: far above rounding, so that the step, and with
#: it the chance of crossing a kink of ReLU, pooling or an absolute value, is as small as it can be.
_AIM = 1e-10
_SHORTEST, _LONGEST = 1e-7, 1e-5


def directional_derivative(
    loss: Callable[[Mapping[str, NDArray[Any]]], float],
    weights: Mapping[str, NDArray[Any]],
    direction: Mapping[str, NDArray[np.float64]],
    guess: float,
) -> float:
    """Return the derivative of ``loss(weights)`` along ``direction``.

    ``direction`` has a tensor of about unit length for each weight that moves; ``guess`` is the
    size of the derivative, from which the length of the step follows.
    """
    step = min(max(_AIM / abs(guess), _SHORTEST), _LONGEST) if guess else _LONGEST
    exact = {key: np.asarray(value, np.float64) for key, value in weights.items()}
    ahead = {name: exact[name] + step * along for name, along in direction.items()}
    behind = {name: exact[name] - step * along for name, along in direction.items()}
    return (loss({**exact, **ahead}) - loss({**exact, **behind})) / (2 * step)
