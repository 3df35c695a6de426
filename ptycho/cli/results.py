"""Output directories of commands: refused where results would be lost, written whole."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["output_directory", "table_csv", "values_json", "write_files"]


def output_directory(directory: Path | None, files: Sequence[str], overwrite: bool) -> Path:
    """Return the directory to write; raises if it is missing, no directory, or holds ``files``."""
    if directory is None:
        raise ValueError("--output is required (on the command line or in --config)")
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"--output: {directory} is not a directory")
    present = [name for name in files if (directory / name).exists()]
    if present and not overwrite:
        raise FileExistsError(f"{directory / present[0]} exists; --overwrite replaces it")
    return directory


def write_files(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Write ``contents`` by file name, each file whole or not at all."""
    from ptycho.io.atomic import write_bytes

    directory.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_bytes(directory / name, content)


def values_json(facts: Mapping[str, Any], name: str, values: Mapping[str, float]) -> bytes:
    """Return ``facts`` and, under ``name``, the values as JSON; what is not finite is null."""
    finite = {key: value if math.isfinite(value) else None for key, value in values.items()}
    content = {**facts, name: finite}
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def table_csv(rows: Iterable[Iterable[Any]]) -> bytes:
    """Return rows as CSV; what is not finite is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow(["" if _not_finite(cell) else cell for cell in row])
    return text.getvalue().encode()


def _not_finite(cell: Any) -> bool:
    return isinstance(cell, float) and not math.isfinite(cell)
