"""Forward passes of whatever the specification allows, in each backend, against float64."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from parity import process
from parity.callchain.scenario import PACKAGES
from parity.ledger import load_tolerances
from parity.search import repro
from parity.search.cases import REFERENCE, groupwise, worst
from parity.search.network_cases import NetworkCase, network_cases
from parity.search.physics_cases import PhysicsCase, physics_cases
from parity.search.space import model_configs, training_configs
from parity.search.training_cases import labelled_case
from parity.spec.parse import load_specification

process.pin()

pytestmark = [pytest.mark.timeout(1800), pytest.mark.xdist_group("search")]

_NIGHTLY = settings.get_profile("nightly")
_PHYSICS = load_tolerances()["forward.physics"].value
_NETWORK = load_tolerances()["forward.network"].value
#: Of scale, from network input to diffraction amplitude.
_AMPLITUDE = 1e-5
#: Ten convolutions of hundreds of terms each moved either backend by 6 times one digit.
_DIGITS = 16
_FOLDER = Path(
    os.environ.get("PTYCHO_REPRO_DIR", Path(__file__).resolve().parents[2] / "outputs" / "repro")
)


def _judge(case: PhysicsCase, name: str) -> None:
    """Compare both backends with the reference; a failing example leaves files to run again."""
    expected = case.stages(REFERENCE)
    with repro.kept_on_failure(_FOLDER / name, case, _PHYSICS):
        for backend in PACKAGES:
            found = worst(groupwise(case.stages(backend), expected))
            assert found.within(_PHYSICS), f"{backend}: {found.describe()}"


def _judge_network(case: NetworkCase, name: str) -> None:
    """Do the same for the whole network, whose rounding depends on how the weights fall.

    Where an example is beyond the limits it may still be as near as single precision can be:
    within a few times of what one digit of weights and patterns moves the reference itself.
    """
    expected = case.stages(REFERENCE)
    with repro.kept_on_failure(_FOLDER / name, case, _NETWORK):
        for backend in PACKAGES:
            for found in groupwise(case.stages(backend), expected):
                limit = _AMPLITUDE if found.name == "amplitude" else _NETWORK
                if not found.within(limit):
                    limit = max(limit, _DIGITS * _conditioning(case, expected, found.name))
                assert found.within(limit), f"{backend}: {found.describe()}; limit {limit:.1e}"


def _conditioning(case: NetworkCase, expected: dict[str, np.ndarray], name: str) -> float:
    moved = (groupwise(case.rounded(seed), expected) for seed in range(3))
    return max(c.scale_relative for each in moved for c in each if c.name == name)


@settings(max_examples=200)
@given(physics_cases(largest_N=32, batch=2))
def test_physics_of_given_patches(case):
    _judge(case, "physics")


@settings(max_examples=40)
@given(network_cases(largest_N=32, largest_gridsize=2))
def test_whole_network(case):
    _judge_network(case, "network")


@pytest.mark.slow
@settings(_NIGHTLY, max_examples=400)
@given(physics_cases(largest_N=64, largest_gridsize=4))
def test_physics_of_given_patches_at_random(case):
    _judge(case, "physics at random")


@pytest.mark.slow
@settings(_NIGHTLY, max_examples=200)
@given(network_cases(largest_N=64, largest_gridsize=3, widest=2))
def test_whole_network_at_random(case):
    _judge_network(case, "network at random")


@pytest.mark.slow
@settings(_NIGHTLY, max_examples=2)
@given(physics_cases(largest_N=256, largest_gridsize=5, batch=1).filter(
    lambda case: case.config.N == 256 and case.config.gridsize >= 4
))  # fmt: skip
def test_physics_of_large_groups(case):
    _judge(case, "large physics")


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


def test_a_row_that_cannot_be_drawn_is_an_error(monkeypatch):
    from parity.search.space import field_values

    row = load_specification().of_table("model-config")[0]
    monkeypatch.setitem(row.cells, "Type", "colour")
    monkeypatch.setitem(row.cells, "Allowed", "any")
    with pytest.raises(ValueError, match=r"model-config/N.*colour"):
        field_values(row)


# ------------------------------------------------------------------ examples kept in files


def _examples():
    config = next(iter(_drawn(model_configs(largest_N=32, largest_gridsize=2, widest=1))))
    assert config.N == 32
    return [
        next(iter(_drawn(physics_cases(largest_N=32, largest_gridsize=2)))),
        next(iter(_drawn(network_cases(largest_N=32, largest_gridsize=2)))),
        labelled_case(next(iter(_drawn(training_configs(largest_N=32, widest=1)))), 5),
    ]


def _drawn(strategy):
    found = []

    @settings(max_examples=5, database=None)
    @given(strategy)
    def collect(value):
        found.append(value)

    collect()
    return found[-1:]


def test_examples_come_back_from_their_files_bit_by_bit(tmp_path):
    for case in _examples():
        repro.write_repro(tmp_path, case, 1e-6)
        again = repro.read_case(tmp_path / "case.npz")
        assert type(again) is type(case)
        assert again.config == case.config
        assert again.arrays.keys() == case.arrays.keys()
        for name, value in case.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], value)
            assert again.arrays[name].dtype == value.dtype


def test_a_failing_example_leaves_a_script_that_fails_for_each_backend_alone(tmp_path):
    case = next(iter(_drawn(physics_cases(largest_N=32, largest_gridsize=2, batch=1))))
    bright = case.changed(patches=np.ones_like(case.patches))
    with pytest.raises(AssertionError) as caught, repro.kept_on_failure(tmp_path, bright, 1e-30):
        raise AssertionError("too far")
    script = tmp_path / "repro.py"
    assert str(script) in caught.value.__notes__[0]
    for backend, other in (("tensorflow", "torch"), ("pytorch", "tensorflow")):
        blocked = f"import sys; sys.modules[{other!r}] = None; sys.argv = ['repro.py', {backend!r}]"
        code = f"{blocked}; import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 1, done.stderr
        assert f"{backend}: " in done.stdout
        assert "of scale" in done.stdout
