"""Pickles of plain values: what goes through, and that nothing else does anything."""

from __future__ import annotations

import contextlib
import copyreg
import datetime
import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import time

import dill
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho.core import safe_pickle
from ptycho.core.archive import UnsafePickle

PLAIN = {
    "text": "Ångström",
    "integers": [0, -1, 255, 256, 65536, -(2**31), 2**63, -(2**200)],
    "floats": (0.0, -0.0, 1e-300, float("inf")),
    "flags": [True, False, None],
    "empty": [[], (), {}, ""],
    "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    "long": "x" * 300,
    "same": ["twice", "twice"],
}

plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(plain_values)
def test_round_trip_and_agreement_with_pickle(value):
    data = safe_pickle.dumps(value)
    assert repr(safe_pickle.loads(data)) == repr(value)
    assert repr(pickle.loads(data)) == repr(value)


@given(plain_values, st.integers(2, 5))
def test_what_pickle_wrote_is_read(value, protocol):
    assert repr(safe_pickle.loads(pickle.dumps(value, protocol=protocol))) == repr(value)


def test_dill_reads_and_writes_the_same_value():
    assert dill.loads(safe_pickle.dumps(PLAIN)) == PLAIN
    assert safe_pickle.loads(dill.dumps(PLAIN)) == PLAIN


def test_bytes_depend_on_the_value_alone():
    same = "".join(["tensor", "flow"])
    assert safe_pickle.dumps([same, same]) == safe_pickle.dumps(
        ["".join(["tensor", "flow"]), "".join(["tensorf", "low"])]
    )


def test_bytes_are_equal_in_another_process():
    code = (
        "from ptycho.core import safe_pickle; import sys; "
        "sys.stdout.write(safe_pickle.dumps({'a': ['x', 'x', 1.5], 'b': (None, 2)}).hex())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "99"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout == safe_pickle.dumps({"a": ["x", "x", 1.5], "b": (None, 2)}).hex()


# --------------------------------------------------------------------------- dumps


class Text(str):
    """A str that needs its class to be unpickled."""


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.zeros(2), "numpy.ndarray"),
        (np.float64(1.0), "numpy.float64"),
        (np.int32(1), "numpy.int32"),
        (b"bytes", "builtins.bytes"),
        (1j, "builtins.complex"),
        ({1, 2}, "builtins.set"),
        (pathlib.PurePosixPath("a"), "PurePosixPath"),
        (datetime.date(2020, 1, 1), "datetime.date"),
        (Text("a"), "Text"),
        (len, "builtin_function"),
        (2**2000, "1024 bits"),
    ],
)
def test_dumps_names_what_is_not_plain(value, named):
    with pytest.raises(ValueError, match=rf"params\['a'\]\[1\] is .*{named}"):
        safe_pickle.dumps({"a": [0, value]}, "params")


def test_dumps_refuses_other_keys():
    with pytest.raises(ValueError, match="value has the key 3; keys must be str"):
        safe_pickle.dumps({3: 1})


def test_dumps_refuses_a_list_that_contains_itself():
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="deeper than 32"):
        safe_pickle.dumps(loop)


def test_dumps_refuses_what_loads_would_refuse():
    with pytest.raises(ValueError, match="the limit is 262144"):
        safe_pickle.dumps("x" * 300_000)


# --------------------------------------------------------------------------- loads


class Call:
    """Pickles to a call of ``function``."""

    def __init__(self, function, *arguments):
        self.parts = (function, arguments)

    def __reduce__(self):
        return self.parts


class Stateful:
    """Pickles to an object with state (NEWOBJ, BUILD)."""

    def __init__(self):
        self.value = 1


class Persistent(pickle.Pickler):
    """Replaces every string by a persistent id."""

    def persistent_id(self, obj):
        return "id" if isinstance(obj, str) else None


def persistent(protocol):
    buffer = io.BytesIO()
    Persistent(buffer, protocol=protocol).dump(["x"])
    return buffer.getvalue()


@pytest.mark.parametrize("protocol", range(6))
def test_a_call_is_refused_and_not_made(protocol, tmp_path):
    marker = tmp_path / "ran"
    data = pickle.dumps({"models": Call(os.system, f"touch {marker}")}, protocol=protocol)
    with pytest.raises(UnsafePickle, match="nothing in it was executed"):
        safe_pickle.loads(data, "manifest.dill")
    assert not marker.exists()
    # The same bytes do run elsewhere: the test would notice.
    pickle.loads(data)
    assert marker.exists()


def test_dill_with_code_is_refused(tmp_path):
    marker = tmp_path / "ran"
    data = dill.dumps(Call(exec, f"open({str(marker)!r}, 'w').close()"))
    with pytest.raises(UnsafePickle):
        safe_pickle.loads(data)
    assert not marker.exists()


def test_a_registered_extension_is_refused(tmp_path):
    marker = tmp_path / "ran"
    copyreg.add_extension("posix", "system", 200)
    try:
        data = pickle.dumps(Call(os.system, f"touch {marker}"), protocol=4)
        assert b"posix" not in data
        with pytest.raises(UnsafePickle, match="EXT1"):
            safe_pickle.loads(data)
    finally:
        copyreg.remove_extension("posix", "system", 200)
    assert not marker.exists()


FORBIDDEN = {
    "GLOBAL": b"cos\nsystem\n.",
    "STACK_GLOBAL": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
    "REDUCE": b"\x80\x04]]R.",
    "INST": b"(ios\nsystem\n.",
    "OBJ": b"((o.",
    "NEWOBJ": b"\x80\x04])\x81.",
    "NEWOBJ_EX": b"\x80\x04])}\x92.",
    "BUILD": b"\x80\x04}}b.",
    "EXT1": b"\x80\x04\x82\x01.",
    "EXT2": b"\x80\x04\x83\x01\x00.",
    "EXT4": b"\x80\x04\x84\x01\x00\x00\x00.",
    "PERSID": b"Pid\n.",
    "BINPERSID": b"]Q.",
    "DUP": b"]2.",
    "POP": b"]]0.",
    "BINBYTES": b"\x80\x04B\x01\x00\x00\x00a.",
    "BYTEARRAY8": b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00a.",
    "NEXT_BUFFER": b"\x80\x05\x97.",
    "EMPTY_SET": b"\x80\x04\x8f.",
    "FROZENSET": b"\x80\x04(\x91.",
    "STRING": b"S'a'\n.",
    "LONG4": b"\x80\x02\x8b\x01\x00\x00\x00\x01.",
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_an_opcode_off_the_list_is_named(name):
    with pytest.raises(UnsafePickle, match=f"opcode {name} is not allowed"):
        safe_pickle.loads(FORBIDDEN[name])


NESTED_TUPLES = b"\x80\x04})" + b"\x85" * 200_000 + b"Ns."
BROKEN = {
    "empty": b"",
    "no stop": b"\x80\x04]",
    "unknown opcode": b"\xff.",
    "cut string": b"\x80\x04\x8c\x09abc.",
    "string longer than the file": b"\x80\x04X" + struct.pack("<I", 2**31) + b"abc.",
    "huge string": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"abc.",
    "bad text": b"\x80\x04\x8c\x01\xff.",
    "empty stack": b"\x80\x04.",
    "two values": b"\x80\x04NN.",
    "append to nothing": b"\x80\x04Na.",
    "append to None": b"\x80\x04NNa.",
    "items of a list": b"\x80\x04]\x8c\x01aNs.",
    "odd items": b"\x80\x04}(\x8c\x01au.",
    "no mark": b"\x80\x04]e.",
    "mark in a tuple": b"\x80\x04(\x85.",
    "only a mark": b"\x80\x04(.",
    "integer key": b"\x80\x04}K\x01Ns.",
    "unhashable key": b"\x80\x04}]Ns.",
    "key nested without end": NESTED_TUPLES,
    "unknown memo entry": b"\x80\x04h\x05.",
    "memo of nothing": b"\x80\x04\x94.",
    "list that contains itself": b"\x80\x04]\x94h\x00a.",
    "shared list": b"\x80\x04]\x94]h\x00ah\x00a.",
    "nested too deep": b"\x80\x04" + b"]" * 100 + b"a" * 99 + b".",
    "very deep": b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".",
    "trailing bytes": b"\x80\x04N.N.",
    "too long": pickle.dumps("x" * 300_000),
    "persistent id": persistent(4),
    "object with state": pickle.dumps(Stateful()),
    "array": pickle.dumps(np.zeros(2)),
    "future protocol": b"\x80\x04" + pickle.dumps(1j, protocol=5),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_or_unbounded_pickles_are_refused_at_once(name):
    started = time.process_time()
    with pytest.raises(UnsafePickle, match="model/params.dill"):
        safe_pickle.loads(BROKEN[name], "model/params.dill")
    assert time.process_time() - started < 1


def test_a_memo_index_does_not_allocate():
    # The C unpickler would reserve a table of 2**31 pointers for this.
    data = b"\x80\x04\x8c\x01ar\xff\xff\xff\x7f."
    assert safe_pickle.loads(data) == "a"


def test_sharing_cannot_multiply():
    # Each level holds the previous one twice: 2**40 leaves to walk through.
    data = b"\x80\x04]\x94" + b"".join(b"]\x94(h%ch%ce" % (i, i) for i in range(40)) + b"."
    assert len(pickle.loads(data)) == 2
    with pytest.raises(UnsafePickle, match="memo entry 0"):
        safe_pickle.loads(data)


PLAIN_TYPES = {str, int, float, bool, type(None), list, tuple, dict}


def types_in(value):
    found = {type(value)}
    parts = [*value, *value.values()] if isinstance(value, dict) else value
    if isinstance(value, (list, tuple, dict)):
        found = found.union(*(types_in(part) for part in parts))
    return found


@given(st.binary(max_size=60))
def test_any_bytes_give_a_plain_value_or_unsafe_pickle(data):
    with contextlib.suppress(UnsafePickle):
        assert types_in(safe_pickle.loads(b"\x80\x04" + data + b".")) <= PLAIN_TYPES


@given(st.data())
def test_a_changed_pickle_gives_a_plain_value_or_unsafe_pickle(data):
    pickled = bytearray(safe_pickle.dumps(PLAIN))
    for _ in range(data.draw(st.integers(1, 3))):
        pickled[data.draw(st.integers(0, len(pickled) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnsafePickle):
        assert types_in(safe_pickle.loads(bytes(pickled))) <= PLAIN_TYPES
