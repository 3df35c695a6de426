"""Rows: stitching patches, saving and loading models."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import replace
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
                "stitch", f"{n} patches, M={M}", partial(_stitch, n, M), "one bincount of the size",
                seconds=0.05 if n == 1_000 else None, count=n, series=f"M={M}",
                runs=3 if n > 1_000 else 7, quick=n * M < 1_000_000,
            )  # fmt: skip
    for backend in ("tensorflow", "pytorch"):
        for state in (False, True):
            kept = "with Adam's moments" if state else "weights only"
            limits = {} if state else {"megabytes": 12.0}
            yield Row(
                "archive", f"save, {backend}, {kept}", partial(_save, backend, state),
                "write the same bytes", seconds=1.0, limits=limits, runs=5,
            )  # fmt: skip
            yield Row(
                "archive", f"load, {backend}, {kept}", partial(_load, backend, state),
                "read the same bytes", seconds=1.0, runs=5,
            )  # fmt: skip


def _stitch(n: int, M: int) -> Work:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(500, _N, _N)) + 1j * rng.normal(size=(500, _N, _N))
    patches = np.tile(noise.astype(np.complex64), (n // 500, 1, 1))
    offsets = positions(n)
    side = int(np.ptp(offsets, axis=0).max()) + 2 * M
    pixels = rng.integers(0, side * side, 1 << 16)
    weights = rng.random(1 << 16)

    def floor() -> None:
        left = n * M * M
        while left > 0:
            np.bincount(pixels[:left], weights[:left])
            left -= len(pixels)

    return Work(partial(reassemble, patches, offsets, M), floor)


def trained(backend: str, state: bool) -> tuple[Any, Any]:
    """Return (model manager, model) of a few training steps with the default network."""
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
    return components.model_manager, model if state else replace(model, state=None)


def _save(backend: str, state: bool) -> Work:
    manager, model = trained(backend, state)
    folder = Path(tempfile.mkdtemp())
    data = manager.save(folder, model).read_bytes()

    def facts() -> dict[str, float]:
        shutil.rmtree(folder)
        return {"megabytes": len(data) / 1e6}

    return Work(
        partial(manager.save, folder, model), partial((folder / "floor").write_bytes, data), facts
    )


def _load(backend: str, state: bool) -> Work:
    manager, model = trained(backend, state)
    folder = Path(tempfile.mkdtemp())
    path = manager.save(folder, model)

    def facts() -> dict[str, float]:
        shutil.rmtree(folder)
        return {}

    return Work(
        partial(manager.load, folder), lambda: io.BytesIO(path.read_bytes()).getvalue(), facts
    )
