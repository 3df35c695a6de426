"""``ptycho_simulate``: write a simulated scan to an NPZ file."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptycho.cli.arguments import Section, make_parser, merge
from ptycho.cli.console import run_command, say
from ptycho.config.config import SUPPORTED_N
from ptycho.simulation.settings import ScanSettings

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ptycho.raw_data import RawData

__all__ = ["main"]

logger = logging.getLogger(__name__)


@dataclass
class FileOptions:
    """What ``ptycho_simulate`` reads, and where it writes."""

    output: Path | None = None
    probe_from: Path | None = None
    preview: Path | None = None
    overwrite: bool = False


SECTIONS = (
    Section(
        "files",
        "files",
        FileOptions,
        help={
            "output": "scan to write (NPZ; required)",
            "probe_from": "scan whose probe lights the object; it decides N, --probe is ignored",
            "preview": "picture of the scan to write too (PNG)",
            "overwrite": "replace files that exist",
        },
    ),
    Section(
        "scan",
        "scan",
        ScanSettings,
        help={
            "object": "specimen",
            "probe": "illumination",
            "scan": "pattern of the scan positions",
            "N": "side of a diffraction pattern in pixels",
            "n_positions": "number of scan positions",
            "step": "spacing of the positions in object pixels (unset: 5/64 of N)",
            "nphotons": "mean photons per pattern",
            "modes": "incoherent probe modes",
            "absorption": "-log amplitude behind the thickest point",
            "phase_shift": "phase lag in radians behind the thickest point",
            "counts": "store photon counts, not their square root",
            "seed": "seed of object, positions and photon noise",
        },
    ),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of ``ptycho_simulate``."""
    return make_parser(
        "ptycho_simulate",
        "Simulate a ptychographic scan with photon noise; without flags, the demo's scan.",
        SECTIONS,
        epilog="Exit codes: 0 done, 1 failed, 2 bad input, 130 interrupted.",
    )


def output_files(options: FileOptions) -> tuple[Path, Path | None]:
    """Return the paths to write; raises ``ValueError`` or ``FileExistsError``."""
    if options.output is None:
        raise ValueError("--output is required (on the command line or in --config)")
    scan = options.output
    if scan.is_dir():
        raise IsADirectoryError(f"--output: {scan} is a directory; expected a file name")
    if scan.suffix != ".npz":
        scan = scan.with_name(f"{scan.name}.npz")
    preview = options.preview
    if preview is not None and preview.suffix.lower() != ".png":
        raise ValueError(f"--preview: {preview} does not end in .png")
    for path in (scan, preview):
        if path is None:
            continue
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a directory; expected a file name")
        if path.exists() and not options.overwrite:
            raise FileExistsError(f"{path} exists; --overwrite replaces it")
    return scan, preview


def measured_probe(path: Path) -> NDArray[Any]:
    """Return the probe of a scan file; ``ValueError`` if it has none."""
    from ptycho.raw_data import RawData

    probe = RawData.from_file(path).probeGuess
    if probe is None:
        raise ValueError(f"--probe_from: {path} has no probe")
    return probe


def simulate_scan_file(namespace: argparse.Namespace) -> None:
    """Carry out the parsed command."""
    values = merge(namespace, SECTIONS)
    files, fields = FileOptions(**values["files"]), values["scan"]
    scan, preview = output_files(files)
    probe = None if files.probe_from is None else measured_probe(files.probe_from)
    if probe is not None:
        fields["N"] = int(probe.shape[-1])
    settings = ScanSettings(**fields)

    from ptycho.simulation.simulate import simulate

    raw = simulate(settings, probe)
    picture = None
    if preview is not None:
        from ptycho.simulation.preview import preview_png

        picture = preview_png(raw)
    scan.parent.mkdir(parents=True, exist_ok=True)
    raw.to_file(scan)
    say(f"wrote {scan}: {describe(raw)}", namespace)
    if settings.N not in SUPPORTED_N:
        logger.warning(
            "networks take patterns of N in %s; this scan has N=%d", SUPPORTED_N, settings.N
        )
    if preview is not None and picture is not None:
        from ptycho.io.atomic import write_bytes

        preview.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(preview, picture)
        say(f"wrote {preview}", namespace)


def describe(raw: RawData) -> str:
    """Return what is in a simulated scan, and how well it is sampled, as text."""
    facts = raw.metadata or {}
    height, width = (0, 0) if raw.objectGuess is None else raw.objectGuess.shape
    overlap = "-" if facts["overlap"] is None else f"{100 * facts['overlap']:.0f} %"
    kind = "photon counts" if facts["counts"] else "amplitudes"
    modes = f", {facts['modes']} modes" if facts["modes"] > 1 else ""
    return (
        f"{len(raw)} patterns of {facts['N']} x {facts['N']} pixels ({kind}), "
        f"object {height} x {width} pixels\n"
        f"  photons per pattern {facts['photons_per_pattern']:.4g}, "
        f"probe diameter {facts['probe_diameter']:.1f} pixels{modes}, linear overlap {overlap}, "
        f"seed {facts['seed']}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``ptycho_simulate`` and return its exit code."""
    return run_command(build_parser(), argv, simulate_scan_file)


if __name__ == "__main__":
    raise SystemExit(main())
