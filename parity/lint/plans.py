"""Lint of ``plans/``: rows, artifacts, anchors, tables and timestamps say what is so.

The rules are in ``plans/README.md``. Nothing is imported or run.
"""

from __future__ import annotations

import ast
import datetime
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["Finding", "lint_plans"]

STATES = ("[ ]", "[P]", "[x]")
_DONE = "[x]"
REQUIRED = ("README.md", "fix_plan.md", "findings.md")

_CODE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_ANCHOR = re.compile(r"([\w.-]+(?:/[\w.<>-]+)*\.(?:py|md|toml|json|txt|yml))(?::(\S+))?")
_LINES = re.compile(r"(\d+)(?:-(\d+))?")
_BOX = re.compile(r"^\s*[-*] (\[.\])\s")
_STAMP = re.compile(r"\b\d{4}-\d{1,2}-\d{1,2}T[\d:]+Z\b")
_FORMATS = ("%Y-%m-%dT%H%M%SZ", "%Y-%m-%dT%H:%M:%SZ")
_SEPARATOR = re.compile(r"^:?-{3,}:?$")
_PLACEHOLDER = re.compile(r"[<>*]")


@dataclass(frozen=True)
class Finding:
    """Something in a text of ``plans/`` that is not so."""

    path: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.message}"


@dataclass(frozen=True)
class _Text:
    """One file, its lines without those of fenced blocks."""

    path: Path
    root: Path
    lines: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.path.relative_to(self.root).as_posix()

    @property
    def dated(self) -> bool:
        """Whether it is a report, which is never edited and speaks of the code of its day."""
        return "reports" in self.path.relative_to(self.root).parts

    def finding(self, number: int, message: str) -> Finding:
        return Finding(self.name, number, message)

    def find_file(self, target: str) -> Path | None:
        """Return what a path means: from the repository, or from the text's own folder."""
        for base in (self.root, self.path.parent):
            if (base / target).exists():
                return base / target
        return None


def _read(path: Path, root: Path) -> _Text:
    fenced, lines = False, []
    for line in path.read_text(encoding="utf-8").splitlines():
        fence = line.lstrip().startswith("```")
        fenced = fenced != fence
        lines.append("" if fenced or fence else line)
    return _Text(path, root, tuple(lines))


# --------------------------------------------------------------------------- anchors


@lru_cache(maxsize=256)
def _symbols(path: Path) -> frozenset[str]:
    def names(node: ast.AST, prefix: str) -> Iterator[str]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                yield f"{prefix}{child.name}"
                yield from names(child, f"{prefix}{child.name}.")
            elif isinstance(child, (ast.Assign, ast.AnnAssign)):
                targets = child.targets if isinstance(child, ast.Assign) else [child.target]
                yield from (f"{prefix}{t.id}" for t in targets if isinstance(t, ast.Name))

    return frozenset(names(ast.parse(path.read_text(encoding="utf-8")), ""))


@lru_cache(maxsize=256)
def _length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _wrong_anchor(text: _Text, target: str, where: str | None) -> str:
    path = text.find_file(target)
    if path is None:
        # Where there is no such folder, and no place in the file, it may be an archive's member.
        ours = where is not None or text.find_file(target.partition("/")[0]) is not None
        return f"{target} does not exist" if ours else ""
    if where is None or text.dated:
        return ""
    lines = _LINES.fullmatch(where)
    if lines:
        last = int(lines.group(2) or lines.group(1))
        ordered = 1 <= int(lines.group(1)) <= last <= _length(path)
        return "" if ordered else f"{target} has {_length(path)} lines, no line {where}"
    if path.suffix != ".py":
        return f"{target}:{where}: only Python files have symbols"
    return "" if where in _symbols(path) else f"{target} has no symbol {where}"


def _anchors(text: _Text) -> Iterator[Finding]:
    for number, line in enumerate(text.lines, start=1):
        for code in _CODE.findall(line):
            match = _ANCHOR.fullmatch(code)
            if match is None or _PLACEHOLDER.search(code) or "/" not in code and ":" not in code:
                continue
            wrong = _wrong_anchor(text, *match.groups())
            if wrong:
                yield text.finding(number, wrong)
        for target in _LINK.findall(_CODE.sub("", line)):
            plain = target.partition("#")[0]
            if plain and "://" not in plain and text.find_file(plain) is None:
                yield text.finding(number, f"link to {plain}, which does not exist")


# --------------------------------------------------------------------------- tables and rows


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _tables(text: _Text) -> Iterator[tuple[int, list[list[str]]]]:
    """Yield number of the first line and rows of each table."""
    start, rows = 0, list[list[str]]()
    for number, line in enumerate((*text.lines, ""), start=1):
        if line.startswith("|"):
            start = start if rows else number
            rows.append(_cells(line))
        elif rows:
            yield start, rows
            rows = []


def _table_findings(text: _Text) -> Iterator[Finding]:
    for start, rows in _tables(text):
        if len(rows) < 2 or not all(_SEPARATOR.match(cell) for cell in rows[1]):
            yield text.finding(start, "table without a line |---|---| under its header")
            continue
        for number, row in enumerate(rows, start=start):
            if len(row) != len(rows[0]):
                message = f"{len(row)} cells in a table of {len(rows[0])} columns"
                yield text.finding(number, message)
            elif number > start + 1 and "State" in rows[0]:
                state = row[rows[0].index("State")]
                yield from _row_findings(text, number, state, " ".join(row))


def _row_findings(text: _Text, number: int, state: str, content: str) -> Iterator[Finding]:
    """Judge one row of work: its state, and the artifact of one that is done."""
    if state not in STATES:
        yield text.finding(number, f"state {state!r}; there are {', '.join(STATES)}")
    elif state == _DONE:
        named = [*_CODE.findall(content), *_LINK.findall(content)]
        paths = [name.partition(":")[0].partition("#")[0] for name in named]
        if not any("/" in path and text.find_file(path) for path in paths):
            yield text.finding(number, "a row that is done names no artifact that exists")


def _boxes(text: _Text) -> Iterator[Finding]:
    for number, line in enumerate(text.lines, start=1):
        box = _BOX.match(line)
        if box:
            yield from _row_findings(text, number, box.group(1), line)


# --------------------------------------------------------------------------- timestamps


def _wrong_stamp(stamp: str) -> str:
    for form in _FORMATS:
        try:
            found = datetime.datetime.strptime(stamp, form).replace(tzinfo=datetime.UTC)
        except ValueError:
            continue
        ahead = found > datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
        return f"{stamp} is in the future" if ahead else ""
    return f"{stamp} is no time; write 2026-01-31T120000Z or 2026-01-31T12:00:00Z"


def _stamps(text: _Text) -> Iterator[Finding]:
    for number, line in enumerate(text.lines, start=1):
        for stamp in _STAMP.findall(line):
            wrong = _wrong_stamp(stamp)
            if wrong:
                yield text.finding(number, wrong)


# --------------------------------------------------------------------------- folders


def _initiatives(root: Path) -> Iterator[Finding]:
    plans = root / "plans"
    listing = plans / "fix_plan.md"
    listed = listing.read_text(encoding="utf-8") if listing.exists() else ""
    for name in REQUIRED:
        if not (plans / name).exists():
            yield Finding(f"plans/{name}", 1, "is missing")
    for folder in sorted(path for path in plans.glob("active/*") if path.is_dir()):
        place = folder.relative_to(root).as_posix()
        if not (folder / "plan.md").exists():
            yield Finding(place, 1, "an initiative without plan.md")
        if folder.name not in listed:
            yield Finding(place, 1, "not in plans/fix_plan.md")
        for report in sorted(folder.glob("reports/*")):
            wrong = _wrong_stamp(report.name)
            if wrong:
                yield Finding(f"{place}/reports", 1, wrong)
            for path in sorted(report.rglob("trace_env.json")):
                yield from _environment(path, root)


def _environment(path: Path, root: Path) -> Iterator[Finding]:
    place = path.relative_to(root).as_posix()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        yield Finding(place, 1, f"no JSON: {error}")
        return
    hosts = [text for text in _texts(content) if text.startswith(("/", "\\", "~"))]
    if hosts:
        yield Finding(place, 1, f"names a path of the host: {hosts[0]}")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def lint_plans(root: Path) -> tuple[int, list[Finding]]:
    """Return how many texts there are below ``root/plans``, and what is wrong, in order.

    Raises ``ValueError`` where there is no such folder.
    """
    if not (root / "plans").is_dir():
        raise ValueError(f"{root} has no folder plans: give the repository with --root")
    findings = list(_initiatives(root))
    paths = sorted((root / "plans").rglob("*.md"))
    for path in paths:
        text = _read(path, root)
        for rule in (_anchors, _table_findings, _boxes, _stamps):
            findings += sorted(rule(text), key=lambda finding: finding.line)
    return len(paths), findings
