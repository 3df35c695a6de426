"""The tolerance ledger, ``tolerances.toml``.

A check names a tolerance by id and never carries a number of its own. Each entry says what was
measured, so that a loosened value is visible beside the noise it is meant to cover.
"""

from __future__ import annotations

import datetime
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

Entry = TypeVar("Entry")

DEFAULT_PATH = Path(__file__).with_name("tolerances.toml")

#: What a value is in units of the largest figure that was measured, about.
NOISE_FACTOR = 3.0

#: ``value / measured maximum`` beyond which the ledger is refused, and beyond which an entry that
#: is measured again is told to be tightened.
LOOSE_LIMIT = 4.0

_FIELDS = {"id", "value", "measured", "reason", "owner"}
_MEASURED = {"p50", "p99", "max", "samples", "date"}


class LedgerError(ValueError):
    """A ledger file says something it may not say."""


@dataclass(frozen=True)
class Tolerance:
    """One entry: the largest scale-relative difference that still counts as agreement."""

    id: str
    value: float
    p50: float
    p99: float
    maximum: float
    samples: int
    date: datetime.date
    reason: str
    owner: str

    def slack(self, measured: float) -> float:
        """Return ``value / measured``, infinite where nothing was measured."""
        return self.value / measured if measured > 0 else math.inf


def loosened(tolerance: Tolerance) -> str:
    """Return what is wrong with an entry whose value is far beyond its own noise, or nothing."""
    if tolerance.value <= LOOSE_LIMIT * tolerance.maximum:
        return ""
    return (
        f"tolerance {tolerance.id} = {tolerance.value:.1e} is more than {LOOSE_LIMIT:g} times the "
        f"{tolerance.maximum:.1e} that was measured: measure again, or tighten it"
    )


def _number(entry: Mapping[str, Any], key: str, place: str) -> float:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise LedgerError(f"{place}: {key} is {value!r}; expected a finite number >= 0")
    return float(value)


def _text(entry: Mapping[str, Any], key: str, place: str) -> str:
    value = entry[key]
    if not isinstance(value, str) or not value.strip():
        raise LedgerError(f"{place}: {key} is {value!r}; expected text")
    return value


def require_fields(entry: Mapping[str, Any], fields: set[str], place: str) -> None:
    """Raise :class:`LedgerError` unless ``entry`` has exactly ``fields``."""
    missing, extra = sorted(fields - set(entry)), sorted(set(entry) - fields)
    if missing or extra:
        raise LedgerError(f"{place}: missing {missing or 'nothing'}, unknown {extra or 'nothing'}")


def _parse(entry: Mapping[str, Any], place: str) -> Tolerance:
    require_fields(entry, _FIELDS, place)
    measured = entry["measured"]
    if not isinstance(measured, dict):
        raise LedgerError(f"{place}: measured is {measured!r}; expected a table")
    require_fields(measured, _MEASURED, f"{place}: measured")
    if not isinstance(measured["date"], datetime.date):
        raise LedgerError(f"{place}: measured.date is {measured['date']!r}; expected YYYY-MM-DD")
    tolerance = Tolerance(
        id=_text(entry, "id", place),
        value=_number(entry, "value", place),
        p50=_number(measured, "p50", place),
        p99=_number(measured, "p99", place),
        maximum=_number(measured, "max", place),
        samples=int(_number(measured, "samples", place)),
        date=measured["date"],
        reason=_text(entry, "reason", place),
        owner=_text(entry, "owner", place),
    )
    if tolerance.value < tolerance.maximum:
        raise LedgerError(
            f"{place}: value {tolerance.value} lies below the measured maximum {tolerance.maximum}"
        )
    return tolerance


def read_entries(path: Path, table: str) -> list[tuple[str, dict[str, Any]]]:
    """Return (place for messages, entry) of each ``[[table]]`` in a TOML file."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LedgerError(f"{path} is not readable as TOML: {error}") from error
    entries = document.pop(table, [])
    if document or not isinstance(entries, list):
        raise LedgerError(f"{path}: expected [[{table}]] entries alone; found {sorted(document)}")
    return [
        (f"{path.name}, entry {i} ({entry.get('id', 'without id')})", entry)
        for i, entry in enumerate(entries, start=1)
    ]


def entries_by_id(
    path: Path, table: str, parse: Callable[[dict[str, Any], str], Entry]
) -> dict[str, Entry]:
    """Return each ``[[table]]`` entry of a TOML file as ``parse(entry, place)`` makes it, by id.

    Raises :class:`LedgerError` for an id that is listed twice.
    """
    found: dict[str, Entry] = {}
    for place, entry in read_entries(path, table):
        parsed = parse(entry, place)
        if entry["id"] in found:
            raise LedgerError(f"{place}: this id is listed twice")
        found[entry["id"]] = parsed
    return found


def load_tolerances(path: Path = DEFAULT_PATH) -> dict[str, Tolerance]:
    """Return the ledger by id; :class:`LedgerError` for anything malformed or listed twice."""
    return entries_by_id(path, "tolerance", _parse)
