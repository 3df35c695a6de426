"""The gate looks at itself: made-up cases that a sound harness gets right."""

from __future__ import annotations

import datetime

import pytest

from parity import gate, harness
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import Verdict
from parity.compare import arrays
from parity.ledger import Tolerance, load_noise, load_tolerances
from parity.ledger.tolerances import LOOSE_LIMIT, loosened
from parity.standing import judge_harness, judge_ledgers


def _tolerance(value, maximum):
    day = datetime.date(2026, 1, 1)
    return Tolerance("t", value, 0.0, 0.0, maximum, 1, day, "because", "someone")


def test_a_sound_harness_has_no_complaint():
    result = judge_harness(gate.run_check)
    assert not result.findings
    assert result.verdicts[PAIR].status == "pass"


@pytest.mark.parametrize(
    ("owner", "name", "broken", "says"),
    [
        (arrays.Comparison, "within", lambda *given: True, "blind to NaN on one side"),
        (arrays.Comparison, "within", lambda *given: False, "does not allow what"),
        (gate, "_verdict", lambda *given: Verdict("pass"), "is not offered passes"),
        (harness, "parse_text", lambda *given: harness.parse_text, "the clauses"),
        (harness, "loosened", lambda tolerance: "", "a quarter"),
        (harness, "below_noise", lambda *given: [], "below the noise of one backend is in order"),
        (harness, "below_noise", lambda *given: ["?"], "as large as the noise"),
        (Recorder, "pairs", lambda self, results: [], ""),
    ],
)
def test_a_broken_one_has(monkeypatch, owner, name, broken, says):
    if name == "parse_text":
        original = harness.parse_text
        broken = lambda file, text: original(file, "")  # noqa: E731
    monkeypatch.setattr(owner, name, broken)
    found = harness.complaints(gate.run_check)
    assert any(says in what for what in found) or not says


def test_a_value_far_beyond_its_noise_is_loosened():
    assert not loosened(_tolerance(LOOSE_LIMIT * 1e-6, 1e-6))
    assert "t = 4.1e-06 is more than 4 times the 1.0e-06" in loosened(_tolerance(4.1e-6, 1e-6))
    assert loosened(_tolerance(1e-9, 0.0))
    result = judge_ledgers([], [], {"t": _tolerance(0.25, 1e-6)}, [], {}, {})
    assert result.verdicts[PAIR].status == "fail"
    assert not judge_ledgers([], [], load_tolerances(), [], {}, load_noise()).findings
