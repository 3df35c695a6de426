"""The ledgers: every figure with its reason, nothing malformed, nothing forgotten."""

from __future__ import annotations

import datetime
import re

import pytest

from parity.ledger import (
    LedgerError,
    below_noise,
    load_deviations,
    load_noise,
    load_tolerances,
)
from parity.ledger.tolerances import LOOSE_LIMIT

_TOLERANCE = """
[[tolerance]]
id = "some.figure"
value = 3e-6
reason = "rounding"
owner = "someone"
measured = { p50 = 1e-7, p99 = 9e-7, max = 1e-6, samples = 40, date = 2026-11-22 }
"""

_NOISE = """
[[noise]]
id = "some.figure"
max = 2e-7
samples = 12
date = 2026-11-28

[[noise]]
id = "another"
why = "it has no threads"
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


def test_noise_is_read_or_said_not_to_be_measured(tmp_path):
    noise = load_noise(_write(tmp_path, _NOISE))
    assert (noise["some.figure"].maximum, noise["some.figure"].samples) == (2e-7, 12)
    assert (noise["another"].maximum, noise["another"].why) == (None, "it has no threads")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("max = 2e-7", "max = -1.0", "max"),
        ("max = 2e-7", "max = nan", "max"),
        ("max = 2e-7", "max = true", "max"),
        ("max = 2e-7\n", "", "missing ['max']"),
        ("samples = 12", "samples = 0", "samples"),
        ("date = 2026-11-28", 'date = "today"', "date"),
        ('why = "it has no threads"', 'why = " "', "why"),
        ('why = "it has no threads"', 'why = "none"\nmax = 0.0', "unknown ['max']"),
        ('id = "another"', 'id = "some.figure"', "twice"),
    ],
)
def test_malformed_noise_is_refused_by_name(tmp_path, old, new, what):
    assert old in _NOISE
    with pytest.raises(LedgerError, match=re.escape(what)):
        load_noise(_write(tmp_path, _NOISE.replace(old, new)))


def test_no_tolerance_lies_below_the_noise_of_a_backend(tmp_path):
    tolerances = load_tolerances(_write(tmp_path, _TOLERANCE))
    noise = load_noise(_write(tmp_path, _NOISE))
    assert below_noise(tolerances, noise) == ["noise another is of no tolerance: remove it"]
    assert "has no noise" in below_noise(tolerances, {"another": noise["another"]})[-1]
    louder = load_noise(_write(tmp_path, _NOISE.replace("2e-7", "3.1e-6")))
    assert "some.figure = 3.0e-06 lies below the noise" in below_noise(tolerances, louder)[-1]
    just = load_noise(_write(tmp_path, _NOISE.replace("2e-7", "3e-6")))
    assert not [line for line in below_noise(tolerances, just) if "some.figure" in line]
    assert not below_noise(load_tolerances(), load_noise())
