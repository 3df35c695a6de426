"""``parity``: run the checks, list them, measure the tolerances, look into archives."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from parity import (
    diverge_command,
    selftest_command,
    specs_commands,
    tolerances_command,
    trace_commands,
)
from ptycho.cli.arguments import Parser

HOLDS, FAILS, BROKEN = 0, 1, 2


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``parity``."""
    parser = Parser(
        prog="parity",
        description="Hold the TensorFlow and the PyTorch backend against a float64 reference "
        "and against each other.",
        epilog="Exit codes: 0 parity holds, 1 a check fails, 2 the harness itself failed.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="run checks and give verdicts")
    _add_choice(check)
    check.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    check.add_argument("--fast", action="store_true", help="only what needs no framework")
    check.add_argument("--seed", type=int, default=0, help="seed of the inputs (default: 0)")
    commands.add_parser("list", help="list the checks")
    tolerances = commands.add_parser(
        "tolerances", help="measure again what the tolerances bound, and print their slack"
    )
    _add_choice(tolerances)
    tolerances_command.add_tolerances(tolerances)
    matrix = commands.add_parser("matrix", help="the verdict of every clause in every backend")
    _add_choice(matrix)
    matrix.add_argument("--fast", action="store_true", help="only what needs no framework")
    explaining = commands.add_parser("explain", help="what is known of one clause or row")
    explaining.add_argument("clause", metavar="ID")
    layout = commands.add_parser("layout", help="show an archive's tree, or compare two")
    layout.add_argument(
        "file", type=Path, nargs="+", metavar="FILE", help="archive, or its directory"
    )
    converting = commands.add_parser(
        "convert", help="rewrite an archive with another backend's native payload"
    )
    converting.add_argument("source", type=Path, metavar="IN", help="archive, or its directory")
    converting.add_argument("target", type=Path, metavar="OUT", help="directory, or a .zip path")
    converting.add_argument(
        "--to", required=True, choices=("tensorflow", "pytorch"), help="the backend to write for"
    )
    converting.add_argument("--force", action="store_true", help="replace an existing file")
    specs_commands.add_redline(commands)
    trace_commands.add_lint_plans(specs_commands.add_lint(commands))
    trace_commands.add_trace(commands)
    diverge_command.add_diverge(commands)
    selftest_command.add_selftest(commands)
    return parser


def _add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--id",
        "--clause",
        action="append",
        metavar="ID",
        help="a clause, a row, a check, or the letter of several checks; repeatable",
    )
    parser.add_argument(
        "--backend", action="append", metavar="NAME", help="a backend to run; repeatable"
    )


def _check(arguments: argparse.Namespace) -> int:
    from parity.gate import run_gate
    from parity.report_file import write_report
    from parity.terminal import Terminal

    terminal = Terminal(arguments.seed)
    report = run_gate(
        arguments.id,
        arguments.backend,
        arguments.seed,
        terminal.show_result,
        fast=arguments.fast,
    )
    terminal.show_summary(report)
    if arguments.json is not None:
        write_report(report.to_json(), arguments.json)
    return report.exit_code


def _list(arguments: argparse.Namespace) -> int:
    from parity.checks.registry import registered_checks
    from parity.terminal import Terminal

    Terminal(0).show_checks(registered_checks().values())
    return HOLDS


def _matrix(arguments: argparse.Namespace) -> int:
    from parity.gate import run_gate
    from parity.matrix import matrix_lines
    from parity.terminal import Terminal

    report = run_gate(arguments.id, arguments.backend, fast=arguments.fast)
    Terminal(0).say("\n".join(matrix_lines(report.clauses, list(report.backends))))
    return report.exit_code


def _explain(arguments: argparse.Namespace) -> int:
    from parity.checks.registry import registered_checks
    from parity.ledger.bindings import load_bindings
    from parity.matrix import explain
    from parity.spec.parse import load_specification
    from parity.terminal import Terminal

    lines = explain(arguments.clause, load_specification(), load_bindings(), registered_checks())
    Terminal(0).say("\n".join(lines))
    return HOLDS


def _layout(arguments: argparse.Namespace) -> int:
    from parity.layout import archive_tree, differences, render
    from parity.terminal import Terminal

    if len(arguments.file) > 2:
        raise ValueError(f"{len(arguments.file)} archives given; layout compares two at most")
    trees = [archive_tree(path, hashes=True) for path in arguments.file]
    terminal = Terminal(0)
    if len(trees) == 1:
        terminal.say(render(trees[0]))
        return HOLDS
    lines = differences(trees[0], trees[1])
    terminal.say("\n".join(lines) if lines else "the two archives have one layout")
    return FAILS if lines else HOLDS


def _convert(arguments: argparse.Namespace) -> int:
    from parity.convert import convert
    from parity.terminal import Terminal

    path = convert(arguments.source, arguments.target, arguments.to, arguments.force)
    Terminal(0).say(f"{path}: {arguments.to}")
    return HOLDS


_COMMANDS = {
    "check": _check,
    "list": _list,
    "matrix": _matrix,
    "explain": _explain,
    "tolerances": tolerances_command.tolerances_command,
    "layout": _layout,
    "convert": _convert,
    "redline": specs_commands.redline_command,
    "lint": specs_commands.run_lint,
    "trace": trace_commands.trace_command,
    "diverge": diverge_command.diverge_command,
    "selftest": selftest_command.selftest_command,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``parity`` and return its exit code."""
    arguments = build_parser().parse_args(argv)
    from parity import process

    process.pin()
    process.quieten()
    try:
        return _COMMANDS[arguments.command](arguments)
    except (KeyError, ValueError, OSError, RuntimeError) as error:
        message = error.args[0] if isinstance(error, KeyError) else error
        sys.stderr.write(f"parity: error: {message}\n")
        return BROKEN


if __name__ == "__main__":
    sys.exit(main())
