"""The clause matrix on the terminal, one clause explained, and the floors of the ledger."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from parity.checks.recorder import PAIR
from parity.checks.registry import Check
from parity.clauses import ClauseVerdict, checks_of, records
from parity.ledger.bindings import Binding, stub
from parity.ledger.deviations import stub as deviation_stub
from parity.ledger.tolerances import LedgerError, read_entries, require_fields
from parity.spec.records import Clause, Row, Spec

_FLOORS = Path(__file__).with_name("ledger") / "floors.toml"

_SIGNS = {
    "pass": "ok",
    "deviates": "dev",
    "fail": "FAIL",
    "not-run": "--",
    "unbound": "UNBOUND",
    "suspect": "SUSPECT",
}


def matrix_lines(verdicts: Sequence[ClauseVerdict], subjects: Sequence[str]) -> list[str]:
    """Return a table: id, verdict of each backend and of the pair, text."""
    columns = [*subjects, PAIR]
    width = max((len(v.record.id) for v in verdicts), default=2)
    room = max(20, shutil.get_terminal_size((120, 24)).columns - width - 12 * len(columns) - 2)
    lines = [f"{'clause':<{width}}  " + "".join(f"{name:<12}" for name in columns)]
    for verdict in verdicts:
        signs = "".join(f"{_SIGNS[verdict.verdicts[name]]:<12}" for name in columns)
        lines.append(f"{verdict.record.id:<{width}}  {signs}{verdict.record.text[:room]}")
    counts = Counter(verdict.worst for verdict in verdicts)
    lines.append(", ".join(f"{n} {status}" for status, n in sorted(counts.items())))
    return lines


def explain(
    id: str, spec: Spec, bindings: Mapping[str, Binding], checks: Mapping[str, Check]
) -> list[str]:
    """Return what is known of a clause or row; ``KeyError`` for an unknown id."""
    record = next((r for r in records(spec) if r.id == id), None)
    if record is None:
        raise KeyError(f"the specification has no clause {id!r}; parity matrix lists them")
    place = record.place
    kind = record.level if isinstance(record, Clause) else f"row of table {record.table}"
    lines = [f"[{record.id}] {kind}, {place.path}, section {place.section}"]
    lines += [record.text, f"text hash {record.hash}"]
    bound = checks_of(record, bindings)
    binding = bindings.get(id)
    if binding and binding.hash != record.hash:
        lines.append(f"suspect: the text was {binding.hash} when its checks were written")
        lines.append(f'if they still prove it: hash = "{record.hash}" in {binding.file}')
    for name in bound:
        title = checks[name].title if name in checks else "no such check"
        lines.append(f"check {name}: {title}")
    if not bound and isinstance(record, Clause):
        lines += ["no check is bound; begin with:", stub(record.id, record.hash, record.text)]
    lines.append(f"run it: parity check --id {record.id}")
    if bound:
        lines += ["declare a difference: in parity/ledger/deviations.toml", deviation_stub(bound)]
    return lines


def checks_for(
    ids: Iterable[str], spec: Spec, bindings: Mapping[str, Binding], checks: Mapping[str, Check]
) -> list[str]:
    """Return check ids for a mix of clause ids, row ids and check ids (or their first parts)."""
    known: dict[str, Clause | Row] = {record.id: record for record in records(spec)}
    chosen: list[str] = []
    for id in ids:
        if id in known and id not in checks:
            found = list(checks_of(known[id], bindings))
        else:
            found = [id]
        chosen += [name for name in found if name not in chosen]
    return chosen


def floors_below(
    counted: Mapping[str, int], ignored: Container[str] = (), path: Path = _FLOORS
) -> list[str]:
    """Return complaints about counts that are below their floor in the ledger.

    ``counted`` has ``parsed``, ``bound``, ``executed`` and ``taps``; a floor may only be raised.
    """
    complaints = []
    for place, entry in read_entries(path, "floor"):
        require_fields(entry, {"id", "value", "reason"}, place)
        if entry["id"] not in counted:
            raise LedgerError(f"{place}: {entry['id']!r} is not one of {sorted(counted)}")
        if entry["id"] not in ignored and counted[entry["id"]] < entry["value"]:
            complaints.append(
                f"{counted[entry['id']]} {entry['id']}; the floor in {path.name} is "
                f"{entry['value']}"
            )
    return complaints
