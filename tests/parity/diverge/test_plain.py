"""Who is to blame where a tap's values are no arrays."""

from __future__ import annotations

import pytest

from parity.diverge.plain import expected_plain, judge_plain
from parity.diverge.walk import Stage

_NAMES = ("tensorflow", "pytorch")
_STAGE = Stage("a tap", (), None, tolerance="shared")


def _inventory():
    return {name: list(expected_plain("member inventory", name)) for name in _NAMES}


def _judged(values, tap="member inventory"):
    return judge_plain(_STAGE, values, {name: expected_plain(tap, name) for name in _NAMES})


def test_what_the_specification_says_blames_nobody():
    values = _inventory()
    assert "autoencoder/model.ckpt" in values["pytorch"]
    assert "autoencoder/model.ckpt" not in values["tensorflow"]
    result = _judged(values)
    assert (result.culprits, result.differences, result.statistics) == ((), [], {})


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("member", ["autoencoder/params.json", "its own"])
def test_the_one_that_departs_from_the_table_is_named(name, member):
    values = _inventory()
    if member == "its own":
        member = {"tensorflow": "autoencoder/model.keras", "pytorch": "autoencoder/model.ckpt"}[
            name
        ]
    values[name].remove(member)
    result = _judged(values)
    assert result.culprits == (name,)
    assert f"expected/{name}: {member}: only in the first" in result.differences
    assert result.statistics[name] == f"{len(values[name])} entries"


def test_both_are_where_both_depart():
    values = {name: [*members, "more"] for name, members in _inventory().items()}
    assert _judged(values).culprits == _NAMES


def test_a_manifest_names_every_other_member():
    def manifest(name):
        sums = dict.fromkeys(expected_plain("manifest", name)["checksums"], "0")
        return {"backend": name, "version": "2.0", "checksums": sums}

    values = {name: manifest(name) for name in _NAMES}
    assert _judged(values, "manifest").culprits == ()
    del values["pytorch"]["checksums"]["autoencoder/training.h5"]
    assert _judged(values, "manifest").culprits == ("pytorch",)


def test_a_snapshot_is_that_of_the_configuration():
    values = {name: expected_plain("configuration snapshot", name) for name in _NAMES}
    assert values["pytorch"]["backend"] == "pytorch"
    assert _judged(values, "configuration snapshot").culprits == ()
    values["tensorflow"] = {**values["tensorflow"], "nphotons": 1.0}
    assert _judged(values, "configuration snapshot").culprits == ("tensorflow",)


def test_two_that_differ_are_both_named_where_nothing_is_expected():
    result = _judged({"tensorflow": {"N": 64}, "pytorch": {"N": 32}}, "params after restore")
    assert result.culprits == _NAMES
    assert result.differences == ["tensorflow/pytorch: N: 64 vs 32"]
