"""Plain arrays in NPZ files, uncompressed and in C order, read in one pass.

Each block is summed up and looked at while the processor's cache has it. NumPy reads a member
through the zip module, which copies every byte three times.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HEADER_ERRORS",
    "PlainMember",
    "crc32",
    "fill",
    "find_plain_member",
    "is_sound",
    "look_through",
    "read_plain_member",
]

#: Bytes read at a time.
_BLOCK = 1 << 18
#: What NumPy raises where an array's header is damaged: it reads it as Python.
HEADER_ERRORS = (
    ValueError, EOFError, SyntaxError, TokenError, TypeError, KeyError, RecursionError, MemoryError,
)  # fmt: skip
#: The bits of infinity.
_INFINITY = {np.dtype(np.float32): 0x7F800000, np.dtype(np.float64): 0x7FF0000000000000}
#: Bytes of a local file header in a zip archive, and its signature.
_HEADER, _SIGNATURE = 30, b"PK\3\4"


def _fastest_crc32() -> Callable[..., int]:
    """Return zlib-ng's CRC-32, or zlib's: the same number, but in five times its time."""
    try:
        from zlib_ng import zlib_ng
    except ImportError:
        return zlib.crc32
    return zlib_ng.crc32


crc32 = _fastest_crc32()


@dataclass(frozen=True)
class PlainMember:
    """Where the array of a member lies: the member from ``start``, its data from ``offset`` on.

    ``end`` is where both end, ``checksum`` the CRC-32 of the member that the archive's directory
    has.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    offset: int
    end: int
    checksum: int


def find_plain_member(path: Path, file: BinaryIO, info: zipfile.ZipInfo) -> PlainMember | None:
    """Return where the array of an archive's member lies in ``file``, opened at ``path``.

    None where the member is compressed or no plain array of numbers in C order. Raises
    ``ValueError`` naming the file where it is damaged.
    """
    plain = info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1
    if not plain or info.file_size != info.compress_size:
        return None
    key = info.filename.removesuffix(".npy")
    file.seek(info.header_offset)
    header = file.read(_HEADER)
    if len(header) < _HEADER or header[:4] != _SIGNATURE:
        raise ValueError(f"{path} is damaged: no member where {key!r} is said to begin")
    start = info.header_offset + _HEADER + sum(struct.unpack("<HH", header[26:]))
    file.seek(start)
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }.get(version)
        if read is None:
            return None
        shape, in_columns, dtype = read(file)
    except HEADER_ERRORS as error:
        raise ValueError(f"{path}: key {key!r} cannot be read: {error}") from error
    offset, end = file.tell(), start + info.file_size
    if in_columns or dtype.kind not in "biufc":
        return None
    if dtype.itemsize * int(np.prod(shape, dtype=object)) != end - offset:
        raise ValueError(f"{path}: key {key!r} holds other than its shape {shape}")
    return PlainMember(shape, dtype, start, offset, end, info.CRC)


def read_plain_member(file: BinaryIO, member: PlainMember) -> NDArray[Any] | None:
    """Return a member's array, or None where the file is damaged."""
    array = np.empty(member.shape, member.dtype)
    view = array.reshape(-1).view(np.uint8).data
    checksum = crc32(os.pread(file.fileno(), member.offset - member.start, member.start))
    for begin in range(0, len(view), _BLOCK):
        block = view[begin : begin + _BLOCK]
        if not fill(file, block, member.offset + begin):
            return None
        checksum = crc32(block, checksum)
    return array if checksum == member.checksum else None


def look_through(file: BinaryIO, member: PlainMember) -> tuple[bool, bool]:
    """Return whether a member is undamaged, and whether its values are sound (:func:`is_sound`)."""
    values = np.empty(_BLOCK // member.dtype.itemsize, member.dtype)
    view = values.view(np.uint8).data
    checksum = crc32(os.pread(file.fileno(), member.offset - member.start, member.start))
    sound, place = member.dtype.kind in "biuf", member.offset
    while place < member.end:
        block = view[: member.end - place]
        if not fill(file, block, place):
            return False, False
        checksum, place = crc32(block, checksum), place + len(block)
        sound = sound and is_sound(values[: len(block) // member.dtype.itemsize])
    return checksum == member.checksum, sound


def is_sound(values: NDArray[Any]) -> bool:
    """Return whether no value is negative, NaN or infinite; some have to be there."""
    dtype = values.dtype
    if dtype.kind in "bu":
        return True
    if dtype in _INFINITY and values.flags.c_contiguous:
        # Bits as integers: those of NaN and of what has a sign lie above those of infinity.
        bits = values.view(f"u{dtype.itemsize}")
        if bits.max() < _INFINITY[dtype]:
            return True
    # Minimum and maximum see NaN and infinity too and need no temporary array.
    return bool(values.min() >= 0 and np.isfinite(values.max()))


def fill(file: BinaryIO, view: memoryview, place: int) -> bool:
    """Fill ``view`` with the file's bytes from ``place`` on; False where it has fewer."""
    while view:
        count = os.preadv(file.fileno(), [view[: 1 << 30]], place)
        if not count:
            return False
        view, place = view[count:], place + count
    return True
