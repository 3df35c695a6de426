"""Judges rows and clauses by running their checks, for ``parity redline --full``."""

from __future__ import annotations

from collections.abc import Mapping

from parity.backends import Backend, load_backends
from parity.checks.recorder import Recorder
from parity.checks.registry import registered_checks
from parity.checks.rows import check_row
from parity.ledger import load_tolerances
from parity.ledger.bindings import load_bindings
from parity.redline.changes import Record
from parity.redline.impact import Judge, judge_statically
from parity.redline.static import Contradiction
from parity.spec.records import INFORMATIVE_KINDS, Clause


def _of(record: Record, run: Recorder) -> list[Contradiction]:
    return [
        Contradiction(record.id, record.place.path, record.text, f"check {run.check}", f.what)
        for f in run.findings
    ]


def _clause(record: Clause, backends: Mapping[str, Backend]) -> list[Contradiction] | None:
    binding = load_bindings().get(record.id)
    if binding is None or binding.hash != record.hash:
        return None
    found: list[Contradiction] = []
    for id in binding.checks:
        run = Recorder(id, backends, load_tolerances())
        registered_checks()[id].function(run)
        found += _of(record, run)
    return found


def judge_by_running() -> Judge:
    """Return a judge that holds rows and clauses against the TensorFlow and PyTorch backends.

    A clause whose text is not the one that its checks were written for is left unjudged, names
    aside.
    """
    backends = {
        name: backend
        for name, backend in load_backends().items()
        if name in ("tensorflow", "pytorch") and backend.available() is None
    }

    def judge(record: Record) -> list[Contradiction] | None:
        found = judge_statically(record)
        if found:
            return found
        if isinstance(record, Clause):
            ran = _clause(record, backends)
            return found if ran is None else ran
        if record.kind in INFORMATIVE_KINDS | {"text"}:
            return found
        run = Recorder(record.id, backends, load_tolerances())
        check_row(record, run)
        return _of(record, run)

    return judge
