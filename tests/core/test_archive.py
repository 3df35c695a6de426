"""The zip container: equal bytes, all-or-nothing saves, and what reading refuses."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import stat
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

from ptycho.core import archive
from ptycho.core.archive import (
    ARCHIVE_NAME,
    ArchiveError,
    ArchiveTooLarge,
    UnsafeMember,
    archive_file,
    read_archive,
    write_archive,
)

MEMBERS = {
    "manifest.json": b"{}\n",
    "autoencoder/model.h5": np.random.default_rng(0).bytes(5000),
    "autoencoder/empty": b"",
    "diffraction_to_obj/params.dill": b"abc" * 2000,
}


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


# --------------------------------------------------------------------------- writing


def test_round_trip(tmp_path):
    path = write_archive(tmp_path, MEMBERS)
    assert path == tmp_path / "wts.h5.zip"
    assert read_archive(path) == MEMBERS
    assert files_below(tmp_path) == ["wts.h5.zip"]


def test_bytes_depend_on_the_members_alone(tmp_path):
    first = write_archive(tmp_path / "a", MEMBERS)
    second = write_archive(tmp_path / "b.zip", dict(reversed(MEMBERS.items())))
    assert first.read_bytes() == second.read_bytes()
    code = (
        "import sys, numpy; from ptycho.core.archive import write_archive; "
        "write_archive(sys.argv[1], {'autoencoder/model.h5': numpy.random.default_rng(0).bytes("
        "5000), 'manifest.json': b'{}\\n', 'diffraction_to_obj/params.dill': b'abc' * 2000, "
        "'autoencoder/empty': b''})"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "c")],
        env={**os.environ, "PYTHONHASHSEED": "77", "TZ": "Asia/Tokyo"},
        check=True,
    )
    assert (tmp_path / "c" / ARCHIVE_NAME).read_bytes() == first.read_bytes()


def test_members_are_sorted_dated_1980_and_readable_by_all(tmp_path):
    with zipfile.ZipFile(write_archive(tmp_path, MEMBERS)) as file:
        infos = file.infolist()
        assert file.testzip() is None
    assert [i.filename for i in infos] == sorted(MEMBERS)
    assert {i.date_time for i in infos} == {(1980, 1, 1, 0, 0, 0)}
    assert {i.external_attr >> 16 for i in infos} == {stat.S_IFREG | 0o644}


def test_members_are_deflated_where_that_is_worth_it(tmp_path):
    random = np.random.default_rng(0)
    members = {
        "text": b"abc" * 2000,
        "weights": random.normal(size=500_000).astype("<f4").tobytes(),
        "zeros": bytes(5_000_000),
    }
    with zipfile.ZipFile(write_archive(tmp_path, members)) as file:
        kinds = {info.filename: info.compress_type for info in file.infolist()}
    assert kinds == {
        "text": zipfile.ZIP_DEFLATED,
        "weights": zipfile.ZIP_STORED,
        "zeros": zipfile.ZIP_STORED,
    }


@pytest.mark.parametrize(
    ("given", "file"),
    [
        ("run", "run/wts.h5.zip"),
        ("run/deep/er", "run/deep/er/wts.h5.zip"),
        ("model.zip", "model.zip"),
        ("new/MODEL.ZIP", "new/MODEL.ZIP"),
        ("wts.h5.zip", "wts.h5.zip"),
        ("wts.h5", "wts.h5/wts.h5.zip"),
    ],
)
@pytest.mark.parametrize("kind", [str, lambda p: p])
def test_where_a_save_goes(tmp_path, given, file, kind):
    assert write_archive(kind(tmp_path / given), MEMBERS) == tmp_path / file
    assert read_archive(tmp_path / file) == MEMBERS


def test_an_existing_directory_stays_one_whatever_its_name(tmp_path):
    (tmp_path / "old.zip").mkdir()
    assert archive_file(tmp_path / "old.zip") == tmp_path / "old.zip" / "wts.h5.zip"


def test_relative_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_archive("model.zip", MEMBERS)
    write_archive(".", MEMBERS)
    assert files_below(tmp_path) == ["model.zip", "wts.h5.zip"]


def test_a_save_replaces_the_previous_one(tmp_path):
    write_archive(tmp_path, {"a": b"old"})
    write_archive(tmp_path, {"b": b"new"})
    assert read_archive(tmp_path / ARCHIVE_NAME) == {"b": b"new"}


def test_the_file_follows_the_umask(tmp_path):
    previous = os.umask(0o027)
    try:
        path = write_archive(tmp_path, MEMBERS)
    finally:
        os.umask(previous)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def full_disk(*_args, **_kwargs):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def no_permission(*_args, **_kwargs):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def interrupt(*_args, **_kwargs):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("place", "failure", "raised", "text"),
    [
        ("zipfile.ZipFile.writestr", full_disk, OSError, "No space left"),
        ("zipfile.ZipFile._write_end_record", full_disk, OSError, "No space left"),
        ("os.fsync", full_disk, OSError, "No space left"),
        ("os.replace", no_permission, PermissionError, "Permission denied"),
        ("pathlib.Path.open", no_permission, PermissionError, "Permission denied"),
        ("os.fsync", interrupt, KeyboardInterrupt, "^$"),
    ],
)
def test_a_failed_save_leaves_the_old_archive_and_no_litter(
    tmp_path, monkeypatch, place, failure, raised, text
):
    path = write_archive(tmp_path, {"old": b"weights"})
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(place, failure)
        with pytest.raises(raised, match=text) as caught:
            write_archive(tmp_path, MEMBERS)
    if raised is not KeyboardInterrupt:
        assert "cannot save the model" in str(caught.value)
        assert str(path) in str(caught.value)
        assert type(pickle.loads(pickle.dumps(caught.value))) is type(caught.value)
    assert path.read_bytes() == before
    assert files_below(tmp_path) == [ARCHIVE_NAME]


def test_a_write_that_fails_half_way(tmp_path, monkeypatch):
    path = write_archive(tmp_path, {"old": b"weights"})
    original = zipfile.ZipFile.writestr

    def write_two(self, info, *args, **kwargs):
        if len(self.filelist) == 2:
            full_disk()
        original(self, info, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "writestr", write_two)
        with pytest.raises(OSError, match="No space left"):
            write_archive(tmp_path, MEMBERS)
    assert read_archive(path) == {"old": b"weights"}
    assert files_below(tmp_path) == [ARCHIVE_NAME]


@pytest.mark.parametrize("limit", [100, 3000, 4000])
def test_a_file_system_that_stops_taking_bytes(tmp_path, limit):
    path = write_archive(tmp_path, {"old": b"weights"})
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="cannot save the model: File too large") as caught:
            write_archive(tmp_path, MEMBERS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert files_below(tmp_path) == [ARCHIVE_NAME]


@pytest.fixture
def ordinary_user():
    """Give up root's right to write everywhere, for one test."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_read_only_directory(tmp_path, monkeypatch, request):
    path = write_archive(tmp_path, {"old": b"weights"})
    monkeypatch.chdir(tmp_path)
    tmp_path.chmod(0o555)
    request.getfixturevalue("ordinary_user")
    with pytest.raises(PermissionError, match="cannot save the model.*model.zip"):
        write_archive("model.zip", MEMBERS)
    with pytest.raises(PermissionError, match="cannot save the model.*wts.h5.zip"):
        write_archive(".", MEMBERS)
    with pytest.raises(PermissionError, match="cannot save the model.*new"):
        write_archive("new", MEMBERS)
    assert read_archive(path.name) == {"old": b"weights"}


@pytest.mark.parametrize("below", ["", "sub", "sub/model.zip"])
def test_a_parent_that_is_a_file(tmp_path, below):
    (tmp_path / "file").write_text("text")
    with pytest.raises(OSError, match="cannot save the model") as caught:
        write_archive(tmp_path / "file" / below, MEMBERS)
    assert str(tmp_path / "file") in str(caught.value)
    assert (tmp_path / "file").read_text() == "text"


def test_a_directory_in_the_archives_place(tmp_path):
    (tmp_path / ARCHIVE_NAME).mkdir()
    (tmp_path / ARCHIVE_NAME / "kept").write_text("")
    with pytest.raises(IsADirectoryError, match="cannot save the model"):
        write_archive(tmp_path, MEMBERS)
    assert files_below(tmp_path) == [ARCHIVE_NAME, f"{ARCHIVE_NAME}/kept"]


@pytest.mark.parametrize("name", ["/abs", "../up", "a/../b", "a\\b", "a//b", "", "a/", "ä", "."])
def test_names_that_reading_refuses_are_not_written(tmp_path, name):
    with pytest.raises(UnsafeMember, match="unsafe name"):
        write_archive(tmp_path, {name: b""})
    assert files_below(tmp_path) == []


def test_sizes_that_reading_refuses_are_not_written(tmp_path, monkeypatch):
    with pytest.raises(ArchiveTooLarge, match="more than 256 members"):
        write_archive(tmp_path, {f"m{i}": b"" for i in range(257)})
    monkeypatch.setattr(archive, "MAX_MEMBER_BYTES", 100)
    with pytest.raises(ArchiveTooLarge, match="'b' has 101 bytes; the limit is 100"):
        write_archive(tmp_path, {"a": bytes(100), "b": bytes(101)})
    monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 150)
    with pytest.raises(ArchiveTooLarge, match="160 bytes in all; the limit is 150"):
        write_archive(tmp_path, {"a": bytes(80), "b": bytes(80)})
    assert files_below(tmp_path) == []


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, 5_000_000])
def test_zeros_are_written_so_that_they_can_be_read(tmp_path, size):
    members = {"zeros": bytes(size), "other": b"x"}
    assert read_archive(write_archive(tmp_path, members)) == members


def test_what_looks_like_a_bomb_is_not_written(tmp_path):
    head = np.random.default_rng(1).bytes(12_000)
    with pytest.raises(ArchiveTooLarge, match="zip bomb"):
        write_archive(tmp_path, {"a": head + bytes(60_000_000)})
    assert files_below(tmp_path) == []


def test_readers_see_whole_archives_while_others_save(tmp_path):
    versions = [{"a": bytes([i]) * 20_000, "b": bytes([i])} for i in range(4)]
    write_archive(tmp_path, versions[0])
    done = threading.Event()

    def save(members):
        while not done.is_set():
            write_archive(tmp_path, members)

    writers = [threading.Thread(target=save, args=(members,)) for members in versions]
    for writer in writers:
        writer.start()
    try:
        seen = [read_archive(tmp_path / ARCHIVE_NAME) for _ in range(50)]
    finally:
        done.set()
        for writer in writers:
            writer.join()
    assert all(members in versions for members in seen)
    assert files_below(tmp_path) == [ARCHIVE_NAME]


# --------------------------------------------------------------------------- errors


def error_classes():
    return [c for c in vars(archive).values() if isinstance(c, type) and issubclass(c, Exception)]


def test_there_are_the_expected_errors():
    assert len(error_classes()) == 14
    assert all(issubclass(c, ArchiveError) for c in error_classes())
    assert issubclass(ArchiveError, ValueError)


@pytest.mark.parametrize("kind", error_classes(), ids=lambda c: c.__name__)
def test_errors_travel_between_processes(kind):
    copy = pickle.loads(pickle.dumps(kind("what, where, what to do")))
    assert type(copy) is kind
    assert str(copy) == "what, where, what to do"


def test_an_error_does_not_quote_a_whole_file():
    text = str(ArchiveError("where: " + "x" * 1_000_000 + "; what to do"))
    assert len(text) < 1000
    assert text.startswith("where: xx")
    assert text.endswith("xx; what to do")
    assert str(ArchiveError(text)) == text
