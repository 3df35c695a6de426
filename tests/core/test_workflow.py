"""What surrounds training and prediction, with a predictor that knows the object."""

import numpy as np
import pytest

from ptycho import params
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.stitching import extract_patches
from ptycho.core.workflow import (
    check_predict_inputs,
    create_container,
    every_position,
    prepare,
    reassemble_image,
)
from ptycho.raw_data import RawData

N, n = 32, 30


def _object():
    row, column = np.mgrid[:120, :120] / 9
    return (1 + 0.4 * np.sin(row) * np.cos(0.6 * column)) * np.exp(0.5j * np.sin(column + row / 3))


@pytest.fixture
def raw():
    rng = np.random.default_rng(3)
    x, y = rng.uniform(40, 70, n), rng.uniform(45, 65, n)
    # Each pattern's brightness says which position it is from.
    diff3d = np.ones((n, N, N), np.float32) * np.arange(1, n + 1)[:, None, None]
    return RawData(x, y, None, None, diff3d, np.ones((N, N), complex), None)


class KnowsTheObject:
    """Predicts the true patch at the centre of each group, told by the patterns' brightness."""

    intensity_scale, normalisation = 5.0, 0.25

    def __init__(self, raw, gridsize):
        self.config = ModelConfig(N=N, gridsize=gridsize)
        self.raw, self.calls = raw, []

    def predict(self, inputs, batch_size=32):
        x, offsets = inputs
        self.calls.append(len(x))
        members = np.rint(x[:, 0, 0] / self.intensity_scale / self.normalisation).astype(int) - 1
        centres = self.raw.positions[members].mean(axis=1)
        relative = centres[:, :, None] - self.raw.positions[members].transpose(0, 2, 1)
        np.testing.assert_allclose(offsets[:, 0], relative, atol=1e-5)
        return extract_patches(_object(), centres, N)[..., None].astype(np.complex64)


def _config(gridsize=1, **fields):
    model = ModelConfig(N=N, gridsize=gridsize, n_filters_scale=1)
    return TrainingConfig(model=model, **{"n_groups": 8} | fields)


@pytest.mark.parametrize("gridsize", [1, 2])
def test_a_true_prediction_stitches_to_the_true_object(raw, gridsize):
    model = KnowsTheObject(raw, gridsize)
    amplitude, phase, results = reassemble_image(raw, _config(gridsize), model, M=20)
    assert sum(model.calls) == n
    assert results["obj_tensor_full"].shape == (n, N, N, 1)
    assert results["recon_amp"] is amplitude
    side = len(amplitude)
    centre = results["global_offsets"].reshape(-1, 2).mean(axis=0)
    expected = extract_patches(_object(), centre[None], side)[0]
    image = amplitude * np.exp(1j * phase)
    covered = amplitude > 0
    assert covered.sum() > 400
    r = np.abs(np.vdot(image[covered], expected[covered]))
    r /= np.linalg.norm(image[covered]) * np.linalg.norm(expected[covered])
    assert r > 0.9999
    # At the rim a sub-pixel shift spreads a patch's last pixel over two.
    assert np.abs(image[covered] - expected[covered]).mean() < 5e-3


@pytest.mark.parametrize("M", [20, 21, N])
def test_patches_that_are_not_kept_change_no_pixel(raw, M):
    model = KnowsTheObject(raw, 1)
    kept = reassemble_image(raw, _config(), model, transpose=True, M=M)
    lean = reassemble_image(raw, _config(), model, transpose=True, M=M, keep_patches=False)
    np.testing.assert_array_equal(lean[0], kept[0])
    np.testing.assert_array_equal(lean[1], kept[1])
    assert lean[2]["obj_tensor_full"].shape == (n, M, M, 1)
    with pytest.raises(ValueError, match="M"):
        reassemble_image(raw, _config(), model, M=N + 1, keep_patches=False)


def test_flips_and_transposition_are_of_positions_and_patches(raw):
    model = KnowsTheObject(raw, 1)
    plain = reassemble_image(raw, _config(), model)[2]
    moved = reassemble_image(raw, _config(), model, flip_x=True, transpose=True)[2]
    offsets = plain["global_offsets"].copy()
    assert np.array_equal(moved["global_offsets"][:, 0, 0], -offsets[:, 0, 0])
    assert np.array_equal(moved["global_offsets"][:, 0, 1], offsets[:, 0, 1])
    assert np.array_equal(moved["obj_tensor_full"][:, 3, 7], plain["obj_tensor_full"][:, 7, 3])
    # The data's own positions are left alone.
    assert np.array_equal(moved["stitched_container"].global_offsets, offsets)


def test_a_container_of_a_few_groups_is_stitched_whole(raw):
    container = create_container(raw, _config(2))
    assert len(container) == 8
    whole = every_position(container, _config(2), ModelConfig(N=N, gridsize=2), 0.25)
    assert len(whole) == n
    assert whole.normalisation == 0.25
    assert np.array_equal(
        whole.groups, every_position(raw, _config(2), ModelConfig(N=N, gridsize=2), 0.25).groups
    )
    with pytest.raises(ValueError, match="gridsize 2.*gridsize 1"):
        every_position(container, _config(), ModelConfig(N=N, gridsize=1), 0.25)


def test_test_data_is_scaled_like_training_data(raw):
    dim = RawData(raw.xcoords, raw.ycoords, None, None, raw.diff3d / 10, raw.probeGuess, None)
    train, test = prepare(raw, dim, _config())
    assert test.normalisation == train.normalisation
    assert test.X.max() < 0.2 * train.X.max()
    train, same = prepare(raw, create_container(dim, _config()), _config())
    assert same.normalisation == train.normalisation
    assert prepare(raw, None, _config())[1] is None


def test_a_container_passes_through(raw):
    container = create_container(raw, _config())
    assert create_container(container, _config()) is container
    assert create_container(container, _config(), container.normalisation) is container


def test_configuring_comes_before_the_data(raw):
    with pytest.raises(TypeError, match="ndarray; expected RawData"):
        prepare(raw.diff3d, None, _config(2, nphotons=77.0))
    assert (params.get("gridsize"), params.get("nphotons")) == (2, 77.0)
    params.restore_defaults()
    with pytest.raises(ValueError, match="batch_size"):
        prepare(raw, None, _config(batch_size=0))
    assert params.get("N") == 64


def test_patterns_of_another_side_are_refused(raw):
    wrong = _config()
    wrong.model.N = 64
    with pytest.raises(ValueError, match=r"32 x 32 pixels but config\.model\.N is 64"):
        create_container(raw, wrong)
    big = RawData(
        raw.xcoords, raw.ycoords, None, None, np.ones((n, 64, 64)), np.ones((64, 64)), None
    )
    small = create_container(raw, _config())
    with pytest.raises(ValueError, match="test data has 32 x 32"):
        prepare(big, small, wrong)


def test_predict_inputs_become_float32(raw):
    container = PtychoDataContainer(
        raw.amplitude(), np.arange(n)[:, None], raw.positions, raw.probeGuess, 1.0
    )
    x, offsets = check_predict_inputs(
        [container.X.astype(np.float64), container.local_offsets], ModelConfig(N=N)
    )
    assert x.dtype == offsets.dtype == np.float32
    with pytest.raises(ValueError, match="N=64, gridsize=3"):
        check_predict_inputs([x, offsets], ModelConfig(N=64, gridsize=3))
