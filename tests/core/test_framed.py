"""Canvases laid over the middle of the object array that a scan came with."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from ptycho.core.framed import FramedOffsets, object_middle
from ptycho.core.stitching import extract_patches, reassemble
from ptycho.loader import load
from ptycho.raw_data import RawData
from ptycho.tf_helper import reassemble_position as tensorflow_door
from ptycho_torch.helper import reassemble_position as pytorch_door

N = 16


def smooth(height, width):
    y, x = np.mgrid[:height, :width]
    return (1 + 0.2 * np.sin(x / 6)) * np.exp(1j * np.cos(y / 5 + x / 9))


@pytest.mark.parametrize("M", [7, 8])
@pytest.mark.parametrize("shape", [(90, 110), (91, 111)])
def test_the_canvas_middle_shows_the_object_middle(M, shape):
    obj = smooth(*shape)
    middle = (np.array(shape[::-1]) - 1) / 2
    points = np.random.default_rng(1).uniform(-14, 3, (60, 2)) + middle  # off to one side
    offsets = FramedOffsets(points[:, None, :, None], middle)
    canvas = reassemble(extract_patches(obj, points, N), offsets, M, offsets.middle)
    S = len(canvas)
    # Canvas pixel j lies j - (S - 1)/2 from the middle: a whole or half pixel of the object.
    first = middle - (S - 1) / 2
    centre = first + S // 2
    expected = extract_patches(obj, centre[None], S)[0]
    inner = binary_erosion(canvas != 0, iterations=2)  # a patch's edge is shifted by less
    assert inner.sum() > 150
    error = np.abs(canvas - expected)[inner].mean()
    for half_a_pixel in ([0.5, 0], [0, 0.5], [-0.5, 0], [0, -0.5]):
        off = extract_patches(obj, centre[None] + half_a_pixel, S)[0]
        assert error < 0.5 * np.abs(canvas - off)[inner].mean()


@pytest.mark.parametrize(("height", "width"), [(40, 60), (41, 61)])
def test_a_patch_in_the_middle_of_the_object_is_in_the_middle_of_the_canvas(height, width):
    client = np.array([(width - 1) / 2, (height - 1) / 2])  # its patch's middle, as it counts
    patch = np.full((1, N, N), 1 + 1j)
    canvas = reassemble(patch, client[None], N, object_middle((2, height, width)))
    rows, columns = np.nonzero(canvas)
    assert rows.min() + rows.max() == columns.min() + columns.max() == len(canvas) - 1


def test_the_middle_belongs_to_one_array_only():
    offsets = FramedOffsets(np.zeros((3, 1, 2, 1)), np.array([54.5, 44.5]))
    np.testing.assert_array_equal(offsets.middle, [54.5, 44.5])
    for derived in (offsets[:2], offsets + 1, offsets.copy(), copy.copy(offsets), -offsets):
        assert getattr(derived, "middle", None) is None
    np.testing.assert_array_equal(offsets.middle, [54.5, 44.5])


@pytest.mark.parametrize("door", [tensorflow_door, pytorch_door])
def test_the_doors_use_what_the_loading_door_knows(door):
    rng = np.random.default_rng(3)
    x, y = rng.uniform(20, 40, (2, 30))
    obj = smooth(80, 100)
    scan = RawData.from_coords_without_pc(
        x, y, np.ones((30, N, N), np.float32), np.ones((N, N), complex), None, obj
    )
    container = load(lambda: scan.generate_grouped_data(N, gridsize=1), scan.probeGuess)
    centres = np.asarray(container.global_offsets)[:, 0, :, 0]
    canvas = door(extract_patches(obj, centres, N)[..., None], container.global_offsets, M=8)
    rows, columns = np.nonzero(canvas[..., 0])
    # The canvas reaches from the object's middle to the farthest patch; x 20 to 40 of 100 wide.
    assert len(canvas) >= 2 * (49 - x.min()) + 8
    assert columns.max() < len(canvas) / 2
    plain = door(extract_patches(obj, centres, N)[..., None], centres[:, None, :, None], M=8)
    assert len(plain) < 40
