"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

__all__ = ["replacing", "write_bytes"]


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a file beside ``path`` for writing; rename it there when the block ends well.

    What was written reaches the disk before the rename. When the block fails, whatever stood at
    ``path`` stays as it was and no other file is left. The file follows the umask. Raises
    ``OSError`` naming ``path``.
    """
    target = Path(path)
    # Not tempfile: its files are private to the user.
    partial = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with partial.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    _sync_directory(target.parent)


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write a file as :func:`replacing` does; return its path."""
    with replacing(path) as stream:
        stream.write(content)
    return Path(path)


def _sync_directory(directory: Path) -> None:
    # Makes the rename durable; some file systems cannot, and the file is complete anyway.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
