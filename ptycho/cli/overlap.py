"""``ptycho_overlap``: how far the patterns of a scan overlap, before anything is trained."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho.cli.arguments import Section, make_parser, merge
from ptycho.cli.console import run_command, say

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ptycho.raw_data import RawData

__all__ = ["main", "sampling_line"]


@dataclass
class OverlapOptions:
    """What ``ptycho_overlap`` measures and where it writes."""

    output: Path | None = None
    gridsize: int = 1
    n_groups: int = 512
    neighbor_count: int = 4
    seed: int = 42
    diameter: float | None = None
    overwrite: bool = False


SECTIONS = (
    Section(
        "overlap",
        "overlap",
        OverlapOptions,
        help={
            "output": "directory for overlap.json, overlap.csv and overlap.png",
            "gridsize": "above 1, measure groups of gridsize**2 positions too, as training "
            "draws them",
            "n_groups": "groups to draw",
            "neighbor_count": "nearest neighbours among which a group is drawn",
            "seed": "seed of that draw",
            "diameter": "probe diameter in pixels (unset: that of the probe's lit area)",
            "overwrite": "replace files that exist",
        },
    ),
)

#: What is written into the output directory.
FILES = ("overlap.json", "overlap.csv", "overlap.png")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``ptycho_overlap``."""
    parser = make_parser(
        "ptycho_overlap",
        "Measure the overlap of a scan: neighbours, coverage of the object, gaps, groups.",
        SECTIONS,
        epilog="Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.",
    )
    parser.usage = "ptycho_overlap SCAN [--output DIR] [flags]"
    parser.add_argument(
        "scan",
        type=Path,
        metavar="SCAN",
        help="scan whose positions and probe are read (NPZ, ptychodus HDF5 or CXI)",
    )
    return parser


def read_geometry(path: Path) -> RawData:
    """Return positions and probe of a scan file, without its patterns; errors name the file."""
    from ptycho.core.position_checks import check_scan_extent
    from ptycho.io.scan_file import read_geometry as read_arrays
    from ptycho.raw_data import RawData

    values = read_arrays(path)
    try:
        scan = RawData(
            values["xcoords"], values["ycoords"], None, None, None, values["probeGuess"], None
        )
        check_scan_extent(scan.positions, values["probeGuess"].shape[-1])
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return scan


def draw(scan: RawData, options: OverlapOptions) -> NDArray[np.int64] | None:
    """Return the groups (B, C) that training would draw; None for gridsize 1."""
    from ptycho.core.grouping import draw_groups
    from ptycho.core.sampling import grouping_generator

    for name in ("gridsize", "n_groups", "neighbor_count"):
        if getattr(options, name) < 1:
            raise ValueError(f"{name} is {getattr(options, name)}; allowed: an integer >= 1")
    if options.seed < 0:
        raise ValueError(f"seed is {options.seed}; allowed: an integer >= 0")
    if options.gridsize == 1:
        return None
    return draw_groups(
        scan.positions,
        options.gridsize,
        options.n_groups,
        grouping_generator(options.seed),
        neighbor_count=options.neighbor_count,
    )


def measure_file(namespace: argparse.Namespace) -> None:
    """Carry out the parsed command."""
    from ptycho.cli.results import output_directory, write_files

    options = OverlapOptions(**merge(namespace, SECTIONS)["overlap"])
    directory = options.output
    if directory is not None:
        output_directory(directory, FILES, options.overwrite)

    from ptycho.core.overlap import measure_overlap

    scan = read_geometry(namespace.scan)
    groups = draw(scan, options)
    probe: Any = scan.probeGuess
    measures = measure_overlap(scan.positions, probe, groups, diameter=options.diameter)
    say(summary(measures), namespace)
    if directory is None:
        return
    from ptycho.cli import overlap_files

    facts = {
        "scan": str(namespace.scan),
        "gridsize": options.gridsize,
        "n_groups": options.n_groups,
        "neighbor_count": options.neighbor_count,
        "seed": options.seed,
    }
    contents = (
        overlap_files.overlap_json(measures, facts),
        overlap_files.overlap_csv(measures),
        overlap_files.overlap_png(scan.positions, probe, measures),
    )
    write_files(directory, dict(zip(FILES, contents, strict=True)))
    say(f"wrote {', '.join(FILES)} to {directory}", namespace)


def _number(value: float, form: str, unit: str) -> str:
    return "-" if math.isnan(value) else f"{value:{form}}{unit}"


def _percent(value: float) -> str:
    return _number(100 * value, ".1f", " %")


def _pixels(value: float) -> str:
    return _number(value, ".2f", " pixels")


def summary(measures: Mapping[str, float]) -> str:
    """Return the measures as a few lines of text."""
    m = measures
    repeated = f", {m['repeated_positions']:.0f} repeated" if m["repeated_positions"] else ""
    lines = [
        f"{m['positions']:.0f} positions{repeated}, probe diameter {_pixels(m['probe_diameter'])}",
        f"neighbours    spacing {_pixels(m['spacing'])} "
        f"(nearest {_number(m['spacing_least'], '.2f', '')} "
        f"to {_number(m['spacing_largest'], '.2f', '')})",
        f"overlap       linear {_percent(m['linear_overlap'])}, area {_percent(m['area_overlap'])}"
        f" (least {_percent(m['area_overlap_least'])}), "
        f"intensity {_percent(m['intensity_overlap'])}",
        f"coverage      {_percent(m['lit_fraction'])} of the field lit, "
        f"{_number(m['coverage_mean'], '.1f', '')} patterns per pixel "
        f"({_number(m['coverage_least'], '.0f', '')} to "
        f"{_number(m['coverage_largest'], '.0f', '')}), largest gap {_pixels(m['largest_gap'])}",
    ]
    if not math.isnan(m["groups"]):
        lines += [
            f"groups        {m['groups']:.0f}, span {_pixels(m['group_span'])}, each position "
            f"used {m['uses_per_position']:.1f} times, {m['unused_positions']:.0f} never",
            f"in a group    area {_percent(m['within_group_area_overlap'])} "
            f"(least {_percent(m['within_group_least'])}), "
            f"intensity {_percent(m['within_group_intensity_overlap'])}",
            f"next group    {_percent(m['between_group_overlap'])} of a group's lit area",
        ]
    return "\n".join(lines)


def sampling_line(scan: RawData) -> str:
    """Return how densely a scan samples the object, in one line."""
    from ptycho.core.overlap import effective_diameter, linear_overlap, neighbour_distance

    spacing = neighbour_distance(scan.positions)
    known = f"{len(scan)} positions, spacing {_pixels(spacing)}"
    if scan.probeGuess is None:
        return known
    diameter = effective_diameter(scan.probeGuess)
    overlap = linear_overlap(scan.positions, diameter)
    return f"{known}, probe diameter {_pixels(diameter)}, linear overlap {_percent(overlap)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ptycho_overlap`` and return its exit code."""
    return run_command(build_parser(), argv, measure_file)


if __name__ == "__main__":
    raise SystemExit(main())
