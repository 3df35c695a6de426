"""Failing examples of searches come back from their files and fail again, for whom they failed."""

from __future__ import annotations

import dataclasses
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from parity import process
from parity.callchain.scenario import PACKAGES
from parity.search import repro
from parity.search.cases import REFERENCE
from parity.search.laws import LawCase
from parity.search.network_cases import network_cases
from parity.search.physics_cases import physics_cases
from parity.search.space import training_configs
from parity.search.training_cases import labelled_case
from ptycho.config.config import ModelConfig, TrainingConfig

process.pin()

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("search")]

_PLANTED = Path(__file__).with_name("planted_faults.py")
_SMALL = {"largest_N": 32, "largest_gridsize": 2}
_MODULE = {"tensorflow": "tensorflow", "pytorch": "torch"}


def _drawn(strategy):
    found = []

    @settings(max_examples=5, database=None)
    @given(strategy)
    def collect(value):
        found.append(value)

    collect()
    return found[-1]


def _pair():
    """Return physics with two groups, bright ones."""
    case = _drawn(physics_cases(**_SMALL).filter(lambda case: len(case.patches) > 1))
    return case.changed(patches=np.ones_like(case.patches))


def _network():
    return _drawn(network_cases(**_SMALL).filter(lambda case: len(case.x) > 0))


def _training():
    model = ModelConfig(N=32, n_filters_scale=1)
    return labelled_case(TrainingConfig(model=model, n_groups=4, batch_size=4), 5)


def test_examples_come_back_from_their_files_bit_by_bit(tmp_path):
    config = _drawn(training_configs(largest_N=32, widest=1))
    cases = [
        _drawn(physics_cases(**_SMALL)),
        _drawn(network_cases(**_SMALL)),
        labelled_case(config, 5),
        LawCase("lone group", 2**32 - 1, _drawn(physics_cases(**_SMALL))),
    ]
    for case in cases:
        repro.write_repro(tmp_path, case)
        again = repro.read_case(tmp_path / "case.npz")
        assert type(again) is type(case)
        assert again.config == case.config
        assert repr(again) == repr(case)
        assert again.arrays.keys() == case.arrays.keys()
        for name, value in case.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], value)
            assert again.arrays[name].dtype == value.dtype


def _run(script: Path, subject: str, *lines: str) -> subprocess.CompletedProcess[str]:
    """Run a script for one subject after some lines of Python."""
    code = [
        "import runpy, sys",
        f"sys.argv = ['repro.py', {subject!r}]",
        *lines,
        f"runpy.run_path({str(script)!r}, run_name='__main__')",
    ]
    return subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


_FAULTS = {
    "physics": (_pair, "uneven_batches", "tensorflow", "amplitude["),
    "network": (_network, "bright_amplitudes", "pytorch", "amplitude["),
    "law": (lambda: LawCase("lone group", 7, _pair()), "uneven_batches", "pytorch", "e["),
    "training": (_training, "moving_probe", "tensorflow", "'probe' changed"),
}  # fmt: skip


@pytest.mark.parametrize("kind", _FAULTS)
def test_the_script_of_a_failure_blames_whom_the_search_blamed(kind, tmp_path, monkeypatch):
    make, plant, guilty, said = _FAULTS[kind]
    case, package = make(), PACKAGES[guilty]
    repro.judge(tmp_path, case)
    assert not list(tmp_path.iterdir()), "files were left for a case that holds"
    with monkeypatch.context() as patch:
        runpy.run_path(str(_PLANTED))[plant](patch.setattr, package)
        with pytest.raises(AssertionError) as caught:
            repro.judge(tmp_path, case)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{guilty}: ") for line in lines[:-1])
    assert said in lines[0]
    script = tmp_path / "repro.py"
    assert lines[-1].endswith(f"{script} [{guilty}]")
    fault = f"runpy.run_path({str(_PLANTED)!r})[{plant!r}](setattr, {package!r})"
    (innocent,) = set(PACKAGES) - {guilty}
    alone = _run(script, guilty, f"sys.modules[{_MODULE[innocent]!r}] = None", fault)
    assert alone.returncode == 1, alone.stdout + alone.stderr
    assert said in alone.stdout
    other = _run(script, innocent, fault)
    assert other.returncode == 0, other.stdout + other.stderr
    assert other.stdout == f"{innocent}: nothing is wrong\n"


def test_who_raises_is_at_fault(tmp_path, monkeypatch, capsys):
    case = _pair()

    def broken(*given):
        raise RuntimeError("no such physics")

    monkeypatch.setattr("ptycho_torch.model.propagate", broken)
    with pytest.raises(AssertionError, match="pytorch: raised RuntimeError: no such physics at"):
        repro.judge(tmp_path, case)
    assert repro.main(str(tmp_path / "repro.py"), []) == 1
    assert "tensorflow: nothing is wrong\npytorch: raised" in capsys.readouterr().out


def test_a_law_that_the_reference_breaks_is_its_fault(tmp_path, capsys):
    case = LawCase("lone group", 7, _pair())
    changed = dataclasses.replace(case.inputs, offsets=case.inputs.offsets * np.nan)
    case = dataclasses.replace(case, inputs=changed)
    with pytest.raises(AssertionError, match=REFERENCE):
        repro.judge(tmp_path, case)
    assert repro.main(str(tmp_path / "repro.py"), [REFERENCE]) == 1
    capsys.readouterr()


def test_a_subject_that_does_not_exist_is_named(tmp_path, capsys):
    script = repro.write_repro(tmp_path, _pair())
    assert repro.main(str(script), ["jax"]) == 2
    assert "['jax'] cannot be judged" in capsys.readouterr().err
