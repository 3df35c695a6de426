"""``ptycho_evaluate``: score a reconstruction against the true object of a scan."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho.cli.arguments import Section, make_parser, merge
from ptycho.cli.console import run_command, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ptycho.core.metrics import Evaluation

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
            "truth": "scan whose objectGuess is the truth and whose positions tell the area (NPZ; "
            "required)",
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


def output_directory(options: EvaluateOptions) -> Path:
    """Return the directory to write; raises if it is missing, no directory, or holds results."""
    directory = options.output
    if directory is None:
        raise ValueError("--output is required (on the command line or in --config)")
    if directory.exists() and not directory.is_dir():
        raise NotADirectoryError(f"--output: {directory} is not a directory")
    present = [name for name in FILES if (directory / name).exists()]
    if present and not options.overwrite:
        raise FileExistsError(f"{directory / present[0]} exists; --overwrite replaces it")
    return directory


def evaluate_file(namespace: argparse.Namespace) -> None:
    """Carry out the parsed command."""
    options = EvaluateOptions(**merge(namespace, SECTIONS)["evaluation"])
    if options.truth is None:
        raise ValueError("--truth is required (on the command line or in --config)")
    directory = output_directory(options)

    from ptycho.cli import comparison
    from ptycho.core.metrics import evaluate
    from ptycho.io.atomic import write_bytes
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
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in zip(FILES, contents, strict=True):
        write_bytes(directory / name, content)
    say(summary(evaluation), namespace)
    say(f"wrote {', '.join(FILES)} to {directory}", namespace)


def summary(evaluation: Evaluation) -> str:
    """Return the main scores as a few lines of text."""
    s = evaluation.scores
    height, width = evaluation.alignment.truth.shape
    lines = [f"scored {height} x {width} pixels", f"{'':<14}{'amplitude':>10}{'phase':>10}"]
    for name in ("ssim", "correlation", "psnr", "mae", "frc50"):
        lines.append(f"{name:<14}{s[f'amplitude_{name}']:>10.4f}{s[f'phase_{name}']:>10.4f}")
    lines.append(f"complex error {s['complex_nrmse']:.4f}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ptycho_evaluate`` and return its exit code."""
    return run_command(build_parser(), argv, evaluate_file)


if __name__ == "__main__":
    raise SystemExit(main())
