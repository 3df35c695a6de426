"""The ledger of accepted changes, ``redline.toml``: breaking changes of the specification.

An entry lets one breaking change of one clause or row through, until a date or with a version. An
entry that lets nothing through is itself a failure.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from parity.ledger.tolerances import LedgerError, read_entries

DEFAULT_PATH = Path(__file__).with_name("redline.toml")

_FIELDS = {"rule", "clause", "reason"}
_LIMITS = {"expires", "version"}


@dataclass(frozen=True)
class Acceptance:
    """One accepted change: rule, record, why, and the last day or the version that brings it."""

    rule: str
    clause: str
    reason: str
    expires: datetime.date | None = None
    version: str | None = None

    def expired(self, today: datetime.date) -> bool:
        """Tell whether the entry has run out; the day named in ``expires`` still counts."""
        return self.expires is not None and today > self.expires

    def __str__(self) -> str:
        return f"redline.toml: {self.rule} of {self.clause}"


def stub(rule: str, clause: str, version: str) -> str:
    """Return an entry to fill in."""
    return (
        f'[[accepted]]\nrule = "{rule}"\nclause = "{clause}"\nreason = "..."\n'
        f'version = "{version}"   # or expires = YYYY-MM-DD\n'
    )


def load_acceptances(path: Path = DEFAULT_PATH) -> list[Acceptance]:
    """Return the accepted changes; :class:`LedgerError` for anything malformed or listed twice."""
    found: list[Acceptance] = []
    for place, entry in read_entries(path, "accepted"):
        limits = _LIMITS & entry.keys()
        if set(entry) - limits != _FIELDS or len(limits) != 1:
            wanted = f"{sorted(_FIELDS)} and one of {sorted(_LIMITS)}"
            raise LedgerError(f"{place}: fields are {sorted(entry)}; expected {wanted}")
        for key in (*sorted(_FIELDS), "version"):
            value = entry.get(key, "none")
            if not isinstance(value, str) or not value.strip():
                raise LedgerError(f"{place}: {key} is {value!r}; expected text")
        expires = entry.get("expires")
        if expires is not None and type(expires) is not datetime.date:
            raise LedgerError(f"{place}: expires is {expires!r}; expected YYYY-MM-DD")
        acceptance = Acceptance(**entry)
        if any((a.rule, a.clause) == (acceptance.rule, acceptance.clause) for a in found):
            raise LedgerError(f"{place}: {acceptance} is listed twice")
        found.append(acceptance)
    return found
