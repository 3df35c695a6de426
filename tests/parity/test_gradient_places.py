"""Where gradients differ is told by the index in a weight, kernel or bias."""

from __future__ import annotations

import numpy as np
import pytest

from parity.checks.gradients import elementwise


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("block/conv1/kernel", {"rows": 2, "columns": 0, "in": 3, "out": 1}),
        ("block/conv1/kernel", {"rows": 0, "columns": 0, "in": 0, "out": 0}),
        ("block/conv1/bias", {"out": 4}),
        ("probe", {"mode": 1, "y": 2, "x": 0, "part": 1}),
    ],
)
def test_the_worst_element_is_named(name, place):
    rng = np.random.default_rng(0)
    shapes = {
        "block/conv1/kernel": (3, 3, 4, 5), "block/conv1/bias": (5,), "probe": (2, 3, 3, 2),
        "log_scale": (),
    }  # fmt: skip
    left = {key: rng.normal(size=shape) for key, shape in shapes.items()}
    right = {key: value.copy() for key, value in left.items()}
    right[name][tuple(place.values())] += 9
    found = [each for each in elementwise(left, right) if not each.within(1e-6)]
    assert [(each.name, each.where) for each in found] == [(name, place)]
