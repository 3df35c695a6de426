r"""Read specification files into records (markdown-it-py does the markdown).

>>> spec = parse_text("demo.md", "## 1. Demo\n\n- **[1-1]** Work MUST end.\n")
>>> spec.clauses[0].id, spec.clauses[0].level, spec.clauses[0].place.line
('1-1', 'MUST', 3)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from parity.spec.records import LEVELS, TABLE_COLUMNS, Clause, Finding, Place, Row, Spec

_CLAUSE = re.compile(r"^\*\*\[([A-Z0-9][A-Za-z0-9.]*-[0-9]+)\]\*\*\s+(.*)$", re.DOTALL)
_CLAUSE_START = re.compile(r"^\*\*\[")
_TABLE = re.compile(r"^<!--\s*table:\s*(\S+)\s+kind=(\S+)(?:\s+target=(\S+))?\s*-->\s*$")
_HEADING = re.compile(r"^(\d+(?:\.\d+)*)\.?\s+(.+)$")
_LEVEL = re.compile(r"\b(" + "|".join(LEVELS) + r")\b")
_LOWER_CASE = re.compile(r"\b(must|shall)\b")
_VERSION = re.compile(r"^Version:\s*(\S+)\s*$", re.MULTILINE)
_MAIN_TEXT = "ptychodus_api_spec.md"
#: The one sentence that may list the words without being a clause.
_CONVENTION = "RFC 2119"


class _Reader:
    """Walks the token stream of one file and collects records."""

    def __init__(self, file: str, text: str) -> None:
        self.file = file
        self.section = ""
        self.tokens = MarkdownIt("commonmark").enable("table").parse(text)
        self.clauses: list[Clause] = []
        self.rows: list[Row] = []
        self.findings: list[Finding] = []
        self._header: tuple[str, str, str] | None = None

    def place(self, token: Token) -> Place:
        first, last = token.map or (0, 0)
        return Place(self.file, first + 1, max(last, first + 1), self.section)

    def find(self, token: Token, message: str) -> None:
        self.findings.append(Finding(self.place(token), message))

    def read(self) -> None:
        position = 0
        while position < len(self.tokens):
            position = self._step(position)

    def _step(self, position: int) -> int:
        token = self.tokens[position]
        if token.type == "heading_open":
            self._heading(self.tokens[position + 1])
            return position + 3
        if token.type == "html_block":
            self._comment(token)
        elif token.type == "table_open":
            return self._table(position)
        elif token.type == "inline":
            self._prose(token)
        return position + 1

    def _heading(self, inline: Token) -> None:
        numbered = _HEADING.match(inline.content)
        if numbered:
            self.section = numbered.group(1)

    def _comment(self, token: Token) -> None:
        content = token.content.strip()
        match = _TABLE.match(content)
        if match:
            self._header = (match.group(1), match.group(2), match.group(3) or "")
        elif content.startswith("<!-- table"):
            self.find(token, f"unreadable table comment: {content}")

    def _prose(self, token: Token) -> None:
        text = " ".join(token.content.split())
        match = _CLAUSE.match(text)
        if match is None:
            if _CLAUSE_START.match(text):
                self.find(token, f"unreadable clause id: {text[:60]}")
            elif _CONVENTION not in text and (_LEVEL.search(text) or _LOWER_CASE.search(text)):
                self.find(token, f"normative sentence without an id: {text[:60]}")
            return
        levels = _LEVEL.findall(match.group(2))
        if not levels:
            self.find(token, f"clause {match.group(1)} has no MUST, SHALL, SHOULD or MAY")
            return
        if _LOWER_CASE.search(match.group(2)):
            self.find(token, f"clause {match.group(1)} has a lower-case must or shall")
        if len(levels) > 1:
            self.find(token, f"clause {match.group(1)} has {len(levels)} requirements; split it")
        self.clauses.append(Clause(match.group(1), levels[0], match.group(2), self.place(token)))

    def _table(self, position: int) -> int:
        start = self.tokens[position]
        header, self._header = self._header, None
        table_rows: list[tuple[Token, list[str]]] = []
        while self.tokens[position].type != "table_close":
            token = self.tokens[position]
            if token.type == "tr_open":
                table_rows.append((token, []))
            elif token.type == "inline":
                table_rows[-1][1].append(token.content.strip())
            position += 1
        if header is None:
            self.find(start, "table without a name: put <!-- table: NAME kind=KIND --> above it")
        else:
            self._rows(start, header, table_rows)
        return position + 1

    def _rows(
        self, start: Token, header: tuple[str, str, str], rows: list[tuple[Token, list[str]]]
    ) -> None:
        name, kind, target = header
        columns = rows[0][1]
        leading = TABLE_COLUMNS.get(kind)
        if leading is None:
            self.find(start, f"table {name}: unknown kind {kind!r}; known: {sorted(TABLE_COLUMNS)}")
            return
        # A heading such as "Shape (N=64)" names the column and adds to it.
        if tuple(columns[: len(leading)]) != leading:
            self.find(start, f"table {name}: columns begin {columns}; expected {list(leading)}")
            return
        for token, cells in rows[1:]:
            values = [cell.replace("`", "") for cell in cells]
            row = Row(
                name, kind, target, dict(zip(columns, values, strict=True)), self.place(token)
            )
            self.rows.append(row)


def _duplicates(clauses: Sequence[Clause], rows: Sequence[Row]) -> Iterator[Finding]:
    seen: dict[str, Place] = {}
    records: list[Clause | Row] = [*clauses, *rows]
    for record in records:
        if record.id in seen:
            first = seen[record.id]
            yield Finding(record.place, f"id {record.id} is also at {first.path}")
        seen.setdefault(record.id, record.place)


def _merge(readers: Sequence[_Reader], versions: dict[str, str]) -> Spec:
    clauses = [clause for reader in readers for clause in reader.clauses]
    rows = [row for reader in readers for row in reader.rows]
    findings = [finding for reader in readers for finding in reader.findings]
    findings += _duplicates(clauses, rows)
    return Spec(tuple(clauses), tuple(rows), tuple(findings), versions)


def parse_texts(texts: dict[str, str]) -> Spec:
    """Parse several files, given as name -> text, into one specification."""
    readers, versions = [], {}
    for name, text in texts.items():
        reader = _Reader(name, text)
        reader.read()
        version = _VERSION.search(text)
        if version is None:
            place = Place(name, 1, 1, "")
            reader.findings.append(Finding(place, "no 'Version: X.Y' line"))
        else:
            versions[name] = version.group(1)
        readers.append(reader)
    return _merge(readers, versions)


def parse_text(name: str, text: str) -> Spec:
    """Parse one text."""
    return parse_texts({name: text})


def specification_folder() -> Path:
    """Return the folder of the specifications: beside the package in a checkout, else inside it."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / "specs"
    # Other projects have a folder of that name; ours is known by its text.
    return checkout if (checkout / _MAIN_TEXT).is_file() else package / "specs"


def load_specification(folder: Path | None = None) -> Spec:
    """Parse the specifications in ``folder`` (default: the project's own).

    Raises ``FileNotFoundError`` where the folder has none.
    """
    folder = folder or specification_folder()
    files = sorted(path for path in folder.glob("*.md") if path.name != "README.md")
    if not files:
        raise FileNotFoundError(
            f"no specification (*.md) in {folder}; run parity in a checkout, or install a wheel "
            "that was built from one"
        )
    return _parsed(tuple((path.name, path.read_text(encoding="utf-8")) for path in files))


@lru_cache(maxsize=4)
def _parsed(texts: tuple[tuple[str, str], ...]) -> Spec:
    # Checks read the same text again and again; records are immutable.
    return parse_texts(dict(texts))
