"""What a training sets for the whole process while it runs, and sets back afterwards."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import warnings
from collections.abc import Iterator

import torch
from lightning.pytorch.utilities.warnings import PossibleUserWarning

__all__ = ["memory_kept", "training_settings"]

_MIB = 2**20
#: Parameters of ``mallopt`` (malloc.h).
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -2, -3, -4
#: Everything on the heap, whose end stays where it is.
_KEEPING = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * _MIB}
#: glibc's defaults, and the thresholds that its own adjusting ends with: none is adjusted any more
#: once one was set (mallopt(3)).
_USUAL = {
    _MMAP_MAX: 65536, _MMAP_THRESHOLD: 32 * _MIB, _TRIM_THRESHOLD: 64 * _MIB, _TOP_PAD: 128 * 1024,
}  # fmt: skip
#: Where a user adjusts the same.
_VARIABLES = ("MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_",
              "MALLOC_TRIM_THRESHOLD_")  # fmt: skip


@contextlib.contextmanager
def training_settings() -> Iterator[None]:
    """Hold back Lightning's notes, undo what it changes, and keep memory for the next step."""
    with _quiet_lightning(), _global_settings_restored(), memory_kept():
        yield


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Hold back Lightning's notes on devices and workers, here only."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    loggers = [logging.getLogger(name) for name in (*names, "lightning.fabric.utilities.rank_zero")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PossibleUserWarning)
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for each, level in zip(loggers, levels, strict=True):
            each.setLevel(level)


@contextlib.contextmanager
def _global_settings_restored() -> Iterator[None]:
    """Undo what Lightning changes for the whole process: determinism, cuDNN, gradients."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    grad = torch.is_grad_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory
    try:
        # Every tensor here is written before it is read: filling it first only costs time.
        torch.utils.deterministic.fill_uninitialized_memory = False
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        torch.utils.deterministic.fill_uninitialized_memory = filling
        torch.set_grad_enabled(grad)


@contextlib.contextmanager
def memory_kept() -> Iterator[None]:
    """Keep what is freed for what is allocated next; at the end, give all of it to the system.

    A step frees every array that it makes, and the next one makes the same again. glibc gives
    those of more than 32 MiB back to the system at once, which then has to clear new pages: up to
    a fifth of a step (docs/performance.md, "Training step").

    Concerns the whole process: where two trainings overlap, the first to end ends it. Does nothing
    where the C library is not glibc, or where the environment adjusts its allocator
    (``MALLOC_*_``, ``GLIBC_TUNABLES``; mallopt(3)). Other threads than the main one have heaps of
    64 MiB at most, and larger arrays still go back to the system.
    """
    libc = _glibc()
    if libc is None or _adjusted_by_user():
        yield
        return
    try:
        _adjust(libc, _KEEPING)
        yield
    finally:
        _adjust(libc, _USUAL)
        libc.malloc_trim(ctypes.c_size_t(0))


def _glibc() -> ctypes.CDLL | None:
    try:
        libc = ctypes.CDLL(None)
    except (OSError, TypeError):  # no such library; Windows takes no None
        return None
    names = ("gnu_get_libc_version", "mallopt", "malloc_trim")
    return libc if all(hasattr(libc, name) for name in names) else None


def _adjusted_by_user() -> bool:
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc." in tunables or any(name in os.environ for name in _VARIABLES)


def _adjust(libc: ctypes.CDLL, values: dict[int, int]) -> None:
    for parameter, value in values.items():
        libc.mallopt(parameter, value)
