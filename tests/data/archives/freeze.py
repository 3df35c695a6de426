"""Freeze one archive of each backend in the present format, with what it predicts.

    python tests/data/archives/freeze.py

Run it once for a new format version, never again for an old one: the files stay as they are and
have to load for ever. Weights are sparse and coarse, so that an archive compresses to 0.2 MB.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.bundle import Bundle
from ptycho.core.schedule import PlateauState
from ptycho.core.training_plan import training_params
from ptycho.core.training_state import TrainingState
from ptycho.core.weights import Weights, initial_weights
from ptycho.core.weights_file import FORMAT_VERSION

HERE = Path(__file__).parent
MANAGERS = {"tensorflow": "ptycho.model_manager", "pytorch": "ptycho_torch.model_manager"}
SCALE = 62.5


def coarse(rng: np.random.Generator, weights: Weights, kept: float) -> Weights:
    """Return weights of the same shapes with few distinct values, most of them zero."""
    found: Weights = {}
    for name, value in weights.items():
        levels = np.round(rng.uniform(-1, 1, value.shape) * 8) / 8
        if name.endswith("kernel"):
            fan = 9 * value.shape[2] * kept
            levels = np.where(rng.random(value.shape) < kept, levels * np.sqrt(3 / fan), 0)
        elif name.endswith("bias"):
            levels = np.round(levels * 4) / 16
        elif name == "probe":
            levels = np.round(value * 16) / 16
        else:
            levels = value
        found[name] = np.asarray(levels, np.float32)
    return found


def bundle() -> Bundle:
    """Return the model that both backends save."""
    rng = np.random.default_rng(5)
    model = ModelConfig(N=32, n_filters_scale=1)
    config = TrainingConfig(model=model, nepochs=4, batch_size=8, nphotons=1e6)
    axis = np.arange(32) - 16.0
    probe = np.exp(-(axis[:, None] ** 2 + axis**2) / 40).astype(complex)
    weights = coarse(rng, initial_weights(model, 5, probe, SCALE), 0.012)
    first = coarse(rng, {n: v for n, v in weights.items() if n != "probe"}, 0.006)
    state = TrainingState(
        epoch=2,
        batch=1,
        step=5,
        first=first,
        second={name: value**2 for name, value in first.items()},
        plateau=PlateauState(1e-3, 0.25, 1),
        history={"loss": [0.5, 0.25], "val_loss": [0.75, 0.375]},
        groups="0123456789abcdef" * 4,
    )
    params = training_params(config)
    return Bundle("tensorflow", model, weights, SCALE, 0.5, params, state)


def main() -> None:
    """Write ``<version>-<backend>.zip`` and ``<version>-prediction.npz``."""
    x = np.zeros((2, 32, 32, 1), np.float32)
    x[:, 6:26, 6:26] = np.random.default_rng(6).integers(0, 40, (2, 20, 20, 1))
    for backend, module in MANAGERS.items():
        manager = importlib.import_module(module)
        path = manager.convert(HERE / f"{FORMAT_VERSION}-{backend}.zip", bundle())
        found = manager.load(path)[0].predict([x, np.zeros((2, 1, 2, 1), np.float32)])
        if backend == "tensorflow":
            target = HERE / f"{FORMAT_VERSION}-prediction.npz"
            np.savez_compressed(target, x=x, object=found)


if __name__ == "__main__":
    main()
