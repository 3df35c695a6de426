"""Everything that changed between two texts of the specification."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache

from parity.redline.changes import Change, Pair, change
from parity.redline.clauses import clause_changes
from parity.redline.match import match
from parity.redline.rows import row_changes
from parity.redline.words import vocabulary
from parity.spec.parse import parse_texts
from parity.spec.records import Clause, Place, Row, Spec

Texts = Mapping[str, str]

_HEADING = re.compile(r"^#{1,6}\s+(\d+(?:\.\d+)*)\.?\s+(.+?)\s*#*$", re.MULTILINE)


def read(texts: Texts) -> Spec:
    """Parse texts."""
    return _read(tuple(texts.items()))


@lru_cache(maxsize=4)
def _read(texts: tuple[tuple[str, str], ...]) -> Spec:
    # A redline needs the records of the same texts at several steps; they are immutable.
    return parse_texts(dict(texts))


def classify(old: Texts, new: Texts, words: Iterable[str] = ()) -> list[Change]:
    """Return the changes from one set of texts (name -> markdown) to another.

    ``words`` are further texts whose words are known to be spelt right.
    """
    before, after = read(old), read(new)
    known = vocabulary([*old.values(), *new.values(), *words])
    changes: list[Change] = []
    for pair in match(before, after):
        if pair.old is not None and pair.new is not None and not _differ(pair):
            continue
        elsewhere = Counter(known)
        elsewhere.subtract(vocabulary(r.text for r in (pair.old, pair.new) if r))
        judge = clause_changes if isinstance(pair.record, Clause) else row_changes
        changes += judge(pair, elsewhere)
    changes += _stage_order(before, after)
    changes += _sections(old, new)
    changes += _versions(before, after)
    return changes


def _differ(pair: Pair) -> bool:
    assert pair.old is not None
    assert pair.new is not None
    if pair.old.id != pair.new.id or pair.old.text != pair.new.text:
        return True
    a, b = pair.old.place, pair.new.place
    target = getattr(pair.old, "target", "") != getattr(pair.new, "target", "")
    return target or (a.file, a.section) != (b.file, b.section)


def _stage_order(old: Spec, new: Spec) -> Iterator[Change]:
    """Yield one change where stages that both texts have stand in another order."""
    before = [row for row in old.rows if row.kind == "stages"]
    after = [row for row in new.rows if row.kind == "stages"]
    common = {row.id for row in before} & {row.id for row in after}
    first = [row for row in before if row.id in common]
    second = [row for row in after if row.id in common]
    for a, b in zip(first, second, strict=True):
        if a.id != b.id:
            pair = Pair(a, b, "order")
            names = (", ".join(r.cells["Stage"] for r in rows) for rows in (first, second))
            yield change("stage-moved", pair, *names)
            return


def _note(name: str, line: int, what: str) -> Row:
    """Return a record for what is neither clause nor row."""
    return Row(name, "text", "", {"What": what}, Place(name, line, line, ""))


def _headings(text: str) -> dict[str, list[tuple[str, int]]]:
    found: dict[str, list[tuple[str, int]]] = {}
    text = text.replace("\r\n", "\n")
    for heading in _HEADING.finditer(text):
        line = text[: heading.start()].count("\n") + 1
        found.setdefault(" ".join(heading.group(2).split()), []).append((heading.group(1), line))
    return found


def _sections(old: Texts, new: Texts) -> Iterator[Change]:
    for name in new:
        before, after = _headings(old.get(name, "")), _headings(new[name])
        for title, those in after.items():
            were = before.get(title, [])
            if len(those) == len(were) == 1 and those[0][0] != were[0][0]:
                pair = Pair(
                    _note(name, were[0][1], f"§{were[0][0]}"),
                    _note(name, those[0][1], f"§{those[0][0]}"),
                )
                yield change("section-renumbered", pair, were[0][0], those[0][0])


def version_key(version: str) -> tuple[int, ...]:
    """Return a version as numbers that compare."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _versions(old: Spec, new: Spec) -> Iterator[Change]:
    for name, version in new.versions.items():
        was = old.versions.get(name)
        if was is not None and version_key(was) != version_key(version):
            raised = version_key(version) > version_key(was)
            note = _note(name, 1, "version")
            rule = f"version-{'raised' if raised else 'lowered'}"
            yield change(rule, Pair(note, note), was, version)
