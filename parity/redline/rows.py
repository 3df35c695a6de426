"""Classifies the changes of one row of a table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from parity.facts.static import Parameter, written_signature
from parity.redline.changes import Change, Pair, change
from parity.redline.words import only_slips
from parity.spec.records import Row
from parity.spec.values import REQUIRED, Allowed, parse_allowed

#: What the rules of a kind of table begin with.
_PREFIX = {
    "fields": "field",
    "flags": "flag",
    "keys": "key",
    "shapes": "shape",
    "members": "member",
    "signatures": "function",
    "errors": "error",
    "npz": "npz",
    "stages": "stage",
    "constants": "constant",
    "measures": "measure",
    "layers": "layer",
    "decisions": "decision",
}

#: Kinds whose rules tell a removal from one table and an addition to another from a move.
_MOVED = {"fields": "field-moved", "flags": "flag-moved"}

#: Cells that need no more than "it differs": kind -> column -> rule.
_PLAIN: dict[str, dict[str, str]] = {
    "flags": {"Type": "flag-type-changed", "Default": "flag-default-changed"},
    "keys": {"Legacy key": "key-changed"},
    "shapes": {"Dtype": "shape-dtype-changed"},
    "members": {"Kind": "member-kind-changed"},
    "errors": {"Error": "error-type-changed", "Phrase": "error-phrase-changed"},
    "npz": {"Shape": "npz-shape-changed", "Dtype": "npz-dtype-changed"},
    "stages": {"Taps": "stage-taps-changed", "Where": "stage-place-changed"},
    "constants": {"Value": "constant-changed", "Where": "constant-place-changed"},
    "measures": {"Unit": "measure-unit-changed"},
    "decisions": {"Decision": "decision-changed", "Why": "decision-changed"},
}

#: Rules for the cells that describe.
_MEANING = {
    "fields": "field-meaning-changed",
    "flags": "flag-meaning-changed",
    "shapes": "shape-meaning-changed",
    "members": "member-content-changed",
    "npz": "npz-meaning-changed",
    "measures": "measure-meaning-changed",
}

#: Columns in which a spelling mistake changes nothing.
_PROSE = {"Meaning", "Content", "Why", "Decision", "Taps"}


def _cells(row: Row) -> dict[str, str]:
    return {column: " ".join(value.split()) for column, value in row.cells.items()}


def row_changes(pair: Pair, known: Mapping[str, int]) -> Iterator[Change]:
    """Yield the changes of a row; ``known`` counts the words written elsewhere."""
    old, new = pair.old, pair.new
    row = pair.record
    assert isinstance(row, Row)
    prefix = _PREFIX.get(row.kind, "row")
    if old is None:
        yield change(f"{prefix}-added{_required(row)}", pair, "", row.text)
    elif new is None:
        yield change(f"{prefix}-removed", pair, row.text, "")
    elif isinstance(old, Row) and isinstance(new, Row):
        yield from _both(pair, old, new, known)


def _required(row: Row) -> str:
    needed = {"fields": ("Default", REQUIRED), "members": ("Required", "both")}
    column, value = needed.get(row.kind, ("Required", "yes"))
    if row.kind not in ("fields", "members", "npz"):
        return ""
    return "-required" if row.cells.get(column) == value else ""


def _both(pair: Pair, old: Row, new: Row, known: Mapping[str, int]) -> Iterator[Change]:
    a, b = _cells(old), _cells(new)
    first, second = next(iter(a.values())), next(iter(b.values()))
    if first != second:
        prefix = _PREFIX.get(new.kind, "row")
        rule = "decision-changed" if prefix == "decision" else f"{prefix}-renamed"
        if not only_slips(first, second, known) or new.kind != "decisions":
            yield change(rule, pair, first, second)
    if old.table != new.table:
        yield change(_MOVED.get(new.kind, "row-moved"), pair, old.table, new.table)
    elif (old.place.file, old.place.section) != (new.place.file, new.place.section):
        here, there = (f"{r.place.file} §{r.place.section}" for r in (old, new))
        yield change("row-moved", pair, here, there)
    if old.table == new.table and old.target != new.target:
        yield change("table-target-changed", pair, old.target, new.target)
    judge = _JUDGES.get(new.kind)
    handled = set(judge[1]) if judge else set()
    if judge and any(a.get(column) != b.get(column) for column in handled):
        yield from judge[0](pair, a, b)
    yield from _others(pair, new.kind, handled, known)


def _others(pair: Pair, kind: str, handled: set[str], known: Mapping[str, int]) -> Iterator[Change]:
    """Compare the cells for which "it differs" is all there is to say."""
    assert isinstance(pair.old, Row)
    assert isinstance(pair.new, Row)
    a, b = _cells(pair.old), _cells(pair.new)
    for column in list(b)[1:] + [column for column in a if column not in b]:
        before, after = a.get(column, ""), b.get(column, "")
        if column in handled or before == after:
            continue
        describes = column in _PROSE or (kind == "flags" and column == "Field")
        if describes and only_slips(before, after, known):
            continue
        rule = _PLAIN.get(kind, {}).get(column) or _MEANING.get(kind, "row-changed")
        yield change(rule, pair, before, after)


# --------------------------------------------------------------------------- fields

Cells = Mapping[str, str]


def _field(pair: Pair, a: Cells, b: Cells) -> Iterator[Change]:
    if a["Type"] != b["Type"]:
        widened = (a["Type"], b["Type"]) == ("int", "float")
        rule = "field-type-widened" if widened else "field-type-changed"
        yield change(rule, pair, a["Type"], b["Type"])
    if a["Default"] != b["Default"]:
        rule = "field-default-changed"
        if b["Default"] == REQUIRED:
            rule = "field-became-required"
        elif a["Default"] == REQUIRED:
            rule = "field-became-optional"
        yield change(rule, pair, a["Default"], b["Default"])
    if a["Allowed"] != b["Allowed"]:
        yield from _allowed(pair, a["Allowed"], b["Allowed"])


def _parsed(cell: str) -> Allowed | None:
    try:
        return parse_allowed(cell)
    except (ValueError, SyntaxError):
        return None


def _allowed(pair: Pair, before: str, after: str) -> Iterator[Change]:
    old, new = _parsed(before), _parsed(after)
    if old is None or new is None:
        yield change("field-allowed-changed", pair, before, after)
        return
    if old.optional != new.optional:
        rule = "field-none-allowed" if new.optional else "field-none-refused"
        yield change(rule, pair, before, after)
    if bool(old.choices) != bool(new.choices) or old.interval != new.interval:
        yield change("field-allowed-changed", pair, before, after)
    elif old.choices:
        gone = [c for c in old.choices if not new.accepts(c)]
        come = [c for c in new.choices if not old.accepts(c)]
        if gone or come:
            word = "changed" if gone and come else "narrowed" if gone else "widened"
            yield change(f"field-enum-{word}", pair, before, after)
    elif old.interval:
        word = interval_change(old, new)
        if word:
            yield change(f"field-range-{word}", pair, before, after)


def interval_change(old: Allowed, new: Allowed) -> str:
    """Return ``narrowed``, ``widened``, ``moved`` or nothing, for two intervals."""
    # An open end lies further inside than a closed one at the same number.
    ends = [
        ((new.low, new.low_open), (old.low, old.low_open)),
        ((-new.high, new.high_open), (-old.high, old.high_open)),
    ]
    inward = any(a > b for a, b in ends)
    outward = any(a < b for a, b in ends)
    return "moved" if inward and outward else "narrowed" if inward else "widened" if outward else ""


# --------------------------------------------------------------------------- other kinds


def _axes(cell: str) -> list[str]:
    return [part.strip() for part in cell.strip("()").split(",") if part.strip()]


def _shape(pair: Pair, a: Cells, b: Cells) -> Iterator[Change]:
    before, after = _axes(a["Shape"]), _axes(b["Shape"])
    if before != after:
        rule = "shape-changed" if len(before) == len(after) else "shape-rank-changed"
        yield change(rule, pair, a["Shape"], b["Shape"])


def _member(pair: Pair, a: Cells, b: Cells) -> Iterator[Change]:
    # One backend's name for the other's: archives of both kinds change.
    raised = b["Required"] == "both"
    rule = "member-required-raised" if raised else "member-required-lowered"
    yield change(rule, pair, a["Required"], b["Required"])


def _npz(pair: Pair, a: Cells, b: Cells) -> Iterator[Change]:
    rule = "npz-became-required" if b["Required"] == "yes" else "npz-became-optional"
    yield change(rule, pair, a["Required"], b["Required"])


def _measure(pair: Pair, a: Cells, b: Cells) -> Iterator[Change]:
    old, new = _parsed(a["Range"]), _parsed(b["Range"])
    narrowed = old is not None and new is not None and _within(new, old)
    rule = "measure-range-narrowed" if narrowed else "measure-range-widened"
    yield change(rule, pair, a["Range"], b["Range"])


def _within(new: Allowed, old: Allowed) -> bool:
    """Tell whether every value that ``new`` allows was allowed before."""
    if new.optional and not old.optional:
        return False
    if new.choices:
        return all(old.accepts(choice) for choice in new.choices)
    return not old.choices and interval_change(old, new) in ("", "narrowed")


def _layer(pair: Pair, a: Cells, b: Cells) -> Iterator[Change]:
    before, after = (list(cells.values())[1] for cells in (a, b))
    if _axes(before) != _axes(after):
        yield change("layer-shape-changed", pair, before, after)


def _signature(pair: Pair, a: Cells, b: Cells) -> Iterator[Change]:
    try:
        old, new = (written_signature(cells["Parameters"]) for cells in (a, b))
    except ValueError:
        yield change("row-changed", pair, a["Parameters"], b["Parameters"])
        return
    yield from _parameters(pair, {p.name: p for p in old}, {p.name: p for p in new})


def _parameters(
    pair: Pair, old: Mapping[str, Parameter], new: Mapping[str, Parameter]
) -> Iterator[Change]:
    gone = [name for name in old if name not in new]
    come = [name for name in new if name not in old]
    places_old, places_new = list(old), list(new)
    for name in list(gone):
        # Another name at the same place with the same default is the same parameter.
        at = places_old.index(name)
        other = places_new[at] if at < len(places_new) else ""
        if other in come and len(old) == len(new) and old[name].default == new[other].default:
            gone.remove(name)
            come.remove(other)
            yield change("parameter-renamed", pair, name, other)
    for name in gone:
        yield change("parameter-removed", pair, name, "")
    for name in come:
        last = places_new.index(name) >= len(places_new) - len(come)
        optional = new[name].default is not None
        rule = "parameter-added" if optional and last else "parameter-added-required"
        if optional and not last:
            rule = "parameter-moved"
        yield change(rule, pair, "", name)
    for name, parameter in new.items():
        if name in old and old[name].default != parameter.default:
            yield _default(pair, old[name], parameter)
        if name in old and old[name].kind != parameter.kind:
            passed = (f"{p.kind}{name}" for p in (old[name], parameter))
            yield change("parameter-kind-changed", pair, *passed)
    common = [name for name in places_old if name in new]
    if common != [name for name in places_new if name in old]:
        yield change("parameter-moved", pair, ", ".join(places_old), ", ".join(places_new))


def _default(pair: Pair, old: Parameter, new: Parameter) -> Change:
    if new.default is None:
        return change("parameter-became-required", pair, f"{old.name}={old.default}", new.name)
    if old.default is None:
        return change("parameter-became-optional", pair, old.name, f"{new.name}={new.default}")
    before, after = f"{old.name}={old.default}", f"{new.name}={new.default}"
    return change("parameter-default-changed", pair, before, after)


_Judge = Callable[[Pair, Cells, Cells], Iterator[Change]]

#: Kinds with more to say than "it differs", and the columns that this is about.
_JUDGES: dict[str, tuple[_Judge, tuple[str, ...]]] = {
    "fields": (_field, ("Type", "Default", "Allowed")),
    "shapes": (_shape, ("Shape",)),
    "members": (_member, ("Required",)),
    "npz": (_npz, ("Required",)),
    "measures": (_measure, ("Range",)),
    "signatures": (_signature, ("Parameters",)),
    "layers": (_layer, ("Shape", "Shape (N=64, gridsize 1, n=1)")),
}
