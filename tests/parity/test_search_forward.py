"""Forward passes of whatever the specification allows, in each backend, against float64."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings

from parity import process
from parity.search import repro
from parity.search.network_cases import network_cases
from parity.search.physics_cases import physics_cases
from parity.search.space import training_configs
from parity.search.training_cases import training_cases
from parity.spec.parse import load_specification

process.pin()

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("search")]

_NIGHTLY = settings.get_profile("nightly")
_FOLDER = Path(
    os.environ.get("PTYCHO_REPRO_DIR", Path(__file__).resolve().parents[2] / "outputs" / "repro")
)


@settings(max_examples=200)
@given(physics_cases(largest_N=32, batch=2))
def test_physics_of_given_patches(case):
    repro.judge(_FOLDER / "physics", case)


@settings(max_examples=40)
@given(network_cases(largest_N=32, largest_gridsize=2))
def test_whole_network(case):
    repro.judge(_FOLDER / "network", case)


@pytest.mark.slow
@settings(_NIGHTLY, max_examples=400)
@given(physics_cases(largest_N=64, largest_gridsize=4))
def test_physics_of_given_patches_at_random(case):
    repro.judge(_FOLDER / "physics at random", case)


@pytest.mark.slow
@settings(_NIGHTLY, max_examples=200)
@given(network_cases(largest_N=64, largest_gridsize=3, widest=2))
def test_whole_network_at_random(case):
    repro.judge(_FOLDER / "network at random", case)


@pytest.mark.slow
@settings(_NIGHTLY, max_examples=2)
@given(physics_cases(largest_N=256, largest_gridsize=5, batch=1).filter(
    lambda case: case.config.N == 256 and case.config.gridsize >= 4
))  # fmt: skip
def test_physics_of_large_groups(case):
    repro.judge(_FOLDER / "large physics", case)


# ------------------------------------------------------------------ what is drawn


def test_every_field_of_the_tables_is_drawn():
    spec = load_specification()
    seen: dict[str, set[object]] = {}

    @settings(max_examples=300, database=None)
    @given(training_configs())
    def collect(config):
        for part in (config, config.model):
            for name, value in vars(part).items():
                seen.setdefault(name, set()).add(repr(value))

    collect()
    fixed = {"path", "ModelConfig"}
    for row in (*spec.of_table("model-config"), *spec.of_table("training-config")):
        name, allowed = row.cells["Field"], row.cells["Allowed"]
        if row.cells["Type"] in fixed or allowed.count("'") == 2:
            continue
        assert len(seen[name]) > 1, f"{name} was always {seen[name]}"
        if allowed.startswith("{"):
            assert len(seen[name]) == allowed.count(",") + 1, name


def _types(case):
    return {name: value.dtype.name for name, value in case.arrays.items()}


def test_every_type_and_batches_without_groups_are_drawn():
    seen: dict[str, set[str]] = {}
    sizes: dict[str, set[int]] = {"physics": set(), "network": set()}
    small = {"largest_N": 32, "largest_gridsize": 2}

    @settings(max_examples=80, database=None)
    @given(physics_cases(**small), network_cases(**small), training_cases(**small))
    def collect(physics, network, training):
        sizes["physics"].add(len(physics.patches))
        sizes["network"].add(len(network.x))
        for name, case in (("physics", physics), ("network", network), ("training", training)):
            for array, kind in _types(case).items():
                seen.setdefault(f"{name} {array}", set()).add(kind)

    collect()
    assert sizes == {"physics": {0, 1, 2, 3}, "network": {0, 1, 2}}
    real, waves = {"float32", "float64"}, {"complex64", "complex128"}
    assert seen["physics offsets"] == seen["network offsets"] == real
    assert seen["physics patches"] == waves
    assert seen["training patterns"] == {"uint8", "uint16", "uint32", *real}
    assert seen["training positions"] == real
    assert seen["training probe"] == seen["training objects"] == waves


def test_a_row_that_cannot_be_drawn_is_an_error(monkeypatch):
    from parity.search.space import field_values

    row = load_specification().of_table("model-config")[0]
    monkeypatch.setitem(row.cells, "Type", "colour")
    monkeypatch.setitem(row.cells, "Allowed", "any")
    with pytest.raises(ValueError, match=r"model-config/N.*colour"):
        field_values(row)
