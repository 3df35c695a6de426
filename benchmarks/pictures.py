"""Rows: stitching patches, saving and loading models."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rows import Row, Work
from benchmarks.scans import positions
from ptycho.core.stitching import reassemble

_N = 64


def rows() -> Iterator[Row]:
    """Yield the rows."""
    for M in (20, 64):
        for n in (1_000, 10_000, 100_000):
            yield Row(
                "stitch", f"{n} patches, M={M}", partial(_stitch, n, M),
                "bincounts of as many pixels",
                seconds=0.05 if n == 1_000 else None, count=n, series=f"M={M}",
                runs=3 if n > 1_000 else 7, quick=n * M < 1_000_000,
            )  # fmt: skip
    for backend in ("tensorflow", "pytorch"):
        for compact in (True, False):
            kept = "compact" if compact else "whole, with Adam's moments"
            yield Row(
                "archive", f"save, {backend}, {kept}", partial(_archive, backend, compact, False),
                "write the same bytes", seconds=1.0, runs=5,
                limits={"megabytes": 12.0} if compact else {},
            )  # fmt: skip
            yield Row(
                "archive", f"load, {backend}, {kept}", partial(_archive, backend, compact, True),
                "read the same bytes", seconds=1.0, runs=5,
            )  # fmt: skip


def _stitch(n: int, M: int) -> Work:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(500, _N, _N)) + 1j * rng.normal(size=(500, _N, _N))
    patches = np.tile(noise.astype(np.complex64), (n // 500, 1, 1))
    offsets = positions(n)
    pixels = rng.integers(0, 1 << 16, 1 << 16)
    weights = rng.random(1 << 16)

    def floor() -> None:
        left = n * M * M
        while left > 0:
            np.bincount(pixels[:left], weights[:left])
            left -= len(pixels)

    return Work(partial(reassemble, patches, offsets, M), floor)


def _trained(backend: str) -> tuple[Any, Any]:
    """Return (model manager, model) after two training steps of the default network."""
    from ptycho.config.config import ModelConfig, TrainingConfig
    from ptycho.core.workflow import configure, create_container
    from ptycho.simulation.simulate import built_in_scan
    from ptycho.workflows.backend_selector import get_backend

    scan = built_in_scan(seed=0, n_positions=64)
    config = TrainingConfig(ModelConfig(N=_N), nepochs=1, batch_size=16, backend=backend)
    configure(config)
    components = get_backend(backend)
    components.require_framework()
    if backend == "tensorflow":
        from ptycho.training import train
    else:
        from ptycho_torch.training import train
    model = train(create_container(scan, config), config, max_steps=2, progress=False)
    return components.model_manager, model


def _archive(backend: str, compact: bool, loading: bool) -> Work:
    manager, model = _trained(backend)
    folder = Path(tempfile.mkdtemp())
    save = partial(manager.save, folder, model, compact=compact)
    path = save()
    data = path.read_bytes()

    def facts() -> dict[str, float]:
        shutil.rmtree(folder)
        return {"megabytes": len(data) / 1e6}

    if loading:
        return Work(partial(manager.load, folder), path.read_bytes, facts)
    return Work(save, partial((folder / "floor").write_bytes, data), facts)
