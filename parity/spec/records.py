"""Records read from the specification."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

#: RFC 2119 words, strongest first; longer phrases before the words they begin with.
LEVELS = ("MUST NOT", "SHALL NOT", "MUST", "SHALL", "SHOULD NOT", "SHOULD", "MAY")

#: Table kinds and the columns that their tables begin with.
TABLE_COLUMNS: dict[str, tuple[str, ...]] = {
    "fields": ("Field", "Type", "Default", "Allowed"),
    "flags": ("Flag", "Type", "Default", "Field"),
    "keys": ("Field", "Legacy key"),
    "shapes": ("Name", "Shape", "Dtype"),
    "members": ("Member", "Kind", "Required"),
    "signatures": ("Function", "Parameters"),
    "errors": ("Situation", "Error", "Phrase"),
    "npz": ("Key", "Shape", "Dtype", "Required"),
    "stages": ("Stage", "Taps"),
    "chains": ("Scenario", "Stages"),
    "taps": ("Tap", "Shape", "Unit"),
    "constants": ("Name", "Value"),
    "measures": ("Measure", "Unit", "Range"),
    "layers": ("Layer",),
    "decisions": ("Topic", "Decision"),
}

#: Row kinds that state facts to check; the others are for readers.
INFORMATIVE_KINDS = frozenset({"decisions"})


def text_hash(text: str) -> str:
    """Return the first 12 hex digits of the SHA-256 of ``text`` without layout.

    White space, back-ticks and emphasis do not count, so that reflowing a sentence keeps it.
    """
    plain = re.sub(r"[`*_]", "", text)
    return hashlib.sha256(" ".join(plain.split()).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Place:
    """Where a record stands: file name, first and last line (from 1), section number."""

    file: str
    line: int
    last_line: int
    section: str

    @property
    def path(self) -> str:
        """``specs/file:line``."""
        return f"specs/{self.file}:{self.line}"


@dataclass(frozen=True)
class Clause:
    """One requirement in prose."""

    id: str
    level: str
    text: str
    place: Place

    @property
    def hash(self) -> str:
        """Hash of the text; a check bound to another one is suspect."""
        return text_hash(self.text)


@dataclass(frozen=True)
class Row:
    """One row of a named table; ``cells`` maps column to text without back-ticks."""

    table: str
    kind: str
    target: str
    cells: dict[str, str] = field(hash=False)
    place: Place

    @property
    def id(self) -> str:
        """``table/first cell``."""
        return f"{self.table}/{next(iter(self.cells.values()))}"

    @property
    def text(self) -> str:
        """The row as one line."""
        return " | ".join(self.cells.values())

    @property
    def hash(self) -> str:
        """Hash of the row's text."""
        return text_hash(self.text)


@dataclass(frozen=True)
class Finding:
    """Normative text that cannot be used as it stands."""

    place: Place
    message: str

    def __str__(self) -> str:
        return f"{self.place.path}: {self.message}"


@dataclass(frozen=True)
class Spec:
    """Everything read from one or more specification files."""

    clauses: tuple[Clause, ...]
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    versions: dict[str, str] = field(hash=False)

    def of_table(self, name: str) -> tuple[Row, ...]:
        """Return the rows of one table."""
        return tuple(row for row in self.rows if row.table == name)

    def ids(self) -> list[str]:
        """Return the ids of all clauses and checked rows, in order."""
        checked = [row.id for row in self.rows if row.kind not in INFORMATIVE_KINDS]
        return [clause.id for clause in self.clauses] + checked
