"""What the commands share: logging, exit codes, one line per error."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from ptycho.config.deprecation import DeprecatedSetting
from ptycho.core.progress import hidden_progress

__all__ = ["run_command", "say"]

logger = logging.getLogger(__name__)

#: Exit codes.
OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

#: What a wrong file, field or value raises; everything else is a failure of the program.
_BAD_INPUT = (
    ValueError,
    KeyError,
    FileExistsError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)

#: Loggers of the frameworks that talk at INFO about themselves.
_CHATTY = ("lightning", "lightning.pytorch", "lightning.fabric", "matplotlib", "absl", "h5py")


def say(text: str, namespace: argparse.Namespace) -> None:
    """Write one line of results to standard output, unless ``--quiet``."""
    if not namespace.quiet:
        sys.stdout.write(f"{text}\n")


@contextmanager
def _logging_to_stderr(quiet: bool, verbose: bool) -> Iterator[None]:
    """Send log records to standard error: errors only, INFO, or everything."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, {n: logging.getLogger(n).level for n in _CHATTY}
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT if verbose else "%(message)s"))
    before_format = warnings.formatwarning
    root.handlers[:] = [handler]
    root.setLevel(logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO)
    for name in () if verbose else _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # What is deprecated here is for the user to know: Python would keep it back.
            warnings.simplefilter("default", DeprecatedSetting)
            logging.captureWarnings(True)
            if not verbose:
                warnings.formatwarning = lambda message, *_, **__: f"warning: {message}"
            yield
    finally:
        logging.captureWarnings(False)
        warnings.formatwarning = before_format
        root.handlers[:] = before[0]
        root.setLevel(before[1])
        for name, level in before[2].items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _native_messages_held_back() -> Iterator[None]:
    """Keep the frameworks' C++ start-up messages off the screen; show them if the run fails.

    TensorFlow writes some of them to descriptor 2 before it reads any setting. Python's own
    ``sys.stderr`` goes on to the terminal.
    """
    try:
        python_writes_there = sys.stderr.fileno() == 2
    except (OSError, ValueError):  # replaced by something without a descriptor
        python_writes_there = False
    shown = sys.stderr
    real = os.dup(2)
    with tempfile.TemporaryFile() as held, os.fdopen(os.dup(real), "w", buffering=1) as stream:
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        if python_writes_there:
            sys.stderr = stream
        try:
            yield
        except Exception as error:
            if not isinstance(error, _BAD_INPUT):
                held.seek(0)
                with os.fdopen(os.dup(real), "wb") as raw:
                    shutil.copyfileobj(held, raw)
            raise
        finally:
            sys.stderr = shown
            os.dup2(real, 2)
            os.close(real)


def _message(error: BaseException) -> str:
    # str() of a KeyError is the repr of its message.
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return " ".join(text.split()) or type(error).__name__


def run_command(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    command: Callable[[argparse.Namespace], None],
) -> int:
    """Parse ``argv``, run ``command`` and return an exit code; an error is one line on stderr.

    0: done; 2: bad input (a flag, file, field or value); 1: the program, a framework or the
    system failed; 130: interrupted. ``--verbose`` adds the traceback and the frameworks' own
    messages.
    """
    try:
        namespace = parser.parse_args(argv)
    except SystemExit as stop:  # --help, or a bad flag, which argparse has reported
        return int(stop.code or OK)
    try:
        with ExitStack() as stack:
            if not namespace.verbose:
                stack.enter_context(_native_messages_held_back())
            stack.enter_context(_logging_to_stderr(namespace.quiet, namespace.verbose))
            if namespace.quiet:
                stack.enter_context(hidden_progress())
            try:
                command(namespace)
            except Exception:
                logger.debug("traceback", exc_info=True)
                raise
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog}: interrupted\n")
        return INTERRUPTED
    except Exception as error:
        bad_input = isinstance(error, _BAD_INPUT)
        kind = "" if bad_input else f"{type(error).__name__}: "
        sys.stderr.write(f"{parser.prog}: error: {kind}{_message(error)}\n")
        return BAD_INPUT if bad_input else FAILED
    return OK
