"""Rows of the specification held against the code's text; nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from parity.facts.bounds import bounds_of, choices_of
from parity.facts.flags import flags_of
from parity.facts.members import (
    Found,
    StaticField,
    entries_of,
    fields_of,
    resolves,
    value_of,
    written,
)
from parity.facts.static import Signature, functions, origin_of, written_signature
from parity.spec.records import Row, Spec
from parity.spec.values import REQUIRED, Allowed, parse_allowed

#: Packages of the backends, for what each of them has under one name.
WINGS = ("ptycho", "ptycho_torch")

_TYPE_NAMES = {"path": "Path"}
#: What comes of a cell that cannot be read, or that names what does not exist.
_UNREADABLE = (ValueError, LookupError, SyntaxError, ModuleNotFoundError, AttributeError)


class Untold(Exception):
    """The code computes what the row states: its text does not tell."""


@dataclass(frozen=True)
class Contradiction:
    """What the text ``says`` at ``spec``, and what was ``found`` in the code at ``code``."""

    record: str
    spec: str
    says: str
    code: str
    found: str

    def __str__(self) -> str:
        return f"{self.spec}: {self.record} says {self.says}; {self.code} has {self.found}"


def _against(row: Row, says: str, code: str, found: str) -> Contradiction:
    return Contradiction(row.id, row.place.path, says, code, found)


def _literal(text: str) -> object:
    """Return the value of a literal; ``Path('x')`` and names of constants stay text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _equal(a: str, b: str) -> bool:
    first, second = _literal(a), _literal(b)
    return type(first) is type(second) and first == second


# --------------------------------------------------------------------------- fields


def _field(row: Row) -> Iterator[Contradiction]:
    name = row.cells["Field"]
    fact = fields_of(row.target).get(name)
    if fact is None:
        yield _against(row, "it exists", row.target, "no such field")
        return
    code, default = fact.place.anchor, fact.default if fact.default is not None else REQUIRED
    if not _equal(row.cells["Default"], default):
        yield _against(row, f"default {row.cells['Default']}", code, f"default {default}")
    word = row.cells["Type"]
    if _TYPE_NAMES.get(word, word) not in fact.types:
        yield _against(row, f"type {word}", code, f"type {' or '.join(sorted(fact.types))}")
    allowed = parse_allowed(row.cells["Allowed"])
    if allowed.optional != fact.optional:
        says = "None is allowed" if allowed.optional else "None is not allowed"
        yield _against(row, says, code, fact.place.text)
    yield from _allowed(row, allowed, fact)


def _allowed(row: Row, allowed: Allowed, fact: StaticField) -> Iterator[Contradiction]:
    """Compare enumerations with ``Literal`` types or lists, intervals with the validators."""
    name, says = row.cells["Field"], f"allowed {row.cells['Allowed']}"
    home = _module_of(fact)
    listed = choices_of(home).get(name)
    if name == "N" and home == "ptycho.config.config":
        value, path = value_of(f"{home}:SUPPORTED_N")
        listed = ast.literal_eval(value), Found(ast.unparse(value), path, value.lineno)
    choices, place = listed or ((), fact.place)
    # ``int or 'auto'`` has a choice beside its numbers: no enumeration.
    if not choices and len(fact.types - {"None"}) == 1:
        choices = fact.choices
    if choices:
        enumerated = bool(allowed.choices) or row.cells["Type"] == "str"
        if enumerated and set(allowed.choices) != set(choices):
            yield _against(row, says, place.anchor, f"{choices}")
        return
    bound = bounds_of(home).get(name)
    if bound is None:
        return
    found, place = bound
    given = (allowed.low, allowed.high, allowed.low_open, allowed.high_open)
    wanted = (found.low, found.high, found.low_open, found.high_open)
    if allowed.interval and given != wanted:
        yield _against(row, says, place.anchor, place.text)


def _module_of(fact: StaticField) -> str:
    return fact.place.anchor.rpartition(":")[0].removesuffix(".py").replace("/", ".")


# --------------------------------------------------------------------------- dictionaries, values


def _entry(row: Row, column: str) -> Iterator[Contradiction]:
    """Compare a row with an entry of the dictionary that the table describes."""
    name, says = next(iter(row.cells.values())), row.cells[column]
    entries, complete = entries_of(row.target)
    found = entries.get(name)
    if found is None and not complete:
        raise Untold
    if found is None:
        yield _against(row, f"{name} exists", row.target, "no such entry")
    elif found.text != says:
        yield _against(row, repr(says), found.anchor, repr(found.text))


def _constant(row: Row) -> Iterator[Contradiction]:
    value, path = value_of(row.cells["Where"])
    if not _equal(row.cells["Value"], ast.unparse(value)):
        place = Found("", path, value.lineno)
        yield _against(row, row.cells["Value"], place.anchor, ast.unparse(value))


# --------------------------------------------------------------------------- functions and flags


def _signature_in(module: str, name: str) -> Signature | None:
    found = functions(module).get(name)
    if found is None:
        origin = origin_of(module, name)
        found = functions(origin).get(name) if origin else None
    return found


def _signature(row: Row) -> Iterator[Contradiction]:
    name, cell = row.cells["Function"], row.cells["Parameters"]
    wanted = written_signature(cell)
    modules = [row.target]
    if not row.target.startswith("ptycho"):
        modules = [f"{wing}.{row.target}" for wing in WINGS]
    for module in modules:
        found = _signature_in(module, name)
        if found is None:
            yield _against(row, f"{name} exists", module, "no such function")
        elif found.parameters != wanted:
            code = Found("", found.path, found.line).anchor
            yield _against(row, f"{name}({cell})", code, f"{name}({found})")


def _flag(row: Row) -> Iterator[Contradiction]:
    name = row.cells["Flag"].removeprefix("--").replace("-", "_")
    found = flags_of(row.target).get(name)
    if found is None:
        yield _against(row, f"--{name} exists", row.target, "no such flag")
        return
    word = row.cells["Type"]
    if _TYPE_NAMES.get(word, word) not in found.types:
        kinds = " or ".join(sorted(found.types))
        yield _against(row, f"type {word}", found.place.anchor, f"type {kinds}")
    if not _equal(row.cells["Default"], found.default):
        says = f"default {row.cells['Default']}"
        yield _against(row, says, found.place.anchor, f"default {found.default}")


# --------------------------------------------------------------------------- names written out


def _member(row: Row) -> Iterator[Contradiction]:
    """The file of an archive member is written out somewhere in the packages."""
    name = row.cells["Member"].rpartition("/")[2]
    if not any(written(wing, name) for wing in WINGS):
        yield _against(row, f"member {name}", "ptycho, ptycho_torch", "no such name")


def _npz_key(row: Row) -> Iterator[Contradiction]:
    key = row.cells["Key"]
    if not written("ptycho", key) and key not in fields_of("ptycho.raw_data:RawData"):
        yield _against(row, f"key {key}", "ptycho", "no such key")


def _place(row: Row) -> Iterator[Contradiction]:
    """The function at which a stage is entered, or a value recorded, exists in each backend."""
    places = [part.strip() for part in row.cells["Where"].split("/")]
    shared = [place for place in places if place.startswith("ptycho")]
    own = [place for place in places if place not in shared]
    # Two are one for each backend, one is that of both.
    each = zip(WINGS, own * len(WINGS), strict=False)
    symbols = shared + [f"{wing}.{place}" for wing, place in each]
    for symbol in symbols:
        if not resolves(symbol):
            yield _against(row, f"at {row.cells['Where']}", symbol, "no such symbol")


_KINDS: dict[str, Callable[[Row], Iterator[Contradiction]]] = {
    "fields": _field,
    "keys": lambda row: _entry(row, "Legacy key"),
    "measures": lambda row: _entry(row, "Unit"),
    "constants": _constant,
    "signatures": _signature,
    "flags": _flag,
    "members": _member,
    "npz": _npz_key,
    "stages": _place,
    "taps": _place,
}


def judge_row(row: Row) -> list[Contradiction] | None:
    """Return what contradicts a row, or ``None`` where the code's text alone does not tell."""
    judge = _KINDS.get(row.kind)
    if judge is None:
        return None
    try:
        return list(judge(row))
    except Untold:
        return None
    except _UNREADABLE as error:
        return [_against(row, row.text, row.target or row.table, f"nothing to compare: {error}")]


# --------------------------------------------------------------------------- the reverse


def _described(rows: Iterable[Row]) -> dict[tuple[str, str, str], set[str]]:
    tables: dict[tuple[str, str, str], set[str]] = {}
    for row in rows:
        if row.kind in ("fields", "keys", "measures"):
            names = tables.setdefault((row.table, row.kind, row.target), set())
            names.add(next(iter(row.cells.values())))
    return tables


def _unsaid(record: str, place: Found) -> Contradiction:
    return Contradiction(record, "the specification", "nothing", place.anchor, place.text)


def undescribed(spec: Spec, tables: Iterable[tuple[str, str, str]] = ()) -> list[Contradiction]:
    """Return what the code has and no row describes: fields, keys, measures, options of commands.

    ``tables`` (name, kind, target) are looked for even where ``spec`` has no row of them.
    """
    found = []
    known = _described(spec.rows)
    for described in tables:
        known.setdefault(described, set())
    for (table, kind, target), names in known.items():
        places: dict[str, Found]
        try:
            if kind == "fields":
                places = {name: fact.place for name, fact in fields_of(target).items()}
            else:
                places = entries_of(target)[0]
        except _UNREADABLE:
            continue
        found += [
            _unsaid(f"{table}/{name}", place) for name, place in places.items() if name not in names
        ]
    return found + _undescribed_flags(spec)


def _undescribed_flags(spec: Spec) -> list[Contradiction]:
    rows = [row for row in spec.rows if row.kind == "flags"]
    found: list[Contradiction] = []
    for target in {row.target: None for row in rows}:
        those = [row for row in rows if row.target == target]
        names = {row.cells["Flag"].removeprefix("--").replace("-", "_") for row in those}
        try:
            known = flags_of(target)
        except _UNREADABLE:
            continue
        found += [
            _unsaid(f"{those[0].table}/--{name}", flag.place)
            for name, flag in known.items()
            if name not in names and not flag.configuration
        ]
    return found
