"""Our own checks: each goes red when the backend is broken in the way that others do not see."""

from __future__ import annotations

import dataclasses
import importlib
import math

import numpy as np
import pytest

from parity import gate
from parity.checks.recorder import Recorder
from parity.checks.registry import Check, registered_checks
from parity.compare import compare, compare_named
from parity.ledger import Tolerance, load_tolerances
from ptycho.config.config import ModelConfig


def _replace(patch, place, change):
    """Replace ``module:name`` by what ``change`` makes of it."""
    module, _, path = place.partition(":")
    owner = importlib.import_module(module)
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    patch.setattr(owner, name, change(getattr(owner, name)))


def _result(change):
    """Return a decorator that changes what a function returns."""
    return lambda original: lambda *given, **named: change(original(*given, **named))


def _given(change):
    """Return a decorator that changes the positional arguments of a function."""
    return lambda original: lambda *given, **named: original(*change(*given), **named)


def _whole_pixels(original):
    def matrices(shifts, inputs, outputs):
        return original(shifts.round(), inputs, outputs)

    return matrices


def _first_patch_only(patches, offsets, M):
    stack = np.array(patches)
    stack[1:] = stack[:1]
    return stack, offsets, M


def _open_disc(original):
    return lambda N: original(N) * 0 + 1


def _swapped_axes(relative):
    return np.ascontiguousarray(relative[:, :, ::-1])


#: Row -> (what is broken, how, the check that has to see it, for which backend).
_PLANTED = {
    "P-01": (
        "ptycho.core.training_plan:intensity_scale", _result(lambda s: 1.01 * s), "Q-1", "pytorch"
    ),
    "P-02": ("ptycho_torch.physics:shift_matrices", _whole_pixels, "F-2", "pytorch"),
    "P-03": ("ptycho.core.weights:normalise_probe", _result(lambda p: 1.01 * p), "Q-42", "pytorch"),
    "P-04": ("ptycho_torch.physics:probe_disc", _open_disc, "F-6", "pytorch"),
    "P-05": ("ptycho.tf_helper:reassemble", _result(np.conj), "S-1", "tensorflow"),
    "P-06": (
        "ptycho_torch.helper:reassemble",
        _given(lambda p, d, M: (np.roll(p, 1, axis=1), d, M)), "S-3", "pytorch",
    ),
    "P-07": ("ptycho.tf_helper:reassemble", _given(_first_patch_only), "S-1", "tensorflow"),
    "P-08": (
        "ptycho_torch.helper:reassemble", _given(lambda p, d, M: (p, -d, M)), "S-3", "pytorch"
    ),
    "P-10": ("ptycho_torch.physics:merge", _result(lambda c: 1.001 * c), "F-2", "pytorch"),
    "P-11": (
        "ptycho.core.container:relative_coordinates", _result(lambda r: -r), "N-5", "pytorch"
    ),
    "P-12": (
        "ptycho.config.config:dataclass_to_legacy_dict",
        _result(lambda flat: {k: v for k, v in flat.items() if k != "gaussian_smoothing_sigma"}),
        "model-config/gaussian_smoothing_sigma", "pytorch",
    ),
    "P-13": (
        "ptycho.workflows.backend_selector:get_backend",
        lambda original: lambda name: original("pytorch"), "Q-33", "tensorflow",
    ),
    "P-14": (
        "ptycho.core.container:relative_coordinates", _result(_swapped_axes), "N-5", "pytorch"
    ),
}  # fmt: skip


def _run(check, backends):
    """Return the findings of a check and the statuses of its verdicts."""
    found = registered_checks()[check] if isinstance(check, str) else check
    result, _ = gate.run_check(found, backends, {}, load_tolerances())
    assert not result.error, result.error
    return {name: verdict.status for name, verdict in result.verdicts.items()}, result


@pytest.mark.parametrize("row", sorted(_PLANTED))
def test_a_planted_defect_turns_the_check_red(row, backends, monkeypatch):
    place, change, check, name = _PLANTED[row]
    chosen = {name: backends[name]}
    assert _run(check, chosen)[0][name] == "pass"
    _replace(monkeypatch, place, change)
    assert _run(check, chosen)[0][name] == "fail"


def test_P_09_a_changed_default_turns_the_row_red(backends, monkeypatch):
    original = ModelConfig.__init__

    def init(self, *given, **named):
        original(self, *given, **{"object_big": False, **named})

    monkeypatch.setattr(ModelConfig, "__init__", init)
    assert _run("model-config/object_big", backends)[0] == dict.fromkeys(backends, "fail")


# ------------------------------------------------------------- how checks elsewhere came to nothing


def _check(function, judges=("backend", "pair")):
    return Check("X-1", "made for a test", function, frozenset(judges))


def test_H_01_a_comparison_is_a_verdict(backends):
    """A result that is compared and dropped gives no verdict, and none is a failure."""

    def compares_and_forgets(run):
        compare(np.ones(3), np.zeros(3))

    verdicts, _ = _run(_check(compares_and_forgets), backends)
    assert set(verdicts.values()) == {"fail"}

    def judges(run):
        run.judge_equal("pair", [compare(np.ones(3), np.zeros(3))])

    assert _run(_check(judges), backends)[0]["pair"] == "fail"


@pytest.mark.parametrize("side", [0, 1])
def test_H_02_nan_on_one_side_is_a_difference(side):
    pair = [np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0])]
    pair[side][1] = np.nan
    found = compare(*pair)
    assert not found.within(math.inf)
    assert "NaN" in found.problem


def test_H_03_a_missing_backend_does_not_end_the_others(backends, monkeypatch):
    """The one that cannot run says so; the others are judged, and the pair is not green."""
    checked = []

    def look(run):
        for name in run.backends:
            checked.append(name)
            run.require(name, True, "")

    result, _ = gate.run_check(
        _check(look), {"pytorch": backends["pytorch"]}, {"tensorflow": "not installed"}, {}
    )
    statuses = {name: verdict.status for name, verdict in result.verdicts.items()}
    assert statuses == {"tensorflow": "not-run", "pytorch": "pass", "pair": "not-run"}
    assert checked == ["pytorch"]


def test_H_04_tolerances_are_far_below_the_values_they_bound():
    assert all(0 < tolerance.value < 0.1 for tolerance in load_tolerances().values())
    # Scale-relative: a small array gets no absolute allowance.
    assert not compare(np.full(4, 1e-6), np.full(4, 1.5e-6)).within(0.1)


def test_H_05_names_are_compared_as_well_as_values():
    one, other = {"a": np.ones(2), "b": np.ones(2)}, {"a": np.ones(2)}
    assert not all(c.within(1.0) for c in compare_named(one, other))
    renamed = {"a": np.ones(2), "c": np.ones(2)}
    assert sum(not c.within(1.0) for c in compare_named(one, renamed)) == 2


def test_H_06_every_verdict_can_be_reached(backends, monkeypatch):
    def fails(run):
        run.fail("pytorch", "no")
        run.require("tensorflow", True, "")

    def breaks(run):
        raise ZeroDivisionError

    assert _run(_check(fails, ("backend",)), backends)[0] == {
        "tensorflow": "pass", "pytorch": "fail"
    }  # fmt: skip
    result, _ = gate.run_check(_check(breaks), backends, {}, {})
    assert "ZeroDivisionError" in result.error
    report = gate.GateReport(checks=[result])
    assert report.exit_code == 2


def test_H_07_missing_snapshots_fail_and_are_not_made(tmp_path):
    """A snapshot that is not there is a failure of the run that looks for it."""
    import subprocess
    import sys

    (tmp_path / "test_it.py").write_text("def test_it(snapshot):\n    assert 1 == snapshot\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert done.returncode == 1, done.stdout
    assert not list(tmp_path.rglob("__snapshots__"))


def test_H_08_shapes_are_equal_or_not():
    for other in ((3, 4, 1), (4, 3), (12,), (3, 5)):
        found = compare(np.ones((3, 4)), np.ones(other))
        assert not found.within(math.inf)
        assert "shapes differ" in found.problem


def test_H_09_an_exception_is_a_finding(backends):
    def raising(run):
        run.collect(lambda backend: 1 / 0, "case")

    verdicts, result = _run(_check(raising, ("backend",)), backends)
    assert verdicts == dict.fromkeys(backends, "fail")
    assert "ZeroDivisionError" in result.findings[0].what


def test_H_10_nothing_observed_is_a_failure(backends):
    def empty(run):
        for _ in []:
            run.require("pytorch", True, "")

    def zeros(run):
        for name in run.backends:
            run.judge(name, [compare(np.zeros(4), np.zeros(4))], "any")

    assert set(_run(_check(empty), backends)[0].values()) == {"fail"}
    recorder = Recorder("X-1", backends, {"any": _tolerance()})
    zeros(recorder)
    assert recorder.observed.total() == 0
    assert len(recorder.vacuous) == 2
    assert gate.GateReport().exit_code == 2


def _tolerance():
    some = next(iter(load_tolerances().values()))
    assert isinstance(some, Tolerance)
    return dataclasses.replace(some, id="any", value=1e-6)
