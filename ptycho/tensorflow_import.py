"""The one place that imports TensorFlow for the door modules, lazily and with clear errors."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import tempfile
from collections.abc import Iterator
from types import ModuleType

_INSTALL = "install with: pip install 'tensorflow>=2.19'"

#: What TensorFlow writes while it is imported, whatever the level of its messages.
_START_UP = re.compile(rb"(WARNING: All log messages before absl::InitializeLog|[IW]\d{4} \d\d:)")


def require_tensorflow() -> ModuleType:
    """Import and return TensorFlow.

    Raises ``RuntimeError`` where TensorFlow, or a Keras 3 running on it, is not usable, and says
    what to install. TensorFlow's start-up messages are silenced unless ``TF_CPP_MIN_LOG_LEVEL``
    asks for them (0 or 1).
    """
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with contextlib.nullcontext() if level in ("0", "1") else _start_up_held_back():
            tensorflow = importlib.import_module("tensorflow")
            keras = importlib.import_module("keras")
    except ImportError as error:
        raise RuntimeError(
            f"TensorFlow backend selected, but it cannot be imported ({error}); {_INSTALL}"
        ) from error
    if not keras.__version__.startswith("3.") or keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"TensorFlow backend selected, but keras {keras.__version__} runs on "
            f"{keras.backend.backend()!r}; unset KERAS_BACKEND, and {_INSTALL}"
        )
    return tensorflow


@contextlib.contextmanager
def _start_up_held_back() -> Iterator[None]:
    """Let everything through to standard error but the start-up messages.

    TensorFlow writes them to the file descriptor itself, before its level of messages applies.
    """
    try:
        error_stream = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(error_stream, 2)
            held.seek(0)
            passed = b"".join(line for line in held if not _START_UP.match(line))
            with contextlib.suppress(OSError):
                os.write(error_stream, passed)
            os.close(error_stream)
