"""Laws that the physics of both backends, and the reference itself, obey for any input."""

from __future__ import annotations

import importlib
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parity import process
from parity.callchain.scenario import PACKAGES
from parity.checks.observing import jittered_positions, tiny_scan
from parity.search import repro
from parity.search.laws import LAWS, LawCase
from parity.search.physics_cases import physics_cases
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.stitching import reassemble
from ptycho.raw_data import RawData

process.pin()

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("search")]

_NIGHTLY = settings.get_profile("nightly")
_SEEDS = st.integers(0, 2**32 - 1)
_FOLDER = Path(
    os.environ.get("PTYCHO_REPRO_DIR", Path(__file__).resolve().parents[2] / "outputs" / "repro")
)


@pytest.mark.parametrize("name", LAWS)
def test_law(name):
    @settings(max_examples=20)
    @given(physics_cases(largest_N=32, largest_gridsize=2), _SEEDS)
    def holds(case, seed):
        repro.judge(_FOLDER / f"law {name}", LawCase(name, seed, case))

    holds()


@pytest.mark.slow
@pytest.mark.parametrize("name", LAWS)
def test_law_at_random(name):
    @settings(_NIGHTLY, max_examples=60)
    @given(physics_cases(largest_N=64, largest_gridsize=3), _SEEDS)
    def holds(case, seed):
        repro.judge(_FOLDER / f"law {name} at random", LawCase(name, seed, case))

    holds()


# ------------------------------------------------------------------ the scan as a whole


@pytest.mark.parametrize("subject", PACKAGES)
@settings(max_examples=20)
@given(st.floats(-1e5, 1e5), st.floats(-1e5, 1e5), st.integers(1, 3))
def test_a_translated_scan_has_the_same_groups_coordinates_and_picture(subject, x, y, gridsize):
    door = importlib.import_module(f"{PACKAGES[subject]}.workflows.components")
    scan = tiny_scan(1)
    moved = RawData(
        scan.xcoords + x, scan.ycoords + y, None, None, scan.diff3d, scan.probeGuess, None
    )
    config = TrainingConfig(model=ModelConfig(N=32, gridsize=gridsize), n_groups=9)
    here, there = (door.create_ptycho_data_container(each, config) for each in (scan, moved))
    np.testing.assert_array_equal(here.groups, there.groups)
    np.testing.assert_allclose(here.local_offsets, there.local_offsets, atol=1e-9)
    patches = np.random.default_rng(0).normal(size=(9, 32, 32, 1)).astype(np.complex64)
    pictures = [reassemble(patches, each.global_offsets, 20) for each in (here, there)]
    np.testing.assert_allclose(*pictures, atol=1e-5)


@settings(max_examples=20)
@given(_SEEDS)
def test_the_order_of_positions_does_not_matter_to_which_groups_there_are(seed):
    positions = jittered_positions(3, 6, 5)
    order = np.random.default_rng(seed).permutation(len(positions))
    config = TrainingConfig(
        model=ModelConfig(N=32, gridsize=2), n_groups=30, sequential_sampling=True
    )
    door = importlib.import_module("ptycho.workflows.components")
    patterns = np.ones((30, 32, 32), np.float32)
    sets = []
    for places, names in ((positions, np.arange(30)), (positions[order], order)):
        scan = RawData(*places.T, None, None, patterns, None, None)
        groups = door.create_ptycho_data_container(scan, config).groups
        sets.append({frozenset(names[group].tolist()) for group in groups})
    assert sets[0] == sets[1]
