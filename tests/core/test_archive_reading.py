"""The zip container: what reading refuses, before and while it decompresses."""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import time
import warnings
import zipfile
import zlib

import numpy as np
import pytest

from ptycho.core import archive
from ptycho.core.archive import (
    ARCHIVE_NAME,
    ArchiveTooLarge,
    ChecksumMismatch,
    MissingMember,
    NotAnArchive,
    UnsafeMember,
    read_archive,
    read_unpacked,
    write_archive,
)

MEMBERS = {
    "manifest.json": b"{}\n",
    "autoencoder/model.h5": np.random.default_rng(0).bytes(5000),
    "autoencoder/empty": b"",
}


def zipped(*entries, attributes=None, flags=0, compression=zipfile.ZIP_STORED):
    """Return a zip file of (name, data) pairs, as a stranger might make it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # duplicate names
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            info.external_attr = (0o100644 if attributes is None else attributes) << 16
            file.writestr(info, data)
    raw = bytearray(buffer.getvalue())
    if flags:
        raw[raw.find(b"PK\x01\x02") + 8] |= flags
    return bytes(raw)


def end_record(raw):
    return raw.rfind(b"PK\x05\x06")


def in_directory(raw, offset, value):
    """Return ``raw`` with ``value`` at ``offset`` of its first central directory entry."""
    start = raw.find(b"PK\x01\x02") + offset
    return raw[:start] + value + raw[start + len(value) :]


def far_away(offset):
    """Return an archive whose only member claims to start at a 64-bit offset."""
    raw = in_directory(zipped(("a", b"x")), 42, b"\xff\xff\xff\xff")
    raw = in_directory(raw, 30, struct.pack("<H", 12))
    at = end_record(raw)
    extra = struct.pack("<HHQ", 1, 8, offset)
    size = struct.pack("<I", 46 + 1 + len(extra))
    return raw[:at] + extra + raw[at : at + 12] + size + raw[at + 16 :]


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def refused(tmp_path, raw, error, text):
    path = tmp_path / "given.zip"
    path.write_bytes(raw)
    started = time.process_time()
    with pytest.raises(error, match=text) as caught:
        read_archive(path)
    assert time.process_time() - started < 1
    assert type(caught.value) is error
    assert str(path) in str(caught.value)
    assert files_below(tmp_path) == ["given.zip"]


SOUND = zipped(("a/one", b"1" * 3000), ("two", b"2" * 50), compression=zipfile.ZIP_DEFLATED)

NO_ARCHIVES = {
    "empty": b"",
    "text": b"not a zip file\n" * 100,
    "half": SOUND[: len(SOUND) // 2],
    "without the last byte": SOUND[:-1],
    "only an end record": b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 3, 3, 200, 0, 0),
    "head cut off": SOUND[40:],
    "directory offset": SOUND[: end_record(SOUND) + 16] + b"\xf0\xff\xff\x7f" + SOUND[-2:],
    "a header beyond all files": far_away(2**64 - 1),
    "unknown compression": in_directory(SOUND, 10, b"\x63\x00"),
    "future version": in_directory(SOUND, 6, b"\xff\x00"),
    "patched data": in_directory(SOUND, 8, b"\x20\x00"),
    "undecodable name": in_directory(in_directory(SOUND, 8, b"\x00\x08"), 46, b"\xff\xff"),
}


@pytest.mark.parametrize("name", NO_ARCHIVES)
def test_what_is_no_archive(tmp_path, name):
    refused(tmp_path, NO_ARCHIVES[name], NotAnArchive, "not a sound zip file")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../evil",
        "a/../../evil",
        "a/..",
        "./a",
        "a//b",
        "..\\evil",
        "C:evil",
        "C:\\evil",
        "a\nb",
        "a b",
        "~root",
        "ａ",
        "x" * 101,
        "/".join("abcdefghijkl"),
    ],
)
def test_names_that_could_leave_the_directory(tmp_path, name):
    refused(tmp_path, zipped((name, b"x")), UnsafeMember, "unsafe name")


def test_a_name_with_a_nul_byte(tmp_path):
    # zipfile would cut it there and hand out "safe".
    raw = zipped(("safe_evil", b"x")).replace(b"safe_evil", b"safe\0evil")
    refused(tmp_path, raw, UnsafeMember, "unsafe name")


@pytest.mark.parametrize(
    "kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFDIR]
)
def test_links_and_special_files(tmp_path, kind):
    raw = zipped(("a", b"/etc/passwd"), attributes=kind | 0o777)
    refused(tmp_path, raw, UnsafeMember, "'a' is a link or special file")


@pytest.mark.parametrize("flag", [0x1, 0x40])
def test_encrypted_members(tmp_path, flag):
    refused(tmp_path, zipped(("a", b"x" * 50), flags=flag), UnsafeMember, "'a' is encrypted")


@pytest.mark.parametrize(
    "names", [("a", "a"), ("model.h5", "Model.H5"), ("a/b", "A/b"), ("a/", "a")]
)
def test_names_that_collide(tmp_path, names):
    raw = zipped(*((name, b"") for name in names), attributes=0)
    refused(tmp_path, raw, UnsafeMember, "are the same file")


def test_a_directory_with_content(tmp_path):
    refused(tmp_path, zipped(("a/", b"x"), attributes=0), UnsafeMember, "has content")


def test_too_many_members(tmp_path):
    raw = zipped(*((f"m{i}", b"") for i in range(300)))
    refused(tmp_path, raw, ArchiveTooLarge, "more than 256 members")
    # The count in the end record is a claim; the directory speaks for itself.
    at = end_record(raw) + 8
    claimed = raw[:at] + struct.pack("<HH", 2, 2) + raw[at + 4 :]
    refused(tmp_path, claimed, ArchiveTooLarge, "more than 256 members")


def test_a_directory_of_too_many_entries_is_not_even_listed(tmp_path, monkeypatch):
    raw = zipped(*((f"m{i}", b"") for i in range(10_000)))
    at = end_record(raw) + 8
    claimed = raw[:at] + struct.pack("<HH", 2, 2) + raw[at + 4 :]
    monkeypatch.delattr(zipfile, "ZipFile")
    refused(tmp_path, claimed, ArchiveTooLarge, "more than 256 members")


def test_a_zip64_end_record(tmp_path):
    at = end_record(SOUND)
    locator = b"PK\x06\x07" + bytes(16)
    refused(tmp_path, SOUND[:at] + locator + SOUND[at:], ArchiveTooLarge, "zip64")


def test_a_zip_bomb(tmp_path):
    raw = zipped(("a", bytes(40_000_000)), compression=zipfile.ZIP_DEFLATED)
    assert len(raw) < 100_000
    refused(tmp_path, raw, ArchiveTooLarge, "more than 200:1")


def test_a_bomb_of_many_small_members_is_bounded():
    assert archive.MAX_MEMBERS * archive.RATIO_FREE_BYTES < 300_000_000


def test_a_bomb_that_hides_its_size(tmp_path):
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    stream = packed.compress(bytes(30_000_000)) + packed.flush()
    raw = zipped(("a", stream))
    size = struct.pack("<H", zipfile.ZIP_DEFLATED)
    # Deflated data that claims to be as short as its compressed form.
    raw = in_directory(raw, 10, size)
    raw = raw[:8] + size + raw[10:]
    refused(tmp_path, raw, ChecksumMismatch, "'a' is damaged")


def test_declared_sizes_are_checked_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 2000)
    refused(tmp_path, SOUND, ArchiveTooLarge, "'a/one' has 3000 bytes; the limit is 2000")
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 3000)
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 3010)
    refused(tmp_path, SOUND, ArchiveTooLarge, "3050 bytes in all")


def test_a_member_shorter_than_declared(tmp_path):
    raw = zipped(("a", b"x" * 100))
    raw = in_directory(raw, 24, struct.pack("<I", 200))
    refused(tmp_path, raw, ChecksumMismatch, "'a'.*copy or save it again")


def test_a_flipped_byte(tmp_path):
    raw = bytearray(zipped(("a", b"x" * 100)))
    raw[60] ^= 1
    refused(tmp_path, bytes(raw), ChecksumMismatch, "'a' is damaged .*CRC")


@pytest.mark.parametrize(
    "raw", [in_directory(SOUND, 42, struct.pack("<I", len(SOUND) - 5)), far_away(2**40)]
)
def test_a_local_header_that_is_not_there(tmp_path, raw):
    refused(tmp_path, raw, ChecksumMismatch, "is damaged .*file header")


def test_a_local_header_with_another_name(tmp_path):
    raw = zipped(("abc", b"x"))
    assert raw[30:33] == b"abc"
    refused(tmp_path, raw[:30] + b"xyz" + raw[33:], ChecksumMismatch, "'abc' is damaged")


def test_what_common_tools_add_is_harmless(tmp_path):
    raw = zipped(("a/", b""), attributes=stat.S_IFDIR | 0o755)
    path = tmp_path / "tool.zip"
    path.write_bytes(raw)
    with zipfile.ZipFile(path, "a") as file:
        file.comment = b"packed by hand"
        file.writestr("a/b", b"content")
    assert read_archive(path) == {"a/b": b"content"}
    path.write_bytes(b"#!/bin/sh\n" + path.read_bytes())
    assert read_archive(path) == {"a/b": b"content"}


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file: .*absent.zip"):
        read_archive(tmp_path / "absent.zip")


def test_not_a_regular_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(NotAnArchive, match="not a regular file"):
            read_archive(path)


def test_a_disk_error_stays_one(tmp_path, monkeypatch):
    path = write_archive(tmp_path, MEMBERS)

    def fail(*_args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(zipfile, "ZipFile", fail)
    with pytest.raises(OSError, match="Input/output error"):
        read_archive(path)


def test_nothing_is_extracted(tmp_path, monkeypatch):
    path = write_archive(tmp_path, MEMBERS)
    for name in ("extract", "extractall"):
        monkeypatch.delattr(zipfile.ZipFile, name)
    read_archive(path)
    assert files_below(tmp_path) == [ARCHIVE_NAME]


# --------------------------------------------------------------------------- unpacked


@pytest.fixture
def unpacked(tmp_path):
    with zipfile.ZipFile(write_archive(tmp_path / "x", MEMBERS)) as file:
        file.extractall(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_unpacked_members(unpacked):
    (unpacked / "other file").write_text("not asked for")
    assert read_unpacked(str(unpacked), MEMBERS) == MEMBERS
    assert read_unpacked(unpacked, ["manifest.json"]) == {"manifest.json": b"{}\n"}


@pytest.mark.parametrize("name", ["../x/wts.h5.zip", "/etc/hostname", "a\\b"])
def test_unpacked_names_that_leave_the_directory(unpacked, name):
    with pytest.raises(UnsafeMember, match="unsafe name"):
        read_unpacked(unpacked, [name])


def test_unpacked_links_are_not_followed(unpacked, tmp_path):
    (tmp_path / "secret").write_text("secret")
    (unpacked / "link").symlink_to(tmp_path / "secret")
    (unpacked / "dir").symlink_to(tmp_path)
    for name in ("link", "dir/secret"):
        with pytest.raises(UnsafeMember, match="is a link"):
            read_unpacked(unpacked, [name])


def test_unpacked_members_that_are_absent_or_no_files(unpacked):
    with pytest.raises(MissingMember, match="'autoencoder/gone' is missing"):
        read_unpacked(unpacked, ["autoencoder/gone"])
    os.mkfifo(unpacked / "fifo")
    for name in ("autoencoder", "fifo"):
        with pytest.raises(UnsafeMember, match="not a regular file"):
            read_unpacked(unpacked, [name])


def test_unpacked_sizes_are_limited(unpacked, monkeypatch):
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 100)
    with pytest.raises(ArchiveTooLarge, match="the limit is 100"):
        read_unpacked(unpacked, MEMBERS)
