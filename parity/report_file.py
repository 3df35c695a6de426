"""Reports as files of JSON, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ptycho.io.atomic import write_bytes

__all__ = ["write_report"]


def write_report(content: dict[str, Any], path: Path) -> None:
    """Write plain values as JSON; the directory is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())
