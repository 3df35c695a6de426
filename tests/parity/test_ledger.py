"""The ledgers: every figure with its reason, nothing malformed, nothing forgotten."""

from __future__ import annotations

import datetime
import re

import pytest

from parity.ledger import LedgerError, load_deviations, load_tolerances
from parity.ledger.tolerances import LOOSE_LIMIT

_TOLERANCE = """
[[tolerance]]
id = "some.figure"
value = 3e-6
reason = "rounding"
owner = "someone"
measured = { p50 = 1e-7, p99 = 9e-7, max = 1e-6, samples = 40, date = 2026-11-22 }
"""

_DEVIATION = """
[[deviation]]
id = "D-1"
check = "F-1"
subject = "pytorch"
symptom = "object"
reason = "known"
owner = "someone"
expires = 2026-12-31
"""


def _write(tmp_path, text):
    path = tmp_path / "ledger.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_tolerance_is_read_with_what_was_measured(tmp_path):
    tolerance = load_tolerances(_write(tmp_path, _TOLERANCE))["some.figure"]
    assert (tolerance.value, tolerance.maximum, tolerance.samples) == (3e-6, 1e-6, 40)
    assert tolerance.date == datetime.date(2026, 11, 22)
    assert tolerance.slack(1e-6) == pytest.approx(3)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("value = 3e-6", "value = 9e-7", "below the measured maximum"),
        ("value = 3e-6", "value = -1.0", "value"),
        ("value = 3e-6", "value = inf", "value"),
        ("value = 3e-6", "value = true", "value"),
        ('reason = "rounding"', 'reason = " "', "reason"),
        ('reason = "rounding"\n', "", "missing ['reason']"),
        ('owner = "someone"', 'owner = "someone"\nrtol = 1.0', "unknown ['rtol']"),
        ("p99 = 9e-7, ", "", "missing ['p99']"),
        ("date = 2026-11-22", 'date = "yesterday"', "date"),
        ("[[tolerance]]", "[[tolerances]]", "tolerances"),
        ("[[tolerance]]", "[[tolerance]", "TOML"),
    ],
)
def test_a_malformed_tolerance_is_refused_by_name(tmp_path, old, new, what):
    assert old in _TOLERANCE
    with pytest.raises(LedgerError, match=re.escape(what)):
        load_tolerances(_write(tmp_path, _TOLERANCE.replace(old, new)))


def test_an_id_is_listed_once(tmp_path):
    with pytest.raises(LedgerError, match="twice"):
        load_tolerances(_write(tmp_path, _TOLERANCE + _TOLERANCE))
    with pytest.raises(LedgerError, match="twice"):
        load_deviations(_write(tmp_path, _DEVIATION + _DEVIATION))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("expires = 2026-12-31", 'expires = "never"'),
        ("expires = 2026-12-31", "expires = 2026-12-31T00:00:00"),
        ('symptom = "object"', 'symptom = ""'),
        ('owner = "someone"\n', ""),
    ],
)
def test_a_malformed_deviation_is_refused(tmp_path, old, new):
    assert old in _DEVIATION
    with pytest.raises(LedgerError):
        load_deviations(_write(tmp_path, _DEVIATION.replace(old, new)))


def test_a_deviation_counts_to_the_end_of_its_last_day(tmp_path):
    (entry,) = load_deviations(_write(tmp_path, _DEVIATION))
    assert not entry.expired(datetime.date(2026, 12, 31))
    assert entry.expired(datetime.date(2027, 1, 1))


def test_the_project_ledger_is_measured_and_not_slack():
    tolerances = load_tolerances()
    assert tolerances
    for tolerance in tolerances.values():
        assert tolerance.samples > 0, tolerance.id
        assert tolerance.slack(tolerance.maximum) <= LOOSE_LIMIT, tolerance.id
        assert len(tolerance.reason) > 20, tolerance.id
    load_deviations()
