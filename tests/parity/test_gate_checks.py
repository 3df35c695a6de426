"""Every registered check, one test each; one run of the gate serves them all."""

from __future__ import annotations

import pytest

from parity import process
from parity.checks.registry import registered_checks
from parity.gate import run_gate

process.pin()

_IDS = list(registered_checks())

pytestmark = [pytest.mark.parity, pytest.mark.timeout(1800), pytest.mark.xdist_group("parity")]


@pytest.fixture(scope="module")
def results(request):
    """Run the selected checks once, all together: they share trainings."""
    chosen = [
        item.callspec.params["check_id"]
        for item in request.session.items
        if item.module is request.module and hasattr(item, "callspec")
    ]
    complete = set(chosen) == set(_IDS)
    report = run_gate(None if complete else chosen)
    return {result.id: result for result in report.checks}


def _outcome(result):
    assert not result.error, result.error
    failing = [name for name, verdict in result.verdicts.items() if verdict.status == "fail"]
    findings = [f"{f.subject}: {f.what} in {f.case}" for f in result.findings]
    reasons = [v.reason for v in result.verdicts.values() if v.reason]
    assert not failing, "\n".join([result.title, *findings, *reasons])
    missing = {v.reason for v in result.verdicts.values() if v.status == "not-run"}
    if missing:
        pytest.skip("; ".join(sorted(missing)))


@pytest.mark.parametrize("check_id", _IDS)
def test_check(check_id, results, record_property):
    record_property("parity", check_id)
    for name, verdict in results[check_id].verdicts.items():
        record_property(name, verdict.status)
    _outcome(results[check_id])


def test_the_run_as_a_whole(results, record_property):
    """The ledgers and the specification are judged on a complete run only."""
    whole = [result for id, result in results.items() if id not in _IDS]
    if not whole:
        pytest.skip("only some of the checks were selected, or a framework is absent")
    for result in whole:
        record_property("parity", result.id)
        _outcome(result)
