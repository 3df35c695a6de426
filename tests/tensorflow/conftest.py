"""A tiny simulated scan with counts, built with NumPy and SciPy alone."""

import numpy as np
import pytest
from scipy import ndimage

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.workflow import create_container
from ptycho.raw_data import RawData

N = 32


def simulate(n_positions=48, labels=True, seed=11):
    """Counts of a smooth object under a curved Gaussian probe, at sub-pixel positions."""
    rng = np.random.default_rng(seed)
    axis = np.arange(N) - N / 2
    r2 = axis[:, None] ** 2 + axis**2
    probe = np.exp(-r2 / 50 + 0.012j * r2)
    row, column = np.mgrid[:80, :80] / 9
    modulus = 0.6 + 0.25 * np.cos(row) * np.sin(column + 1)
    obj = modulus * np.exp(0.7j * np.cos(row + 0.6 * column))
    x, y = rng.uniform(34, 46, (2, n_positions))
    patches = np.stack(
        [
            ndimage.shift(obj, (40 - b, 40 - a), order=1)[24:56, 24:56]
            for a, b in zip(x, y, strict=True)
        ]
    )
    waves = np.fft.fftshift(np.fft.fft2(probe * patches, norm="ortho"), axes=(1, 2))
    intensity = np.abs(waves) ** 2
    counts = rng.poisson(intensity * (1e6 / intensity.sum(axis=(1, 2)).mean()))
    return RawData.from_coords_without_pc(
        x, y, counts.astype(np.uint32), probe, np.zeros(n_positions, int),
        objectGuess=obj if labels else None,
    )  # fmt: skip


@pytest.fixture(scope="session")
def scan() -> RawData:
    """Forty-eight patterns (32, 32) with the true object as ``objectGuess``."""
    return simulate()


@pytest.fixture(scope="session")
def unlabelled_scan() -> RawData:
    """The same patterns without an object."""
    return simulate(labels=False)


def configuration(gridsize=1, model=None, **fields):
    fields = {"nepochs": 2, "batch_size": 8, "n_groups": 24, "nphotons": 1e6} | fields
    parts = {"N": N, "gridsize": gridsize, "n_filters_scale": 1} | (model or {})
    return TrainingConfig(model=ModelConfig(**parts), **fields)


@pytest.fixture
def make_config():
    """Return a function that makes a small training configuration."""
    return configuration


def fit_model(raw, config, container=None, **settings):
    from ptycho import training

    container = create_container(raw, config) if container is None else container
    return training.train(container, config, progress=False, **settings)


@pytest.fixture
def fit(scan):
    """Return a function that trains on the scan without showing progress."""
    return lambda config, container=None, **settings: fit_model(scan, config, container, **settings)


@pytest.fixture(scope="session")
def trained(scan):
    """A gridsize-2 model after twenty steps; tests must not change it."""
    return fit_model(scan, configuration(2, nepochs=20), max_steps=20)
