"""The rows of known defects, and the page that says which test stands for which row.

``python -m tests.defects.table`` runs the tests and writes ``docs/known_defects.md``.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "docs" / "known_defects.md"

SERIES = {
    "D": ("core", "Core and TensorFlow"),
    "T": ("pytorch", "PyTorch"),
    "F": ("findings", "Findings"),
    "P": ("parity", "What parity tests did not see"),
    "C": ("contradictions", "Text and code"),
    "H": ("harness", "Checks that could not fail"),
}

_ID = re.compile(rf"(?<![A-Za-z0-9])([{''.join(SERIES)}])_(\d\d)(?!\d)")

_INTRODUCTION = """# Known defects

Errors that were found in other implementations of this contract, and in other projects' test
suites, by running them. Each row has a test here that fails where the error is made. A row holds
where all its tests pass in every backend that they run in; it is open where one is expected to
fail. `python -m tests.defects.table` runs the tests and writes this page; the rows are in
`tests/defects/rows`.
"""


@dataclass(frozen=True)
class Row:
    """One defect: what went wrong, and its tests or the reason why there is none."""

    id: str
    what: str
    backends: tuple[str, ...]
    tests: tuple[str, ...]
    reason: str
    findings: str


@dataclass(frozen=True)
class Written:
    """One test function as it is written: its node, the rows that it names, whether it may fail."""

    node: str
    rows: tuple[str, ...]
    open: bool


def read_rows(folder: Path = HERE / "rows") -> list[Row]:
    """Return the rows of all series, in order; ``ValueError`` for a row that is not one."""
    rows = []
    for name, _ in SERIES.values():
        for entry in tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))["row"]:
            unknown = set(entry) - set(Row.__dataclass_fields__)
            if unknown:
                raise ValueError(f"{name}.toml: {entry.get('id')} has unknown keys {unknown}")
            rows.append(
                Row(
                    id=entry.get("id", ""),
                    what=entry.get("what", ""),
                    backends=tuple(entry.get("backends", ())),
                    tests=tuple(entry.get("tests", ())),
                    reason=entry.get("reason", ""),
                    findings=entry.get("findings", ""),
                )
            )
    return rows


def written_tests(folder: Path = HERE) -> list[Written]:
    """Return the tests of every module beside this one, without importing any."""
    found = []
    for path in sorted(folder.glob("test_*.py")):
        if path.name == "test_table.py":
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                name = f"{path.name}::{node.name}"
                rows = tuple(f"{series}-{number}" for series, number in _ID.findall(node.name))
                marks = [ast.unparse(mark) for mark in node.decorator_list]
                found.append(Written(name, rows, any("xfail" in mark for mark in marks)))
    return found


def complaints(rows: Iterable[Row], written: Iterable[Written], folder: Path = HERE) -> list[str]:
    """Return what is wrong between rows and tests."""
    rows, tests = list(rows), {test.node: test for test in written}
    ids = [row.id for row in rows]
    lines = [f"{id} is there twice" for id in sorted({i for i in ids if ids.count(i) > 1})]
    for row in rows:
        if bool(row.tests) == bool(row.reason):
            lines.append(f"{row.id} needs either tests or a reason")
        if not row.what:
            lines.append(f"{row.id} says nothing")
        for node in row.tests:
            name, _, case = node.partition("[")
            if name not in tests:
                lines.append(f"{row.id}: there is no {name}")
            elif case:
                source = (folder / name.partition("::")[0]).read_text(encoding="utf-8")
                if case.rstrip("]") != row.id or f'"{row.id}"' not in source:
                    lines.append(f"{row.id}: {node} is not a case of its own")
            elif row.id not in tests[name].rows:
                lines.append(f"{row.id}: {name} does not name it")
    listed = {(node.partition("[")[0], row.id) for row in rows for node in row.tests}
    for test in tests.values():
        if not test.rows and not any(node == test.node for node, _ in listed):
            lines.append(f"{test.node} names no row")
        lines += [
            f"{test.node} names {id}, whose row does not list it"
            for id in test.rows
            if (test.node, id) not in listed
        ]
    return lines


def verdicts(rows: Iterable[Row], outcomes: Mapping[str, set[str]]) -> dict[str, str]:
    """Return a word for each row from the outcomes of its tests, by node without backend."""
    words = {}
    for row in rows:
        seen: set[str] = set()
        for node in row.tests:
            seen |= outcomes.get(node, {"not run"})
        order = (("failed", "fails"), ("not run", "not run"), ("xfailed", "open"))
        word = next((said for outcome, said in order if outcome in seen), "holds")
        words[row.id] = word if row.tests else "not applicable"
    return words


def cells(row: Row) -> tuple[str, str, str, str]:
    """Return what the page says of a row, besides its verdict."""
    where = ", ".join(row.backends) or "shared"
    what = f"{row.what} ({row.findings})" if row.findings else row.what
    tests = "<br>".join(f"`{node}`" for node in row.tests) or row.reason
    return row.id, what, where if row.tests else "", tests


def render(rows: Iterable[Row], words: Mapping[str, str]) -> str:
    """Return the page."""
    rows = list(rows)
    counts = {word: list(words.values()).count(word) for word in sorted(set(words.values()))}
    lines = [_INTRODUCTION, ", ".join(f"{n} {word}" for word, n in counts.items()) + ".", ""]
    for letter, (_, title) in SERIES.items():
        lines += [f"## {title}", "", "| Row | What went wrong | Backends | Tests | Verdict |"]
        lines += ["|---|---|---|---|---|"]
        for row in rows:
            if row.id.startswith(f"{letter}-"):
                lines.append(f"| {' | '.join(cells(row))} | {words[row.id]} |")
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def read_page(text: str) -> dict[str, tuple[tuple[str, ...], str]]:
    """Return the cells and the verdict of each row that a page shows."""
    found = {}
    for line in text.splitlines():
        parts = [part.strip() for part in line.strip("|").split(" | ")]
        if len(parts) == 5 and re.fullmatch(r"[A-Z]-\d\d", parts[0]):
            found[parts[0]] = tuple(parts[:4]), parts[4]
    return found


class _Outcomes:
    """A pytest plugin that collects the outcomes of every test by node."""

    def __init__(self) -> None:
        self.seen: dict[str, set[str]] = {}

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a report of pytest."""
        outcome = report.outcome
        if report.when != "call" and outcome == "passed":
            return
        if hasattr(report, "wasxfail") and outcome == "skipped":
            outcome = "xfailed"
        path, _, test = report.nodeid.partition("::")
        name, _, case = f"{Path(path).name}::{test}".partition("[")
        kept = "not run" if outcome == "skipped" else outcome
        for node in (name, f"{name}[{case}"):
            self.seen.setdefault(node, set()).add(kept)


def main() -> int:
    """Run the tests, write the page, and return pytest's exit code."""
    import pytest

    plugin = _Outcomes()
    own = HERE / "test_table.py"  # it reads the page that is about to be written
    arguments = [str(HERE), f"--ignore={own}", "-q", "-p", "no:cacheprovider"]
    code = pytest.main(arguments, plugins=[plugin])
    rows = read_rows()
    PAGE.write_text(render(rows, verdicts(rows, plugin.seen)), encoding="utf-8")
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
