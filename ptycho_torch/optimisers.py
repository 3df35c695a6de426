"""Optimisers: one formula each, the same in both backends (``docs/architecture.md``, formula 8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from ptycho.config.config import TrainingConfig
from ptycho.core.weights import PHYSICAL

__all__ = ["make_optimiser"]


def make_optimiser(
    config: TrainingConfig, named: Iterable[tuple[str, nn.Parameter]]
) -> torch.optim.Optimizer:
    """Return the optimiser of ``config`` over the parameters that train, by canonical name.

    ``adam`` and ``sgd`` add weight_decay * weight to the gradient, ``adamw`` shrinks the weights
    instead. Probe and log-scale are not decayed. The rate is set before each step.
    """
    groups: list[dict[str, Any]] = []
    trained = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    if config.weight_decay:
        for physical, decay in ((False, config.weight_decay), (True, 0.0)):
            members = [p for name, p in trained if (name in PHYSICAL) == physical]
            groups += [{"params": members, "weight_decay": decay}] if members else []
    else:
        groups = [{"params": [parameter for _, parameter in trained], "weight_decay": 0.0}]
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    kind = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    betas = (config.adam_beta1, config.adam_beta2)
    return kind(groups, lr=config.learning_rate, betas=betas, eps=1e-8)
