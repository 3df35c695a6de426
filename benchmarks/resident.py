"""Resident memory: of this process, now and at most, and of a command."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import subprocess
from pathlib import Path

_STATUS = Path("/proc/self/status")


def now() -> float:
    """Return what this process holds, in MiB; the most it held, where the system does not say."""
    return _field("VmRSS") or _most()


def peak() -> float:
    """Return the most that this process held since :func:`forget_peak`, in MiB."""
    return _field("VmHWM") or _most()


def forget_peak() -> None:
    """Let the peak be what is held now, where the system can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def of_command(command: list[str]) -> float:
    """Run a command, its output unseen; return the most that it held in MiB.

    That is at least what this process holds now: a new one begins with it (Linux).

    Raises ``subprocess.CalledProcessError`` if it fails.
    """
    forget_peak()
    started = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    if started.returncode:
        raise subprocess.CalledProcessError(started.returncode, command)
    return round(usage.ru_maxrss / 1024, 1)


def _field(name: str) -> float:
    try:
        found = re.search(rf"^{name}:\s+(\d+) kB", _STATUS.read_text(encoding="ascii"), re.M)
    except OSError:
        return 0.0
    return round(int(found[1]) / 1024, 1) if found else 0.0


def _most() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
