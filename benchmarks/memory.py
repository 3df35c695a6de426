"""The most memory that training and inference take, beside the size of the scan.

    python benchmarks/memory.py [--patterns 20000] [--backend tensorflow|pytorch]
        [--gridsize 1|2|3] [--n_filters_scale 2] [--json FILE]

Runs ``ptycho_train`` and ``ptycho_inference`` on a scan of float32 patterns of 64 x 64 pixels, for
gridsize 1, 2 and 3, each in a process of its own, and on one of 200 patterns: what that takes is
the framework's. The scan lies in an NPZ file as ``RawData.to_file`` writes it, and in one that is
compressed. Peaks of resident memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import resident
from parity import process
from ptycho.simulation.simulate import built_in_scan

N, FEW = 64, 200
#: Few groups: they have no part in what the scan takes.
SETTINGS = ("--n_groups=64", "--nepochs=1", "--validation_fraction=0")
#: Filters of the default network (``n_filters_scale``), and of one that predicts sooner.
DEFAULT, SMALL = 2, 1


def write_scan(path: Path, count: int, compressed: bool = False) -> float:
    """Write a scan of ``count`` patterns on a square grid; return the patterns' MiB."""
    few = built_in_scan(N=N, n_positions=FEW)
    assert few.diff3d is not None
    assert few.probeGuess is not None
    patterns = np.resize(few.diff3d, (count, N, N))
    side = int(np.ceil(np.sqrt(count)))
    rows, columns = np.divmod(np.arange(count), side)
    save = np.savez_compressed if compressed else np.savez
    save(
        path, diff3d=patterns, probeGuess=few.probeGuess, xcoords=5.0 * columns, ycoords=5.0 * rows
    )
    return float(patterns.nbytes) / 2**20


def peak_of_training(
    backend: str, scan: Path, gridsize: int, place: Path, filters: int = DEFAULT
) -> float:
    """Return the peak of a training on a scan, in MiB; its model is left below ``place``."""
    command = [sys.executable, "-m", "ptycho.cli.train", f"--train_data={scan}", *SETTINGS]
    command += [f"--output_dir={_run(place, gridsize)}", f"--backend={backend}", "--quiet"]
    command += [f"--gridsize={gridsize}", f"--n_filters_scale={filters}"]
    return resident.of_command(command)


def peak_of_inference(backend: str, scan: Path, gridsize: int, place: Path) -> float:
    """Return the peak of a reconstruction of a scan with the model trained before, in MiB."""
    run = _run(place, gridsize)
    command = [sys.executable, "-m", "ptycho.cli.inference", f"--model_path={run}"]
    command += [f"--test_data={scan}", f"--output_dir={run}", f"--backend={backend}", "--quiet"]
    return resident.of_command(command)


def _run(place: Path, gridsize: int) -> Path:
    return place / f"run{gridsize}"


def peaks(backend: str, scan: Path, gridsize: int, place: Path, filters: int) -> dict[str, float]:
    """Return the peaks of a training and of an inference on a scan."""
    return {
        "training": peak_of_training(backend, scan, gridsize, place, filters),
        "inference": peak_of_inference(backend, scan, gridsize, place),
    }


def main() -> int:
    """Print a line for each case, and write the figures as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patterns", type=int, default=20000)
    parser.add_argument("--backend", choices=("tensorflow", "pytorch"))
    parser.add_argument("--gridsize", type=int, choices=(1, 2, 3))
    parser.add_argument("--n_filters_scale", type=int, default=DEFAULT)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    figures: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_scan(place / "few.npz", FEW)
        size = write_scan(place / "scan.npz", args.patterns)
        write_scan(place / "compressed.npz", args.patterns, compressed=True)
        for backend in (args.backend,) if args.backend else ("tensorflow", "pytorch"):
            for gridsize, scan in ((1, "scan"), (2, "scan"), (3, "scan"), (2, "compressed")):
                if args.gridsize not in (None, gridsize):
                    continue
                case = (gridsize, place, args.n_filters_scale)
                bare = peaks(backend, place / "few.npz", *case)
                for step, found in peaks(backend, place / f"{scan}.npz", *case).items():
                    row = {
                        "backend": backend, "step": step, "gridsize": gridsize, "file": scan,
                        "scan_mib": size, "peak_mib": found, "framework_mib": bare[step],
                        "ratio": (found - bare[step]) / size,
                    }  # fmt: skip
                    figures.append(row)
                    sys.stdout.write(
                        f"{backend:10} {step:9} gridsize {gridsize}  {scan:10} {size:.0f} MiB: "
                        f"peak {found:.0f} MiB, {found - bare[step]:+.0f} beyond the framework's "
                        f"{bare[step]:.0f}, {row['ratio']:.2f} x the scan\n"
                    )
                    sys.stdout.flush()
    if args.json:
        content = {"settings": process.in_force(), "figures": figures}
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
