"""The binding ledger, ``bindings_*.toml``: which checks prove which clause.

Rows of tables have checks generated from them and need no entry. An entry stores the hash of the
clause's text as it was when the check was written: when the text changes, the verdict is
``suspect`` until somebody has looked.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parity.ledger.tolerances import LedgerError, read_entries, require_fields

DEFAULT_FOLDER = Path(__file__).parent

_FIELDS = {"clause", "hash", "checks"}


@dataclass(frozen=True)
class Binding:
    """A clause, the hash of the text that its checks were written for, their ids, its file."""

    clause: str
    hash: str
    checks: tuple[str, ...]
    file: str = ""


def _binding(place: str, entry: dict[str, Any], file: str) -> Binding:
    require_fields(entry, _FIELDS, place)
    checks = entry["checks"]
    listed = isinstance(checks, list) and all(isinstance(check, str) for check in checks)
    if not listed or not checks:
        raise LedgerError(f"{place}: checks is {checks!r}; expected a list of check ids")
    return Binding(entry["clause"], entry["hash"], tuple(checks), file)


def load_bindings(folder: Path = DEFAULT_FOLDER) -> dict[str, Binding]:
    """Return the bindings by clause; :class:`LedgerError` for anything malformed."""
    bindings: dict[str, Binding] = {}
    for path in sorted(folder.glob("bindings_*.toml")):
        for place, entry in read_entries(path, "binding"):
            binding = _binding(place, entry, f"parity/ledger/{path.name}")
            if binding.clause in bindings:
                raise LedgerError(f"{place}: clause {binding.clause} is bound twice")
            bindings[binding.clause] = binding
    return bindings


def stub(clause: str, text_hash: str, text: str) -> str:
    """Return a ready entry for an unbound clause and the check that it needs."""
    return (
        f"# parity/ledger/bindings_*.toml\n[[binding]]\nclause = {clause!r}\n"
        f"hash = {text_hash!r}\nchecks = ['X-1']\n\n"
        f"# parity/checks/: {text}\n"
        f'@check("X-1", "...", ("backend",))\ndef ...(run: Recorder) -> None:\n'
        f"    for subject in run.backends:\n"
        f'        run.require(subject, holds, "what was found instead")\n'
    ).replace("'", '"')
