"""One redline with all that it can say, in each format; look reports over when they change."""

from __future__ import annotations

import datetime
import json
import re

import pytest

from parity.ledger.bindings import Binding
from parity.ledger.deviations import Deviation
from parity.ledger.redline import Acceptance
from parity.lint.specs import lint
from parity.redline import render
from parity.redline.impact import Surroundings
from parity.redline.judged import redline
from parity.spec.parse import parse_texts

DAY = datetime.date(2026, 11, 25)

FIELDS = """\
<!-- table: config kind=fields target=madeup.config:Config -->
| Field | Type | Default | Allowed | Meaning |
|---|---|---|---|---|
| `must` | int | required | any | what has to be given |
| `width` | int | `2` | [1, inf) | filters \\| of the network |
| `mode` | str | `'a'` | {'a', 'b'} | how |
| `size` | str | `'s'` | {'s', 'm'} | how large |
| `either` | int | `4` | [0, 9] | one or the other |
| `share` | float | `None` | (0, 1] or None | part |
| `place` | path | `Path('x')` | any | where |
"""
KEYS = """\
<!-- table: key kind=keys target=madeup.config:KEYS -->
| Field | Legacy key |
|---|---|
| `width` | `net.w` |
| `mode` | `m` |
"""
OLD = {
    "demo.md": f"""\
# Demo

Version: 0.1

## 1. Clauses

- **[1-1]** Saving a bundle MUST leave no temporary file behind.
- **[1-2]** A true object MUST come back with a correlation of 0.9 & more, <b> it is </b>.
- **[1-3]** What nobody needs MUST be kept for ever.

## 2. Table

{FIELDS}
Far from all that is changed stand
these lines, of which two are shown
at either end, and the others are
left out of the page, since nobody
reads them.

## 3. End

- **[3-1]** Rest MUST follow, as §1 says.
""",
    "other.md": f"# Other\n\nVersion: 1.0\n\n## 1. Keys\n\n{KEYS}",
    "same.md": "# Same\n\nVersion: 1.0\n\n## 1. Nothing\n",
}
NEW = {
    "demo.md": OLD["demo.md"]
    .replace("Version: 0.1", "Version: 0.2")
    .replace("MUST leave", "SHOULD leave")
    .replace("0.9 & more", "0.99 & more")
    .replace("- **[1-3]** What nobody needs MUST be kept for ever.", "- **[1-4]** Play MUST end.")
    .replace("| `2` | [1, inf) | filters", "| `3` | [1, inf) | channels")
    .replace("| `mode` | str | `'a'` | {'a', 'b'} |", "| `mode` | str | `'a'` | {'a', 'b', 'c'} |")
    .replace("## 3. End", "## 4. End")
    .replace("as §1 says", "as §2 and §9 say"),
    "other.md": OLD["other.md"].replace("| `mode` | `m` |\n", ""),
    "same.md": OLD["same.md"],
    "new.md": "# New\n\n## 1. Fresh\n\n- **[N-1]** Tea MAY be hot.\n",
}
ACCEPTED = [
    Acceptance("clause-value-changed", "1-2", "it was 0.99 | always", version="0.2"),
    Acceptance("clause-removed-must", "9-9", "nobody knows", version="0.2"),
]


@pytest.fixture
def found(tmp_path, madeup, write):
    texts = {
        "docs/a.md": "[1-1]\nSet `width` to 5,\nor 'mode'; the width of 1-2 is no 1-11\n",
        "README.md": "1-3 says so: width\n" + "1-2\n" * 15,
        "examples/bad.md": "",
        "examples/run.py": 'config = {"width": 3}\n',
        "docs/x/golden.json": "width",
        "tests/a/__snapshots__/t.ambr": "x\n'width': 50\n",
        "tests/golden_a/deep/b.json": '\n\n"width"\n',
        "parity/golden/c.json": "config/width\n",
        "plans/active/X-1/plan.md": "- config/width goes up\n",
        "plans/active/X-1/reports/old.md": "- config/width went up\n",
        "plans/template.md": "3-1\n",
    }
    write(texts)
    (tmp_path / "examples" / "bad.md").write_bytes(b"\xff 1-1")
    hashes = {c.id: c.hash for c in parse_texts(NEW).clauses}
    bindings = {
        "1-1": Binding("1-1", "0", ("A-1", "B-2")),
        "1-2": Binding("1-2", hashes["1-2"], ("C-3",)),
        "1-3": Binding("1-3", "0", ("D-4",)),
        "1-4": Binding("1-4", hashes["1-4"], ("E-5",)),
    }
    deviations = [
        Deviation("D-1", "config/width", "pytorch", "s", "r", "o", DAY),
        Deviation("D-2", "B-2", "tensorflow", "s", "r", "o", DAY),
        Deviation("D-3", "Z-9", "tensorflow", "s", "r", "o", DAY),
    ]
    around = Surroundings(tmp_path, bindings, deviations)
    return redline(OLD, NEW, around, ACCEPTED, today=DAY), lint(NEW, tmp_path)


@pytest.mark.parametrize("name", sorted(render.FORMATS))
def test_a_report_in_each_format(found, name, snapshot):
    assert render.FORMATS[name](*found) == snapshot


def test_notes_and_a_rationale(found, snapshot):
    assert render.delta_notes(*found) == snapshot
    reasons = re.findall("^Rationale: (.*)$", render.as_markdown(*found, "since | it is"), re.M)
    assert set(reasons) == {"since | it is"}


def test_json_counts_and_says_what_text_says(found):
    document = json.loads(render.as_json(*found))
    text = render.as_text(*found)
    levels = [change["level"] for change in document["changes"]]
    counts = {name: levels.count(name.upper()) for name in ("breaking", "review", "compatible")}
    assert document["summary"] == {**counts, "exit_code": 1}
    assert all(line in text for line in (*document["complaints"], *document["lint"]))
    assert len(document["lint"]) == 3
    assert render.as_json(*found).startswith('{\n "changes"')


def test_nothing_to_say(tmp_path, snapshot):
    texts = {"same.md": OLD["same.md"]}
    nothing = redline(texts, texts, Surroundings(tmp_path, {}, []), today=DAY)
    assert nothing.exit_code == 0
    reports = {name: report(nothing, []) for name, report in render.FORMATS.items()}
    assert reports.pop("github") == ""
    assert reports.pop("text") == (
        "0 semantic changes (0 BREAKING, 0 REVIEW, 0 COMPATIBLE), 0 contradictions with the code\n"
    )
    assert "<h2>" not in reports.pop("html")
    assert [reports["markdown"], render.delta_notes(nothing, [])] == snapshot


def test_annotations_stand_on_one_line_and_escape_what_github_reads(found):
    assert render._annotation("error", "a:b.md:3", "t: 100%, x", "50%\r\nof it, 1: 2") == (
        "::error file=a:b.md,line=3,title=t%3A 100%25%2C x::50%25%0D%0Aof it, 1: 2"
    )
    assert render._annotation("notice", "a.md", "t", "x") == "::notice title=t::x"
