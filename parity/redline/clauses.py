"""Classifies the changes of one clause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher

from parity.redline.changes import Change, Pair, change
from parity.redline.match import similarity
from parity.redline.rules import READERS
from parity.redline.words import only_slips, subject_of, values_of
from parity.spec.records import Clause

#: How much a backend is bound; negative where something is forbidden.
_STRENGTH = {
    "MUST": 3,
    "SHALL": 3,
    "SHOULD": 2,
    "MAY": 1,
    "SHOULD NOT": -2,
    "MUST NOT": -3,
    "SHALL NOT": -3,
}
_WORD = {3: "must", 2: "should", 1: "may"}
#: Texts less alike than this are two requirements under one id.
_ANOTHER = 0.3
#: Sections about what is in an archive.
_ARCHIVE = "4.6"


def _audience(clause: Clause) -> str:
    section = clause.place.section
    return READERS if section == _ARCHIVE or section.startswith(f"{_ARCHIVE}.") else ""


def clause_changes(pair: Pair, known: Mapping[str, int]) -> Iterator[Change]:
    """Yield the changes of a clause; ``known`` counts the words written elsewhere."""
    old, new = pair.old, pair.new
    if new is None:
        assert isinstance(old, Clause)
        rule = f"clause-removed-{_WORD[abs(_STRENGTH[old.level])]}"
        yield change(rule, pair, old.text, "", _audience(old) if rule.endswith("must") else "")
        return
    assert isinstance(new, Clause)
    if old is None:
        yield change(f"clause-added-{_WORD[abs(_STRENGTH[new.level])]}", pair, "", new.text)
        return
    assert isinstance(old, Clause)
    yield from _both(pair, old, new, known)


def _both(pair: Pair, old: Clause, new: Clause, known: Mapping[str, int]) -> Iterator[Change]:
    if old.id != new.id:
        yield change("clause-renamed", pair, old.id, new.id)
    a, b = ((c.place.file, c.place.section) for c in (old, new))
    if a != b:
        yield change("clause-moved", pair, " §".join(a), " §".join(b))
    if only_slips(old.text, new.text, known):
        return
    if similarity(old.text, new.text) < _ANOTHER:
        yield change("clause-replaced", pair, old.text, new.text, _audience(new))
        return
    yield from _level(pair, old, new)
    yield from _values(pair, old, new, known)


def _level(pair: Pair, old: Clause, new: Clause) -> Iterator[Change]:
    before, after = _STRENGTH[old.level], _STRENGTH[new.level]
    if before == after:
        return
    if before * after < 0:
        rule = "clause-level-reversed"
    else:
        rule = f"clause-level-{'raised' if abs(after) > abs(before) else 'lowered'}"
    audience = _audience(new) if rule != "clause-level-raised" else ""
    yield change(rule, pair, old.level, new.level, audience)


def _differing(old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, str]:
    """Return the values of each side that the other lacks; all where only the order differs."""
    gone, come = Counter(old) - Counter(new), Counter(new) - Counter(old)
    if not gone and not come:
        return ", ".join(old), ", ".join(new)
    return ", ".join(gone.elements()), ", ".join(come.elements())


def _values(pair: Pair, old: Clause, new: Clause, known: Mapping[str, int]) -> Iterator[Change]:
    a, b = values_of(old.text), values_of(new.text)
    found = False
    for kind, rule in (
        ("errors", "clause-error-changed"),
        ("flags", "clause-flag-changed"),
        ("files", "clause-member-changed"),
        ("values", "clause-value-changed"),
        ("symbols", "clause-symbol-changed"),
    ):
        before, after = getattr(a, kind), getattr(b, kind)
        if before != after:
            found = True
            audience = _audience(new) if rule == "clause-value-changed" else ""
            yield change(rule, pair, *_differing(before, after), audience)
    if only_slips(a.rest, b.rest, known) or (found and _same_words(a.rest, b.rest)):
        return
    if subject_of(old.text) != subject_of(new.text) and _predicate(old) == _predicate(new):
        yield change("clause-subject-changed", pair, subject_of(old.text), subject_of(new.text))
    else:
        yield change("clause-text-changed", pair, *_excerpts(old.text, new.text))


def _predicate(clause: Clause) -> str:
    return clause.text.partition(clause.level)[2]


def _same_words(a: str, b: str) -> bool:
    return [w for w in a.split() if w != "¤"] == [w for w in b.split() if w != "¤"]


def _excerpts(old: str, new: str) -> tuple[str, str]:
    """Return the stretch of words that differs on each side."""
    a, b = old.split(), new.split()
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
    changed = [block for block in blocks if block[0] != "equal"]
    first, last = changed[0], changed[-1]
    return " ".join(a[first[1] : last[2]]), " ".join(b[first[3] : last[4]])
