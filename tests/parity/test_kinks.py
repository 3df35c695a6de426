"""Samples for gradients: no unit near its kink, and everything else as it was."""

from __future__ import annotations

import numpy as np
import pytest

from parity.backends.oracle import network
from parity.checks.kinks import off_kinks
from parity.checks.samples import generator, sample, small_model


def _nearest(weights, x):
    """Return how near to zero inputs of the first block's two ReLUs come, of their largest."""
    found = []
    image = network.scaled_input(weights, x)
    for name in ("encoder/block1/conv1", "encoder/block1/conv2"):
        values = network.convolve(image, weights[f"{name}/kernel"], weights[f"{name}/bias"])
        found.append(float(np.abs(values).min() / np.abs(values).max()))
        image = np.maximum(values, 0)
    return min(found)


@pytest.mark.parametrize("seed", range(4))
def test_no_unit_stays_near_its_kink(seed):
    config = small_model(gridsize=2)
    given = sample(config, seed, modes=2)
    settled = off_kinks(config, given, generator(seed, "kinks"))
    assert _nearest(settled.weights, given.x) >= 2e-5
    assert _nearest(given.weights, given.x) < 2e-5, "nothing had to be done"


@pytest.mark.parametrize("seed", range(4))
def test_no_pooling_window_has_a_close_race(seed):
    config = small_model(gridsize=2)
    given = sample(config, seed, modes=2)
    settled = off_kinks(config, given, generator(seed, "kinks"))

    def closest(weights):
        image = network.scaled_input(weights, given.x)
        for name in ("encoder/block1/conv1", "encoder/block1/conv2"):
            image = network.convolve(image, weights[f"{name}/kernel"], weights[f"{name}/bias"])
            image = np.maximum(image, 0)
        four = [image[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        second, first = np.sort(four, axis=0)[-2:]
        lead = (first - second) / image.max()
        return float(lead[lead > 1e-12].min())  # less is the same number, added up otherwise

    assert closest(settled.weights) >= 1e-5
    assert closest(given.weights) < 1e-5, "nothing had to be done"


def test_inputs_stay_and_most_weights_too():
    config = small_model()
    given = sample(config, 0)
    settled = off_kinks(config, given, generator(0, "kinks"))
    assert settled.x is given.x
    assert settled.weights.keys() == given.weights.keys()
    for name, before in given.weights.items():
        after = settled.weights[name]
        assert after.dtype == before.dtype
        assert after.shape == before.shape
        assert np.mean(after == before) > 0.1, name
    assert any(not np.array_equal(settled.weights[n], v) for n, v in given.weights.items())


def test_the_same_generator_gives_the_same_sample():
    config = small_model()
    first, again = (
        off_kinks(config, sample(config, 1), generator(1, "kinks")).weights for _ in range(2)
    )
    for name, value in first.items():
        np.testing.assert_array_equal(again[name], value)
