"""``parity redline`` and ``parity lint``: arguments in, reports and files out."""

from __future__ import annotations

import argparse
import datetime
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parity.redline.impact import Judge
    from parity.redline.revisions import Texts

_INITIATIVE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z")
_FORMATS = ("text", "markdown", "json", "github", "html")

LintCommand = Callable[[argparse.Namespace], int]


def add_redline(commands: Any) -> None:
    """Add ``redline`` to the subparsers of ``parity``."""
    parser = commands.add_parser(
        "redline", help="classify a change of the specification and hold it against the code"
    )
    parser.add_argument("--base", metavar="REV", help="git revision (default: the merge base)")
    parser.add_argument("--old", type=Path, metavar="FILE", help="text before")
    parser.add_argument("--new", type=Path, metavar="FILE", help="text after")
    parser.add_argument(
        "--initiative", metavar="ID", help="write the reports under plans/active/ID"
    )
    parser.add_argument(
        "--timestamp", metavar="UTC", help="2026-01-31T120000Z: name of the reports' folder"
    )
    parser.add_argument("--phase", default="redline", help="phase_PHASE holds the reports")
    parser.add_argument(
        "--rationale", default="", metavar="TEXT", help="why; left to be written in the report"
    )
    parser.add_argument("--format", choices=_FORMATS, default="text", help="(default: text)")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write there instead of printing"
    )
    parser.add_argument("--full", action="store_true", help="judge rows by running the backends")
    parser.add_argument("--root", type=Path, metavar="DIR", help="repository (default: this one)")
    parser.add_argument("--rules", action="store_true", help="print the table of rules and stop")


def add_lint(commands: Any) -> Any:
    """Add ``lint`` to the subparsers of ``parity`` and return its own subparsers."""
    parser = commands.add_parser("lint", help="check the project's texts")
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    specs = kinds.add_parser("specs", help="numbering, ids, references, tables, anchors, words")
    specs.add_argument("--root", type=Path, metavar="DIR", help="repository (default: this one)")
    specs.add_argument("--format", choices=("text", "github"), default="text")
    specs.set_defaults(run_lint=lint_specs)
    return kinds


def run_lint(arguments: argparse.Namespace) -> int:
    """Run the lint that was chosen."""
    run: LintCommand = arguments.run_lint
    return run(arguments)


def _root(arguments: argparse.Namespace) -> Path:
    root: Path = arguments.root or Path(__file__).resolve().parents[1]
    if not (root / "specs").is_dir():
        raise ValueError(f"{root} has no folder specs: give the repository with --root")
    return root


def lint_specs(arguments: argparse.Namespace) -> int:
    """Print what is wrong with the specification; 1 where something is."""
    from parity.lint.specs import lint
    from parity.redline.revisions import in_tree

    root = _root(arguments)
    texts = in_tree(root).texts
    findings = lint(texts, root)
    for finding in findings:
        place = finding.place
        annotated = f"::error file=specs/{place.file},line={place.line}::{finding.message}"
        sys.stdout.write(f"{annotated if arguments.format == 'github' else finding}\n")
    if arguments.format == "text":
        sys.stdout.write(f"{len(texts)} texts, {len(findings)} findings\n")
    return 1 if findings else 0


def _sides(arguments: argparse.Namespace, root: Path) -> tuple[Texts, Texts, str]:
    from parity.redline import revisions

    if (arguments.old is None) != (arguments.new is None):
        raise ValueError("--old and --new belong together: give both or neither")
    if arguments.old is not None:
        if arguments.base is not None:
            raise ValueError("--base and --old compare with two texts: give one of them")
        old, new = revisions.two_files(arguments.old, arguments.new)
        return old, new, ""
    new = revisions.in_tree(root)
    if arguments.base is not None:
        return revisions.at_revision(root, arguments.base), new, ""
    base, remark = revisions.merge_base(root)
    old = revisions.at_revision(root, base) if base else new
    if not old.texts:
        old, remark = new, f"{remark}: no specification there to compare with"
    # Without an older text the new one is still held against the code.
    return old, new, remark


def _reports_folder(arguments: argparse.Namespace, root: Path) -> Path:
    for name, value, pattern in (
        ("--initiative", arguments.initiative, _INITIATIVE),
        ("--phase", arguments.phase, _INITIATIVE),
        ("--timestamp", arguments.timestamp, _STAMP),
    ):
        if value is not None and not pattern.fullmatch(value):
            raise ValueError(f"{name} is {value!r}; allowed: {pattern.pattern}")
    stamp = arguments.timestamp or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H%M%SZ")
    phase = f"phase_{arguments.phase}"
    return root / "plans" / "active" / arguments.initiative / "reports" / stamp / phase


def _judge(arguments: argparse.Namespace) -> Judge:
    from parity.redline.impact import judge_statically

    if not arguments.full:
        return judge_statically
    from parity.redline_full import judge_by_running

    return judge_by_running()


def redline_command(arguments: argparse.Namespace) -> int:
    """Print a redline, write its reports; 1 where a change may not stand."""
    from parity.ledger import load_deviations
    from parity.ledger.bindings import load_bindings
    from parity.ledger.redline import load_acceptances
    from parity.lint.specs import lint
    from parity.redline import render
    from parity.redline.impact import Surroundings
    from parity.redline.judged import redline
    from parity.redline.rules import rule_lines

    if arguments.rules:
        sys.stdout.write("\n".join(rule_lines()) + "\n")
        return 0
    root = _root(arguments)
    folder = _reports_folder(arguments, root) if arguments.initiative is not None else None
    old, new, remark = _sides(arguments, root)
    ledger = root / "parity" / "ledger"
    around = Surroundings(root, load_bindings(ledger), load_deviations(ledger / "deviations.toml"))
    found = redline(
        old.texts,
        new.texts,
        around,
        load_acceptances(ledger / "redline.toml"),
        judge=_judge(arguments),
    )
    findings = lint(new.texts, root)
    if remark and arguments.format == "text":
        sys.stdout.write(f"{remark}\n")
    text = render.FORMATS[arguments.format](found, findings)
    if arguments.output is None:
        sys.stdout.write(text)
    else:
        _write(arguments.output, text)
    if folder is not None:
        if folder.exists():
            raise FileExistsError(f"{folder} exists: reports are never overwritten")
        report = render.as_markdown(found, findings, arguments.rationale)
        _write(folder / "spec_delta_notes.md", render.delta_notes(found, findings))
        _write(folder / "spec_redline.md", report)
        sys.stderr.write(f"reports: {folder}\n")
    return found.exit_code


def _write(path: Path, text: str) -> None:
    from ptycho.io.atomic import write_bytes

    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())
