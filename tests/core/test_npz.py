"""NPZ files: whole or not at all, no pickle, errors that name file and key."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ptycho.io import npz
from ptycho.io.npz import MissingKeyError, read_npz, write_npz


@pytest.fixture(autouse=True, params=[1 << 20, 0], ids=["by NumPy", "in one pass"])
def _who_reads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npz, "_LARGE", request.param)


def test_round_trip_reads_only_what_is_wanted(tmp_path: Path) -> None:
    arrays = {"a": np.arange(3), "b": np.array("text"), "c": np.zeros(2)}
    path = write_npz(tmp_path / "file.npz", arrays)
    read = read_npz(path, ("a",), ("b", "missing"))
    assert set(read) == {"a", "b"}
    np.testing.assert_array_equal(read["a"], [0, 1, 2])
    assert str(read["b"]) == "text"


@pytest.mark.parametrize(
    ("given", "written"),
    [("x", "x.npz"), ("x.npz", "x.npz"), ("x.NPZ", "x.NPZ.npz"), ("x.tar.gz", "x.tar.gz.npz")],
)
def test_the_suffix_is_that_of_numpy(given: str, written: str, tmp_path: Path) -> None:
    assert write_npz(tmp_path / given, {"a": np.zeros(1)}).name == written
    assert os.listdir(tmp_path) == [written]


def test_a_failed_write_leaves_the_old_file_and_no_remains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_npz(tmp_path / "file.npz", {"a": np.arange(3)})
    before = path.read_bytes()

    def half_written(stream: Any, **arrays: Any) -> None:
        stream.write(b"PK half")
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "savez", half_written)
    with pytest.raises(OSError, match="no space"):
        write_npz(path, {"a": np.arange(4)})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["file.npz"]


def test_whoever_reads_the_old_file_keeps_it(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "file.npz", {"a": np.arange(3)})
    os.link(path, tmp_path / "held")
    before = path.read_bytes()
    write_npz(path, {"a": np.arange(4)})
    assert (tmp_path / "held").read_bytes() == before
    assert len(read_npz(path, ("a",), ())["a"]) == 4


def test_the_file_gets_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"")
    path = write_npz(tmp_path / "file.npz", {"a": np.zeros(1)})
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


def test_python_objects_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'b' holds Python objects"):
        write_npz(tmp_path / "file.npz", {"a": np.zeros(1), "b": np.array([None])})
    assert os.listdir(tmp_path) == []


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such directory: .*absent"):
        write_npz(tmp_path / "absent" / "file.npz", {"a": np.zeros(1)})


def npy_bytes() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize("content", [b"", b"garbage" * 50, npy_bytes(), b"\x80\x04N."])
def test_what_is_no_zip_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="file.npz is not an NPZ file"):
        read_npz(path, ("a",), ())


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "file.npz", {"a": np.arange(1000)})
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"file\.npz"):
        read_npz(path, ("a",), ())


def test_a_damaged_member_is_named(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "file.npz", {"a": np.arange(1000)})
    content = bytearray(path.read_bytes())
    content[2000] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(ValueError, match=r"file\.npz: key 'a' cannot be read"):
        read_npz(path, ("a",), ())


def test_a_member_that_is_no_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"not an array")
    with pytest.raises(ValueError, match="'a' is not a NumPy array"):
        read_npz(path, ("a",), ())


def test_missing_keys_are_listed_with_their_alternatives(tmp_path: Path) -> None:
    path = write_npz(tmp_path / "file.npz", {"z": np.zeros(1), "b": np.zeros(1)})
    with pytest.raises(MissingKeyError) as caught:
        read_npz(path, ("a", "b|c", "d|e"), ("f",))
    assert str(caught.value) == f"{path} lacks a, d (or e); it has b, z"


def test_an_empty_archive_has_no_keys(tmp_path: Path) -> None:
    np.savez(tmp_path / "file.npz")
    with pytest.raises(MissingKeyError, match="it has no keys"):
        read_npz(tmp_path / "file.npz", ("a",), ())


# ------------------------------------------------------------------ large members


def outcome(path: Path, large: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the bytes of the arrays that are read, or the error's type and text."""
    monkeypatch.setattr(npz, "_LARGE", large)
    try:
        read = read_npz(path, ("a", "b"), ())
    except Exception as error:
        return type(error), str(error)
    return {k: (v.dtype, v.shape, v.flags.f_contiguous, v.tobytes()) for k, v in read.items()}


ARRAYS = [
    np.arange(24.0).reshape(2, 3, 4),
    np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)),
    np.arange(6, dtype=">u2"),
    np.array(3 + 4j, np.complex64),
    np.zeros((0, 5), np.float32),
    np.array([True, False]),
    np.array("text"),
    np.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]),
    np.zeros(70_000, np.float32),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda a: f"{a.dtype} {a.shape}")
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_as_numpy_reads_them(
    save: Any, array: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "file.npz", a=array, b=np.ones(3))
    results = [outcome(tmp_path / "file.npz", large, monkeypatch) for large in (1 << 20, 0)]
    assert results[0] == results[1]
    assert results[0]["a"][3] == array.tobytes()


def test_a_large_member_is_not_read_by_numpy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.random.default_rng(0).normal(size=300_000)
    path = write_npz(tmp_path / "file.npz", {"a": array})
    monkeypatch.setattr(npz, "_LARGE", 1 << 20)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    np.testing.assert_array_equal(read_npz(path, ("a",), ())["a"], array)


@pytest.mark.filterwarnings("ignore:Data type alias")
def test_every_damaged_byte_has_the_same_consequence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_npz(tmp_path / "file.npz", {"a": np.arange(20.0), "b": np.arange(3)})
    content = path.read_bytes()
    whole, refused = outcome(path, 0, monkeypatch), 0
    for place in range(len(content)):
        for mask in (0x01, 0xFF):
            damaged = bytearray(content)
            damaged[place] ^= mask
            path.write_bytes(damaged)
            found = outcome(path, 0, monkeypatch)
            assert found == outcome(path, 1 << 20, monkeypatch), place
            assert found == whole or found[0] in (ValueError, MissingKeyError), place
            refused += found != whole
    assert refused > len(content)


def test_a_member_that_is_cut_off_meanwhile_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_npz(tmp_path / "file.npz", {"a": np.arange(1000)})
    monkeypatch.setattr(npz, "_LARGE", 0)
    found = npz.find_plain_member

    def cut(*given: Any) -> Any:
        member = found(*given)
        os.truncate(path, 4000)
        return member

    monkeypatch.setattr(npz, "find_plain_member", cut)
    with pytest.raises(ValueError, match=r"file\.npz: key 'a' cannot be read"):
        read_npz(path, ("a",), ())
