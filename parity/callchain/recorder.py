"""Record the first entry into chosen functions while a job runs.

A symbol is ``module:qualname``, without line numbers, so that a record survives edits elsewhere.
Only Python functions are seen, in every thread that the job starts.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any


def first_entries(job: Callable[[], Any], symbols: Iterable[str]) -> list[str]:
    """Run ``job`` and return the symbols that it entered, in the order of their first entry.

    A class stands for any of its methods, ``__init__`` included. Another profiler that was
    active is put back. An exception of the job passes through.
    """
    wanted = {symbol: tuple(symbol.split(":")) for symbol in symbols}
    order: list[str] = []
    waiting = dict(wanted)

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or not waiting:
            return
        module = frame.f_globals.get("__name__")
        for symbol, (wanted_module, name) in list(waiting.items()):
            if module != wanted_module:
                continue
            qualname = frame.f_code.co_qualname
            if qualname == name or qualname.startswith(f"{name}."):
                order.append(symbol)
                waiting.pop(symbol, None)

    before = sys.getprofile()
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        job()
    finally:
        sys.setprofile(before)
        threading.setprofile(None)
    return order
