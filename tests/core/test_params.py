"""``params.cfg``: the legacy dictionary and its functions."""

from __future__ import annotations

import sys

import pytest

from ptycho import params
from ptycho.config.config import ModelConfig, TrainingConfig, update_legacy_dict


def test_the_defaults_are_those_of_the_configuration() -> None:
    assert params.get("N") == ModelConfig().N
    assert params.get("gridsize") == 1
    assert params.get("nphotons") == 1e9
    assert params.get("probe.trainable") is False
    assert params.get("npseed") == 42
    assert params.get("h5_path") == "wts.h5"


@pytest.mark.parametrize("key", ["intensity_scale", "normalisation", "probe", "train_data_file"])
def test_what_only_a_run_can_know_is_unset(key: str) -> None:
    with pytest.raises(KeyError) as caught:
        params.get(key)
    message = caught.value.args[0]
    assert message.startswith(f"params.cfg has no {key!r}")
    assert "update_legacy_dict" in message
    assert "load a bundle" in message


def test_get_falls_back_only_when_asked() -> None:
    assert params.get("intensity_scale", 3.0) == 3.0
    assert params.get("intensity_scale", None) is None
    assert params.get("N", 3) == 64


def test_a_set_value_is_got_even_if_it_is_none_or_false() -> None:
    for value in (31.25, 0, False, None):
        params.set("intensity_scale", value)
        assert params.get("intensity_scale") is value
        assert params.cfg["intensity_scale"] is value


def test_params_is_a_copy() -> None:
    copy = params.params()
    copy["N"] = -1
    assert params.get("N") == 64


def test_restoring_keeps_the_dictionary_itself() -> None:
    held = params.cfg
    params.set("N", 128)
    params.set("probe", object())
    params.restore_defaults()
    assert params.cfg is held
    assert held == params.default_cfg()


def test_a_configuration_reaches_every_holder_of_the_dictionary() -> None:
    held = params.cfg
    update_legacy_dict(params.cfg, TrainingConfig(model=ModelConfig(N=128, gridsize=2), nphotons=5))
    assert (held["N"], held["gridsize"], held["nphotons"]) == (128, 2, 5)


def test_importing_it_loads_no_framework_and_no_numpy() -> None:
    import subprocess

    code = "import sys, ptycho.params; print('numpy' in sys.modules, 'yaml' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]
