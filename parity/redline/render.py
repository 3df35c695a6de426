"""Redlines as text, markdown, JSON, annotations of GitHub, and HTML side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from difflib import SequenceMatcher
from itertools import zip_longest

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from parity.redline.changes import shown
from parity.redline.classify import read
from parity.redline.judged import Redline
from parity.redline.rules import BREAKING, COMPATIBLE, LEVELS, REVIEW
from parity.redline.sections import Section, changed_sections
from parity.spec.records import Finding, Spec

#: Blank lines and words around what differs are cut to so many lines.
_CONTEXT = 2
_ANNOTATION = {BREAKING: "error", REVIEW: "warning", COMPATIBLE: "notice"}


def _marked(old: str, new: str, side: str) -> Markup:
    """Return one side's words with those marked that the other lacks."""
    a, b = old.split(" "), new.split(" ")
    parts = []
    for tag, i, j, k, m in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        words = " ".join(a[i:j] if side == "del" else b[k:m])
        if not words:
            continue
        parts.append(
            escape(words) if tag == "equal" else Markup("<{0}>{1}</{0}>").format(side, words)
        )
    return Markup(" ").join(parts)


def side_by_side(section: Section) -> list[tuple[Markup, Markup, bool]]:
    """Return rows (before, after, changed) of a section, far from changes left out."""
    rows: list[tuple[Markup, Markup, bool]] = []
    for number, (tag, old, new) in enumerate(section.blocks):
        if tag == "equal":
            last = number == len(section.blocks) - 1
            head = [] if number == 0 else old[:_CONTEXT]
            tail = [] if last else old[len(head) :][-_CONTEXT:]
            rows += [(escape(line), escape(line), False) for line in head]
            if len(head) + len(tail) < len(old):
                rows.append((Markup("⋯"), Markup("⋯"), False))
            rows += [(escape(line), escape(line), False) for line in tail]
            continue
        for a, b in zip_longest(old, new, fillvalue=""):
            rows.append((_marked(a, b, "del"), _marked(a, b, "ins"), True))
    return rows


def _environment(html: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("parity.redline"),
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["shown"] = shown
    environment.filters["cell"] = lambda value: shown(str(value)).replace("|", "\\|")
    return environment


def _counted(spec: Spec) -> list[tuple[str, int]]:
    """Return tables and how many rows each has, then sections and how many clauses."""
    tables: dict[str, int] = {}
    for row in spec.rows:
        tables[f"table {row.table}"] = tables.get(f"table {row.table}", 0) + 1
    clauses: dict[str, int] = {}
    for clause in spec.clauses:
        name = f"{clause.place.file} §{clause.place.section}"
        clauses[name] = clauses.get(name, 0) + 1
    return [*clauses.items(), *tables.items()]


def _page(
    template: str,
    redline: Redline,
    findings: list[Finding],
    html: bool = False,
    rationale: str = "",
) -> str:
    old, new = (read(side) for side in (redline.old, redline.new))
    after = dict(_counted(new))
    before = dict(_counted(old))
    return (
        _environment(html)
        .get_template(template)
        .render(
            redline=redline,
            rationale=rationale or "_to be written_",
            levels=LEVELS,
            breaking=[j for j in redline.changes if j.change.level == BREAKING],
            guarantees=[j for j in redline.changes if j.change.rule.id == "clause-added-must"],
            sections=changed_sections(redline.old, redline.new),
            findings=findings,
            inventory=[
                (name, before.get(name, 0), after.get(name, 0))
                for name in dict.fromkeys([*after, *before])
            ],
            side_by_side=side_by_side,
        )
    )


def delta_notes(redline: Redline, findings: list[Finding]) -> str:
    """Return ``spec_delta_notes.md``: gaps, inventory, structure."""
    return _page("spec_delta_notes.md.j2", redline, findings)


def as_markdown(redline: Redline, findings: list[Finding], rationale: str = "") -> str:
    """Return ``spec_redline.md``; without a ``rationale`` it has a place for one."""
    return _page("spec_redline.md.j2", redline, findings, rationale=rationale)


def as_html(redline: Redline, findings: list[Finding]) -> str:
    """Return one self-contained page."""
    return _page("spec_redline.html.j2", redline, findings, html=True)


def as_json(redline: Redline, findings: list[Finding]) -> str:
    """Return the redline as JSON, lint findings included."""
    document = {**redline.to_json(), "lint": [str(finding) for finding in findings]}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def as_text(redline: Redline, findings: list[Finding]) -> str:
    """Return lines for a terminal."""
    lines = []
    for judged in redline.changes:
        change, impact = judged.change, judged.impact
        lines.append(f"{change.level:<11}{change.rule.id}  {change.place}")
        lines.append(f"           {change.line}")
        accepted = f"; accepted: {judged.accepted}" if judged.accepted else ""
        lines.append(f"           for {change.audience}; code: {impact.outcome}{accepted}")
        if impact.suspect:
            lines.append(f"           look again at the checks {', '.join(impact.checks)}")
        for kind, places in impact.touched.items():
            lines += [f"           {kind}: {', '.join(places)}"] if places else []
    lines += [f"contradiction: {c}" for c in redline.contradictions]
    lines += [f"lint: {finding}" for finding in findings]
    lines += [f"not accepted: {complaint}" for complaint in redline.complaints]
    lines += ["to accept:", *redline.stubs] if redline.stubs else []
    counts = ", ".join(f"{redline.count(level)} {level}" for level in LEVELS)
    lines.append(
        f"{len(redline.changes)} semantic changes ({counts}), "
        f"{len(redline.contradictions)} contradictions with the code"
    )
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _annotation(level: str, place: str, title: str, text: str) -> str:
    file, _, line = place.rpartition(":")
    where = f"file={file},line={line}," if line.isdigit() else ""
    safe = _escaped(title).replace(":", "%3A").replace(",", "%2C")
    return f"::{level} {where}title={safe}::{_escaped(text)}"


def as_github(redline: Redline, findings: list[Finding]) -> str:
    """Return workflow commands that annotate the changed lines."""
    lines = []
    for judged in redline.changes:
        change = judged.change
        level = "notice" if judged.accepted else _ANNOTATION[change.level]
        text = f"{change.line}; for {change.audience}; code: {judged.impact.outcome}"
        lines.append(_annotation(level, change.place, change.rule.id, text))
    for c in redline.contradictions:
        place = c.spec if ":" in c.spec else c.code
        lines.append(_annotation("error", place, f"contradiction in {c.record}", str(c)))
    lines += [_annotation("error", "", "redline", complaint) for complaint in redline.complaints]
    lines += [_annotation("warning", f.place.path, "lint", f.message) for f in findings]
    return "".join(f"{line}\n" for line in lines)


FORMATS: dict[str, Callable[[Redline, list[Finding]], str]] = {
    "text": as_text,
    "markdown": as_markdown,
    "json": as_json,
    "github": as_github,
    "html": as_html,
}
