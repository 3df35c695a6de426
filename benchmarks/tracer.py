"""What recording a call chain costs: wall time traced over untraced, for each scenario.

    python benchmarks/tracer.py [--backend NAME] [--runs 3] [SCENARIO ...]

Each backend has a process of its own. A scenario runs once unmeasured, then traced and untraced by
turns; the ratio is that of the medians. TensorFlow runs eagerly in both. To be run on a machine
that does nothing else. Exit code 1 where a ratio is above 2 or a traced scenario takes over 20 s.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from parity import process
from parity.callchain.jobs import DESCRIPTIONS, Workshop

MOST_RATIO, MOST_SECONDS = 2.0, 20.0


def figures(backend: str, scenarios: list[str], runs: int) -> dict[str, dict[str, float]]:
    """Return scenario -> ratio, median seconds traced and untraced, in this process."""
    from parity.callchain.worker import framework_ready, record, wanted_symbols
    from ptycho.core.progress import hidden_progress

    wanted = wanted_symbols()
    found = {}
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, hidden_progress():
        workshop = Workshop(backend, Path(folder), framework_ready(backend))
        for name in scenarios:
            traced, plain = [], []
            # The first traced run imports the framework where the scenario is to see that.
            record(workshop, name, wanted)
            workshop.job(name).run()
            for _ in range(runs):
                job = workshop.job(name)
                start = time.perf_counter()
                job.run()
                plain.append(time.perf_counter() - start)
                traced.append(record(workshop, name, wanted)["seconds"])
            on, off = statistics.median(traced), statistics.median(plain)
            found[name] = {"ratio": on / off, "traced": on, "untraced": off}
    return found


def main() -> int:
    """Print a table, and the figures as JSON on the last line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="*", choices=[*DESCRIPTIONS, []], default=[])
    parser.add_argument("--backend", action="append", choices=["tensorflow", "pytorch"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    scenarios = args.scenario or list(DESCRIPTIONS)
    backends = args.backend or ["tensorflow", "pytorch"]
    if args.here:
        print(json.dumps(figures(backends[0], scenarios, args.runs)))
        return 0
    table, environment = {}, {**process.SETTINGS, **os.environ}
    for backend in backends:
        command = [sys.executable, __file__, "--here", "--backend", backend, *scenarios]
        done = subprocess.run(
            [*command, "--runs", str(args.runs)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            env=environment,
        )
        table[backend] = json.loads(done.stdout.splitlines()[-1])
        for name, row in table[backend].items():
            print(
                f"{backend:11}{name:10} {row['traced']:7.3f} s traced"
                f" {row['untraced']:7.3f} s untraced  ratio {row['ratio']:.2f}"
            )
    print(json.dumps({**table, "settings": process.in_force(environment)}))
    rows = [row for each in table.values() for row in each.values()]
    slow = any(row["ratio"] > MOST_RATIO or row["traced"] > MOST_SECONDS for row in rows)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
