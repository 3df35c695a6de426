"""Axes, offsets and canvas sizes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ptycho.core.geometry import (
    centre_window,
    even_ceil,
    group_offsets,
    merge_canvas_side,
    relative_coordinates,
    stitch_canvas_side,
    uses_centre_window,
)

POSITIONS = np.array([[1.0, 10], [3, 10], [1, 14], [3, 14], [100, 200]])
GROUPS = np.array([[0, 1, 2, 3], [4, 4, 4, 4]])


def test_the_offset_is_the_mean_position_with_x_first() -> None:
    offsets = group_offsets(POSITIONS, GROUPS)
    assert offsets.shape == (2, 1, 2, 1)
    np.testing.assert_array_equal(offsets[:, 0, :, 0], [[2, 12], [100, 200]])


def test_relative_coordinates_are_minus_the_distance_from_the_centre() -> None:
    relative = relative_coordinates(POSITIONS, GROUPS)
    assert relative.shape == (2, 1, 2, 4)
    assert relative.flags.c_contiguous
    np.testing.assert_array_equal(relative[0, 0], [[1, -1, 1, -1], [2, 2, -2, -2]])
    np.testing.assert_array_equal(relative[1], 0)


@given(st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_members_are_offset_minus_relative(gridsize: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    positions, groups = rng.normal(0, 50, (20, 2)), rng.integers(0, 20, (5, gridsize**2))
    members = group_offsets(positions, groups) - relative_coordinates(positions, groups)
    np.testing.assert_allclose(members[:, 0].transpose(0, 2, 1), positions[groups], atol=1e-12)


@pytest.mark.parametrize(
    ("value", "expected"), [(0, 0), (0.1, 2), (1, 2), (2, 2), (2.01, 4), (5.5, 6), (6, 6)]
)
def test_even_ceil(value: float, expected: int) -> None:
    assert even_ceil(value) == expected


@given(st.floats(0, 1000), st.sampled_from([32, 64]))
def test_a_merge_canvas_is_even_and_holds_every_shifted_patch(offset: float, N: int) -> None:
    side = merge_canvas_side(N, offset)
    assert side % 2 == 0
    assert side / 2 - N / 2 >= math.floor(offset) + 1  # the pixel that a fraction spills into


@given(st.floats(0, 1000, allow_subnormal=False), st.integers(1, 64))
def test_a_stitch_canvas_holds_every_shifted_crop_and_keeps_parity(offset: float, M: int) -> None:
    side = stitch_canvas_side(M, offset)
    assert (side - M) % 4 == 0
    assert offset <= (side - M) / 2 <= offset + 2


@pytest.mark.parametrize("pad_object", [True, False])
@pytest.mark.parametrize("probe_big", [True, False])
def test_the_window_is_where_the_decoder_can_put_content(pad_object: bool, probe_big: bool) -> None:
    window = centre_window(32, pad_object, probe_big)
    assert window.shape == (32, 32)
    assert window.dtype == np.float32
    central = pad_object and not probe_big
    assert uses_centre_window(pad_object, probe_big) is central
    assert window[8:24, 8:24].all()
    assert window.sum() == (256 if central else 1024)
