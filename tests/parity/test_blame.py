"""An exception that ends a check is a finding against whose code raised it."""

from __future__ import annotations

import numpy as np
import pytest

from parity.blame import to_blame
from parity.checks.recorder import PAIR
from parity.checks.registry import Check
from parity.gate import run_check
from ptycho.core.scaling import normalise_probe

_SUBJECTS = ("tensorflow", "pytorch")


def _caught(function):
    try:
        function()
    except Exception as error:  # any will do
        return error
    raise AssertionError("nothing was raised")


def _core():
    normalise_probe(np.zeros((2, 3)), 4.0)


def _helper(package):
    import importlib

    door = importlib.import_module(package)
    return lambda: door.reassemble_position(np.zeros((1, 4, 4, 1)), np.zeros((2, 2)), M=2)


def test_the_cores_errors_are_everybodys():
    assert to_blame(_caught(_core), _SUBJECTS) == _SUBJECTS


@pytest.mark.parametrize(
    ("package", "guilty"), [("ptycho_torch.helper", ("pytorch",)), ("ptycho.tf_helper", _SUBJECTS)]
)
def test_a_wings_errors_are_its_own(package, guilty):
    """``tf_helper`` has no twin of that name, so what is raised through it is the core's."""
    assert to_blame(_caught(_helper(package)), _SUBJECTS) == guilty


def test_a_room_with_a_twin_is_tensorflows():
    from ptycho import model_manager

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_manager._Holder, "model", None)
        assert to_blame(_caught(model_manager.last_trained), _SUBJECTS) == ("tensorflow",)


def test_an_error_of_the_harness_is_nobodys():
    assert to_blame(_caught(lambda: 1 / 0), _SUBJECTS) == ()
    assert to_blame(_caught(lambda: to_blame(None, ())), _SUBJECTS) == ()


def _run(function):
    check = Check("X-1", "made up", function, frozenset({"backend", PAIR}))
    backends = dict.fromkeys(_SUBJECTS)
    result, _ = run_check(check, backends, {}, {})
    return result, {name: verdict.status for name, verdict in result.verdicts.items()}


def test_a_backend_that_ends_a_check_is_red_and_the_rest_not_run():
    def function(run):
        run.require("tensorflow", True, "")
        _helper("ptycho_torch.helper")()

    result, verdicts = _run(function)
    assert verdicts == {"tensorflow": "not-run", "pytorch": "fail", PAIR: "not-run"}
    assert result.error == ""
    assert result.findings[0].what.startswith("ended the check: ValueError: 1 patches but 2")
    assert "failure of pytorch" in result.verdicts["tensorflow"].reason


def test_a_broken_check_is_the_harnesss():
    result, verdicts = _run(lambda run: 1 / 0)
    assert set(verdicts.values()) == {"not-run"}
    assert "ZeroDivisionError" in result.error
