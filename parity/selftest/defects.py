"""The seeded defects, ``defects_*.toml``: edits of the tree, and what has to turn red.

An entry is data alone: the text that is replaced in a file (or the file that is taken away or
added), the gate that is run on the damaged tree, and the verdicts that it has to give.
"""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["GATES", "KINDS", "Defect", "DefectError", "Edit", "load_defects", "load_witnesses"]

FOLDER = Path(__file__).parent

#: What is damaged.
KINDS = ("code", "spec", "golden", "ledger", "archive", "harness")

#: How the damaged tree is judged: the fast tier with ledgers and specification, chosen checks in
#: both backends, or the golden call chains.
GATES = ("fast", "checks", "chains")

_FIELDS = {"id", "what", "kind", "gate", "clause", "red", "edits"}
_OPTIONAL = {"further", "says", "peer", "exit_code"}


class DefectError(ValueError):
    """The list of defects says something it may not say, or no longer fits the tree."""


@dataclass(frozen=True)
class Edit:
    """One change of one file: ``find`` becomes ``replace``.

    ``find`` has to be there exactly once. An empty ``find`` adds the file, or with ``append``
    the text at its end; ``remove`` takes the file away.
    """

    file: str
    find: str = ""
    replace: str = ""
    remove: bool = False
    append: bool = False

    def applied(self, text: str | None) -> str | None:
        """Return the file's new text, None for no file; :class:`DefectError` if it fits no more."""
        if self.remove or self.append or self.find:
            if text is None:
                raise DefectError(f"{self.file} is not there")
        elif text is not None:
            raise DefectError(f"{self.file} is there already")
        if self.remove:
            return None
        if self.append:
            return f"{text}{self.replace}"
        if not self.find:
            return self.replace
        number = str(text).count(self.find)
        if number != 1:
            raise DefectError(f"{self.file} has {self.find!r} {number} times, not once")
        return str(text).replace(self.find, self.replace)


@dataclass(frozen=True)
class Defect:
    """One defect and its demands.

    ``red`` maps each check that has to turn red to the subjects for which it has to;
    ``clause`` is a clause or row of the specification that has to be red with it (empty where the
    defect is in what stands beside the clauses). ``further`` are patterns of checks that may turn
    red as well, for the same subjects, because they look at the same thing. ``says`` has to be in
    a finding. ``peer`` says which check that could not fail, known from another project, this one
    is.
    """

    id: str
    what: str
    kind: str
    gate: str
    clause: str
    red: Mapping[str, tuple[str, ...]]
    edits: tuple[Edit, ...]
    further: tuple[str, ...] = ()
    says: str = ""
    peer: str = ""
    exit_code: int = 1

    @property
    def where(self) -> str:
        """The files that are damaged."""
        return ", ".join(dict.fromkeys(edit.file for edit in self.edits))

    def allows(self, check: str) -> bool:
        """Tell whether ``check`` may be red under this defect."""
        return check in self.red or any(fnmatch.fnmatchcase(check, p) for p in self.further)


def _edit(place: str, given: Mapping[str, Any]) -> Edit:
    try:
        edit = Edit(**given)
    except TypeError as error:
        raise DefectError(f"{place}: {error}") from error
    if not edit.remove and edit.find == edit.replace:
        raise DefectError(f"{place}: the edit of {edit.file} changes nothing")
    return edit


def _defect(place: str, entry: dict[str, Any]) -> Defect:
    missing = sorted(_FIELDS - set(entry))
    unknown = sorted(set(entry) - _FIELDS - _OPTIONAL)
    if missing or unknown:
        raise DefectError(
            f"{place}: missing {missing or 'nothing'}, unknown {unknown or 'nothing'}"
        )
    for key, allowed in (("kind", KINDS), ("gate", GATES)):
        if entry[key] not in allowed:
            raise DefectError(f"{place}: {key} is {entry[key]!r}; allowed: {', '.join(allowed)}")
    if not entry["edits"] or not (entry["red"] or entry.get("exit_code", 1) != 1):
        raise DefectError(f"{place}: nothing is damaged, or nothing has to turn red")
    red = {check: tuple(subjects) for check, subjects in entry.pop("red").items()}
    edits = tuple(_edit(place, given) for given in entry.pop("edits"))
    further = tuple(entry.pop("further", ()))
    return Defect(red=red, edits=edits, further=further, **entry)


def load_defects(folder: Path = FOLDER) -> list[Defect]:
    """Return all defects; :class:`DefectError` for anything malformed or listed twice."""
    defects: dict[str, Defect] = {}
    for path in sorted(folder.glob("defects_*.toml")):
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        if set(entries) != {"defect"}:
            raise DefectError(f"{path.name}: expected [[defect]] entries alone")
        for number, entry in enumerate(entries["defect"], start=1):
            place = f"{path.name}, entry {number} ({entry.get('id', 'without id')})"
            defect = _defect(place, entry)
            if defect.id in defects:
                raise DefectError(f"{place}: this id is listed twice")
            defects[defect.id] = defect
    return list(defects.values())


def load_witnesses(folder: Path = FOLDER) -> list[str]:
    """Return the checks that are run beside those of every defect, to see that they stay green."""
    content = tomllib.loads((folder / "witnesses.toml").read_text(encoding="utf-8"))
    checks: list[str] = content["checks"]
    return checks


def chosen(defects: Iterable[Defect], ids: Iterable[str] | None) -> list[Defect]:
    """Return the defects of these ids, kinds or patterns; ``KeyError`` for one without any."""
    defects = list(defects)
    if ids is None:
        return defects
    found: dict[str, Defect] = {}
    for id in ids:
        of = [d for d in defects if d.kind == id or fnmatch.fnmatchcase(d.id, id)]
        if not of:
            raise KeyError(f"no seeded defect is called {id!r}; parity selftest --list shows them")
        found |= {defect.id: defect for defect in of}
    return list(found.values())
