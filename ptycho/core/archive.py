"""The container of a saved model: a zip file written reproducibly and read with distrust.

Writing is deterministic (sorted members, fixed dates, permissions and compression) and atomic: a
save that fails leaves the previous archive as it was. Reading takes nothing on faith: names,
kinds and sizes of members are checked before anything is decompressed, sizes again while it is,
and nothing is ever extracted to disk.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import IO

from ptycho.io.atomic import replacing

#: Name of the archive in the directory of a saved model.
ARCHIVE_NAME = "wts.h5.zip"

#: Limits on what is read (and therefore on what is written). They hold six copies of the weights
#: of N = 256 at ``n_filters_scale`` 7, of N = 128 at 11, and stay below what needs the zip64
#: extension.
MAX_MEMBERS = 256
MAX_MEMBER_BYTES = 2_000_000_000
MAX_TOTAL_BYTES = 4_000_000_000
#: Decompressed over compressed size, for members larger than ``RATIO_FREE_BYTES``.
MAX_RATIO = 200
RATIO_FREE_BYTES = 1 << 20

_LONGEST_TEXT = 1000
_LEVEL = 1
_WORTH_DEFLATING = 0.8
_CHUNK = 1 << 20
_DIRECTORY_BYTES_PER_MEMBER = 1024
_END_RECORD, _END_RECORD_BYTES = b"PK\x05\x06", 22
_ZIP64_LOCATOR, _ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20
_MAX_COMMENT_BYTES = 65535
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,100}(/[A-Za-z0-9_.-]{1,100}){0,9}")
_REFUSED_FLAGS = 0x1 | 0x40 | 0x2000  # encrypted, strongly encrypted, masked headers

# What zipfile raises on bytes that are not a sound zip file.
_MALFORMED = (
    zipfile.BadZipFile,
    struct.error,
    RuntimeError,
    ValueError,
)


class ArchiveError(ValueError):
    """A saved model cannot be used; the subclass says what is wrong with it.

    The text may quote the file, so its middle is left out where it is long.
    """

    def __init__(self, text: str = "") -> None:
        if len(text) > _LONGEST_TEXT:
            text = f"{text[:700]} [...] {text[-250:]}"
        super().__init__(text)


class NotAnArchive(ArchiveError):
    """The file is not a zip archive, or a broken one."""


class UnsafeMember(ArchiveError):
    """A member has a name or kind that a saved model never has."""


class ArchiveTooLarge(ArchiveError):
    """The archive exceeds a limit on members, sizes or compression ratio."""


class ChecksumMismatch(ArchiveError):
    """A member's bytes are not those that were saved."""


class MissingMember(ArchiveError):
    """A member that a saved model needs is not there."""


class BadManifest(ArchiveError):
    """The manifest cannot be read, or its two forms disagree."""


class UnsupportedVersion(ArchiveError):
    """The archive has another format version."""


class UnknownBackend(ArchiveError):
    """The archive names no backend, or one that is not known."""


class UnsafePickle(ArchiveError):
    """A pickle holds more than plain values; it was not executed."""


class BadParams(ArchiveError):
    """The configuration snapshot cannot be read or describes no network."""


class BadWeights(ArchiveError):
    """The weights cannot be read or do not fit the configuration."""


class BadTrainingState(ArchiveError):
    """The state of the training cannot be read or does not fit the configuration."""


class UnsafePayload(ArchiveError):
    """A backend's own file holds more than layers and arrays; it was not opened."""


def check_name(name: str, where: object) -> None:
    """Raise ``UnsafeMember`` unless ``name`` is a plain relative path with forward slashes."""
    if not _NAME.fullmatch(name) or any(set(part) == {"."} for part in name.split("/")):
        raise UnsafeMember(
            f"{where}: member {name!r} has an unsafe name (absolute, with '..', or with characters "
            "outside A-Z a-z 0-9 _ . - /); the archive was not made by ptychopinn, do not use it"
        )


def _check_collisions(names: Iterable[str], where: object) -> None:
    seen: dict[str, str] = {}
    for name in names:
        key = name.casefold()
        if key in seen:
            raise UnsafeMember(
                f"{where}: members {seen[key]!r} and {name!r} are the same file on some systems; "
                "the archive was not made by ptychopinn, do not use it"
            )
        seen[key] = name


# --------------------------------------------------------------------------- writing


def archive_file(path: str | Path) -> Path:
    """Return the file that a save to ``path`` writes.

    A directory, or a path that is to become one, gets ``wts.h5.zip`` inside; a path ending in
    ``.zip`` that is no directory is the file itself.
    """
    path = Path(path)
    if path.suffix.lower() == ".zip" and not path.is_dir():
        return path
    return path / ARCHIVE_NAME


def write_archive(path: str | Path, members: Mapping[str, bytes]) -> Path:
    """Write ``members`` (name -> bytes) as a zip file and return its path.

    ``path`` is resolved by :func:`archive_file`; missing directories are created. Equal members
    give equal bytes. The file appears complete or not at all.

    Raises ``UnsafeMember`` or ``ArchiveTooLarge`` for members that :func:`read_archive` would
    refuse, and ``OSError`` naming the file where it cannot be written.
    """
    target = archive_file(path)
    for name in members:
        check_name(name, target)
    _check_collisions(members, target)
    _check_sizes({name: len(data) for name, data in members.items()}, target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as file:
            _write_zip(file, members, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(
            error.errno or errno.EIO, f"cannot save the model: {reason}", str(target)
        ) from error
    return target


def _write_zip(file: IO[bytes], members: Mapping[str, bytes], target: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            info.compress_type = _compression(members[name])
            archive.writestr(info, members[name], compresslevel=_LEVEL)
        for info in archive.infolist():
            _check_ratio(info, target)


def _compression(data: bytes) -> int:
    """Return whether a member is deflated, judged by its first mebibyte.

    Trained weights shrink by a few percent, which is not worth the time on every save and load;
    large members that shrink so much that they would read like a bomb are stored as they are too.
    """
    head = data[:RATIO_FREE_BYTES]
    packed = len(zlib.compress(head, _LEVEL))
    like_a_bomb = len(data) > len(head) and packed * MAX_RATIO < 2 * len(head)
    shrinks = packed < _WORTH_DEFLATING * len(head)
    return zipfile.ZIP_DEFLATED if shrinks and not like_a_bomb else zipfile.ZIP_STORED


# --------------------------------------------------------------------------- limits


def _check_sizes(sizes: Mapping[str, int], where: object) -> None:
    if len(sizes) > MAX_MEMBERS:
        raise ArchiveTooLarge(f"{where}: more than {MAX_MEMBERS} members")
    for name, size in sizes.items():
        if size > MAX_MEMBER_BYTES:
            raise ArchiveTooLarge(
                f"{where}: member {name!r} has {size} bytes; the limit is {MAX_MEMBER_BYTES}"
            )
    if sum(sizes.values()) > MAX_TOTAL_BYTES:
        raise ArchiveTooLarge(
            f"{where}: {sum(sizes.values())} bytes in all; the limit is {MAX_TOTAL_BYTES}"
        )


def _check_ratio(info: zipfile.ZipInfo, where: object) -> None:
    if info.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * info.compress_size):
        raise ArchiveTooLarge(
            f"{where}: member {info.filename!r} decompresses {info.compress_size} bytes to "
            f"{info.file_size}, more than {MAX_RATIO}:1; this looks like a zip bomb"
        )


# --------------------------------------------------------------------------- reading


def read_archive(path: str | Path) -> dict[str, bytes]:
    """Return the members of the zip file ``path``, name -> bytes, directories left out.

    Raises ``FileNotFoundError``, or an :class:`ArchiveError` subclass naming file, member and
    reason: ``NotAnArchive``, ``UnsafeMember``, ``ArchiveTooLarge``, ``ChecksumMismatch``.
    """
    return _read_zip(Path(path), None)


def read_members(path: str | Path, names: Container[str]) -> dict[str, bytes]:
    """Return those of ``names`` that the archive has; as :func:`read_archive`, and its limits."""
    return _read_zip(Path(path), names)


def _read_zip(path: Path, only: Container[str] | None) -> dict[str, bytes]:
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if not path.is_file():
        raise NotAnArchive(f"{path} is not a regular file; give the path of a {ARCHIVE_NAME}")
    try:
        with path.open("rb") as file:
            _check_directory(file, path)
            with zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
                _check_infos(infos, path)
                return {
                    info.filename: _read_member(archive, info, path)
                    for info in infos
                    if not info.is_dir() and (only is None or info.filename in only)
                }
    except ArchiveError:
        raise
    except _MALFORMED as error:
        raise _not_an_archive(path, str(error)) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to a place that a false offset points at
            raise
        raise _not_an_archive(path, str(error)) from error


def _not_an_archive(path: Path, reason: str) -> NotAnArchive:
    return NotAnArchive(
        f"{path} is not a saved model: not a sound zip file ({reason}); it may be truncated or "
        f"another kind of file, save or copy it again"
    )


def _check_directory(file: IO[bytes], path: Path) -> None:
    """Bound the central directory before zipfile builds an object for each of its entries."""
    size = file.seek(0, os.SEEK_END)
    tail_bytes = min(size, _END_RECORD_BYTES + _MAX_COMMENT_BYTES + _ZIP64_LOCATOR_BYTES)
    file.seek(size - tail_bytes)
    tail = file.read(tail_bytes)
    start = tail.rfind(_END_RECORD)
    if start < 0 or start + _END_RECORD_BYTES > len(tail):
        raise _not_an_archive(path, "no end record")
    if tail[: max(0, start)][-_ZIP64_LOCATOR_BYTES:].startswith(_ZIP64_LOCATOR):
        raise ArchiveTooLarge(f"{path}: a zip64 archive, for more than {MAX_TOTAL_BYTES} bytes")
    (directory_bytes,) = struct.unpack_from("<I", tail, start + 12)
    if directory_bytes > MAX_MEMBERS * _DIRECTORY_BYTES_PER_MEMBER:
        raise ArchiveTooLarge(f"{path}: more than {MAX_MEMBERS} members")


def _check_infos(infos: list[zipfile.ZipInfo], path: Path) -> None:
    for info in infos:
        # orig_filename: zipfile cuts the other one at a NUL byte.
        check_name(info.orig_filename.removesuffix("/"), path)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFDIR if info.is_dir() else stat.S_IFREG):
            raise UnsafeMember(
                f"{path}: member {info.filename!r} is a link or special file; the archive was not "
                "made by ptychopinn, do not use it"
            )
        if info.flag_bits & _REFUSED_FLAGS:
            raise UnsafeMember(
                f"{path}: member {info.filename!r} is encrypted; save the model without a password"
            )
        if info.is_dir() and info.file_size:
            raise UnsafeMember(f"{path}: directory {info.filename!r} has content")
        _check_ratio(info, path)
    _check_collisions((info.filename.removesuffix("/") for info in infos), path)
    _check_sizes({info.filename: info.file_size for info in infos}, path)


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> bytes:
    # The declared size has passed the limits; zipfile hands out at most as much, in bounded steps.
    parts: list[bytes] = []
    try:
        with archive.open(info) as member:
            while part := member.read(_CHUNK):
                parts.append(part)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ChecksumMismatch(
            f"{path}: member {info.filename!r} is damaged ({error}); copy or save it again"
        ) from error
    data = b"".join(parts)
    if len(data) != info.file_size:
        raise ChecksumMismatch(
            f"{path}: member {info.filename!r} has {len(data)} bytes, {info.file_size} were saved; "
            "copy or save it again"
        )
    return data


def read_unpacked(directory: str | Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the files ``names`` (relative, forward slashes) of an unpacked archive.

    The same rules as in :func:`read_archive` hold, and links below ``directory`` are not followed.
    Other files in the directory are not looked at. Raises ``MissingMember`` where one is absent.
    """
    directory = Path(directory)
    names = list(names)
    sizes: dict[str, int] = {}
    for name in names:
        check_name(name, directory)
        sizes[name] = _file_size(directory, name)
    _check_sizes(sizes, directory)
    return {name: (directory / name).read_bytes() for name in names}


def _file_size(directory: Path, name: str) -> int:
    place = directory
    for part in name.split("/"):
        place = place / part
        if place.is_symlink():
            raise UnsafeMember(f"{place} is a link; replace it by the file it stands for")
    if not place.exists():
        raise MissingMember(f"{directory}: {name!r} is missing; unpack or save the model again")
    if not place.is_file():
        raise UnsafeMember(f"{place} is not a regular file; unpack or save the model again")
    return place.stat().st_size
