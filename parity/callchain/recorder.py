"""Record which functions a job enters, as a tree, and in which order.

A symbol is ``module:qualname``, without line numbers, so that a record survives edits elsewhere.
Only Python functions are seen, in every thread that the job starts. Generators are not: they are
entered again for each value. What a module does while it is imported is not the job's doing.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR, CO_OPTIMIZED
from types import CodeType, FrameType
from typing import Any

__all__ = ["Call", "ChainRecorder", "first_entries"]

#: Told of a function: symbol, frame, and whether it returns (with what) or is entered.
Observer = Callable[[str, FrameType, bool, Any], None]

_RESUMED = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
_IMPORTING = "<module>"
_TOOL = "ptychopinn call chains"


@dataclass
class Call:
    """One call, or a mark such as ``params.cfg:read``, with the calls made during it."""

    symbol: str
    calls: list[Call] = field(default_factory=list)

    def walk(self) -> Iterator[Call]:
        """Yield this call and all below it, in the order in which they began."""
        yield self
        for call in self.calls:
            yield from call.walk()


@dataclass
class _Thread:
    root: Call
    stack: list[tuple[FrameType, Call]] = field(default_factory=list)
    importing: list[FrameType] = field(default_factory=list)


class ChainRecorder:
    """Records calls of functions whose code lies below one of ``folders``.

    ``wanted`` says which symbols are kept; calls made by others belong to their callers.
    ``observer`` hears of the ``observed`` functions below the folders (by default of all), kept
    or not.
    """

    def __init__(
        self,
        folders: Iterable[str],
        wanted: Container[str] | None = None,
        observer: Observer | None = None,
        observed: Container[str] | None = None,
    ) -> None:
        self._folders = tuple(folder.rstrip("/") + "/" for folder in folders)
        self._wanted = wanted
        self._observer, self._observed = observer, observed
        # By id, for hashing a code object takes longer than most calls; kept, so that ids stay.
        self._names: dict[int, str] = {}
        self._codes: list[CodeType] = []
        self._threads: dict[int, _Thread] = {}
        self._main = threading.get_ident()
        self._busy = threading.local()

    # ------------------------------------------------------------------ what was recorded

    @property
    def chain(self) -> Call:
        """The tree of the main thread; other threads' trees are calls named ``thread``."""
        main = self._threads.get(self._main, _Thread(Call("job")))
        others = [t.root for key, t in self._threads.items() if key != self._main and t.root.calls]
        others.sort(key=lambda root: [call.symbol for call in root.walk()])
        return Call("job", main.root.calls + others)

    def mark(self, symbol: str) -> None:
        """Record that something happened, here and now, that is no call; again at once: once."""
        if getattr(self._busy, "now", False):
            return
        thread = self._thread()
        above = thread.stack[-1][1] if thread.stack else thread.root
        if not above.calls or above.calls[-1] != Call(symbol):
            above.calls.append(Call(symbol))

    # ------------------------------------------------------------------ recording

    @contextmanager
    def recording(self) -> Iterator[ChainRecorder]:
        """Record what happens inside; a trace function that was active is put back."""
        self._main = threading.get_ident()
        with self._monitoring() if sys.version_info >= (3, 12) else self._tracing():
            yield self

    @contextmanager
    def _tracing(self) -> Iterator[None]:
        names = self._names

        # A trace function hears of Python functions only, and of what is not ours but once: a
        # profile function would be called for every builtin and every return in the process.
        def trace(frame: FrameType, event: str, value: Any) -> Any:
            name = names.get(id(frame.f_code))
            if name is None:
                name = self._name(frame)
            if not name:
                return None
            frame.f_trace_lines = False
            self._enter(name, frame)
            return inside

        def inside(frame: FrameType, event: str, value: Any) -> Any:
            if event == "return":
                self._leave(names[id(frame.f_code)], frame, value)
            return inside

        before = sys.gettrace()
        threading.settrace(trace)
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(before)
            threading.settrace(None)

    @contextmanager
    def _monitoring(self) -> Iterator[None]:
        monitoring: Any = getattr(sys, "monitoring")  # noqa: B009  # absent in 3.11
        events, tool = monitoring.events, monitoring.PROFILER_ID

        def entered(code: CodeType, offset: int) -> Any:
            frame = sys._getframe(1)
            name = self._name(frame)
            return self._enter(name, frame) if name else monitoring.DISABLE

        def left(code: CodeType, offset: int, value: Any) -> Any:
            frame = sys._getframe(1)
            name = self._name(frame)
            return self._leave(name, frame, value) if name else monitoring.DISABLE

        def unwound(code: CodeType, offset: int, error: BaseException) -> None:
            frame = sys._getframe(1)
            name = self._name(frame)
            if name:
                self._leave(name, frame, None)

        monitoring.use_tool_id(tool, _TOOL)
        for event, callback in (
            (events.PY_START, entered),
            (events.PY_RETURN, left),
            (events.PY_UNWIND, unwound),
        ):
            monitoring.register_callback(tool, event, callback)
        monitoring.set_events(tool, events.PY_START | events.PY_RETURN | events.PY_UNWIND)
        # Places that an earlier recording disabled are to be heard again.
        monitoring.restart_events()
        try:
            yield
        finally:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)

    def _name(self, frame: FrameType) -> str:
        """Return the symbol of a function of ours, an empty one for anything else."""
        code = frame.f_code
        known = self._names.get(id(code))
        if known is not None:
            return known
        ours = code.co_filename.startswith(self._folders) and not code.co_flags & _RESUMED
        plain = code.co_flags & CO_OPTIMIZED and "<" not in code.co_qualname
        kept = ours and (plain or code.co_name == _IMPORTING)
        name = f"{frame.f_globals.get('__name__', '')}:{code.co_qualname}" if kept else ""
        self._names[id(code)] = name
        self._codes.append(code)
        return name

    def _thread(self) -> _Thread:
        key = threading.get_ident()
        if key not in self._threads:
            self._threads[key] = _Thread(Call("job" if key == self._main else "thread"))
        return self._threads[key]

    def _enter(self, name: str, frame: FrameType) -> None:
        if getattr(self._busy, "now", False):
            return
        thread = self._thread()
        if name.endswith(f":{_IMPORTING}"):
            thread.importing.append(frame)
            return
        if thread.importing:
            return
        if self._wanted is None or name in self._wanted:
            above = thread.stack[-1][1] if thread.stack else thread.root
            call = Call(name)
            above.calls.append(call)
            thread.stack.append((frame, call))
        self._tell(name, frame, False, None)

    def _leave(self, name: str, frame: FrameType, value: Any) -> None:
        if getattr(self._busy, "now", False):
            return
        thread = self._thread()
        if thread.importing:
            if thread.importing[-1] is frame:
                thread.importing.pop()
            return
        self._tell(name, frame, True, value)
        if thread.stack and thread.stack[-1][0] is frame:
            thread.stack.pop()

    def _tell(self, name: str, frame: FrameType, returns: bool, value: Any) -> None:
        if self._observer is None or (self._observed is not None and name not in self._observed):
            return
        self._busy.now = True  # what the observer calls is not the job's doing
        try:
            self._observer(name, frame, returns, value)
        finally:
            self._busy.now = False


def first_entries(job: Callable[[], Any], symbols: Iterable[str]) -> list[str]:
    """Run ``job`` and return the symbols that it entered, in the order of their first entry.

    A class stands for any of its methods, ``__init__`` included. A trace function that was
    active is put back. An exception of the job passes through.
    """
    wanted = {symbol: tuple(symbol.split(":")) for symbol in symbols}
    order: list[str] = []
    waiting = dict(wanted)

    def trace(frame: FrameType, event: str, argument: Any) -> None:
        frame.f_trace_lines = False
        module = frame.f_globals.get("__name__")
        for symbol, (wanted_module, name) in list(waiting.items()):
            if module != wanted_module:
                continue
            qualname = frame.f_code.co_qualname
            if qualname == name or qualname.startswith(f"{name}."):
                order.append(symbol)
                waiting.pop(symbol, None)

    before = sys.gettrace()
    threading.settrace(trace)
    sys.settrace(trace)
    try:
        job()
    finally:
        sys.settrace(before)
        threading.settrace(None)
    return order
