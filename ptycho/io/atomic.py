"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

__all__ = ["write_bytes"]


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write a file beside its place, then rename it there; return its path."""
    target = Path(path)
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as stream:
            stream.write(content)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return target
