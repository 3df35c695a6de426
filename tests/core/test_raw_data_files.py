"""RawData: how it is written and read."""

from __future__ import annotations

import json
import os
import pickle
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.raw_data import RawData

N = 8


def arrays(n: int = 6) -> dict[str, Any]:
    return {
        "xcoords": 10 + 3.5 * np.arange(n),
        "ycoords": 30 - 2.0 * np.arange(n),
        "diff3d": np.arange(n * N * N, dtype=np.uint16).reshape(n, N, N),
        "probeGuess": np.ones((N, N), np.complex64),
        "scan_index": np.zeros(n, np.int64),
    }


def scan(n: int = 6, **changes: Any) -> RawData:
    return RawData(xcoords_start=None, ycoords_start=None, **{**arrays(n), **changes})


FIELDS = (
    "xcoords", "ycoords", "xcoords_start", "ycoords_start", "diff3d", "probeGuess", "scan_index",
    "objectGuess", "Y", "bad_pixels",
)  # fmt: skip

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
COMPLEX = st.sampled_from([np.complex64, np.complex128])


@st.composite
def scans(draw: st.DrawFn) -> RawData:
    n, side = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 5]))
    coordinates = hnp.arrays(
        st.sampled_from([np.float32, np.float64, np.int32]).map(np.dtype), n,
        elements={"min_value": -1000, "max_value": 1000},
    )  # fmt: skip
    dtype = draw(st.sampled_from(["u1", "<u2", ">u2", "u4", "i4", "f2", "f4", "f8", "?"]))
    boolean = dtype == "?"
    patterns = hnp.arrays(
        dtype, (n, side, side), elements=None if boolean else {"min_value": 0, "max_value": 100}
    )
    shape = (side, side) if draw(st.booleans()) else (2, side, side)
    labels = hnp.arrays(COMPLEX, (n, side, side), elements=st.just(1 - 2j))
    masks = hnp.arrays(
        st.sampled_from(["?", "u1", "i8"]), (side, side), elements=st.sampled_from([0, 1])
    )
    return RawData(
        draw(coordinates),
        draw(coordinates),
        draw(coordinates),
        draw(coordinates),
        draw(patterns),
        np.full(shape, 1 + 3j, draw(COMPLEX)),
        draw(hnp.arrays(np.int16, n)),
        objectGuess=draw(st.none() | hnp.arrays(COMPLEX, (3, 4), elements=st.just(2 + 0.5j))),
        Y=draw(st.none() | labels),
        norm_Y_I=draw(st.none() | st.floats(allow_nan=False)),
        metadata=draw(st.none() | st.dictionaries(st.text(), JSON, max_size=3)),
        bad_pixels=draw(st.none() | masks.filter(lambda mask: not mask.all())),
        measurement_domain=draw(st.sampled_from(["auto", "counts", "amplitude"])),
    )


GEOMETRY = {"pixel_width_m": 1e-8, "pixel_height_m": 2e-8, "center_x_m": 0.5, "center_y_m": -1.0}


@given(raw=scans(), file=st.sampled_from(["scan.npz", "scan.h5"]))
def test_a_file_gives_back_exactly_what_was_written(
    raw: RawData, file: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if file == "scan.h5":  # a product needs an object and its pixels
        raw.metadata = {**(raw.metadata or {}), "object_geometry": GEOMETRY}
        raw.objectGuess = np.ones((3, 4), complex) if raw.objectGuess is None else raw.objectGuess
    again = RawData.from_file(raw.to_file(tmp_path_factory.mktemp("scan") / file))
    for name in FIELDS:
        before, after = getattr(raw, name), getattr(again, name)
        if before is None:
            assert after is None, name
            continue
        assert after.dtype == before.dtype, name
        assert after.shape == before.shape, name
        assert after.tobytes() == np.ascontiguousarray(before).tobytes(), name
    assert again.norm_Y_I == raw.norm_Y_I
    assert again.metadata == raw.metadata
    assert again.measurement_domain == raw.measurement_domain
    assert again.domain == raw.domain


def test_the_file_needs_no_pickle_and_gets_its_suffix(tmp_path: Any) -> None:
    path = scan(metadata={"physics_parameters": {"N": N}}).to_file(tmp_path / "scan.v2")
    assert path == tmp_path / "scan.v2.npz"
    with np.load(path, allow_pickle=False) as archive:
        assert json.loads(str(archive["_metadata"])) == {"physics_parameters": {"N": N}}
        assert "objectGuess" not in archive.files
    assert os.listdir(tmp_path) == ["scan.v2.npz"]


def test_metadata_that_is_no_json_leaves_the_old_file_alone(tmp_path: Any) -> None:
    path = scan().to_file(tmp_path / "scan.npz")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="metadata cannot be written as JSON"):
        scan(metadata={"when": object()}).to_file(path)
    assert path.read_bytes() == before


def file_of(tmp_path: Any, drop: tuple[str, ...] = (), **changes: Any) -> Any:
    n = changes.pop("n", 6)
    stored = {k: v for k, v in arrays(n).items() if k not in drop}
    np.savez(tmp_path / "scan.npz", **{**stored, **changes})
    return tmp_path / "scan.npz"


def test_a_minimal_file_gets_its_defaults(tmp_path: Any) -> None:
    raw = RawData.from_file(str(file_of(tmp_path, drop=("scan_index",))))
    np.testing.assert_array_equal(raw.xcoords_start, raw.xcoords)
    np.testing.assert_array_equal(raw.ycoords_start, raw.ycoords)
    np.testing.assert_array_equal(raw.scan_index, np.zeros(6))
    assert raw.scan_index.dtype.kind == "i"
    assert raw.objectGuess is None
    assert raw.measurement_domain == "auto"


@pytest.mark.parametrize("turn", ["last axis", "last axis and channel", "channel", "alias"])
def test_other_layouts_of_the_stack_are_recognised(turn: str, tmp_path: Any) -> None:
    patterns = arrays()["diff3d"]
    stored = {
        "last axis": np.moveaxis(patterns, 0, 2),
        "last axis and channel": np.moveaxis(patterns, 0, 2)[..., None],
        "channel": patterns[..., None],
        "alias": patterns,
    }[turn]
    key = "diffraction" if turn == "alias" else "diff3d"
    raw = RawData.from_file(file_of(tmp_path, drop=("diff3d",), **{key: stored}))
    assert raw.diff3d is not None
    assert raw.diff3d.dtype == np.uint16
    np.testing.assert_array_equal(raw.diff3d, patterns)


def test_the_first_axis_wins_where_both_fit(tmp_path: Any) -> None:
    patterns = np.random.default_rng(0).random((N, N, N))
    raw = RawData.from_file(file_of(tmp_path, n=N, diff3d=patterns))
    np.testing.assert_array_equal(raw.diff3d, patterns)


def test_a_client_export_opens(tmp_path: Any) -> None:
    mask = np.zeros((N, N), bool)
    mask[1, 2] = True
    path = file_of(
        tmp_path,
        probeGuess=np.ones((1, N, N), np.complex128),
        objectGuess=np.ones((60, 70), np.complex128),
        bad_pixels=mask,
        xcoords_start=np.zeros(6),
        ycoords_start=np.ones(6),
    )
    raw = RawData.from_file(path)
    np.testing.assert_array_equal(raw.bad_pixels, mask)
    assert raw.domain == "counts"


def test_a_missing_file_is_named(tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "none.npz"))):
        RawData.from_file(tmp_path / "none.npz")
    with pytest.raises(IsADirectoryError, match=re.escape(f"{tmp_path} is a directory")):
        RawData.from_file(tmp_path)


def test_missing_keys_are_named_beside_those_present_and_without_quotes(tmp_path: Any) -> None:
    path = file_of(tmp_path, drop=("diff3d", "ycoords"))
    with pytest.raises(KeyError) as caught:
        RawData.from_file(path)
    assert str(caught.value) == (
        f"{path} lacks ycoords, diff3d (or diffraction); it has probeGuess, scan_index, xcoords"
    )
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("key", ["diff3d", "objectGuess", "_metadata", "scan_index"])
def test_pickled_objects_are_never_loaded(key: str, tmp_path: Any) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    trap = np.empty(6, object)
    trap[:] = [Trap() for _ in range(6)]
    with pytest.raises(ValueError, match=f"{key}.*pickled"):
        RawData.from_file(file_of(tmp_path, **{key: trap}))
    assert not (tmp_path / "sprung").exists()


def test_contents_that_make_no_scan_name_the_file(tmp_path: Any) -> None:
    path = file_of(tmp_path, diff3d=np.ones((6, N, N + 1)))
    with pytest.raises(ValueError, match="scan.npz: .*square"):
        RawData.from_file(path)


@pytest.mark.parametrize("text", ["{broken", "[1, 2]"])
def test_metadata_that_is_no_object_is_ignored_with_a_warning(
    text: str, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert RawData.from_file(file_of(tmp_path, _metadata=np.array(text))).metadata is None
    assert "_metadata is not" in caplog.text


def test_differences_from_the_configuration_are_logged(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    metadata = {"physics_parameters": {"N": N, "nphotons": 1e6, "gridsize": 2}}
    path = scan(metadata=metadata).to_file(tmp_path / "scan.npz")
    config = TrainingConfig(model=ModelConfig(N=N, gridsize=1), nphotons=1e9)
    RawData.from_file(path, validate_config=False, current_config=config)
    assert not caplog.records
    RawData.from_file(path, validate_config=True, current_config=config)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "nphotons is 1000000.0 in the file, 1000000000.0 configured" in messages[0]
    assert "gridsize is 2 in the file, 1 configured" in messages[1]


def test_two_files_are_read_in_order(tmp_path: Any) -> None:
    first, second = scan(3).to_file(tmp_path / "a"), scan(4).to_file(tmp_path / "b")
    train, test = RawData.from_files(first, second)
    assert (len(train), len(test)) == (3, 4)
