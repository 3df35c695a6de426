"""What the commands share: logging, exit codes, one line per error."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

__all__ = ["configure_logging", "run_command", "say"]

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


def configure_logging(quiet: bool = False, verbose: bool = False) -> None:
    """Send log records to standard error: errors only, INFO, or everything."""
    level = logging.ERROR if quiet else logging.DEBUG if verbose else logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s" if not verbose else logging.BASIC_FORMAT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.captureWarnings(True)
    if not verbose:
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        # Read by TensorFlow's C++ side when it is imported, which happens after parsing.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def say(text: str, namespace: argparse.Namespace) -> None:
    """Write one line of results to standard output, unless ``--quiet``."""
    if not namespace.quiet:
        sys.stdout.write(f"{text}\n")


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
    system failed; 130: interrupted. ``--verbose`` adds the traceback.
    """
    try:
        namespace = parser.parse_args(argv)
    except SystemExit as stop:  # --help, or a bad flag, which argparse has reported
        return int(stop.code or OK)
    configure_logging(namespace.quiet, namespace.verbose)
    try:
        command(namespace)
    except KeyboardInterrupt:
        sys.stderr.write(f"{parser.prog}: interrupted\n")
        return INTERRUPTED
    except Exception as error:
        logger.debug("traceback", exc_info=True)
        bad_input = isinstance(error, _BAD_INPUT)
        kind = "" if bad_input else f"{type(error).__name__}: "
        sys.stderr.write(f"{parser.prog}: error: {kind}{_message(error)}\n")
        return BAD_INPUT if bad_input else FAILED
    return OK
