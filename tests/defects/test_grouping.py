"""Groups, ground-truth patches and containers, through the doors of both backends."""

import time
import tracemalloc

import numpy as np
import pytest

from ptycho import loader, params
from ptycho.config.config import InferenceConfig, ModelConfig
from ptycho.core.training_plan import plan_training
from ptycho.core.workflow import evaluate_test_data
from ptycho.raw_data import RawData


@pytest.fixture
def contain(backend, scan, config_of):
    """Return a function that makes a container through the backend's door."""

    def make(gridsize=1, raw=scan, **fields):
        config = config_of(backend.name, {"gridsize": gridsize}, **fields)
        doors = backend.room("workflows.components")
        return doors.create_ptycho_data_container(raw, config)

    return make


def test_D_04_T_02_P_34_labels_are_cut_where_the_members_are(contain, scan, scene):
    container = contain(2)
    labels = container.Y
    points = scan.positions[container.groups]
    for b in (0, 5, 11):
        for channel in range(4):
            truth = scene.patches(points[b, channel][None])[0]
            error = np.abs(labels[b, ..., channel] - truth).max()
            mirrored = scene.patches((2 * points[b].mean(axis=0) - points[b, channel])[None])[0]
            assert error < 0.01
            assert np.abs(labels[b, ..., channel] - mirrored).max() > 0.02


def test_D_13_parts_of_a_split_hold_their_own_groups(scan):
    grouped = scan.generate_grouped_data(32, nsamples=20, gridsize=2, seed=1)
    parts = {
        which: loader.load(lambda: (grouped, 0.75), scan.probeGuess, which, create_split=True)
        for which in ("train", "test")
    }
    assert (len(parts["train"]), len(parts["test"])) == (15, 5)
    for which, rows in (("train", slice(0, 15)), ("test", slice(15, 20))):
        part = parts[which]
        np.testing.assert_array_equal(part.nn_indices, grouped["nn_indices"][rows])
        np.testing.assert_array_equal(part.global_offsets, grouped["coords_offsets"][rows])
        np.testing.assert_array_equal(part.local_offsets, grouped["coords_relative"][rows])
        np.testing.assert_array_equal(part.Y, grouped["Y"][rows])
        assert len(part.X) == len(part.coords_true) == len(part)


def test_D_14_training_groups_follow_the_seed(contain):
    one, again, other = contain(2, seed=7), contain(2, seed=7), contain(2, seed=8)
    np.testing.assert_array_equal(one.groups, again.groups)
    assert not np.array_equal(one.groups, other.groups)


def test_D_14_validation_is_spread_over_the_scan(contain, config_of, backend):
    config = config_of(backend.name, n_groups=40, validation_fraction=0.2)
    held_out = plan_training(contain(n_groups=40), config).validation
    assert len(held_out) == 8
    assert held_out.min() < 20 < held_out.max()
    assert len(np.unique(held_out // 10)) >= 3


def test_D_16_seed_is_a_member_and_members_are_in_rows(contain, scan):
    container = contain(2, n_groups=40)
    points = scan.positions
    for k, members in enumerate(container.groups):
        assert k in members
        (x0, y0), (x1, y1), (x2, y2), (x3, y3) = points[members]
        assert max(y0, y1) <= min(y2, y3)
        assert x0 <= x1
        assert x2 <= x3


def test_D_17_oversampling_uses_every_seed_and_little_memory(backend, scan, contain):
    container = contain(2, n_groups=400, enable_oversampling=True, neighbor_pool_size=8)
    assert len(container) == 400
    assert len({frozenset(group) for group in container.groups}) == 400
    counts = np.bincount(container.groups.ravel(), minlength=40)
    assert counts.min() >= 5
    tracemalloc.start()
    started = time.process_time()
    # 39 over 15 is 2.5e10: a list of the combinations would never end.
    large = contain(4, n_groups=400, enable_oversampling=True, neighbor_pool_size=39)
    seconds, peak = time.process_time() - started, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(large) == 400
    assert seconds < 10
    assert peak < 50e6


def test_D_18_no_labels_are_cut_where_none_are_needed(backend, runs):
    assert runs(backend, "plain").label_gathers == 0
    assert runs(backend, "supervised").label_gathers > 0


def test_D_26_a_number_of_groups_is_not_a_number_of_images(backend, perfect, scene):
    points = scene.positions()
    model = perfect(points, 2)
    config = InferenceConfig(
        ModelConfig(N=32, gridsize=2), "unused", "unused", n_groups=25, backend=backend.name
    )
    doors = backend.room("workflows.components")
    _, _, results = doors.reassemble_cdi_image(scene.labelled_patterns(points), config, model)
    assert results["obj_tensor_full"].shape[0] == 25
    used = np.unique(np.concatenate(model.seen))
    assert len(used) > 25


def test_F_01_C_25_groups_have_their_channels_without_a_handshake(backend, contain):
    params.cfg.update(gridsize=1, N=64)
    container = contain(2)
    assert container.channels == 4
    assert (params.get("gridsize"), params.get("N")) == (2, 32)


def test_F_06_nothing_is_gathered_before_it_is_asked_for(backend, scan, contain, perfect):
    tracemalloc.start()
    container = contain(3, n_groups=2000, enable_oversampling=True, neighbor_pool_size=16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    whole = 2000 * 32 * 32 * 9 * 4
    assert peak < whole / 4
    assert container.amplitude.shape == (40, 32, 32)
    seen = []

    class Watching:
        intensity_scale = 1.0

        def predict(self, inputs):
            seen.append(len(inputs[0]))
            return np.zeros((len(inputs[0]), 32, 32, 1), np.complex64)

    assert evaluate_test_data(Watching(), container).shape == (2000, 32, 32, 1)
    assert max(seen) <= 500


def test_F_09_measured_positions_are_used_where_nominal_ones_differ(scene, contain, scan):
    rng = np.random.default_rng(0)
    nominal = scan.positions + rng.normal(0, 2, scan.positions.shape)
    raw = RawData(
        scan.xcoords, scan.ycoords, nominal[:, 0], nominal[:, 1], scan.diff3d, scan.probeGuess, None
    )
    container = contain(2, raw)
    members = scan.positions[container.groups]
    expected = (members.mean(axis=1, keepdims=True) - members).transpose(0, 2, 1)[:, None]
    np.testing.assert_allclose(container.coords_true, expected, rtol=0, atol=1e-4)
    grouped = raw.generate_grouped_data(32, nsamples=40, gridsize=2)
    difference = grouped["coords_start_relative"] - grouped["coords_relative"]
    assert np.abs(difference).max() > 1


def test_F_11_oversampling_is_asked_for(contain, caplog):
    capped = contain(2, n_groups=100)
    assert len(capped) == 40
    assert "100" in caplog.text
    assert len(contain(2, n_groups=100, enable_oversampling=True, neighbor_pool_size=7)) == 100
    # With one position per group there are no others to draw.
    assert len(contain(1, n_groups=100, enable_oversampling=True)) == 40


def test_F_18_the_origin_of_the_positions_does_not_matter(contain, scan):
    moved = RawData(
        scan.xcoords + 4096, scan.ycoords - 1024, None, None, scan.diff3d, scan.probeGuess, None
    )
    here, there = contain(2), contain(2, moved)
    np.testing.assert_array_equal(here.groups, there.groups)
    np.testing.assert_allclose(here.local_offsets, there.local_offsets, rtol=0, atol=1e-9)


def test_T_22_lonely_positions_get_no_invalid_neighbour(contain, scan):
    points = scan.positions.copy()
    points[:3] += [[130, 0], [0, -130], [-110, 110]]
    raw = RawData(points[:, 0], points[:, 1], None, None, scan.diff3d, scan.probeGuess, None)
    groups = contain(2, raw, n_groups=40).groups
    assert groups.min() >= 0
    assert groups.max() < 40
    assert all(len(set(group)) == 4 for group in groups)


def test_T_23_zero_is_a_seed_and_the_global_generator_is_left_alone(global_random, contain):
    global_random.seed(11)
    before = global_random.get_state()[1].copy()
    zero, default = contain(2, seed=0), contain(2, seed=42)
    assert not np.array_equal(zero.groups, default.groups)
    global_random.seed(99)
    np.testing.assert_array_equal(zero.groups, contain(2, seed=0).groups)
    global_random.seed(11)
    contain(2)
    np.testing.assert_array_equal(before, global_random.get_state()[1])


def test_P_37_mapped_patterns_go_through_the_workflow(contain, scan, tmp_path):
    np.save(tmp_path / "patterns.npy", scan.diff3d)
    mapped = np.load(tmp_path / "patterns.npy", mmap_mode="r")
    raw = RawData(scan.xcoords, scan.ycoords, None, None, mapped, scan.probeGuess, None)
    np.testing.assert_array_equal(contain(2, raw).X, contain(2).X)
