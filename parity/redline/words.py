"""Clauses as words: what is layout, what is a slip of the pen, what is a value."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parity.spec.records import LEVELS

_LEVEL = re.compile(r"\b(" + "|".join(LEVELS) + r")\b")
_CODE = re.compile(r"`([^`]*)`")
_ERROR = re.compile(r"\b[A-Z]\w*Error\b")
_FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")
_FILE = re.compile(
    r"(?<![\w/])(?:[\w/]|\*(?=[./]))[\w/*-]*\.(?:h5|zip|dill|keras|ckpt|json)\b(?:\.zip)?"
)
_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_NUMBER = re.compile(r"(?<![\w.§])[-−]?\d+(?:\.\d+)*(?:[eE][-+]?\d+)?(?![\w])|[½¼¾²³]")
_WORD = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*")
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "\u00a0": " "})

#: Endings that change the meaning of a word, not its spelling.
_ENDINGS = ("s", "es", "d", "ed", "r", "er", "st", "est", "ly", "ing", "y", "less", "n")
#: Shorter words differ too little from others to be slips.
_SHORTEST = 5


def plain(text: str) -> str:
    """Return a text without layout: white space, back-ticks, emphasis, typographic quotes."""
    return " ".join(re.sub(r"[`*]", "", text.translate(_TYPOGRAPHY)).split()).rstrip(" .;")


def subject_of(text: str) -> str:
    """Return the words of a clause before its level."""
    return plain(_LEVEL.split(text)[0])


@dataclass(frozen=True)
class Values:
    """What a clause names: counted, since the order of two values matters less than the values."""

    errors: tuple[str, ...]
    flags: tuple[str, ...]
    files: tuple[str, ...]
    values: tuple[str, ...]
    symbols: tuple[str, ...]
    rest: str


def values_of(text: str) -> Values:
    """Take a clause apart; ``rest`` is what remains, the level left out."""
    text = " ".join(text.translate(_TYPOGRAPHY).split())
    found = []
    for pattern in (_ERROR, _FLAG, _FILE, _QUOTED):
        found.append(tuple(pattern.findall(text)))
        text = pattern.sub(" ¤ ", text)
    symbols = tuple(s for s in _CODE.findall(text) if s.strip(" ¤") and not _is_number(s))
    text = _CODE.sub(lambda m: m.group() if _is_number(m.group(1)) else " ¤ ", text)
    numbers = tuple(_NUMBER.findall(text))
    text = _LEVEL.sub(" ", _NUMBER.sub(" ¤ ", text))
    errors, flags, files, quoted = found
    return Values(errors, flags, files, quoted + numbers, symbols, plain(text))


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text) is not None


def vocabulary(texts: Iterable[str]) -> Counter[str]:
    """Count the words of texts."""
    return Counter(word.lower() for text in texts for word in _WORD.findall(text))


def _distance(a: str, b: str) -> int:
    """Return the number of letters left out, added, replaced or swapped between two words."""
    rows = [list(range(len(b) + 1))]
    for i, x in enumerate(a, start=1):
        row = [i]
        for j, y in enumerate(b, start=1):
            best = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                best = min(best, rows[-2][j - 2] + 1)
            row.append(best)
        rows.append(row)
    return rows[-1][-1]


def _inflected(a: str, b: str) -> bool:
    long, short = (a, b) if len(a) >= len(b) else (b, a)
    return long.startswith(short) and long[len(short) :] in _ENDINGS


def _slip(old: str, new: str, known: Mapping[str, int]) -> bool:
    """Tell whether one word is the other misspelt: only one of them is a word used elsewhere."""
    a, b = old.lower(), new.lower()
    if a == b:
        # Capitals of RFC 2119 words and of symbols mean something; that of a first letter does not.
        return len(a) > 1 and old[1:] == new[1:]
    if {a, b} == {"a", "an"}:
        return True
    if min(len(a), len(b)) < _SHORTEST or a[0] != b[0] or _inflected(a, b):
        return False
    if (known.get(a, 0) > 0) == (known.get(b, 0) > 0):
        return False
    return _distance(a, b) == 1


def only_slips(old: str, new: str, known: Mapping[str, int]) -> bool:
    """Tell whether two texts differ in layout and misspelt words alone.

    ``known`` counts the words of everything else that is written.
    """
    first, second = plain(old).split(), plain(new).split()
    if len(first) != len(second):
        return False
    for a, b in zip(first, second, strict=True):
        if a == b:
            continue
        x, y = a.strip(",.:;()"), b.strip(",.:;()")
        if a.replace(x, "¤") != b.replace(y, "¤"):
            return False
        if not (x and y and _WORD.fullmatch(x) and _WORD.fullmatch(y) and _slip(x, y, known)):
            return False
    return True
