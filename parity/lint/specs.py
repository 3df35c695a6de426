"""Lint of the specification: numbering, ids, references, tables, anchors, words.

What the reader of the text itself refuses (sentences without an id, lower-case must and shall,
duplicate ids, tables without a name) is among the findings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from parity.facts.members import mentioned, resolves
from parity.facts.static import written_signature
from parity.spec.parse import parse_texts
from parity.spec.records import Clause, Finding, Place, Row, Spec
from parity.spec.values import REQUIRED, parse_allowed, parse_literal

Texts = Mapping[str, str]

_HEADING = re.compile(r"^(#{1,6})\s+(?:(\d+(?:\.\d+)*)\.?\s+)?(.+)$")
_REFERENCE = re.compile(r"(?:`(?P<file>[\w./-]+\.md)`\s+)?§§?\s?(?P<number>\d+(?:\.\d+)*)")
_CITED = re.compile(r"\[((?:[A-Z]+\d*|\d+(?:\.\d+)*)-\d+)\]")
_WITHDRAWN = re.compile(r"<!--\s*withdrawn:\s*(.*?)\s*-->", re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"^((?:[\w.-]+/)+[\w.-]+\.\w+|[\w-]+\.(?:md|py|toml))(?::(\d+)(?:-(\d+))?)?$")
_SYMBOL = re.compile(r"^(?:ptycho|ptycho_torch|parity)(?:\.\w+)+(?::\w[\w.]*)?$")
_WORD_ROW = re.compile(r"^\|\s*([^|]+?)\s*\|\s*([^|]+?)\s*\|\s*$", re.MULTILINE)
_GLOSSARY = re.compile(r"^## Words\s*$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_CELL_BREAK = re.compile(r"(?<!\\)\|")

#: Folders whose files the texts may name; other paths are those of users.
_FOLDERS = ("specs", "docs", "parity", "ptycho", "ptycho_torch", "tests", "examples")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield numbered lines outside fenced code."""
    fenced = False
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif not fenced:
            yield number, line


def _at(name: str, line: int, message: str) -> Finding:
    return Finding(Place(name, line, line, ""), message)


def section_numbers(text: str) -> list[tuple[int, int, str]]:
    """Return (line, depth, number) of the numbered headings."""
    found = []
    for line, content in _lines(text):
        heading = _HEADING.match(content)
        if heading and heading.group(2):
            found.append((line, len(heading.group(1)), heading.group(2)))
    return found


def numbering(name: str, text: str) -> Iterator[Finding]:
    """Find headings whose number does not follow the one before, or belies their depth."""
    expected: dict[tuple[int, ...], int] = {}
    for line, depth, number in section_numbers(text):
        parts = tuple(int(part) for part in number.split("."))
        parent, last = parts[:-1], parts[-1]
        if len(parts) != depth - 1:
            yield _at(name, line, f"heading {number} has {depth} #; expected {len(parts) + 1}")
        if parent and parent not in _parents(expected):
            yield _at(name, line, f"heading {number} stands outside a section {_dotted(parent)}")
        wanted = expected.get(parent, 0) + 1
        if last != wanted:
            yield _at(
                name, line, f"heading {number} follows a gap: expected {_dotted((*parent, wanted))}"
            )
        expected[parent] = last


def _parents(seen: Mapping[tuple[int, ...], int]) -> set[tuple[int, ...]]:
    return {(*parent, last) for parent, last in seen.items()}


def _dotted(parts: tuple[int, ...]) -> str:
    return ".".join(map(str, parts))


def _records(spec: Spec) -> list[Clause | Row]:
    return [*spec.clauses, *spec.rows]


def withdrawn_ids(text: str) -> list[str]:
    """Return the ids listed in ``<!-- withdrawn: … -->`` comments."""
    return [id for listed in _WITHDRAWN.findall(text) for id in re.split(r"[\s,]+", listed) if id]


def reused_ids(texts: Texts, spec: Spec) -> Iterator[Finding]:
    """Find clauses and rows under ids that were withdrawn."""
    gone = {id: name for name, text in texts.items() for id in withdrawn_ids(text)}
    for record in _records(spec):
        if record.id in gone:
            yield Finding(
                record.place, f"id {record.id} was withdrawn ({gone[record.id]}): take another"
            )


def references(name: str, text: str, texts: Texts, root: Path, ids: set[str]) -> Iterator[Finding]:
    """Find references to sections and clauses that do not exist."""
    for line, content in _lines(text):
        for found in _REFERENCE.finditer(content):
            file, number = found.group("file"), found.group("number")
            other = text if file is None else _other(file, texts, root)
            if other is None:
                yield _at(name, line, f"{file} §{number}: no such file")
            elif number not in {n for _, _, n in section_numbers(other)}:
                yield _at(name, line, f"{file or name} has no section {number}")
        for cited in _CITED.findall(content):
            if cited not in ids:
                yield _at(name, line, f"[{cited}] is no clause")


def _other(file: str, texts: Texts, root: Path) -> str | None:
    if Path(file).name in texts:
        return texts[Path(file).name]
    places = (root / file, root / "specs" / file)
    return next((p.read_text(encoding="utf-8") for p in places if p.is_file()), None)


def tables(name: str, text: str) -> Iterator[Finding]:
    """Find table rows with more or fewer cells than their head."""
    width = 0
    for line, content in _lines(text):
        if not content.startswith("|"):
            width = 0
            continue
        cells = _count(content)
        if width and cells != width:
            yield _at(name, line, f"the row has {cells} cells; the table has {width} columns")
        width = width or cells


def _count(content: str) -> int:
    closed = content.rstrip().endswith("|")
    return len(_CELL_BREAK.findall(content.rstrip())) - closed


_TYPES: dict[str, type | tuple[type, ...]] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "path": Path,
}


def typed(row: Row) -> Iterator[Finding]:
    """Find defaults, allowed values and parameters that are not what their columns say."""
    try:
        if row.kind in ("fields", "flags"):
            yield from _default(row)
        if row.kind == "fields":
            parse_allowed(row.cells["Allowed"])
        if row.kind == "measures":
            parse_allowed(row.cells["Range"])
        if row.kind == "constants":
            parse_literal(row.cells["Value"])
        if row.kind == "signatures":
            written_signature(row.cells["Parameters"])
    except (ValueError, SyntaxError) as error:
        yield Finding(row.place, f"{row.id}: {error}")


def _default(row: Row) -> Iterator[Finding]:
    cell, word = row.cells["Default"], row.cells["Type"]
    if cell == REQUIRED:
        return
    value, wanted = parse_literal(cell), _TYPES.get(word)
    if wanted is None:
        yield Finding(row.place, f"{row.id}: type {word}; known: {sorted(_TYPES)}")
    elif value is not None and type(value) is not wanted and not isinstance(value, Path):
        yield Finding(row.place, f"{row.id}: default {cell} is no {word}")
    elif value is not None and row.kind == "fields" and not _accepted(row, value):
        yield Finding(row.place, f"{row.id}: default {cell} is not allowed: {row.cells['Allowed']}")


def _accepted(row: Row, value: object) -> bool:
    return parse_allowed(row.cells["Allowed"]).accepts(value)


def anchors(name: str, text: str, root: Path) -> Iterator[Finding]:
    """Find paths, ``path:line`` and symbols in back-ticks that do not exist."""
    for line, content in _lines(text):
        for code in _CODE.findall(content):
            path = _PATH.match(code)
            if path and (path.group(1).split("/")[0] in _FOLDERS):
                yield from _path(name, line, root, path)
            elif _SYMBOL.match(code) and not _resolves(code):
                yield _at(name, line, f"{code} names nothing in the code")


def _path(name: str, line: int, root: Path, found: re.Match[str]) -> Iterator[Finding]:
    path = root / found.group(1)
    if not path.is_file():
        yield _at(name, line, f"there is no file {found.group(1)}")
    elif found.group(2):
        last = int(found.group(3) or found.group(2))
        lines = len(path.read_text(encoding="utf-8", errors="replace").splitlines())
        if not 1 <= last <= lines:
            yield _at(name, line, f"{found.group()} lies outside the file, which has {lines} lines")


def _resolves(symbol: str) -> bool:
    # ``params.cfg`` of a module whose attributes are made by a function is mentioned at least.
    return resolves(symbol) or bool(":" not in symbol and mentioned(symbol))


def glossary(readme: str) -> dict[str, str]:
    """Return the spellings to avoid with those to use: the table under "Words" of the README."""
    section = _GLOSSARY.search(readme)
    rows = _WORD_ROW.findall(section.group(1)) if section else []
    avoided: dict[str, str] = {}
    for use, others in rows:
        if use == "Write" or use.startswith("---"):
            continue
        for word in (other.strip() for other in others.split(",")):
            avoided[word] = use
            # At the beginning of a sentence too.
            opening = word[:1].upper() + word[1:]
            if opening != use:
                avoided.setdefault(opening, use[:1].upper() + use[1:])
    return avoided


def words(name: str, text: str, avoided: Mapping[str, str]) -> Iterator[Finding]:
    """Find words that the glossary spells otherwise; code is left alone."""
    if not avoided:
        return
    pattern = re.compile(rf"\b({'|'.join(map(re.escape, avoided))})\b")
    for line, content in _lines(text):
        for found in pattern.findall(_CODE.sub(" ", content)):
            yield _at(name, line, f"write {avoided[found]!r}, not {found!r}")


def lint(texts: Texts, root: Path) -> list[Finding]:
    """Return what is wrong with texts (name -> markdown) of the repository at ``root``."""
    try:
        spec = parse_texts(dict(texts))
    except ValueError as error:
        return [_at(next(iter(texts), "?"), 1, f"unreadable: {error}")]
    readme = root / "specs" / "README.md"
    avoided = glossary(readme.read_text(encoding="utf-8")) if readme.is_file() else {}
    ids = {record.id for record in _records(spec)}
    found = [*spec.findings, *reused_ids(texts, spec)]
    found += [finding for row in spec.rows for finding in typed(row)]
    each: tuple[Callable[[str, str], Iterator[Finding]], ...] = (
        numbering,
        tables,
        lambda name, text: references(name, text, texts, root, ids),
        lambda name, text: anchors(name, text, root),
        lambda name, text: words(name, text, avoided),
    )
    found += [f for name, text in texts.items() for judge in each for f in judge(name, text)]
    return sorted(found, key=lambda f: (f.place.file, f.place.line, f.message))
