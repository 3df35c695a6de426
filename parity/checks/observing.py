"""Ways of observing that the framework-free checks share: refusals, warnings, scans."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.callchain.scenario import package_of
from parity.checks.recorder import Recorder
from parity.checks.samples import generator, probe_modes
from ptycho import params
from ptycho.raw_data import RawData
from ptycho.workflows.backend_selector import bundle_reader


def everyone(run: Recorder, holds: bool, what: str, case: str = "") -> None:
    """Record one observation for every backend: what both share was looked at."""
    for subject in run.backends:
        run.require(subject, holds, what, case)


def doors(subject: str) -> Any:
    """Return the ``workflows.components`` of a backend; no framework is imported."""
    return importlib.import_module(f"{package_of(subject)}.workflows.components")


def load_with_backend(subject: str, path: str | Path) -> tuple[Any, dict[str, Any]]:
    """Load a bundle by a backend itself, whoever wrote it; ``params.cfg`` is the caller's care."""
    return bundle_reader(doors(subject))(path)


def outcome(job: Callable[..., object], *given: Any, **named: Any) -> Exception | None:
    """Return the exception that ``job`` raises when it is given these arguments, or ``None``."""
    try:
        job(*given, **named)
    except Exception as error:
        return error
    return None


def result(run: Recorder, case: str, job: Callable[..., Any], *given: Any) -> Any:
    """Return what ``job`` returns; an exception is a finding against everyone, and gives None."""
    try:
        return job(*given)
    except Exception as error:
        everyone(run, False, f"raised {error!r}", case)
        return None


def says(error: Exception | None, kind: type[Exception], *words: str) -> bool:
    """Tell whether ``error`` is of ``kind`` and its message has every word."""
    return isinstance(error, kind) and all(word in str(error) for word in words)


@contextmanager
def params_kept() -> Iterator[dict[str, Any]]:
    """Give ``params.cfg`` its defaults for a while; put back what was there."""
    before = dict(params.cfg)
    params.restore_defaults()
    try:
        yield params.cfg
    finally:
        params.cfg.clear()
        params.cfg.update(before)


@contextmanager
def messages(name: str) -> Iterator[list[str]]:
    """Collect the warnings that a logger gives."""
    collected: list[str] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            collected.append(record.getMessage())

    logger, handler = logging.getLogger(name), Collector(logging.WARNING)
    propagate, level = logger.propagate, logger.level
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.WARNING)
    try:
        yield collected
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagate
        logger.setLevel(level)


def jittered_positions(seed: int, columns: int, rows: int) -> NDArray[np.float64]:
    """Return [x, y] of a jittered raster of 3 pixels, shuffled; no two coordinates are equal."""
    rng = generator(seed, f"positions {columns} {rows}")
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    positions = grid * 3.0 + rng.uniform(-1.2, 1.2, grid.shape) + 40.0
    return np.asarray(rng.permutation(positions), np.float64)


def tiny_scan(
    seed: int, columns: int = 6, rows: int = 5, N: int = 32, patterns: Any = None, **more: Any
) -> RawData:
    """Return a scan of random patterns (or those given) on a jittered raster."""
    positions = jittered_positions(seed, columns, rows)
    if patterns is None:
        rng = generator(seed, "patterns")
        patterns = rng.gamma(2.0, 0.5, (len(positions), N, N)).astype(np.float32)
    x, y = positions.T
    return RawData(x, y, None, None, patterns, probe_modes(N, 1)[0], None, **more)
