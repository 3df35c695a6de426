"""What a recorder sees besides calls: ``params.cfg`` and the import of a framework."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import Any

from parity.isolated import FRAMEWORKS
from ptycho import params

__all__ = ["CFG_READ", "CFG_WRITE", "IMPORT", "watched_imports", "watched_params"]

#: Marks; the last one ends with the backend.
CFG_READ = "params.cfg:read"
CFG_WRITE = "params.cfg:write"
IMPORT = "import:"

Mark = Callable[[str], None]


class _WatchedDict(dict[str, Any]):
    """``params.cfg`` that tells of reading and writing."""

    mark: Mark
    written: set[str]

    def __getitem__(self, key: str) -> Any:
        self.mark(CFG_READ)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value."""
        self.mark(CFG_READ)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.mark(CFG_READ)
        return super().__contains__(key)

    def __iter__(self) -> Iterator[str]:
        self.mark(CFG_READ)
        return super().__iter__()

    def keys(self) -> Any:
        """Return the keys."""
        self.mark(CFG_READ)
        return super().keys()

    def __setitem__(self, key: str, value: Any) -> None:
        self.mark(CFG_WRITE)
        self.written.add(key)
        super().__setitem__(key, value)

    def update(self, *given: Any, **named: Any) -> None:
        """Write several values."""
        self.mark(CFG_WRITE)
        values = dict(*given, **named)
        self.written.update(values)
        super().update(values)


@contextmanager
def watched_params(mark: Mark) -> Iterator[set[str]]:
    """Replace ``params.cfg`` by one that tells of its use; gives the keys that are written."""
    plain = params.cfg
    watched = _WatchedDict(plain)
    watched.mark, watched.written = mark, set()
    params.cfg = watched
    try:
        yield watched.written
    finally:
        params.cfg = plain
        plain.clear()
        plain.update(dict.items(watched))


class _Announcer:
    """A finder of ``sys.meta_path`` that finds nothing, and tells of a framework once.

    Only of the backend's own: to look whether the other one is there is no import of it.
    """

    def __init__(self, mark: Mark, backend: str) -> None:
        self._mark, self._backend = mark, backend
        self._names = FRAMEWORKS.get(backend, frozenset())
        self._told = any(name in sys.modules for name in self._names)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        """Return None."""
        if not self._told and name.partition(".")[0] in self._names:
            self._told = True
            self._mark(f"{IMPORT}{self._backend}")
        return None


@contextmanager
def watched_imports(mark: Mark, backend: str) -> Iterator[None]:
    """Mark the first import of the backend's framework."""
    announcer: Any = _Announcer(mark, backend)
    sys.meta_path.insert(0, announcer)
    try:
        yield
    finally:
        sys.meta_path.remove(announcer)
