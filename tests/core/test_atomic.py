"""Files that appear whole or not at all: the one writer behind archives, scans and outputs."""

from __future__ import annotations

import errno
import os
import stat

import pytest

from ptycho.io.atomic import replacing, write_bytes


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(path):
    return sorted(p.name for p in path.iterdir())


def test_a_file_is_written_and_replaced(tmp_path):
    path = tmp_path / "result.json"
    assert write_bytes(str(path), b"one") == path
    assert write_bytes(path, b"two") == path
    assert path.read_bytes() == b"two"
    assert names(tmp_path) == ["result.json"]


def test_the_disk_has_the_bytes_before_the_name(tmp_path, monkeypatch):
    order = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (order.append("sync"), sync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda *a: (order.append("rename"), rename(*a))[1])
    write_bytes(tmp_path / "a", b"x")
    assert order == ["sync", "rename", "sync"]  # the directory comes last


@pytest.mark.parametrize("place", ["os.fsync", "os.replace"])
def test_a_full_disk_names_the_file_and_leaves_it(tmp_path, monkeypatch, place):
    path = write_bytes(tmp_path / "a", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(place, full_disk)
        with pytest.raises(OSError, match="No space left") as caught:
            write_bytes(path, b"new")
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_an_error_of_the_writer_is_passed_on(tmp_path):
    path = write_bytes(tmp_path / "a", b"old")

    def fail():
        with replacing(path) as stream:
            stream.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_a_missing_directory_is_named_by_the_file_that_was_meant(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_bytes(tmp_path / "none" / "a", b"x")
    assert caught.value.filename == str(tmp_path / "none" / "a")


def test_the_file_follows_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        path = write_bytes(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
