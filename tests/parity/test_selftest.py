"""`parity selftest` over all of its defects: every one is seen, and nothing else turns red."""

from __future__ import annotations

import pytest

from parity.selftest.defects import load_defects, load_witnesses
from parity.selftest.run import run_selftest
from parity.selftest.tree import checkout

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.xdist_group("parity"),
]


@pytest.fixture(scope="module")
def report():
    pytest.importorskip("tensorflow")
    pytest.importorskip("torch")
    return run_selftest(checkout(), load_defects(), load_witnesses())


@pytest.mark.parametrize("id", [defect.id for defect in load_defects()])
def test_the_gate_sees_the_defect_and_nothing_else(id, report):
    (row,) = [row for row in report.rows if row.defect.id == id]
    assert row.killed, row.why
