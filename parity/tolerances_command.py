"""``parity tolerances``: measure again what they bound, and hold the ledger against its past."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity import process

if TYPE_CHECKING:
    from parity.checks.recorder import Measurement

#: Of the file; the number grows when its readers have to change.
SCHEMA_ID = "ptychopinn-parity-tolerances-1"

__all__ = ["add_tolerances", "history_lines", "tolerances_command"]


def add_tolerances(parser: Any) -> None:
    """Add the flags of ``tolerances`` beside those that choose checks."""
    parser.add_argument(
        "--seeds", type=int, default=5, metavar="K", help="measure with seeds 0 to K-1 (default: 5)"
    )
    parser.add_argument(
        "--history", action="store_true", help="only compare the ledgers with an earlier revision"
    )
    parser.add_argument(
        "--base", metavar="REV", help="that revision (default: the merge base with the trunk)"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write rows, seeds and settings as JSON"
    )


def history_lines(root: Path, base: str | None) -> tuple[str, list[str]]:
    """Return what was compared with, and what became looser without a reason.

    Raises ``RevisionError`` for a revision that is not there.
    """
    from parity.ledger import load_tolerances
    from parity.ledger.history import load_floors, loosened_since, sunk_since, tolerances_at
    from parity.redline.revisions import at_revision, merge_base

    if base is None:
        base, remark = merge_base(root)
        if base is None:
            return remark, []
    else:
        at_revision(root, base)
        remark = base
    tolerances, floors = tolerances_at(root, base)
    ledger = root / "parity" / "ledger"
    lines = loosened_since(tolerances, load_tolerances(ledger / "tolerances.toml"))
    return remark, [*lines, *sunk_since(floors, load_floors(ledger / "floors.toml"))]


def tolerances_command(arguments: argparse.Namespace) -> int:
    """Measure and print; 1 where a tolerance is exceeded, or became looser without a reason."""
    if arguments.seeds < 1:
        raise ValueError(f"--seeds is {arguments.seeds}; allowed: an integer >= 1")
    if arguments.history and arguments.json is not None:
        raise ValueError("--history measures nothing that --json could write: give one")
    remark, looser = history_lines(Path(__file__).resolve().parents[1], arguments.base)
    code = 0
    if not arguments.history:
        code = _measured(arguments)
    sys.stdout.writelines(f"{line}\n" for line in looser)
    sys.stdout.write(f"{len(looser)} loosened without a reason ({remark})\n")
    return max(code, 1) if looser else code


def _measured(arguments: argparse.Namespace) -> int:
    from parity.gate import run_gate
    from parity.ledger import load_noise, load_tolerances
    from parity.report_file import write_report
    from parity.slack import slack_lines, slack_rows
    from parity.terminal import Terminal

    measurements: list[Measurement] = []
    for seed in range(arguments.seeds):
        terminal = Terminal(seed)
        report = run_gate(arguments.id, arguments.backend, seed, terminal.show_result)
        measurements += report.measurements
    if not measurements:
        return 2
    rows = slack_rows(load_tolerances(), load_noise(), measurements)
    terminal.say("\n".join([*slack_lines(rows), process.in_force_line()]))
    if arguments.json is not None:
        content = {
            "schema": SCHEMA_ID,
            "settings": process.in_force(),
            "seeds": list(range(arguments.seeds)),
            "rows": [row.to_json() for row in rows],
        }
        write_report(content, arguments.json)
    return int(any(row.exceeded for row in rows))
