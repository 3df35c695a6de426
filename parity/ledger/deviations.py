"""The deviation ledger, ``deviations.toml``: differences that are known and declared.

An entry turns one failing verdict into ``deviates``, for as long as the recorded symptom is the
one observed and the entry has not expired. An entry that covers nothing is itself a failure.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from parity.ledger.tolerances import LedgerError, read_entries, require_fields

DEFAULT_PATH = Path(__file__).with_name("deviations.toml")

_FIELDS = {"id", "check", "subject", "symptom", "reason", "owner", "expires"}


@dataclass(frozen=True)
class Deviation:
    """One declared difference.

    ``check`` and ``subject`` ("tensorflow", "pytorch" or "pair") name the verdict; ``symptom`` is
    text that every failing finding under it must contain.
    """

    id: str
    check: str
    subject: str
    symptom: str
    reason: str
    owner: str
    expires: datetime.date

    def expired(self, today: datetime.date) -> bool:
        """Tell whether the entry has run out; the day named in ``expires`` still counts."""
        return today > self.expires


def stub(checks: Sequence[str]) -> str:
    """Return an entry to fill in for one of these checks."""
    of = f"   # or {', '.join(checks[1:])}" if len(checks) > 1 else ""
    return (
        f'[[deviation]]\nid = "D-..."\ncheck = "{checks[0]}"{of}\n'
        'subject = "..."   # tensorflow, pytorch or pair\n'
        'symptom = "..."   # text that every finding has\n'
        'reason = "..."\nowner = "..."\nexpires = YYYY-MM-DD\n'
    )


def load_deviations(path: Path = DEFAULT_PATH) -> list[Deviation]:
    """Return the declared deviations; :class:`LedgerError` for anything malformed."""
    deviations: list[Deviation] = []
    for place, entry in read_entries(path, "deviation"):
        require_fields(entry, _FIELDS, place)
        if type(entry["expires"]) is not datetime.date:
            raise LedgerError(f"{place}: expires is {entry['expires']!r}; expected YYYY-MM-DD")
        for key in _FIELDS - {"expires"}:
            if not isinstance(entry[key], str) or not entry[key].strip():
                raise LedgerError(f"{place}: {key} is {entry[key]!r}; expected text")
        if any(d.id == entry["id"] for d in deviations):
            raise LedgerError(f"{place}: this id is listed twice")
        deviations.append(Deviation(**entry))
    return deviations
