"""The texts section by section: what stood there and what stands there now."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

_HEADING = re.compile(r"^#{1,6}\s+(.+)$")
_REFERENCE = re.compile(r"§§?\s?\d+(?:\.\d+)*")

Block = tuple[str, list[str], list[str]]


@dataclass(frozen=True)
class Section:
    """One section in which lines differ: blocks of (tag, lines before, lines after)."""

    file: str
    title: str
    blocks: list[Block]

    @property
    def before(self) -> list[str]:
        """Lines that are gone."""
        return [line for tag, old, _ in self.blocks if tag != "equal" for line in old]

    @property
    def after(self) -> list[str]:
        """Lines that are new."""
        return [line for tag, _, new in self.blocks if tag != "equal" for line in new]

    @property
    def references(self) -> list[str]:
        """Sections that the new lines refer to."""
        return sorted(set(_REFERENCE.findall("\n".join(self.after))))


def _split(text: str) -> dict[str, list[str]]:
    title, found = "(beginning)", dict[str, list[str]]()
    for line in text.splitlines():
        heading = _HEADING.match(line)
        if heading:
            title = heading.group(1)
            while title in found:
                title += " "
        found.setdefault(title, []).append(line)
    return found


def changed_sections(old: Mapping[str, str], new: Mapping[str, str]) -> list[Section]:
    """Return the sections in which a line differs, in the order of the new text."""
    found = []
    for file in sorted({*old, *new}):
        before, after = _split(old.get(file, "")), _split(new.get(file, ""))
        for title in [*after, *(title for title in before if title not in after)]:
            a, b = before.get(title, []), after.get(title, [])
            if a != b:
                codes = SequenceMatcher(None, a, b, autojunk=False).get_opcodes()
                blocks: list[Block] = [(tag, a[i:j], b[k:m]) for tag, i, j, k, m in codes]
                found.append(Section(file, title.strip(), blocks))
    return found
