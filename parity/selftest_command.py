"""``parity selftest``: arguments in, one line for each seeded defect out."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity import process

if TYPE_CHECKING:
    from parity.selftest.defects import Defect
    from parity.selftest.run import Row

__all__ = ["add_selftest", "selftest_command"]


def add_selftest(commands: Any) -> None:
    """Add ``selftest`` to the subparsers of ``parity``."""
    parser = commands.add_parser(
        "selftest",
        help="plant seeded defects one at a time: the gate has to see each, and nothing else",
        description="Plant seeded defects, one at a time, in a copy of the checkout: in code, "
        "specification, goldens, ledgers, archives and the harness itself. The gate has to go red "
        "at the clause of the defect and nowhere else.",
        epilog="Exit codes: 0 every defect was seen, 1 one was missed, 2 the self-test itself "
        "failed, for example because the unmodified tree is red.",
    )
    parser.add_argument(
        "--id", action="append", metavar="ID", help="a defect, a kind, or a pattern; repeatable"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write planted, killed, rows")
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="K", help="defects tried at once (default: 2)"
    )
    parser.add_argument("--list", action="store_true", help="show the defects and plant none")


def _listed(defects: list[Defect]) -> str:
    lines = []
    for defect in defects:
        red = "; ".join(f"{c} ({', '.join(s)})" for c, s in defect.red.items())
        lines.append(f"{defect.kind:<8}{defect.id}\n        {defect.what}")
        lines.append(f"        {defect.where}: {red or f'exit code {defect.exit_code}'}")
    return "\n".join([*lines, f"{len(defects)} seeded defects", ""])


def _line(row: Row) -> str:
    verdict = "killed" if row.killed else "MISSED"
    text = f"{verdict}  {row.defect.id}  {row.seconds:.0f} s\n"
    return text + "".join(f"        {why}\n" for why in row.why)


def selftest_command(arguments: argparse.Namespace) -> int:
    """Plant, print, write; 1 where a defect was missed."""
    from parity.report_file import write_report
    from parity.selftest.defects import chosen, load_defects, load_witnesses
    from parity.selftest.run import run_selftest
    from parity.selftest.tree import checkout

    if arguments.jobs < 1:
        raise ValueError(f"--jobs is {arguments.jobs}; allowed: an integer >= 1")
    defects = chosen(load_defects(), arguments.id)
    if arguments.list:
        sys.stdout.write(_listed(defects))
        return 0
    done = 0

    def progress(row: Row) -> None:
        nonlocal done
        done += 1
        sys.stdout.write(f"{done:>3}/{len(defects)}  {_line(row)}")
        sys.stdout.flush()

    if sys.stderr.isatty():
        sys.stderr.write("judging the unmodified tree first, with every check that is used\n")
    report = run_selftest(checkout(), defects, load_witnesses(), arguments.jobs, progress)
    sys.stdout.write(
        f"{len(report.rows)} planted, {report.killed} killed ({report.seconds:.0f} s)\n"
    )
    sys.stdout.write(f"{process.in_force_line()}\n")
    if arguments.json is not None:
        write_report(report.to_json(), arguments.json)
    return 0 if report.killed == len(report.rows) else 1
