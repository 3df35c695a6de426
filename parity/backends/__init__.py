"""The backends under test, behind one protocol, and how further ones are found."""

from __future__ import annotations

from importlib.metadata import entry_points

from parity.backends.protocol import Backend, NotOffered, TrainedRun

__all__ = [
    "CONTRACTED",
    "ENTRY_POINT_GROUP",
    "ON_REQUEST",
    "Backend",
    "NotOffered",
    "TrainedRun",
    "load_backends",
]

#: The backends of the specification: compared with each other, and every clause holds for both.
CONTRACTED = frozenset({"tensorflow", "pytorch"})

#: Backends that run only when they are asked for by name.
ON_REQUEST = frozenset({"numpy"})

#: A distribution adds a backend by naming, in this group, a callable that returns one.
ENTRY_POINT_GROUP = "ptychopinn.parity"


def load_backends() -> dict[str, Backend]:
    """Return the built-in backends and those of the entry-point group, by name.

    Nothing is imported that needs a framework. Raises ``ValueError`` where two claim one name.
    """
    from parity.backends.pytorch import PyTorchBackend
    from parity.backends.reference import ReferenceBackend
    from parity.backends.tensorflow import TensorFlowBackend

    found: list[Backend] = [TensorFlowBackend(), PyTorchBackend(), ReferenceBackend()]
    found += [entry.load()() for entry in entry_points(group=ENTRY_POINT_GROUP)]
    backends: dict[str, Backend] = {}
    for backend in found:
        if backend.name in backends or backend.name == "pair":
            raise ValueError(
                f"two parity backends are called {backend.name!r} (or one is called 'pair'): "
                f"check the entry points of the group {ENTRY_POINT_GROUP!r}"
            )
        backends[backend.name] = backend
    return backends
