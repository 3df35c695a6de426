"""How far each step is from its limit, in one run.

    python -m benchmarks.suite [--quick] [--only WORD ...] [--list]

Each row runs in a process of its own, so that its peak memory is its own: the step and its floor
(the least that the same data asks of the machine: a memory copy, one cKDTree query, the bare
convolutions, scatter-adds) in turns, medians of several runs. pytest-benchmark times calls in
one process; it knows no floors, no peaks and no imports.

Writes results.json, table.md and plots into ``--output``, after an interrupt too, of what was
measured until then. Exit code: 0 every target is met, 1 one is missed, 2 a row failed, 130 after an
interrupt.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import peaks, pictures, scans, starting, steps
from benchmarks.machine import facts, with_threads
from benchmarks.report import apart, draw, flatness, table
from benchmarks.rows import Row, measure, processor_seconds

_COMMAND = ("-W", "ignore", "-m", "benchmarks.suite")


def every_row() -> Iterator[Row]:
    """Yield every row of the suite."""
    for part in (starting, scans, pictures, steps, peaks):
        yield from part.rows()


def build_parser() -> argparse.ArgumentParser:
    """Return the command's parser."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.suite",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="fewer runs, without the largest rows")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="rows with one of these words")
    parser.add_argument("--list", action="store_true", help="list the rows, run nothing")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each row")
    parser.add_argument(
        "--cpu", action="store_true",
        help="seconds of the processor, for a machine with other work",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, default=Path("outputs/bench"))
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument("--together", help=argparse.SUPPRESS)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=int, help=argparse.SUPPRESS)
    return parser


def chosen(args: argparse.Namespace) -> list[Row]:
    """Return the rows that the arguments ask for."""
    rows = [row for row in every_row() if row.quick or not args.quick]
    words = [word.lower() for word in args.only or [""]]
    return [row for row in rows if any(word in row.key.lower() for word in words)]


def run(row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Measure a row, or those that are measured together, in a fresh process."""
    what = ["--together", row.together] if row.together else ["--row", row.key]
    command = [sys.executable, *_COMMAND, *what]
    command += ["--runs", "3"] * args.quick + ["--cpu"] * args.cpu
    environment = with_threads(args.threads)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:] or ["no message"]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(rows: list[Row], figures: dict[str, Any], args: argparse.Namespace) -> bool:
    """Measure rows into ``figures``; return False where an interrupt ended it."""
    for number, row in enumerate(rows, 1):
        print(f"[{number}/{len(rows)}] {row.key}", file=sys.stderr, flush=True)
        if row.key in figures:
            continue
        try:
            found = run(row, args)
        except KeyboardInterrupt:
            print("interrupted: what was measured is written", file=sys.stderr, flush=True)
            return False
        if "failed" in found:
            alike = [each.key for each in rows if row.together and each.together == row.together]
            found = dict.fromkeys(alike or [row.key], found)
        elif not row.together:
            found = {row.key: found}
        figures.update(found)
    return True


def main(argv: list[str] | None = None) -> int:
    """Run the suite, or with ``--row`` one row of it."""
    args = build_parser().parse_args(argv)
    if args.together:
        print(json.dumps(steps.figures(args.together, args.runs, args.cpu)))
        return 0
    if args.row:
        row = next(each for each in every_row() if each.key == args.row)
        clock = processor_seconds if args.cpu else time.perf_counter
        print(json.dumps(measure(row, args.runs, clock)))
        return 0
    rows = chosen(args)
    if args.list:
        print("\n".join(row.key for row in rows))
        return 0
    results: dict[str, Any] = {"threads": args.threads, "rows": {}}
    results["machine"] = facts(with_threads(args.threads))
    results["clock"] = "processor" if args.cpu else "wall"
    start = time.perf_counter()
    whole = measured(rows, results["rows"], args)
    rows = [row for row in rows if row.key in results["rows"]]
    results["flat"] = flatness(rows, results["rows"])
    results["apart"] = apart(rows, results["rows"])
    results["total_seconds"] = time.perf_counter() - start
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "results.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    text, misses, failures = table(rows, results)
    (args.output / "table.md").write_text(text, encoding="utf-8")
    draw(rows, results, args.output)
    print(json.dumps(results, indent=1) if args.json else text)
    if not whole:
        return 130
    return 2 if failures else 1 if misses else 0


if __name__ == "__main__":
    sys.exit(main())
