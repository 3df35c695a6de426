"""``parity trace`` and ``parity lint plans``: arguments in, reports out."""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from pathlib import Path
from typing import Any

__all__ = ["add_lint_plans", "add_trace", "trace_command"]

_INITIATIVE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_STAMP = "%Y-%m-%dT%H%M%SZ"
BACKENDS = ("tensorflow", "pytorch")
SCENARIOS = ("dispatch", "train", "save", "load", "infer", "stitch", "cli-train", "cli-infer")


def _checkout() -> Path:
    return Path(__file__).resolve().parents[1]


def add_trace(commands: Any) -> None:
    """Add ``trace`` to the subparsers of ``parity``."""
    parser = commands.add_parser(
        "trace", help="show which functions a scenario passes in each backend, with taps"
    )
    parser.add_argument(
        "scenario", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)} (default: all)"
    )
    parser.add_argument("--initiative", metavar="ID", help="write under plans/active/ID/reports")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write into DIR/UTC instead")
    parser.add_argument("--backend", action="append", choices=BACKENDS, help="repeatable")
    parser.add_argument("--static", action="store_true", help="the source text only; run nothing")
    parser.add_argument("--question", metavar="TEXT", help="what the trace is to answer")


def _folder(arguments: argparse.Namespace, stamp: str) -> Path | None:
    name = arguments.initiative
    if name is not None and not _INITIATIVE.fullmatch(name):
        raise ValueError(f"--initiative is {name!r}; allowed: {_INITIATIVE.pattern}")
    if arguments.out is not None:
        target: Path = arguments.out / stamp
    elif name is not None:
        plans = _checkout() / "plans"
        if not plans.is_dir():
            raise ValueError("--initiative writes into a checkout, and this is none: give --out")
        target = plans / "active" / name / "reports" / stamp
    else:
        return None
    if target.exists():
        raise FileExistsError(f"{target} exists: reports are never overwritten")
    return target


def _skipped(backends: list[str], static: bool) -> dict[str, str]:
    from parity.callchain.traces import missing_framework

    if static:
        return dict.fromkeys(backends, "skipped: --static runs nothing")
    reasons = {backend: missing_framework(backend) for backend in backends}
    return {b: f"skipped: {why}" if why else "" for b, why in reasons.items()}


def trace_command(arguments: argparse.Namespace) -> int:
    """Trace, print the summary, write the reports; 1 where something is not as specified."""
    from parity.callchain.environment import trace_environment
    from parity.callchain.static_report import static_report
    from parity.callchain.traced_report import chains_as_text, out_of_line, summary, tap_points
    from parity.callchain.traces import trace

    unknown = [name for name in arguments.scenario if name not in SCENARIOS]
    if unknown:
        raise ValueError(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    scenarios = [name for name in SCENARIOS if name in (arguments.scenario or SCENARIOS)]
    stamp = datetime.datetime.now(datetime.UTC).strftime(_STAMP)
    folder = _folder(arguments, stamp)
    backends = arguments.backend or list(BACKENDS)
    skipped = _skipped(backends, arguments.static)
    traced = trace([b for b in backends if not skipped[b]], scenarios)
    initiative = arguments.initiative or "no initiative"
    question = arguments.question or (
        f"Which functions do {', '.join(scenarios)} pass in {' and '.join(backends)}, "
        "and in which order?"
    )
    page = summary(initiative, traced, scenarios, skipped)
    static = static_report(question, scenarios, backends)
    sys.stdout.write(static if arguments.static and folder is None else page)
    if folder is not None:
        environment = trace_environment(initiative, stamp, scenarios, skipped)
        _write(folder / "callchain" / "static.md", static)
        _write(folder / "callchain" / "summary.md", page)
        _write(folder / "trace" / "tap_points.md", tap_points(traced, scenarios))
        _write(folder / "dynamic.txt", chains_as_text(traced, scenarios, skipped))
        env = json.dumps(environment, indent=1, sort_keys=True) + "\n"
        _write(folder / "env" / "trace_env.json", env)
        sys.stderr.write(f"reports: {folder}\n")
    wrong = out_of_line(traced, scenarios)
    sys.stdout.writelines(f"{line}\n" for line in wrong)
    return 1 if wrong else 0


def _write(path: Path, text: str) -> None:
    from ptycho.io.atomic import write_bytes

    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, text.encode())


def add_lint_plans(kinds: Any) -> None:
    """Add ``plans`` to the subparsers of ``parity lint``."""
    parser = kinds.add_parser("plans", help="rows, links, anchors, tables, timestamps of plans/")
    parser.add_argument("--root", type=Path, metavar="DIR", help="repository (default: this one)")
    parser.set_defaults(run_lint=_lint_plans)


def _lint_plans(arguments: argparse.Namespace) -> int:
    from parity.lint.plans import lint_plans

    root = arguments.root or _checkout()
    files, findings = lint_plans(root)
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"{files} texts, {len(findings)} findings\n")
    return 1 if findings else 0
