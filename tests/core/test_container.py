"""Containers and the loading door: what is gathered, how it is scaled, labelled and split."""

from __future__ import annotations

import logging
import pickle
import sys
import tracemalloc
from typing import Any

import numpy as np
import pytest

from ptycho import params
from ptycho.core.container import ObjectLabels, PtychoDataContainer
from ptycho.core.stitching import extract_patches
from ptycho.loader import load
from ptycho.raw_data import RawData

N, n = 8, 20


def scan(**changes: Any) -> RawData:
    rng = np.random.default_rng(0)
    arguments: dict[str, Any] = {
        "xcoords": rng.uniform(20, 60, n),
        "ycoords": rng.uniform(20, 50, n),
        "xcoords_start": None,
        "ycoords_start": None,
        "diff3d": rng.poisson(30, (n, N, N)).astype(np.uint16),
        "probeGuess": np.ones((2, N, N), np.complex128),
        "scan_index": None,
    }
    return RawData(**{**arguments, **changes})


def container(raw: RawData | None = None, gridsize: int = 2, **options: Any) -> PtychoDataContainer:
    settings: dict[str, Any] = {"N": N, "gridsize": gridsize, "n_groups": None, "seed": 1}
    return PtychoDataContainer.from_raw(raw or scan(), **{**settings, **options})


# --------------------------------------------------------------------------- gathering


@pytest.mark.parametrize("gridsize", [1, 2, 3])
def test_shapes_and_dtypes(gridsize: int) -> None:
    C, data = gridsize**2, container(gridsize=gridsize, neighbor_count=9)
    assert (len(data), data.N, data.gridsize, data.channels) == (n, N, gridsize, C)
    assert data.X.shape == (n, N, N, C)
    assert data.local_offsets.shape == (n, 1, 2, C)
    assert data.global_offsets.shape == (n, 1, 2, 1)
    assert (data.X.dtype, data.local_offsets.dtype, data.probe.dtype) == (
        np.float32, np.float64, np.complex64,
    )  # fmt: skip
    for name in ("coords", "coords_nominal", "coords_true"):
        coordinates = getattr(data, name)
        assert coordinates.dtype == np.float32
        np.testing.assert_allclose(coordinates, data.local_offsets, atol=1e-5)
    assert data.nn_indices is data.groups


def test_channel_c_is_member_c() -> None:
    raw = scan()
    data = container(raw)
    x = data.X
    for b, c in ((0, 0), (7, 1), (19, 3)):
        member = data.groups[b, c]
        expected = data.normalisation * np.sqrt(raw.diff3d[member].astype(float))
        np.testing.assert_allclose(x[b, :, :, c], expected, rtol=1e-6)
        position = data.global_offsets[b, 0, :, 0] - data.local_offsets[b, 0, :, c]
        np.testing.assert_allclose(position, raw.positions[member], rtol=1e-12)


def test_relative_coordinates_point_from_member_to_centre() -> None:
    positions = np.array([[0.0, 0], [10, 0], [0, 20], [10, 20]])
    data = PtychoDataContainer(
        np.ones((4, N, N), np.float32), np.array([[0, 1, 2, 3]]), positions, None, 1.0
    )
    np.testing.assert_array_equal(data.global_offsets[0, 0, :, 0], [5, 10])
    np.testing.assert_array_equal(data.local_offsets[0, 0], [[5, -5, 5, -5], [10, 10, -10, -10]])


def test_batches_are_rows_of_the_whole() -> None:
    data = container(scan(Y=np.arange(n * N * N).reshape(n, N, N) * (1 + 1j)))
    for indices in (np.array([3, 17, 3]), [0], slice(5, 9)):
        np.testing.assert_array_equal(data.batch_X(indices), data.X[indices])
        np.testing.assert_array_equal(data.batch_offsets(indices), data.coords_nominal[indices])
        np.testing.assert_array_equal(data.batch_labels(indices), data.Y[indices])
    assert data.batch_offsets([0]).dtype == np.float32


def test_the_mean_pattern_has_the_energy_of_half_the_side_squared() -> None:
    x = container(gridsize=1).X.astype(float)
    assert (x**2).sum(axis=(1, 2, 3)).mean() == pytest.approx((N / 2) ** 2, rel=1e-5)


def test_the_factor_is_that_of_the_whole_scan_unless_given() -> None:
    part = container(n_groups=3)
    assert part.normalisation == container(gridsize=1).normalisation
    assert container(normalisation=0.5).normalisation == 0.5


def test_every_position_is_a_group_unless_a_number_is_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert len(container(n_groups=None)) == n
    assert len(container(n_groups=1)) == 1
    assert len(container(n_groups=30, oversample=True, neighbor_count=8)) == 30
    assert not caplog.records
    assert len(container(n_groups=30)) == n
    assert caplog.records[0].levelno == logging.WARNING


def test_groups_follow_the_seed() -> None:
    assert container(n_groups=9).groups.tolist() == container(n_groups=9).groups.tolist()
    assert container(n_groups=9).groups.tolist() != container(n_groups=9, seed=2).groups.tolist()
    ordered = container(n_groups=9, sequential=True, gridsize=1)
    assert ordered.groups[:, 0].tolist() == list(range(9))
    many = {"n_groups": 30, "oversample": True, "neighbor_count": 8}
    assert container(**many).groups.tolist() != container(**many, pool_size=12).groups.tolist()
    assert container(pool_size=12).groups.tolist() == container().groups.tolist()


def test_the_pattern_stack_is_held_once() -> None:
    side, count = 32, 400
    rng = np.random.default_rng(0)
    raw = RawData.from_coords_without_pc(
        *rng.uniform(0, 100, (2, count)),
        diff3d=rng.random((count, side, side), np.float32),
        probeGuess=np.ones((side, side), complex),
        scan_index=None,
    )
    tracemalloc.start()
    data = container(raw, gridsize=3, N=side)
    data.batch_X(np.arange(4))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert data.amplitude is raw.diff3d
    assert peak < 0.3 * raw.diff3d.nbytes  # a gathered stack would be 9 times its size


def test_it_can_be_pickled() -> None:
    data = container(scan(objectGuess=np.ones((70, 70), complex)))
    again = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(again.X, data.X)
    np.testing.assert_array_equal(again.Y, data.Y)


def test_a_subset_shares_the_patterns_and_splits_everything_else() -> None:
    data = container(scan(Y=np.ones((n, N, N), complex)))
    part = data.subset(slice(4, 9))
    assert part.patterns is data.patterns
    assert part.normalisation == data.normalisation
    for name in ("groups", "X", "Y", "local_offsets", "global_offsets", "coords_nominal"):
        np.testing.assert_array_equal(getattr(part, name), getattr(data, name)[4:9])


AMPLITUDE, ONE_GROUP = np.ones((3, N, N), np.float32), np.array([[0]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.ones((3, N, 4)), ONE_GROUP, np.zeros((3, 2)), None, 1.0), "amplitude has shape"),
        ((AMPLITUDE, ONE_GROUP, np.zeros((4, 2)), None, 1.0), "3 patterns but positions"),
        ((AMPLITUDE, ONE_GROUP, np.zeros(3), None, 1.0), "positions of shape"),
        ((AMPLITUDE, np.array([[0, 1]]), np.zeros((3, 2)), None, 1.0), r"shape \(1, 2\)"),
        ((AMPLITUDE, np.array([[3]]), np.zeros((3, 2)), None, 1.0), r"outside 0\.\.2"),
        ((AMPLITUDE, np.array([[-1]]), np.zeros((3, 2)), None, 1.0), r"outside 0\.\.2"),
        ((AMPLITUDE, ONE_GROUP, np.zeros((3, 2)), None, 0.0), "must be positive"),
        ((AMPLITUDE, ONE_GROUP, np.zeros((3, 2)), None, np.nan), "must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PtychoDataContainer(*arguments)


def test_scans_that_cannot_be_contained_are_refused() -> None:
    with pytest.raises(ValueError, match="8 pixels wide but N is 64"):
        container(N=64)
    with pytest.raises(ValueError, match="no diffraction patterns"):
        container(scan(diff3d=None))
    with pytest.raises(ValueError, match="every diffraction pattern is empty"):
        container(scan(diff3d=np.zeros((n, N, N))))


# --------------------------------------------------------------------------- labels


def test_labels_from_an_object_are_centred_on_each_member() -> None:
    y, x = np.mgrid[:80, :90]
    data = container(scan(objectGuess=x + 1j * y))
    assert data.has_labels
    labels, raw = data.Y, scan()
    assert labels.dtype == np.complex64
    for b, c in ((0, 0), (3, 2), (19, 3)):
        # A ramp shows its own coordinate at the patch's pixel (N/2, N/2).
        member = raw.positions[data.groups[b, c]]
        centre = labels[b, N // 2, N // 2, c]
        assert (centre.real, centre.imag) == pytest.approx(tuple(member), rel=1e-5)


def test_stored_labels_win_over_the_object() -> None:
    stored = np.random.default_rng(3).random((n, N, N)) * 1j
    data = container(scan(Y=stored, objectGuess=np.ones((70, 70), complex)))
    np.testing.assert_allclose(data.Y[5, :, :, 2], stored[data.groups[5, 2]], rtol=1e-6)
    np.testing.assert_allclose(data.Y_I, np.abs(data.Y))
    np.testing.assert_allclose(data.Y_phi, np.pi / 2)


def test_labels_are_cut_only_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    cut: list[int] = []

    def counted(obj: Any, centres: Any, side: int) -> Any:
        cut.append(len(centres))
        return extract_patches(obj, centres, side)

    monkeypatch.setattr("ptycho.core.container.extract_patches", counted)
    data = container(scan(objectGuess=np.ones((70, 70), complex)))
    assert data.X.shape[0] == n
    assert cut == []
    data.batch_labels([1, 2])
    assert cut == [8]


def test_without_labels_there_are_none_and_asking_says_what_to_do() -> None:
    data = container()
    assert not data.has_labels
    assert data.Y is data.Y_I is data.Y_phi is None
    with pytest.raises(ValueError, match="no labels: give RawData .* Y .* objectGuess"):
        data.batch_labels([0])


def test_labels_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="needs patches"):
        ObjectLabels(N).gather(np.array([[0]]))


# --------------------------------------------------------------------------- loading door


def grouped(**changes: Any) -> Any:
    return scan(**changes).generate_grouped_data(N, K=7, nsamples=1, gridsize=2)


def test_load_gives_the_container_of_the_groups() -> None:
    data, probe = grouped(), np.full((N, N), 2j)
    loaded = load(lambda: data, probe, which=None, create_split=False)
    np.testing.assert_array_equal(loaded.groups, data["nn_indices"])
    np.testing.assert_array_equal(loaded.local_offsets, data["coords_relative"])
    np.testing.assert_array_equal(loaded.global_offsets, data["coords_offsets"])
    np.testing.assert_array_equal(loaded.X, data["X_full"])
    np.testing.assert_array_equal(loaded.probe, probe)


def test_load_uses_the_factor_of_a_loaded_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = load(grouped, np.ones((N, N)))
    monkeypatch.setitem(params.cfg, "normalisation", 3 * fresh.normalisation)
    monkeypatch.setitem(params.cfg, "gridsize", 2)
    np.testing.assert_allclose(load(grouped, np.ones((N, N))).X, 3 * fresh.X, rtol=1e-6)


def test_load_groups_again_for_a_model_of_another_gridsize(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(params.cfg, "normalisation", 1.0)
    monkeypatch.setitem(params.cfg, "gridsize", 1)
    container = load(grouped, np.ones((N, N)))
    assert container.channels == 1
    assert sorted(container.groups[:, 0]) == list(range(20))
    assert "trained with gridsize 1" in caplog.text


def test_load_splits_everything() -> None:
    whole = load(grouped, np.ones((N, N)))
    train = load(lambda: (grouped(), 0.73), np.ones((N, N)), which="train", create_split=True)
    test = load(lambda: (grouped(), 0.73), np.ones((N, N)), which="test", create_split=True)
    assert (len(train), len(test)) == (14, 6)
    for name in ("X", "groups", "nn_indices", "local_offsets", "global_offsets", "coords_true"):
        np.testing.assert_array_equal(getattr(train, name), getattr(whole, name)[:14])
        np.testing.assert_array_equal(getattr(test, name), getattr(whole, name)[14:])


@pytest.mark.parametrize(
    ("fraction", "which", "message"),
    [
        (0.5, None, "which is None"),
        (0.5, "validation", "which is 'validation'"),
        (1.5, "train", "fraction is 1.5"),
        (0.01, "train", "train part of 20 groups .* is empty"),
        (1.0, "test", "test part of 20 groups .* is empty"),
    ],
)
def test_impossible_splits_are_refused(fraction: float, which: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load(lambda: (grouped(), fraction), np.ones((N, N)), which=which, create_split=True)


def test_load_names_what_it_was_given_instead_of_groups() -> None:
    with pytest.raises(TypeError, match="gave dict; expected what RawData.generate_grouped_data"):
        load(lambda: dict(grouped()), np.ones((N, N)))
    with pytest.raises(TypeError, match="gave tuple"):
        load(lambda: (grouped(), 0.5), np.ones((N, N)))


def test_the_door_loads_no_framework() -> None:
    import subprocess

    code = (
        "import sys, ptycho.loader, ptycho.raw_data, ptycho.probe\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'tensorflow', 'keras', 'torch', 'lightning'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
