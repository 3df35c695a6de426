"""HDF5 files that point elsewhere, lie about their sizes, or are broken."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from ptycho.raw_data import RawData

N = 8
PRODUCT = Path(__file__).parents[1] / "data" / "ptychodus-1.7.0" / "product.h5"
DATA = "raw_data/diffraction"


@pytest.fixture
def scan(tmp_path):
    """A product whose patterns are missing, open for changes."""
    path = tmp_path / "scan.h5"
    path.write_bytes(PRODUCT.read_bytes())
    with h5py.File(path, "r+") as file:
        file.create_group("raw_data")
        yield file


@pytest.fixture
def secret(tmp_path):
    """A file of the user's with something to read."""
    path = tmp_path / "secret.h5"
    with h5py.File(path, "w") as file:
        file["patterns"] = np.ones((7, N, N), np.uint16)
    return path


def refused(file, words):
    """Close ``file`` and check that reading it is refused with these words."""
    path = file.filename
    file.close()
    with pytest.raises(ValueError, match=words) as caught:
        RawData.from_file(path)
    assert path in str(caught.value)
    return str(caught.value)


def external(file, secret):
    file[DATA] = h5py.ExternalLink(str(secret), "/patterns")


def external_group(file, secret):
    del file["raw_data"]
    file["raw_data"] = h5py.ExternalLink(str(secret), "/")


def soft_then_external(file, secret):
    file["elsewhere"] = h5py.ExternalLink(str(secret), "/")
    file[DATA] = h5py.SoftLink("/elsewhere/patterns")


def virtual(file, secret):
    layout = h5py.VirtualLayout((7, N, N), np.uint16)
    layout[:] = h5py.VirtualSource(str(secret), "patterns", (7, N, N))
    file.create_virtual_dataset(DATA, layout)


def external_storage(file, secret):
    # The bytes of any file at all, read as patterns.
    file.create_dataset(DATA, (7, N, N), np.uint8, external=[(str(secret), 0, 7 * N * N)])


@pytest.mark.parametrize(
    ("point", "words"),
    [
        (external, "link to another file.*not followed"),
        (external_group, "link to another file.*not followed"),
        (soft_then_external, "'elsewhere' is a link to another file"),
        (virtual, "stored in other files.*not read"),
        (external_storage, "stored in other files.*not read"),
    ],
)
def test_other_files_are_not_opened(scan, secret, point, words, monkeypatch):
    point(scan, secret)
    secret.unlink()  # were it opened, the message would speak of a file that is missing
    refused(scan, words)


def test_circles_of_links_end(scan):
    scan[DATA] = h5py.SoftLink("/raw_data/other")
    scan["raw_data/other"] = h5py.SoftLink(f"/{DATA}")
    refused(scan, "circle")


def test_links_within_the_file_are_followed(scan):
    scan["deep/down"] = np.ones((7, N, N), np.uint16)
    scan["raw_data/here"] = h5py.SoftLink("/deep")
    scan[DATA] = h5py.SoftLink("here/down")
    path = scan.filename
    scan.close()
    assert RawData.from_file(path).diff3d.shape == (7, N, N)


@pytest.mark.parametrize("options", [{}, {"chunks": (1, 1024, 1024), "compression": "gzip"}])
def test_made_up_sizes_are_refused_before_memory_is_asked_for(scan, options):
    scan.create_dataset(DATA, (10**6, 2**16, 2**16), np.uint16, **options)
    refused(scan, r"declares shape \(1000000, 65536, 65536\).*holds 0 of them")


def test_a_scan_larger_than_memory_is_refused(scan, monkeypatch):
    monkeypatch.setattr("ptycho.io.hdf5._machine_memory", lambda: 100)
    scan[DATA] = np.ones((7, N, N), np.uint16)
    refused(scan, "more than the memory of this machine")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.zeros((7, N, N), [("a", "u2"), ("b", "f4")]), "dtype .*'a'.* expected numbers"),
        (np.full((7, N, N), b"x"), r"dtype \|S1; expected numbers"),
        (h5py.Empty("f4"), "is empty"),
        (np.ones((7, N, N), complex), "diff3d has dtype complex128"),
        (np.ones((6, N, N)), "6 patterns"),
        (np.ones((7, N, N - 1)), "must be square"),
        (np.full((7, N, N), -1), "negative"),
    ],
)  # fmt: skip
def test_patterns_that_are_none(scan, value, words):
    scan[DATA] = value
    refused(scan, words)


def test_a_group_where_patterns_should_be_is_no_pattern(scan):
    scan.create_group(DATA)
    path = scan.filename
    scan.close()
    assert RawData.from_file(path).diff3d is None


def test_an_unknown_filter_is_named(scan):
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1, N, N))
    plist.set_filter(300, h5py.h5z.FLAG_OPTIONAL)  # a number that no plugin has
    space = h5py.h5s.create_simple((7, N, N))
    h5py.h5d.create(scan["raw_data"].id, b"diffraction", h5py.h5t.STD_U16LE, space, plist)
    refused(scan, "filter 300.*hdf5plugin")


def test_files_that_are_no_scans(tmp_path):
    path = tmp_path / "scan.h5"
    with h5py.File(path, "w") as file:
        file["numbers"] = np.ones(3)
    with pytest.raises(ValueError, match="HDF5 file but no scan.*its root has numbers"):
        RawData.from_file(path)
    path.write_bytes(PRODUCT.read_bytes()[:900])
    with pytest.raises(ValueError, match="cannot be opened as HDF5"):
        RawData.from_file(path)
    for content in (b"", b"text", b"\x89HDF"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is no scan: not an NPZ"):
            RawData.from_file(path)


def test_a_user_block_before_the_signature_is_no_hindrance(tmp_path):
    path = tmp_path / "scan.mat"
    with h5py.File(path, "w", userblock_size=1024) as file, h5py.File(PRODUCT) as source:
        for name in source:
            source.copy(name, file)
    assert len(RawData.from_file(path)) == 7


@pytest.mark.parametrize("position", range(0, 16000, 999))
def test_flipped_bytes_never_end_in_anything_but_a_value_error(tmp_path, position):
    content = bytearray(PRODUCT.read_bytes())
    rng = np.random.default_rng(position)
    for offset in rng.integers(position, min(position + 999, len(content)), 12):
        content[offset] ^= 0xFF
    path = tmp_path / "scan.h5"
    path.write_bytes(content)
    try:
        RawData.from_file(path)
    except (ValueError, KeyError) as error:
        assert str(path) in str(error)  # noqa: PT017
