"""Finds for every clause and row of one text its like in the other.

Same id, else same title (of a clause the words before its level, of a row its name), else same
text, else the most similar one; what is left was added or removed. Each step takes only what is
unambiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from difflib import SequenceMatcher

from parity.redline.changes import Pair, Record
from parity.redline.words import plain, subject_of
from parity.spec.records import Clause, Row, Spec

#: Least similarity of texts whose ids differ.
_ALIKE = 0.8
#: Least similarity of texts behind one title.
_TITLED = 0.5
#: Least similarity of names whose rows are equal otherwise and describe nothing.
_NAMED = 0.6
#: A shorter subject ("Training") is no title.
_TITLE_WORDS = 4


def similarity(a: str, b: str) -> float:
    """Return how alike two texts are, 0 to 1, layout aside."""
    first, second = plain(a).split(), plain(b).split()
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


_Key = Callable[[Record], Hashable | None]
_Agree = Callable[[Record, Record], bool]


def _kind(record: Record) -> str:
    return record.kind if isinstance(record, Row) else "clause"


def _title(record: Record) -> Hashable | None:
    if isinstance(record, Row):
        return record.kind, next(iter(record.cells.values()))
    subject = subject_of(record.text)
    return ("clause", subject) if len(subject.split()) >= _TITLE_WORDS else None


def _text(record: Record) -> Hashable | None:
    if isinstance(record, Clause):
        return "clause", plain(record.text)
    rest = tuple(list(record.cells.values())[1:])
    return (record.table, rest) if any(rest) else None


def _same_title(old: Record, new: Record) -> bool:
    return isinstance(old, Row) or similarity(old.text, new.text) >= _TITLED


def _same_text(old: Record, new: Record) -> bool:
    """Rows that are equal but for the name are one if something tells them from other rows."""
    if isinstance(old, Clause) or isinstance(new, Clause):
        return True
    names = next(iter(old.cells.values())), next(iter(new.cells.values()))
    described = len(old.cells) > 2 and bool(list(old.cells.values())[-1])
    return described or SequenceMatcher(None, *names).ratio() >= _NAMED


def _unique(
    records: Iterable[Record], key: Callable[[Record], Hashable | None]
) -> dict[Hashable, Record]:
    found: dict[Hashable, list[Record]] = {}
    for record in records:
        value = key(record)
        if value is not None:
            found.setdefault(value, []).append(record)
    return {value: those[0] for value, those in found.items() if len(those) == 1}


def _by_similarity(old: list[Record], new: list[Record]) -> list[Pair]:
    scored = []
    for i, a in enumerate(old):
        for j, b in enumerate(new):
            if _kind(a) == "clause" == _kind(b):
                score = similarity(a.text, b.text)
                if score >= _ALIKE:
                    scored.append((-score, i, j))
    pairs, used_old, used_new = [], set(), set()
    for _, i, j in sorted(scored):
        if i not in used_old and j not in used_new:
            used_old.add(i)
            used_new.add(j)
            pairs.append(Pair(old[i], new[j], "similarity"))
    return pairs


def _records(spec: Spec) -> list[Record]:
    """Return clauses and rows; of those with one id the first, as the reader's finding says."""
    records: list[Record] = [*spec.clauses, *spec.rows]
    first: dict[str, Record] = {}
    for record in records:
        first.setdefault(record.id, record)
    return list(first.values())


def match(old: Spec, new: Spec) -> list[Pair]:
    """Return the pairs of records in the order of the new text, then those that are gone."""
    before, after = _records(old), _records(new)
    order = {record.id: i for i, record in enumerate(after)}
    pairs: list[Pair] = []
    steps: tuple[tuple[str, _Key, _Agree], ...]
    steps = (
        ("id", lambda record: record.id, lambda a, b: True),
        ("title", _title, _same_title),
        ("text", _text, _same_text),
    )
    for how, key, agree in steps:
        left, right = _unique(before, key), _unique(after, key)
        found = [
            Pair(left[value], right[value], how)
            for value in left
            if value in right and agree(left[value], right[value])
        ]
        pairs += found
        before, after = _rest(before, after, found)
    found = _by_similarity(before, after)
    before, after = _rest(before, after, found)
    pairs += found
    pairs += [Pair(None, record, "none") for record in after]
    pairs.sort(key=lambda pair: order[pair.record.id])
    return pairs + [Pair(record, None, "none") for record in before]


def _rest(
    before: list[Record], after: list[Record], pairs: list[Pair]
) -> tuple[list[Record], list[Record]]:
    old = {id(pair.old) for pair in pairs}
    new = {id(pair.new) for pair in pairs}
    return [r for r in before if id(r) not in old], [r for r in after if id(r) not in new]
