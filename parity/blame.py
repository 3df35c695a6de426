"""Whose fault an exception is that ended a check: a backend's, the shared core's, the harness's.

The innermost frame of ours decides between product and harness. Where frames belong to a wing it
is that backend's; a room of ``ptycho`` with a twin in ``ptycho_torch`` belongs to TensorFlow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType

__all__ = ["to_blame"]

_WINGS = {"tensorflow": "ptycho", "pytorch": "ptycho_torch"}


def _modules(trace: TracebackType | None) -> Iterator[str]:
    while trace is not None:
        yield str(trace.tb_frame.f_globals.get("__name__", ""))
        trace = trace.tb_next


def _has_twin(module: str) -> bool:
    spec = find_spec(_WINGS["pytorch"])
    if spec is None or spec.origin is None:
        return False
    parts = module.split(".")[1:]
    return bool(parts) and Path(spec.origin).parent.joinpath(*parts).with_suffix(".py").is_file()


def to_blame(error: BaseException, subjects: Iterable[str]) -> tuple[str, ...]:
    """Return those of ``subjects`` whose code raised ``error``; none where the harness did.

    An error of the core, below both wings, is everybody's.
    """
    ours = [
        m
        for m in _modules(error.__traceback__)
        if m.partition(".")[0] in ("parity", *_WINGS.values())
    ]
    if not ours or ours[-1].startswith("parity"):
        return ()
    subjects = tuple(subjects)
    wings = set()
    for module in ours:
        if module.partition(".")[0] == _WINGS["pytorch"]:
            wings.add("pytorch")
        elif module.startswith("ptycho.") and _has_twin(module):
            wings.add("tensorflow")
    found = tuple(subject for subject in subjects if subject in wings)
    return found or subjects
