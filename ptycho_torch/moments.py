"""The optimiser's moments in terms of the canonical weights: taken out and put back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ptycho.core.training_state import TrainingState
from ptycho.core.weights import Weights
from ptycho_torch.model import canonical_array, canonical_name, native_tensor

__all__ = ["get_moments", "set_moments"]


def get_moments(
    optimizer: torch.optim.Optimizer, model: nn.Module
) -> tuple[tuple[Weights, Weights], int]:
    """Return copies of the first and second moments by canonical name, and the steps taken.

    What torch does not keep is zero: the moments of a weight that the loss does not depend on,
    the second ones of gradient descent, and its steps.
    """
    first: Weights = {}
    second: Weights = {}
    steps = 0
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        kept = optimizer.state.get(parameter) or {}
        zero = torch.zeros_like(parameter)
        momentum = kept.get("exp_avg", kept.get("momentum_buffer"))
        first[canonical_name(name)] = canonical_array(name, zero if momentum is None else momentum)
        second[canonical_name(name)] = canonical_array(name, kept.get("exp_avg_sq", zero))
        steps = max(steps, int(kept.get("step", 0)))
    return (first, second), steps


def set_moments(optimizer: torch.optim.Optimizer, model: nn.Module, state: TrainingState) -> None:
    """Give an optimiser the moments and the step count of an earlier run.

    Raises ``KeyError`` naming a weight that trains here and did not there.
    """
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if isinstance(optimizer, torch.optim.SGD):
            momentum = _like(parameter, name, state.first)
            optimizer.state[parameter] = {"momentum_buffer": momentum}
        else:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(state.step)),
                "exp_avg": _like(parameter, name, state.first),
                "exp_avg_sq": _like(parameter, name, state.second),
            }


def _like(parameter: Tensor, name: str, moments: Weights) -> Tensor:
    # Laid out in memory as torch makes it.
    found = torch.empty_like(parameter, memory_format=torch.preserve_format)
    return found.detach().copy_(native_tensor(name, moments[canonical_name(name)]))
