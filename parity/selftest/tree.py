"""A copy of the checkout in which defects are planted and taken out again."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from parity.selftest.defects import Edit

__all__ = ["DamagedTree", "checkout"]

#: What the gate reads of a checkout.
_PARTS = ("ptycho", "ptycho_torch", "parity", "specs", "docs", "plans", "tests/parity")
_FILES = ("pyproject.toml", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "tests/conftest.py")


def checkout() -> Path:
    """Return the checkout that this module belongs to; ``ValueError`` where it is installed."""
    root = Path(__file__).resolve().parents[2]
    missing = [part for part in ("specs", "tests/parity") if not (root / part).is_dir()]
    if missing:
        raise ValueError(f"defects are planted in a copy of a checkout; {root} has no {missing[0]}")
    return root


class DamagedTree:
    """A copy of the parts of ``source`` that the gate reads."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.folder = folder
        ignored = shutil.ignore_patterns("__pycache__", ".hypothesis")
        for part in _PARTS:
            if (source / part).is_dir():
                shutil.copytree(source / part, folder / part, ignore=ignored)
        for file in _FILES:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / file, folder / file)
        # Compiled modules are told from their source by whole seconds and size.
        self._time = int(time.time())

    @contextmanager
    def damaged(self, edits: Iterable[Edit]) -> Iterator[None]:
        """Plant ``edits`` in the tree, and leave it as it was; ``DefectError`` if one fits not."""
        before: dict[str, str | None] = {}
        try:
            for edit in edits:
                text = self._read(edit.file)
                after = edit.applied(text)
                before.setdefault(edit.file, text)
                self._write(edit.file, after)
            yield
        finally:
            for file, text in before.items():
                self._write(file, text)

    def _read(self, file: str) -> str | None:
        path = self.folder / file
        return path.read_text(encoding="utf-8") if path.exists() else None

    def _write(self, file: str, text: str | None) -> None:
        path = self.folder / file
        if text is None:
            path.unlink()
            return
        self._time += 1
        path.write_text(text, encoding="utf-8")
        os.utime(path, (self._time, self._time))
