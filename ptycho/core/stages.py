"""What a forward pass returns, stage by stage, where there is nothing to pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import ModelConfig

__all__ = ["stages_of_no_groups"]


def stages_of_no_groups(config: ModelConfig, network: bool = True) -> dict[str, NDArray[Any]]:
    """Return the stages of a batch without groups, for which frameworks have no kernels.

    ``object`` (0, N, N, 1), ``patches`` (0, N, N, O), O = 1 without ``object_big``, and
    ``extracted`` (0, N, N, C) are complex64, ``amplitude`` and ``intensity`` (0, N, N, C) float32.
    Without ``network`` there are no ``patches``.
    """
    members = config.gridsize**2
    channels = {"object": 1, "extracted": members}
    if network:
        channels["patches"] = members if config.object_big else 1
    images: dict[str, NDArray[Any]] = {
        name: np.empty((0, config.N, config.N, count), np.complex64)
        for name, count in channels.items()
    }
    for name in ("amplitude", "intensity"):
        images[name] = np.empty((0, config.N, config.N, members), np.float32)
    return images
