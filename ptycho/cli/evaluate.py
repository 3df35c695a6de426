"""``ptycho_evaluate``: score a reconstruction against the true object of a scan."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho.cli.arguments import Section, make_parser, merge
from ptycho.cli.console import run_command, say
from ptycho.cli.results import output_directory, write_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["main"]


@dataclass
class EvaluateOptions:
    """What ``ptycho_evaluate`` compares, where, and into which directory it writes."""

    truth: Path | None = None
    output: Path | None = None
    margin: float = 0.0
    max_shift: float = 8.0
    overwrite: bool = False


SECTIONS = (
    Section(
        "evaluation",
        "evaluation",
        EvaluateOptions,
        help={
            "truth": "scan whose objectGuess is the truth and whose positions tell the area; any "
            "scan file or ptychodus product (required)",
            "output": "directory for the results (required)",
            "margin": "pixels by which the scored area exceeds the box of the scan positions",
            "max_shift": "largest shift in pixels that alignment may remove",
            "overwrite": "replace results that exist",
        },
    ),
)

#: What is written into the output directory.
FILES = ("metrics.json", "metrics.csv", "frc.csv", "comparison.png")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``ptycho_evaluate``."""
    parser = make_parser(
        "ptycho_evaluate",
        "Align a reconstruction to the true object and score it inside the scanned area.",
        SECTIONS,
        epilog="Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.",
    )
    parser.usage = "ptycho_evaluate RECONSTRUCTION.npz --truth SCAN.npz --output DIR [flags]"
    parser.add_argument(
        "reconstruction",
        type=Path,
        metavar="RECONSTRUCTION.npz",
        help="file with the keys object, complex (S, S), and centre, its [x, y] in object pixels",
    )
    return parser


def read_reconstruction(path: Path) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return canvas and centre [x, y]; errors name the file and the key."""
    import numpy as np

    from ptycho.io.npz import read_npz

    values = read_npz(path, ("object", "centre"), ())
    canvas, centre = values["object"], values["centre"]
    if canvas.ndim != 2 or canvas.dtype.kind != "c":
        raise ValueError(
            f"{path}: key 'object' has shape {canvas.shape} and dtype {canvas.dtype}; expected a "
            "complex image (S, S)"
        )
    if centre.size != 2 or centre.dtype.kind not in "iuf":
        raise ValueError(f"{path}: key 'centre' must be two real numbers, [x, y]")
    return canvas, centre.reshape(2).astype(np.float64)


def evaluate_file(namespace: argparse.Namespace) -> None:
    """Carry out the parsed command."""
    options = EvaluateOptions(**merge(namespace, SECTIONS)["evaluation"])
    if options.truth is None:
        raise ValueError("--truth is required (on the command line or in --config)")
    directory = output_directory(options.output, FILES, options.overwrite)

    from ptycho.cli import comparison
    from ptycho.core.metrics import evaluate
    from ptycho.raw_data import RawData

    canvas, centre = read_reconstruction(namespace.reconstruction)
    scan = RawData.from_file(options.truth)
    if scan.objectGuess is None:
        raise ValueError(f"{options.truth}: no objectGuess in this file: there is no truth to meet")
    evaluation = evaluate(
        canvas,
        scan.objectGuess,
        centre,
        positions=scan.positions,
        margin=options.margin,
        max_shift=options.max_shift,
    )
    facts = {"reconstruction": str(namespace.reconstruction), "truth": str(options.truth)}
    contents = (
        comparison.metrics_json(evaluation, facts),
        comparison.metrics_csv(evaluation),
        comparison.frc_csv(evaluation),
        comparison.comparison_png(evaluation),
    )
    write_files(directory, dict(zip(FILES, contents, strict=True)))
    say(comparison.summary(evaluation), namespace)
    say(f"wrote {', '.join(FILES)} to {directory}", namespace)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ptycho_evaluate`` and return its exit code."""
    return run_command(build_parser(), argv, evaluate_file)


if __name__ == "__main__":
    raise SystemExit(main())
