"""A tiny simulated scan, built with NumPy alone."""

from pathlib import Path

import numpy as np
import pytest

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.workflow import create_container
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan

N = 32


@pytest.fixture(scope="session")
def scan() -> RawData:
    """Forty patterns (32, 32) of a smooth object under a Gaussian probe, at sub-pixel positions."""
    rng = np.random.default_rng(7)
    centred = np.arange(N) - N / 2
    probe = np.exp(-(centred[:, None] ** 2 + centred**2) / 40).astype(complex)
    row, column = np.mgrid[:96, :96] / 12
    obj = (0.6 + 0.3 * np.sin(row + 1) * np.cos(column)) * np.exp(0.8j * np.sin(row - 0.7 * column))
    x, y = rng.uniform(40, 56, (2, 40))
    corners = np.stack([np.floor(y), np.floor(x)], axis=1).astype(int) - N // 2
    patches = np.stack([obj[r : r + N, c : c + N] for r, c in corners])
    waves = np.fft.fftshift(np.fft.fft2(probe * patches, norm="ortho"), axes=(1, 2))
    return RawData(
        x, y, None, None, np.abs(waves).astype(np.float32), probe, np.zeros(40, int),
        objectGuess=obj,
    )  # fmt: skip


@pytest.fixture(scope="session")
def scan_file(tmp_path_factory) -> Path:
    """An NPZ file with twenty patterns (32, 32) of the built-in scan."""
    folder = tmp_path_factory.mktemp("scan")
    return built_in_scan(seed=3, N=32, n_positions=20).to_file(folder / "scan.npz")


@pytest.fixture
def make_config():
    """Return a function that makes a small training configuration."""

    def make(gridsize=1, model=None, **fields):
        fields = {"nepochs": 2, "batch_size": 8, "n_groups": 24, "backend": "pytorch"} | fields
        parts = {"N": N, "gridsize": gridsize, "n_filters_scale": 1} | (model or {})
        return TrainingConfig(model=ModelConfig(**parts), **fields)

    return make


@pytest.fixture
def fit(scan):
    """Return a function that trains on the scan, on the CPU and without progress."""

    def run(config, container=None, **settings):
        from ptycho_torch import training

        execution = PyTorchExecutionConfig(accelerator="cpu", **settings.pop("execution", {}))
        container = create_container(scan, config) if container is None else container
        return training.train(
            container, config, execution_config=execution, progress=False, **settings
        )

    return run
