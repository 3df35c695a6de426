"""Every registered check, one test each; one run of the gate serves them all."""

from __future__ import annotations

import pytest

from parity import process
from parity.checks.registry import registered_checks
from parity.clauses import clauses_by_check
from parity.gate import run_gate
from parity.ledger.bindings import load_bindings
from parity.spec.parse import load_specification

process.pin()

_IDS = list(registered_checks())
_CLAUSES = clauses_by_check(load_specification(), load_bindings())

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


@pytest.fixture
def properties(request):
    """Collect properties of the test's JUnit case; record_property knows one family only."""
    return request.node.user_properties


@pytest.mark.parametrize("check_id", _IDS)
def test_check(check_id, results, properties):
    properties.append(("parity", check_id))
    properties += [("clause", clause) for clause in _CLAUSES.get(check_id, ())]
    properties += [(name, v.status) for name, v in results[check_id].verdicts.items()]
    _outcome(results[check_id])
    unnamed = sorted(results[check_id].unnamed)
    assert not unnamed, f"differences in {unnamed} would be reported without names of axes"


def test_the_run_as_a_whole(results, properties):
    """The ledgers and the specification are judged on a complete run only."""
    whole = [result for id, result in results.items() if id not in _IDS]
    if not whole:
        pytest.skip("only some of the checks were selected, or a framework is absent")
    for result in whole:
        properties.append(("parity", result.id))
        _outcome(result)
