"""Pickles of plain values only: str, int, float, bool, None, list, tuple, dict with str keys.

:func:`dumps` writes an ordinary protocol 4 pickle that ``pickle`` and ``dill`` read anywhere.
:func:`loads` does not hand bytes to ``pickle``: it goes through the opcodes of
``pickletools.genops`` and builds the values itself, from a list of opcodes that can only make
plain values. There is nothing to import, call, or look up, whatever the bytes say.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any

from ptycho.core.archive import UnsafePickle

#: Largest pickle that is written or read; a configuration snapshot takes a few thousand bytes.
MAX_BYTES = 1 << 18
#: Deepest nesting of lists, tuples and dictionaries.
MAX_DEPTH = 32
#: Largest integer; what is longer has other opcodes, and no use in a configuration.
MAX_INT_BITS = 1024

_SCALARS = (str, int, float, bool, type(None))


def check_plain(value: Any, where: str = "value") -> None:
    """Raise ``ValueError`` naming the first part of ``value`` that is not plain.

    Subclasses count as not plain: a NumPy float is a ``float`` that needs NumPy to be unpickled.
    """
    _check_plain(value, where, MAX_DEPTH)


def _check_plain(value: Any, where: str, depth: int) -> None:
    kind = type(value)
    if kind is int and value.bit_length() > MAX_INT_BITS:
        raise ValueError(f"{where} is an integer of more than {MAX_INT_BITS} bits")
    if kind in _SCALARS:
        return
    if kind not in (list, tuple, dict):
        raise ValueError(
            f"{where} is a {kind.__module__}.{kind.__qualname__}; only str, int, float, bool, None "
            "and lists, tuples and dictionaries of them can be saved"
        )
    if not depth:
        raise ValueError(f"{where} is nested deeper than {MAX_DEPTH} levels")
    if kind is not dict:
        for i, part in enumerate(value):
            _check_plain(part, f"{where}[{i}]", depth - 1)
        return
    for key, part in value.items():
        if type(key) is not str:
            raise ValueError(f"{where} has the key {key!r}; keys must be str")
        _check_plain(part, f"{where}[{key!r}]", depth - 1)


def dumps(value: Any, where: str = "value") -> bytes:
    """Return the pickle of a plain value; the same value gives the same bytes.

    Raises ``ValueError`` saying which part, called ``where`` in the message, is not plain, or that
    the pickle exceeds ``MAX_BYTES``.
    """
    check_plain(value, where)
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=4)
    pickler.fast = True  # no memo: which equal strings are one object must not show in the bytes
    pickler.dump(value)
    data = buffer.getvalue()
    if len(data) > MAX_BYTES:
        raise ValueError(f"{where} takes {len(data)} bytes; the limit is {MAX_BYTES}")
    return data


def loads(data: bytes, where: str = "pickle") -> Any:
    """Return the plain value pickled in ``data``.

    Raises ``UnsafePickle``, naming ``where`` and the reason, for anything else. No code runs.
    """
    if len(data) > MAX_BYTES:
        raise UnsafePickle(f"{where} has {len(data)} bytes; the limit is {MAX_BYTES}")
    try:
        value, end = _build(data)
        check_plain(value)
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise UnsafePickle(
            f"{where} is not a pickle of plain values ({error}); nothing in it was executed, do "
            "not use this file"
        ) from error
    if end != len(data):
        raise UnsafePickle(f"{where} has {len(data) - end} bytes after its end; save it again")
    return value


def _build(data: bytes) -> tuple[Any, int]:
    machine = _Machine()
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name == "STOP":
            assert position is not None  # given for bytes
            return machine.result(), position + 1
        machine.step(opcode.name, argument)
    raise ValueError("no end")  # pragma: no cover - genops raises first


class _Mark:
    """Where a MARK opcode stood on the stack."""


class _Machine:
    """The part of the pickle machine that makes plain values.

    The memo gives back strings only: with shared containers a short pickle could stand for a
    structure that takes for ever to walk through, or that contains itself.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, str] = {}
        self.memo_size = 0
        self.steps: dict[str, Callable[[Any], None]] = {
            **dict.fromkeys(("PROTO", "FRAME"), lambda _: None),
            **dict.fromkeys(_VALUES, self.stack.append),
            "NONE": lambda _: self.stack.append(None),
            "NEWTRUE": lambda _: self.stack.append(True),
            "NEWFALSE": lambda _: self.stack.append(False),
            "MARK": lambda _: self.stack.append(_Mark()),
            "EMPTY_LIST": lambda _: self.stack.append([]),
            "EMPTY_DICT": lambda _: self.stack.append({}),
            "EMPTY_TUPLE": lambda _: self.stack.append(()),
            "TUPLE": lambda _: self.stack.append(tuple(self.pop_to_mark())),
            "TUPLE1": lambda _: self.stack.append(tuple(self.pop(1))),
            "TUPLE2": lambda _: self.stack.append(tuple(self.pop(2))),
            "TUPLE3": lambda _: self.stack.append(tuple(self.pop(3))),
            "APPEND": lambda _: self.extend(self.pop(1)),
            "APPENDS": lambda _: self.extend(self.pop_to_mark()),
            "SETITEM": lambda _: self.set_items(self.pop(2)),
            "SETITEMS": lambda _: self.set_items(self.pop_to_mark()),
            "MEMOIZE": lambda _: self.remember(self.memo_size),
            **dict.fromkeys(("BINPUT", "LONG_BINPUT"), self.remember),
            **dict.fromkeys(("BINGET", "LONG_BINGET"), self.recall),
        }

    def step(self, name: str, argument: Any) -> None:
        if name not in self.steps:
            raise ValueError(f"opcode {name} is not allowed")
        self.steps[name](argument)

    def result(self) -> Any:
        (value,) = self.stack
        return value

    def pop(self, count: int) -> list[Any]:
        parts = self.stack[-count:]
        if len(parts) < count:
            raise ValueError("the stack is empty")
        del self.stack[-count:]
        return parts

    def pop_to_mark(self) -> list[Any]:
        parts: list[Any] = []
        while not isinstance(part := self.stack.pop(), _Mark):
            parts.append(part)
        return parts[::-1]

    def extend(self, parts: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("only a list can be appended to")
        self.stack[-1].extend(parts)

    def set_items(self, parts: list[Any]) -> None:
        if type(self.stack[-1]) is not dict or len(parts) % 2:
            raise ValueError("only a dictionary has items")
        for key, value in zip(parts[::2], parts[1::2], strict=True):
            if type(key) is not str:  # before it is hashed
                raise ValueError("a dictionary key is not a str")
            self.stack[-1][key] = value

    def remember(self, index: int) -> None:
        self.memo_size += 1
        if type(self.stack[-1]) is str:
            self.memo[index] = self.stack[-1]
        else:
            self.memo.pop(index, None)

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"memo entry {index} is not a str")
        self.stack.append(self.memo[index])


_VALUES = (
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "SHORT_BINUNICODE",
    "BINUNICODE",
)
