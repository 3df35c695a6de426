"""RawData: what it refuses, what it measures, how it is grouped."""

from __future__ import annotations

import logging
import pickle
from typing import Any

import numpy as np
import pytest

from ptycho import params
from ptycho.raw_data import RawData

N = 8


def scan_arguments(n: int = 6, **changes: Any) -> dict[str, Any]:
    rng = np.random.default_rng(n)
    arguments: dict[str, Any] = {
        "xcoords": rng.uniform(10, 50, n),
        "ycoords": rng.uniform(10, 40, n),
        "xcoords_start": None,
        "ycoords_start": None,
        "diff3d": rng.poisson(20, (n, N, N)).astype(np.uint16),
        "probeGuess": np.ones((N, N), np.complex64),
        "scan_index": np.zeros(n, np.int64),
    }
    return {**arguments, **changes}


def scan(n: int = 6, **changes: Any) -> RawData:
    return RawData(**scan_arguments(n, **changes))


# --------------------------------------------------------------------------- refusals

NAN_PATTERNS = np.ones((6, N, N))
NAN_PATTERNS[4, 2, 3] = np.nan
INF_PATTERNS = np.ones((6, N, N), np.float32)
INF_PATTERNS[2, 0, 0] = np.inf
NEGATIVE_PATTERNS = np.ones((6, N, N), np.int32)
NEGATIVE_PATTERNS[5, 7, 7] = -3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"diff3d": np.ones((6, N))}, r"diff3d has shape \(6, 8\)"),
        ({"diff3d": np.ones((6, N, N, 2))}, "diff3d has shape"),
        ({"diff3d": np.ones((6, N, N + 2))}, "must be square"),
        ({"diff3d": np.ones((6, 0, 0))}, "no pixels"),
        ({"diff3d": np.ones((6, N, N), complex)}, "diff3d has dtype complex128"),
        ({"diff3d": np.full((6, N, N), "a")}, "diff3d has dtype"),
        ({"diff3d": NAN_PATTERNS}, "diff3d contains nan.*index 4"),
        ({"diff3d": INF_PATTERNS}, "diff3d contains inf.*index 2"),
        ({"diff3d": NEGATIVE_PATTERNS}, "diff3d contains negative values such as -3.*index 5"),
        ({"diff3d": np.ones((5, N, N))}, "5 patterns but xcoords has 6 positions"),
        ({"ycoords": np.zeros(4)}, "xcoords has 6 values but ycoords has 4"),
        ({"xcoords_start": np.zeros(7)}, "xcoords has 6 values but xcoords_start has 7"),
        ({"xcoords": np.zeros((6, 1))}, r"xcoords has shape \(6, 1\)"),
        ({"xcoords": 3.0}, r"xcoords has shape \(\)"),
        ({"ycoords": np.array([0, 1, 2, np.nan, 4, np.inf])}, "ycoords contains nan.*index 3"),
        ({"ycoords_start": np.array([0, -np.inf, 2, 3, 4, 5])}, "ycoords_start contains -inf.* 1$"),
        ({"xcoords": np.full(6, "1")}, "xcoords has dtype"),
        ({"scan_index": np.zeros(5)}, r"scan_index has shape \(5,\)"),
        ({"probeGuess": np.zeros((N, N), complex)}, "probeGuess .* is empty"),
        ({"probeGuess": np.zeros((0, N, N), complex)}, "probeGuess .* is empty"),
        ({"probeGuess": np.ones(N)}, "probeGuess has shape"),
        ({"probeGuess": np.ones((N, N + 1))}, "probeGuess .* must be square"),
        ({"probeGuess": np.ones((16, 16), complex)}, r"probeGuess .*\(16, 16\).* 8 x 8"),
        ({"probeGuess": np.full((N, N), np.nan)}, "probeGuess contains NaN"),
        ({"objectGuess": np.ones(5)}, "objectGuess has shape"),
        ({"Y": np.ones((5, N, N), complex)}, r"Y has shape \(5, 8, 8\)"),
        ({"Y": np.ones((6, 4, 4), complex)}, "Y has shape .* 8 x 8"),
        ({"bad_pixels": np.zeros((4, 4), bool)}, "bad_pixels has shape"),
        ({"bad_pixels": np.zeros((6, N, N), bool)}, "bad_pixels has shape"),
        ({"measurement_domain": "photons"}, "'photons'.*'amplitude'"),
    ],
)
def test_arrays_that_make_no_scan_are_refused_by_name(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        scan(**changes)


def test_no_positions_are_refused() -> None:
    empty = np.zeros(0)
    with pytest.raises(ValueError, match="no positions"):
        RawData(empty, empty, None, None, np.zeros((0, N, N)), np.ones((N, N)), None)


def test_nan_is_found_among_negative_values_and_in_noncontiguous_stacks() -> None:
    patterns = np.moveaxis(np.ones((N, N, 6)), 2, 0)
    patterns[3, 1, 1] = np.nan
    with pytest.raises(ValueError, match="nan.*index 3"):
        scan(diff3d=patterns)


# --------------------------------------------------------------------------- what it keeps


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int64", "float32", "float64"])
def test_patterns_are_kept_as_given(dtype: str) -> None:
    patterns = np.random.default_rng(0).poisson(9, (6, N, N)).astype(dtype)
    raw = scan(diff3d=patterns)
    assert raw.diff3d is patterns
    raw.amplitude()
    assert raw.diff3d.dtype == dtype


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "int32", "uint64"])
def test_counts_are_rooted_once_in_full_precision(dtype: str) -> None:
    counts = np.arange(6 * N * N).reshape(6, N, N) % 251
    raw = scan(diff3d=counts.astype(dtype))
    assert raw.domain == "counts"
    assert raw.amplitude().dtype == np.float32
    np.testing.assert_allclose(raw.amplitude().astype(float) ** 2, counts, rtol=3e-7)


def test_floats_are_amplitude_unless_declared_counts() -> None:
    patterns = np.full((6, N, N), 16.0)
    assert scan(diff3d=patterns).amplitude()[0, 0, 0] == 16
    declared = scan(diff3d=patterns, measurement_domain="counts")
    assert declared.domain == "counts"
    assert declared.amplitude()[0, 0, 0] == 4


def test_amplitude_is_contiguous_whatever_the_stack_was() -> None:
    turned = np.moveaxis(np.random.default_rng(1).random((N, N, 6)).astype(np.float32), 2, 0)
    amplitude = scan(diff3d=turned).amplitude()
    assert amplitude.flags.c_contiguous
    np.testing.assert_array_equal(amplitude, turned)


def test_without_patterns_positions_work_and_amplitude_says_what_is_missing(tmp_path: Any) -> None:
    raw = scan(diff3d=None)
    assert raw.positions.shape == (6, 2)
    for ask in (raw.amplitude, lambda: raw.domain):
        with pytest.raises(ValueError, match="no diffraction patterns"):
            ask()
    with pytest.raises(ValueError, match="needs diff3d"):
        raw.to_file(tmp_path / "scan.npz")


def test_positions_are_x_then_y() -> None:
    raw = scan()
    assert raw.positions.dtype == np.float64
    np.testing.assert_array_equal(raw.positions[:, 0], raw.xcoords)
    np.testing.assert_array_equal(raw.positions[:, 1], raw.ycoords)


def test_the_client_constructor_takes_a_stack_of_modes() -> None:
    n = 6
    raw = RawData.from_coords_without_pc(
        xcoords=np.arange(n) * 1.0,
        ycoords=np.arange(n) * 2.0,
        diff3d=np.ones((n, N, N), np.uint32),
        probeGuess=np.ones((3, N, N), np.complex128),
        scan_index=np.zeros(n, int),
        objectGuess=np.ones((40, 41), np.complex128),
    )
    assert raw.xcoords_start is raw.xcoords
    assert raw.probeGuess is not None
    assert raw.probeGuess.shape == (3, N, N)


def test_it_can_be_pickled() -> None:
    raw = scan(metadata={"a": 1})
    grouped = raw.generate_grouped_data(N, gridsize=2)
    again = pickle.loads(pickle.dumps(grouped))
    np.testing.assert_array_equal(again["X_full"], grouped["X_full"])
    assert again.raw.metadata == {"a": 1}


# --------------------------------------------------------------------------- groups


@pytest.mark.parametrize("gridsize", [1, 2])
def test_one_sample_means_every_position(gridsize: int) -> None:
    groups = scan(12).generate_grouped_data(N, K=7, nsamples=1, gridsize=gridsize)["nn_indices"]
    assert groups.shape == (12, gridsize**2)
    assert all(seed in group for seed, group in enumerate(groups))


def test_more_samples_are_a_total() -> None:
    raw = scan(12)
    for gridsize in (1, 2):
        grouped = raw.generate_grouped_data(N, nsamples=5, gridsize=gridsize)
        assert grouped["nn_indices"].shape == (5, gridsize**2)


@pytest.mark.parametrize("gridsize", [1, 2])
def test_too_many_samples_are_reduced_with_a_warning(
    gridsize: int, caplog: pytest.LogCaptureFixture
) -> None:
    grouped = scan(12).generate_grouped_data(N, nsamples=512, gridsize=gridsize)
    assert len(grouped["nn_indices"]) == 12
    assert "512 groups asked for" in caplog.text
    assert caplog.records[0].levelno == logging.WARNING


def test_groups_repeat_for_a_seed_and_without_one() -> None:
    def groups(seed: int | None) -> Any:
        grouped = scan(30).generate_grouped_data(N, K=8, nsamples=10, gridsize=2, seed=seed)
        return grouped["nn_indices"].tolist()

    assert groups(None) == groups(None) == groups(42)
    assert groups(1) == groups(1)
    assert groups(1) != groups(42)
    assert groups(0) != groups(42)


def test_the_global_random_state_is_neither_read_nor_changed() -> None:
    def groups_and_state(seed: int) -> Any:
        np.random.seed(seed)  # noqa: NPY002  (the global state is what is tested)
        grouped = scan(30).generate_grouped_data(N, nsamples=10, gridsize=2)
        return grouped["nn_indices"].tolist(), np.random.random()  # noqa: NPY002

    np.random.seed(1)  # noqa: NPY002
    untouched = np.random.random()  # noqa: NPY002
    first, after = groups_and_state(1)
    second, _ = groups_and_state(2)
    assert first == second
    assert after == untouched


def test_gridsize_comes_from_params_where_it_is_not_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(params.cfg, "gridsize", 2)
    assert scan(12).generate_grouped_data(N)["nn_indices"].shape == (12, 4)


def test_another_pattern_side_is_refused() -> None:
    with pytest.raises(ValueError, match="8 pixels wide but N is 64"):
        scan().generate_grouped_data(64, gridsize=1)


@pytest.mark.parametrize("nsamples", [0, -3])
def test_no_samples_are_refused(nsamples: int) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        scan().generate_grouped_data(N, nsamples=nsamples, gridsize=1)


def test_grouped_arrays_have_the_legacy_shapes_and_agree() -> None:
    n, C = 12, 4
    obj = np.random.default_rng(0).random((60, 70)) * np.exp(0.5j)
    raw = scan(n, objectGuess=obj, xcoords_start=np.arange(n) * 1.0, ycoords_start=np.zeros(n))
    grouped = raw.generate_grouped_data(N, K=6, gridsize=2)
    shapes = {
        "diffraction": (n, N, N, C),
        "X_full": (n, N, N, C),
        "coords_offsets": (n, 1, 2, 1),
        "coords_relative": (n, 1, 2, C),
        "coords_nn": (n, 1, 2, C),
        "coords_start_offsets": (n, 1, 2, 1),
        "coords_start_relative": (n, 1, 2, C),
        "coords_start_nn": (n, 1, 2, C),
        "nn_indices": (n, C),
        "Y": (n, N, N, C),
        "objectGuess": (60, 70),
    }
    assert {key: grouped[key].shape for key in shapes} == shapes
    assert set(grouped) == {*shapes, "normalisation"}
    groups = grouped["nn_indices"]
    assert grouped["diffraction"].dtype == np.uint16
    np.testing.assert_array_equal(grouped["diffraction"][3, :, :, 2], raw.diff3d[groups[3, 2]])
    np.testing.assert_array_equal(grouped["coords_nn"][5, 0, 0], raw.xcoords[groups[5]])
    np.testing.assert_array_equal(grouped["coords_start_nn"][5, 0, 0], groups[5])
    np.testing.assert_allclose(
        grouped["coords_offsets"] - grouped["coords_relative"], grouped["coords_nn"], atol=1e-12
    )
    start = grouped["coords_start_offsets"] - grouped["coords_start_relative"]
    np.testing.assert_allclose(start, grouped["coords_start_nn"], atol=1e-12)
    expected = grouped["normalisation"] * np.sqrt(grouped["diffraction"])
    np.testing.assert_allclose(grouped["X_full"], expected, rtol=1e-6)
    with pytest.raises(KeyError):
        grouped["nothing"]
