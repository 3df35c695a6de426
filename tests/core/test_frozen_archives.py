"""Archives of every format version so far: they keep loading, member by member."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ptycho.core.bundle import read_bundle
from ptycho.core.weights_file import FORMAT_VERSION

FROZEN = Path(__file__).resolve().parents[1] / "data" / "archives"
ARCHIVES = sorted(FROZEN.glob("*.zip"))


def test_there_is_one_of_each_backend_for_this_version():
    names = {path.stem for path in ARCHIVES}
    assert {f"{FORMAT_VERSION}-tensorflow", f"{FORMAT_VERSION}-pytorch"} <= names
    assert all(path.stat().st_size < 300_000 for path in ARCHIVES)


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.stem)
def test_it_is_read(path):
    bundle = read_bundle(path)
    assert path.stem.endswith(bundle.backend)
    assert (bundle.config.N, bundle.config.n_filters_scale) == (32, 1)
    assert (bundle.intensity_scale, bundle.normalisation) == (62.5, 0.5)
    assert bundle.params["nphotons"] == 1e6
    kernel = bundle.weights["encoder/block1/conv1/kernel"]
    assert 0 < np.count_nonzero(kernel) < kernel.size / 10
    assert bundle.state is not None
    assert (bundle.state.epoch, bundle.state.batch, bundle.state.step) == (2, 1, 5)
    assert bundle.state.history == {"loss": [0.5, 0.25], "val_loss": [0.75, 0.375]}


@pytest.mark.parametrize("version", sorted({path.stem.rpartition("-")[0] for path in ARCHIVES}))
def test_both_backends_hold_the_same(version):
    first, *others = (read_bundle(path) for path in ARCHIVES if path.stem.startswith(version))
    assert others
    for other in others:
        assert set(other.weights) == set(first.weights)
        for name, value in first.weights.items():
            np.testing.assert_array_equal(other.weights[name], value)
