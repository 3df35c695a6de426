"""``ptycho_demo``: the main job from a scan to a report, on both backends.

Simulates the built-in scan (or takes ``--data FILE``), trains both backends, writes both
bundles, loads each bundle with each backend in new processes, reconstructs, scores, runs the
parity gate and writes ``report.html`` and ``report.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from parity.demo.settings import BACKENDS
from ptycho.cli.arguments import Parser


class DemoError(RuntimeError):
    """A step of the demo failed; the message says which and where its log is."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``ptycho_demo``."""
    parser = Parser(prog="ptycho_demo", description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("outputs/demo"), help="directory")
    parser.add_argument("--data", type=Path, help="a scan file instead of the built-in scan")
    parser.add_argument("--epochs", type=int, help="per backend, default 2, more for small scans")
    parser.add_argument("--gridsize", type=int, choices=(1, 2), default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--M",
        type=int,
        help="side of the stitched patch centres, default 5/16 of N, N/2 with a wide probe",
    )
    parser.add_argument("--no-parity", action="store_true", help="skip the parity gate")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _run_worker(step: str, arguments: list[str], log_file: Path) -> None:
    """Run a worker with its progress on our terminal; a failure shows the end of its log."""
    # Threads that spin while they wait stall each other where the machine has other work.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", **os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "parity.demo.worker", *arguments]
    with log_file.open("wb") as log:
        # Progress goes to standard error, which the user sees; the rest is kept in the log.
        status = subprocess.run(command, stdout=log, env=environment, check=False).returncode
    if status:
        raise DemoError(f"{step} failed (exit code {status}); its output is in {log_file}")


def _prepare_scan(data: Path | None, output: Path, seed: int) -> Path:
    from parity.demo.settings import read_scan
    from ptycho.simulation.simulate import built_in_scan

    if data is None:
        scan = output / "scan.npz"
        built_in_scan(seed=seed).to_file(scan)
        return scan
    read_scan(data)  # refuse a bad file before anything is trained
    return data


def _train(backend: str, scan: Path, output: Path) -> dict[str, Any]:
    from parity.demo.worker import TRAINING_FILE

    directory = output / backend
    directory.mkdir(exist_ok=True)
    arguments = ["train", "--backend", backend, "--scan", str(scan)]
    arguments += ["--config", str(output / "config.json"), "--output", str(directory)]
    _run_worker(f"training with {backend}", arguments, directory / "train.log")
    summary: dict[str, Any] = json.loads((directory / TRAINING_FILE).read_text(encoding="utf-8"))
    return summary


def _reconstruct(reader: str, writer: str, scan: Path, output: Path, M: int) -> Path:
    result = output / reader / f"reconstruction_of_{writer}.npz"
    arguments = ["reconstruct", "--backend", reader, "--scan", str(scan), "--M", str(M)]
    arguments += ["--bundle", str(output / writer), "--output", str(result)]
    log = result.with_suffix(".log")
    _run_worker(f"reconstructing {writer}'s bundle with {reader}", arguments, log)
    return result


def _parity(output: Path) -> dict[str, Any]:
    """Run the gate in its own process; a gate that cannot run is reported as such."""
    file = output / "parity.json"
    file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "parity.cli", "check", "--json", str(file)]
    status = subprocess.run(command, check=False).returncode
    if not file.exists():
        raise DemoError(f"the parity gate could not run (exit code {status})")
    verdicts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    verdicts["exit_code"] = status
    return verdicts


def run(arguments: argparse.Namespace) -> int:
    """Run every step; return the exit code (0 parity holds, 1 it does not)."""
    from parity.demo import report, score, settings
    from parity.demo.worker import save_config

    start = time.perf_counter()
    output: Path = arguments.output
    for name in ("epochs", "M"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"--{name} is {value}; allowed: an integer >= 1")
    if output.exists() and not output.is_dir():
        raise NotADirectoryError(f"--output: {output} is not a directory")
    output.mkdir(parents=True, exist_ok=True)
    _say("[1/5] scan")
    scan = _prepare_scan(arguments.data, output, arguments.seed)
    raw = settings.read_scan(scan)
    N = settings.pattern_side(raw)
    epochs = arguments.epochs or settings.default_epochs(len(raw))
    fields = settings.training_fields(raw, epochs, arguments.seed, arguments.gridsize)
    save_config(output / "config.json", fields)
    M = arguments.M or settings.stitched_side(N, fields["model"]["pad_object"])
    _say(f"      {scan}: {len(raw)} patterns of {N} x {N} pixels")
    trainings = {}
    for backend in BACKENDS:
        _say(f"[2/5] train {backend}: {epochs} epochs")
        trainings[backend] = _train(backend, scan, output)
    _say("[3/5] reload each bundle with each backend in new processes, reconstruct")
    pairs = [(reader, writer) for reader in BACKENDS for writer in BACKENDS]
    files = {pair: _reconstruct(*pair, scan, output, M) for pair in pairs}
    _say("[4/5] parity gate")
    verdicts = None if arguments.no_parity else _parity(output)
    _say("[5/5] score and report")
    scores = score.score_all(raw, files)
    result = report.assemble(raw, scan, fields, trainings, scores, verdicts)
    result["total_seconds"] = time.perf_counter() - start
    page = report.write(output, result, scores)
    held = result["parity"]
    _say(report.summary_lines(result))
    _say(f"Report: {page} - parity {'holds' if held == 'pass' else held.upper()}")
    return 0 if held == "pass" else 1


def main(argv: list[str] | None = None) -> int:
    """Run ``ptycho_demo``: 0 parity holds, 1 it does not, 2 bad input or a failed step."""
    arguments = build_parser().parse_args(argv)
    try:
        return run(arguments)
    except (DemoError, ValueError, KeyError, OSError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        sys.stderr.write(f"ptycho_demo: {message}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("ptycho_demo: interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
