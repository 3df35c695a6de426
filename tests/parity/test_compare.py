"""The comparator: symmetric, strict about NaN, and never satisfied by nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from parity.compare import compare, compare_named, median
from parity.compare.axes import axes_of

_ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, width=64)
_SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def _pairs(draw):
    shape = draw(_SHAPES)
    array = hnp.arrays(np.float64, shape, elements=_ANY_FLOAT)
    return draw(array), draw(array)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(_pairs())
def test_swapping_the_sides_changes_no_figure(pair):
    a, b = pair
    forth, back = compare(a, b), compare(b, a)
    assert forth.max_abs == back.max_abs
    assert forth.scale_relative == back.scale_relative
    assert forth.elementwise == back.elementwise
    assert forth.rms == back.rms
    assert bool(forth.problem) == bool(back.problem)
    assert forth.vacuous == back.vacuous


@settings(deadline=None, derandomize=True, max_examples=300)
@given(hnp.arrays(np.float64, _SHAPES, elements=_ANY_FLOAT))
def test_an_array_agrees_with_itself_exactly(array):
    found = compare(array, array.copy())
    assert found.within(0.0)
    assert found.vacuous == (not np.any(array[np.isfinite(array)]))


@settings(deadline=None, derandomize=True)
@given(
    hnp.arrays(np.float64, (2, 3), elements=st.floats(0.5, 2.0)),
    st.floats(1e-9, 0.4),
    st.integers(0, 5),
)
def test_a_single_wrong_element_is_measured_and_found(array, error, place):
    wrong = array.copy()
    wrong.flat[place] += error
    found = compare(array, wrong, dims=("row", "column"))
    scale = max(np.abs(array).max(), np.abs(wrong).max())
    assert found.scale_relative == pytest.approx(error / scale, rel=1e-6)
    assert found.where == {"row": place // 3, "column": place % 3}
    assert not found.within(0.4 * error / scale)
    assert found.rms < found.scale_relative * scale


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_one_sided_nan_or_infinity_is_infinitely_far(odd):
    good = np.ones((2, 2), np.float32)
    bad = good.copy()
    bad[1, 0] = odd
    for found in (compare(good, bad, "x", ("y", "x")), compare(bad, good, "x", ("y", "x"))):
        assert found.scale_relative == math.inf
        assert not found.within(math.inf)
        assert "1 of 4" in found.problem
        assert found.where == {"y": 1, "x": 0}


def test_nan_everywhere_on_one_side_fails_and_on_both_sides_is_vacuous():
    nan = np.full(3, np.nan)
    assert not compare(nan, np.zeros(3)).within(math.inf)
    both = compare(nan, nan)
    assert both.vacuous
    assert both.scale_relative == 0


def test_infinities_of_opposite_sign_differ_and_nan_is_not_infinity():
    assert not compare(np.array([np.inf]), np.array([-np.inf])).within(math.inf)
    assert not compare(np.array([np.inf]), np.array([np.nan])).within(math.inf)


def test_nan_in_the_imaginary_part_alone_is_seen():
    a = np.array([1 + 1j, 2 + 2j], np.complex64)
    b = a.copy()
    b[1] = complex(2, np.nan)
    assert not compare(a, b).within(math.inf)


def test_finite_rest_beside_common_nan_is_compared():
    a = np.array([np.nan, 1.0, 2.0])
    assert compare(a, np.array([np.nan, 1.0, 2.5])).scale_relative == pytest.approx(0.2)


def test_zero_against_zero_passes_but_is_vacuous():
    found = compare(np.zeros((2, 2)), np.zeros((2, 2)))
    assert found.within(0.0)
    assert found.vacuous
    assert compare(np.zeros(0), np.zeros(0)).vacuous
    assert not compare(np.zeros(2), np.array([0.0, 1e-300])).vacuous


def test_shapes_do_not_broadcast():
    found = compare(np.ones((2, 1)), np.ones((2, 2)))
    assert "(2, 1) vs (2, 2)" in found.problem
    assert not found.within(math.inf)
    assert compare(np.ones(()), np.ones(1)).problem


def test_dtypes_must_agree_unless_said_otherwise_and_kinds_always():
    single, double = np.ones(2, np.float32), np.ones(2, np.float64)
    assert "float32 vs float64" in compare(single, double).problem
    assert compare(single, double, same_dtype=False).within(0.0)
    assert compare(single, single.astype(np.complex64), same_dtype=False).problem
    assert compare(np.array(["a"]), np.array(["a"])).problem


def test_single_precision_is_compared_in_double():
    a = np.array([1.0], np.float32)
    b = np.nextafter(a, np.float32(2))
    assert compare(a, b).max_abs == pytest.approx(2.0**-23)


def test_large_integers_keep_their_last_digit():
    big = np.array([2**62, 1], np.int64)
    assert compare(big, big + np.array([1, 0])).max_abs == 1
    assert compare(np.array([2**63], np.uint64), np.array([2**63 + 2], np.uint64)).max_abs == 2
    assert compare(np.array([True, False]), np.array([True, True])).max_abs == 1


def test_tiny_and_huge_scales_do_not_overflow():
    assert compare(np.array([5e-324]), np.array([0.0])).scale_relative == 1
    assert compare(np.array([1.7e308]), np.array([-1.7e308])).scale_relative == math.inf
    assert compare(np.array([1e200, 1e-200]), np.array([1e200, 0.0])).rms < 1e-300


def test_elementwise_sees_what_the_scale_hides():
    found = compare(np.array([1.0, 1e-9]), np.array([1.0, 2e-9]))
    assert found.scale_relative == pytest.approx(1e-9)
    assert found.elementwise == pytest.approx(0.5)


def test_description_names_both_values_and_the_place():
    text = compare(np.array([[1.0, 2.0]]), np.array([[1.0, 3.0]]), "object", ("B", "x")).describe()
    for part in ("object[B=0, x=1]", "2 vs 3", "3.33e-01"):
        assert part in text


def test_named_comparison_reports_names_on_one_side():
    found = {c.name: c for c in compare_named({"a": 1.0, "b": 2.0}, {"a": 1.0, "c": 2.0})}
    assert found["a"].within(0.0)
    assert "second" in found["b"].problem
    assert "first" in found["c"].problem
    (absent,) = compare_named({}, {"a": 1.0}, ["a"])
    assert not absent.within(math.inf)
    (nowhere,) = compare_named({}, {}, ["a"])
    assert not nowhere.within(math.inf)


def test_median_is_the_middle_by_figure():
    found = [compare(1.0, 1.0 + e) for e in (1e-3, 1e-9, 1e-6)]
    assert median(found).max_abs == pytest.approx(1e-6)
    problem = compare(np.ones(1), np.ones(2))
    assert median([found[0], problem]).problem
    spike = compare(np.ones(100), np.r_[np.ones(99), 1.5], "spike")
    found = [compare(np.ones(100), np.full(100, 1 + e), str(e)) for e in (0.1, 0.2)] + [spike]
    assert median(found).name == "0.2"
    assert median(found, "rms").name == "0.1"


def test_each_figure_is_held_against_its_own_limit():
    found = compare(np.array([1.0, 1, 1, 1]), np.array([1.0, 1, 1, 2]))
    assert found.figure("scale_relative") == 0.5
    assert found.figure("rms") == pytest.approx(1 / math.sqrt(7))
    small = compare(np.array([1.0, 0.1]), np.array([1.0, 0.2]))
    assert small.figure("elementwise") == pytest.approx(0.5)
    assert small.figure("scale_relative") == pytest.approx(0.1)
    assert not found.within(0.4)
    assert found.within(0.4, "rms")
    assert not found.within(0.3, "rms")


def test_complex_numbers_are_compared_as_such():
    a = np.array([[3 + 4j, 1, 1], [1, 1, 1]], np.complex64)
    b = a.copy()
    b[0, 0] = 3 + 3j
    found = compare(a, b)
    assert found.max_abs == 1
    assert found.scale_relative == pytest.approx(0.2)
    assert found.where == {"axis0": 0, "axis1": 0}
    b[1, 2] = complex(1, np.inf)
    assert compare(a, b, dims=("y", "x")).where == {"y": 1, "x": 2}


def test_what_cannot_be_compared_or_is_vacuous_keeps_its_name_and_has_every_figure():
    def figures(found):
        return {found.max_abs, found.scale_relative, found.elementwise, found.rms}

    apart = [compare(1.0, [1.0], "x"), compare(1.0, math.nan, "x")]
    nothing = [compare([], [], "x"), compare(0.0, 0.0, "x")]
    assert [figures(found) for found in apart] == [{math.inf}] * 2
    assert [figures(found) for found in nothing] == [{0.0}] * 2
    assert {found.name for found in [*apart, *nothing]} == {"x"}


def test_integers_at_the_edge_of_double_precision_keep_their_last_digit():
    edge, beyond = np.array([2**53 - 1, 5]), np.array([2**53 + 1, 5])
    assert compare(edge, beyond).max_abs == compare(beyond, edge).max_abs == 2
    assert compare(np.array([2**53]), np.array([2**53 + 1])).max_abs == 1
    lowest = np.array([-(2**63)])
    assert compare(lowest, lowest + 1).max_abs == 1


@pytest.mark.parametrize("value", [3, -(2**62), np.uint64(2**63)])
def test_integers_without_dimensions_are_compared(value):
    assert compare(value, value).within(0.0)
    assert compare(value, value + 1).max_abs == 1


def test_common_zeros_have_no_elementwise_distance():
    assert compare(np.array([0.0, 2.0]), np.array([0.0, 1.0])).elementwise == 0.5


def test_descriptions_in_full():
    one = compare(np.float32(0.1), np.float32(0.2)).describe()
    assert one.startswith("value: 0.100000001 vs 0.200000003 (5.00e-01 of scale")
    assert "4611686018427387904 vs 4611686018427387905" in compare(2**62, 2**62 + 1).describe()
    problem = compare(np.ones(2), np.array([1.0, np.nan]), "x", ("y",)).describe()
    assert problem == "x[y=1]: NaN or infinity on one side only, at 1 of 2 places: 1.0 vs nan"


def test_named_comparison_passes_on_axes_and_the_demand_for_one_dtype():
    single, double = {"a": np.ones(2, np.float32)}, {"a": np.array([1.0, 2.0])}
    assert compare_named(single, double)[0].problem
    (found,) = compare_named(single, double, dims={"a": ("y",)}, same_dtype=False)
    assert found.where == {"y": 1}
    assert [c.problem for c in compare_named({}, {"a": 1}, ["a", "b"])] == [
        "missing on the first side",
        "missing on the first and second side",
    ]


# ------------------------------------------------------------------ names of axes


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        ("encoder/block1/conv1/kernel", (3, 3, 4, 8), ("rows", "columns", "in", "out")),
        ("first/phase_head/inner/bias", (7,), ("out",)),
        ("probe", (2, 5, 5, 2), ("mode", "y", "x", "part")),
        ("log_scale", (), ()),
        ("amplitude", (2, 5, 5, 4), ("B", "y", "x", "C")),
        ("amplitude", (5, 5, 4), ("y", "x", "C")),
        ("exit wave", (2, 4, 1, 5, 5), ("B", "C", "mode", "y", "x")),
        ("step_losses", (9,), ("step",)),
        ("val_loss", (9,), ("epoch",)),
        ("dark: probe", (1, 5, 5, 2), ("mode", "y", "x", "part")),
        ("Adam: second moments: probe", (1, 5, 5, 2), ("mode", "y", "x", "part")),
        ("terms: d loss / d x", (2, 5, 5, 4), ("B", "y", "x", "C")),
        ("amplitude", (5, 4), ("axis0", "axis1")),
        ("kernel", (3, 4, 8), ("axis0", "axis1", "axis2")),
        ("colour", (9,), ("axis0",)),
    ],
)
def test_axes_have_the_names_that_go_with_the_array(name, shape, axes):
    array = np.ones(shape)
    moved = array.copy()
    moved.flat[-1] = 2
    found = compare(array, moved, name)
    assert tuple(found.where) == axes
    assert all(found.where[axis] == side - 1 for axis, side in zip(axes, shape, strict=True))
    assert found.nameless == any("axis" in axis for axis in axes)


@pytest.mark.parametrize(("name", "rank"), [("amplitude", 2), ("kernel", 3), ("canvas", 3)])
def test_no_axes_are_named_of_an_array_of_another_rank(name, rank):
    assert axes_of(name, rank) == ()


def test_names_that_are_given_go_before_those_that_are_known():
    found = compare(np.ones(3), np.array([1, 1, 2.0]), "loss", ("batch",))
    assert found.where == {"batch": 2}


def test_a_broken_number_is_placed_by_name_too():
    found = compare(np.ones(3), np.array([1, np.nan, 1]), "step_losses")
    assert found.describe().startswith("step_losses[step=1]: NaN")
