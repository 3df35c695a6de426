"""How long the gate's answers take: medians of several runs, seconds of the clock.

    python benchmarks/gate.py [--runs 3] [--whole]

The fast tier, the parse of the specifications, ``parity --help``, and with ``--whole`` one run of
the whole gate. To be run on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

from parity import process

PARSE = (
    "import time; start = time.perf_counter(); "
    "from parity.spec.parse import load_specification; load_specification(); "
    "print(time.perf_counter() - start)"
)


def seconds(*command: str) -> float:
    """Return the seconds that ``python`` takes for this command; its exit code is not looked at."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], capture_output=True, check=False)
    return time.perf_counter() - start


def parsing() -> float:
    """Return the seconds that reading the specifications takes, imports included."""
    done = subprocess.run([sys.executable, "-c", PARSE], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> int:
    """Print the figures and the settings of the gate as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--whole", action="store_true", help="the whole gate too, once")
    args = parser.parse_args()
    gate = ("-m", "parity.cli", "check")
    figures = {
        "fast tier": [seconds(*gate, "--fast") for _ in range(args.runs)],
        "parse the specifications": [parsing() for _ in range(args.runs)],
        "parity --help": [seconds("-m", "parity.cli", "--help") for _ in range(args.runs)],
    }
    if args.whole:
        figures["whole gate"] = [seconds(*gate)]
    medians = {name: round(statistics.median(runs), 2) for name, runs in figures.items()}
    settings = process.in_force({**process.SETTINGS, **os.environ})
    print(json.dumps({**medians, "settings": settings}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
