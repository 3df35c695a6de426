"""Who is to blame at a stage, and which stage is the first; on made-up judges."""

from __future__ import annotations

import numpy as np
import pytest

from parity import cli
from parity.diverge.judges import REFERENCE
from parity.diverge.walk import (
    Divergence,
    Stage,
    Statistics,
    first_divergence,
    judge_values,
    walk_shared,
)
from parity.diverge_command import report_lines

_IMAGE = np.linspace(1, 2, 12, dtype=np.float32).reshape(3, 4)
_NAMES = (REFERENCE, "tensorflow", "pytorch")


def _values(**changes):
    values = dict.fromkeys(_NAMES, _IMAGE)
    values[REFERENCE] = _IMAGE.astype(np.float64)
    return {**values, **changes}


def _judged(limit=1e-6, **changes):
    return judge_values(Stage("wave", ("y", "x"), limit), _values(**changes))


def test_equal_values_blame_nobody():
    result = _judged()
    assert result.culprits == ()
    assert result.statistics == {}


@pytest.mark.parametrize("name", ["tensorflow", "pytorch"])
def test_the_one_that_is_off_the_reference_is_to_blame(name):
    wrong = _IMAGE.copy()
    wrong[1, 2] *= 1.1
    result = _judged(**{name: wrong})
    assert result.culprits == (name,)
    assert result.worst.where == {"y": 1, "x": 2}
    assert result.statistics[name].largest == pytest.approx(float(wrong.max()))


def test_an_error_that_both_share_blames_both():
    assert set(_judged(tensorflow=1.1 * _IMAGE, pytorch=1.1 * _IMAGE).culprits) == {
        "tensorflow",
        "pytorch",
    }


def test_nan_shape_and_kind_are_differences():
    for wrong in (np.full_like(_IMAGE, np.nan), _IMAGE.T, _IMAGE.astype(np.complex64)):
        assert _judged(pytorch=wrong).culprits == ("pytorch",)


def test_within_the_limit_of_the_reference_yet_apart_the_farther_one_is_named():
    near, far = _IMAGE * np.float32(1 + 4e-7), _IMAGE * np.float32(1 - 8e-7)
    assert _judged(tensorflow=near, pytorch=far).culprits == ("pytorch",)


def test_without_a_reference_both_are_named():
    values = {"tensorflow": _IMAGE, "pytorch": 2 * _IMAGE}
    assert set(judge_values(Stage("groups", ("B", "C"), None), values).culprits) == set(values)


def test_values_that_have_to_be_equal_may_be_rounded_from_the_reference_only():
    digit = np.nextafter(_IMAGE, np.float32(9))
    assert _judged(limit=None).culprits == ()
    assert _judged(limit=None, tensorflow=digit, pytorch=digit).culprits == ()
    assert len(_judged(limit=None, pytorch=digit).culprits) == 1


def _chain(wrong_at):
    """Return three stages that each double; one judge adds a half at one of them."""

    def doubled(name, given):
        def compute(judge, values):
            image = 2 * (values[given] if given else _IMAGE.astype(np.float64))
            image = image + (0.5 if (judge, name) == ("pytorch", wrong_at) else 0.0)
            return image if judge == REFERENCE else image.astype(np.float32)

        return compute

    names = ("first", "second", "third")
    return [
        Stage(name, ("y", "x"), 1e-6, doubled(name, given))
        for name, given in zip(names, (None, *names), strict=False)
    ]


@pytest.mark.parametrize("wrong_at", ["first", "second", "third"])
def test_with_shared_inputs_one_stage_alone_is_off(wrong_at):
    walk = walk_shared(_chain(wrong_at), _NAMES)
    assert [r.stage.name for r in walk.results if r.culprits] == [wrong_at]
    found = first_divergence([walk])
    assert found[1].culprits == ("pytorch",)
    text = "\n".join(report_lines("train", [walk]))
    assert f"the first divergence is at '{wrong_at}', in pytorch (given the same inputs" in text
    assert "pytorch     float32 [3, 4] min " in text


def test_where_nothing_differs_the_nearest_stage_is_told():
    walk = walk_shared(_chain("nowhere"), _NAMES)
    assert first_divergence([walk]) is None
    assert "nothing differs; nearest to its limit is " in report_lines("train", [walk])[-1]


def test_the_first_walk_wins_and_plain_values_show_their_differences():
    plain = judge_values(Stage("manifest", (), None), {"tensorflow": _IMAGE, "pytorch": _IMAGE})
    plain.culprits, plain.differences = ("tensorflow", "pytorch"), ["version: '1' vs '2'"]
    walks = [walk_shared(_chain("nowhere"), _NAMES), Divergence("free", [plain])]
    text = "\n".join(report_lines("save", walks))
    assert "first divergence is at 'manifest'" in text
    assert "  version: '1' vs '2'" in text


def test_statistics_count_what_is_not_finite():
    found = Statistics.of(np.array([1.0, np.nan, np.inf, 3.0]))
    assert (found.least, found.largest, found.not_finite) == (1.0, 3.0, 2)
    assert "modulus" in str(Statistics.of(np.array([3 + 4j])))
    assert Statistics.of(np.array([3 + 4j])).largest == 5.0


def test_an_unknown_scenario_is_bad_input(capsys):
    assert cli.main(["diverge", "dispatch"]) == 2
    assert "there are train, infer, stitch, save, load" in capsys.readouterr().err
