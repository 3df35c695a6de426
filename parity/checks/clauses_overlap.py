"""O: overlap of scans, against rasters, shapes of known size, and sums written out."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from parity.checks.observing import everyone, jittered_positions, params_kept, tiny_scan
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import generator, probe_modes
from ptycho.cli import overlap, train
from ptycho.core import overlap as core
from ptycho.core.coverage import largest_gap, measure_coverage
from ptycho.core.grouping import draw_groups
from ptycho.raw_data import RawData

FloatArray = NDArray[np.float64]


def _close(run: Recorder, found: float, wanted: float, tolerance: float, case: str) -> None:
    holds = abs(found - wanted) <= tolerance
    everyone(run, holds, f"{found}; expected {wanted} within {tolerance}", case)


def _disc(N: int, diameter: float) -> FloatArray:
    y, x = np.mgrid[:N, :N] - N // 2
    return (np.hypot(x, y) <= diameter / 2).astype(np.float64)


def _raster(columns: int, rows: int, step: float) -> FloatArray:
    x, y = np.meshgrid(np.arange(columns), np.arange(rows))
    return np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64) * step + 40.0


def _lit(points: tuple[FloatArray, FloatArray], discs: FloatArray, diameter: float) -> Any:
    """Return which lattice points lie in any of ``discs`` (k, 2)."""
    x, y = points
    return np.any([np.hypot(x - u, y - v) <= diameter / 2 for u, v in discs], axis=0)


def _lens(distance: float, diameter: float) -> float:
    """Return the part of a disc that lies in another, by adding up the chords of the lens."""
    radius = diameter / 2
    if distance >= diameter:
        return 0.0
    steps = 4000
    width = (radius - distance / 2) / steps
    across = distance / 2 + (np.arange(steps) + 0.5) * width
    segment = float((2 * np.sqrt(radius**2 - across**2)).sum() * width)
    return 2 * segment / (math.pi * radius**2)


# --------------------------------------------------------------------------- probe and pairs


@check("O-1", "The probe's diameter is that of its lit area", ("backend",), framework=False)
def diameter(run: Recorder) -> None:
    """Discs by their pixels, a Gaussian by its integral; modes add, factors do not count."""
    for across in (6.0, 20.0, 33.0):
        disc, left = _disc(64, across), (np.arange(64) < 30).astype(np.float64)
        wanted = 2 * math.sqrt(disc.sum() / math.pi)
        for case, probe in (
            ("disc", disc),
            ("factor", -7e-150j * disc),
            ("modes", np.stack([disc * left, 1j * disc * (1 - left)])),
        ):
            found = core.effective_diameter(probe)
            _close(run, found, wanted, 1e-9 * wanted, f"{case}, {across} pixels")
    y, x = np.mgrid[:64, :64] - 32
    gaussian = np.exp(-(x**2 + y**2) / (4 * 5.0**2))
    _close(run, core.effective_diameter(gaussian), 20.0, 1e-6, "Gaussian of sigma 5")


@check("O-2", "Overlap of two patterns at known distances", ("backend",), framework=False)
def pairs(run: Recorder) -> None:
    """Linear and area overlap of discs; the intensity overlap of any probe by its sum."""
    probe = _disc(64, 20.0)
    for distance in (0.0, 4.0, 10.0, 19.5, 20.0, 27.0):
        positions = np.array([[50.0, 50.0], [50.0, 50.0 + distance]])
        found = core.measure_overlap(positions, probe, diameter=20.0)
        case = f"distance {distance}"
        _close(run, found["linear_overlap"], max(0.0, 1 - distance / 20), 1e-12, case)
        _close(run, found["area_overlap"], _lens(distance, 20.0), 1e-5, case)
    modes = probe_modes(32, 2).astype(np.complex128)
    intensity = (np.abs(modes) ** 2).sum(axis=0)
    whole = float((intensity**2).sum())

    def shared(dx: int, dy: int) -> float:
        moved = np.zeros_like(intensity)
        moved[dy:, dx:] = intensity[: 32 - dy, : 32 - dx]
        return float((intensity * moved).sum()) / whole

    for dx, dy in ((0, 0), (3, 0), (0, 5), (6, 9), (31, 2)):
        for sign in (1, -1):
            vector = np.array([[sign * dx, sign * dy]], np.float64)
            value = float(core.intensity_overlap(modes, vector)[0])
            _close(run, value, shared(dx, dy), 1e-6, f"vector {vector[0]}")
    between = float(core.intensity_overlap(modes, np.array([[3.25, 2.0]]))[0])
    _close(run, between, 0.75 * shared(3, 2) + 0.25 * shared(4, 2), 1e-6, "quarter of a pixel")
    _close(run, float(core.intensity_overlap(modes, np.array([[40.0, 0.0]]))[0]), 0, 0, "beyond")


# --------------------------------------------------------------------------- scans


@check("O-3", "Neighbours: rasters, and every distance written out", ("backend",), framework=False)
def neighbours(run: Recorder) -> None:
    """Spacing and overlaps of a scan without order; a lonely position shows in the least."""
    raster = core.measure_overlap(_raster(9, 7, 5.0), _disc(64, 20.0), diameter=20.0)
    _close(run, raster["spacing"], 5.0, 1e-12, "raster")
    _close(run, raster["linear_overlap"], 0.75, 1e-12, "raster")
    positions = np.vstack([jittered_positions(run.seed, 7, 6), [[90.0, 47.0]]])
    across, probe = 9.0, probe_modes(32, 1)
    found = core.measure_overlap(positions, probe, diameter=across)
    vectors = positions[None] - positions[:, None]
    distances = np.hypot(vectors[..., 0], vectors[..., 1])
    order = np.argsort(distances, axis=1)[:, 1:5]
    nearest = np.take_along_axis(distances, order, axis=1)
    spacing = float(np.median(nearest.mean(axis=1)))
    _close(run, found["spacing"], spacing, 1e-9, "spacing")
    _close(run, found["spacing_least"], nearest[:, 0].min(), 1e-9, "spacing")
    _close(run, found["spacing_largest"], nearest[:, 0].max(), 1e-9, "spacing")
    _close(run, found["linear_overlap"], max(0, 1 - spacing / across), 1e-9, "linear")
    lens = np.mean([_lens(d, across) for d in nearest.ravel()])
    _close(run, found["area_overlap"], float(lens), 1e-5, "area")
    _close(run, found["area_overlap_least"], _lens(nearest[:, 0].max(), across), 1e-5, "least")
    chosen = np.stack([vectors[i, row] for i, row in enumerate(order)])
    lit = float(core.intensity_overlap(probe, chosen).mean())
    _close(run, found["intensity_overlap"], lit, 1e-9, "intensity")


@check("O-4", "Coverage of every pixel, and gaps", ("backend",), framework=False, quick=False)
def coverage(run: Recorder) -> None:
    """Pixels counted one by one; the hull by triangles; the gap by a fine lattice."""
    positions, across = jittered_positions(run.seed, 8, 6), 7.3
    measured = measure_coverage(positions, across)
    left, top = measured.origin
    rows, columns = (np.arange(n) + s for n, s in zip(measured.counts.shape, (top, left)))
    x, y = np.meshgrid(columns, rows)
    distance = np.hypot(x[..., None] - positions[:, 0], y[..., None] - positions[:, 1])
    counts = (distance <= across / 2).sum(axis=-1)
    everyone(run, np.array_equal(measured.counts, counts), "counts differ", "coverage")
    reach = positions.min(axis=0) - across / 2, positions.max(axis=0) + across / 2
    holds = left <= reach[0][0] and top <= reach[0][1]
    holds = bool(holds and columns[-1] >= reach[1][0] and rows[-1] >= reach[1][1])
    everyone(run, holds, "the frame cuts lit pixels off", "frame")
    triangles = Delaunay(positions)
    pixels = np.stack([x, y], axis=-1)
    inside = triangles.find_simplex(pixels) >= 0
    everyone(run, np.array_equal(measured.field, inside), "the field differs", "field")
    found = core.measure_overlap(positions, probe_modes(32, 1), diameter=across)
    wanted = {
        "field_area": inside.sum(),
        "lit_fraction": (counts[inside] > 0).mean(),
        "coverage_mean": counts[inside].mean(),
        "coverage_median": np.median(counts[inside]),
        "coverage_least": counts[inside].min(),
        "coverage_largest": counts[inside].max(),
    }
    for name, value in wanted.items():
        _close(run, found[name], float(value), 1e-12, name)
    border = measure_coverage(_raster(4, 3, 2.0), 5.0).field.sum()
    _close(run, float(border), 7 * 5, 0, "a raster's border belongs to the field")
    _close(run, largest_gap(_raster(6, 5, 3.0)), 3 * math.sqrt(2), 1e-9, "raster")
    hole = np.delete(_raster(7, 5, 3.0), 17, axis=0)
    _close(run, largest_gap(hole), 6.0, 1e-9, "raster without one position")
    few = jittered_positions(run.seed, 5, 4)
    _close(run, largest_gap(few), _largest_empty_circle(few), 1e-6, "jittered")


def _largest_empty_circle(points: FloatArray) -> float:
    """Return the largest diameter of circles through three points, none inside, centre in hull."""
    hull, largest = Delaunay(points), 0.0
    for a, b, c in itertools.combinations(points, 3):
        sides = np.array([b - a, c - a])
        if abs(np.linalg.det(sides)) < 1e-9:
            continue
        centre = a + np.linalg.solve(2 * sides, (sides**2).sum(axis=1))
        radius = float(np.hypot(*(a - centre)))
        empty = np.hypot(*(points - centre).T).min() > radius - 1e-9
        if empty and hull.find_simplex(centre) >= 0:
            largest = max(largest, 2 * radius)
    return largest


@check("O-5", "Groups: pairs and shared area counted out", ("backend",), framework=False)
def groups(run: Recorder) -> None:
    """Within groups every pair, between them the union of lit discs point by point."""
    positions, across, probe = jittered_positions(run.seed, 7, 6), 8.0, probe_modes(32, 1)
    rng = generator(run.seed, "groups")
    x, y = np.meshgrid(np.arange(30, 75, 0.2), np.arange(30, 70, 0.2))
    for gridsize in (2, 3):
        drawn = draw_groups(positions, gridsize, 10, rng, neighbor_count=9)
        found = core.measure_overlap(positions, probe, drawn, diameter=across)
        within, lit, spans = [], [], []
        for members in positions[drawn]:
            vectors = [b - a for i, a in enumerate(members) for b in members[i + 1 :]]
            within.append(np.mean([_lens(float(np.hypot(*v)), across) for v in vectors]))
            lit.append(core.intensity_overlap(probe, np.array(vectors)).mean())
            spans.append(max(np.hypot(*v) for v in vectors))
        case = f"gridsize {gridsize}"
        _close(run, found["within_group_area_overlap"], float(np.mean(within)), 1e-5, case)
        _close(run, found["within_group_least"], float(np.min(within)), 1e-5, case)
        _close(run, found["within_group_intensity_overlap"], float(np.mean(lit)), 1e-9, case)
        _close(run, found["group_span"], float(np.mean(spans)), 1e-9, case)
        areas = [_lit((x, y), positions[group], across) for group in drawn]
        centres = positions[drawn].mean(axis=1)
        shares = []
        for k, centre in enumerate(centres):
            away = np.hypot(*(centres - centre).T)
            away[k] = np.inf
            shares.append((areas[k] & areas[int(away.argmin())]).sum() / areas[k].sum())
        _close(run, found["between_group_overlap"], float(np.mean(shares)), 0.01, case)
        used = np.unique(drawn)
        _close(run, found["unused_positions"], len(positions) - len(used), 0, case)
        _close(run, found["uses_per_position"], drawn.size / len(positions), 1e-12, case)


# --------------------------------------------------------------------------- reports


def _said(main: Any, *flags: object) -> tuple[int, str]:
    out = io.StringIO()
    with params_kept(), redirect_stdout(out), redirect_stderr(io.StringIO()):
        code = main([str(flag) for flag in flags])
    return code, out.getvalue()


def _report(folder: Path, *flags: object) -> dict[str, Any]:
    code, _ = _said(overlap.main, folder / "scan.npz", "--output", folder / "out", *flags)
    if code:
        return {}
    content: dict[str, Any] = json.loads((folder / "out" / "overlap.json").read_text())
    return content


@check(
    "O-6",
    "ptycho_overlap prints and writes its measures",
    ("backend",),
    framework=False,
    quick=False,
)
def report(run: Recorder) -> None:
    """Three files that agree with each other and with the text."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_scan(run.seed).to_file(folder / "scan.npz")
        code, said = _said(overlap.main, folder / "scan.npz", "--output", folder / "out")
        written = sorted(path.name for path in (folder / "out").glob("*"))
        wanted = ["overlap.csv", "overlap.json", "overlap.png"]
        everyone(run, code == 0 and written == wanted, f"exit code {code}: {written}", "files")
        content = json.loads((folder / "out" / "overlap.json").read_text())
        rows = list(csv.DictReader((folder / "out" / "overlap.csv").read_text().splitlines()))
        picture = (folder / "out" / "overlap.png").read_bytes()
    scan = tiny_scan(run.seed)
    probe: Any = scan.probeGuess
    measured = core.measure_overlap(scan.positions, probe)
    plain = {k: None if math.isnan(v) else v for k, v in measured.items()}
    everyone(run, content["measures"] == plain, f"{content['measures']}", "overlap.json")
    everyone(run, content["units"] == core.UNITS, f"{content['units']}", "units")
    header = list(rows[0]) == ["measure", "value", "unit"]
    cells = {r["measure"]: float(r["value"]) if r["value"] else None for r in rows}
    everyone(run, header and cells == plain, f"{rows}", "overlap.csv")
    units = {r["measure"]: r["unit"] for r in rows}
    everyone(run, units == core.UNITS, f"{units}", "overlap.csv")
    everyone(run, picture.startswith(b"\x89PNG"), f"{picture[:8]!r}", "overlap.png")
    for key, form in (("linear_overlap", "{:.1%}"), ("area_overlap", "{:.1%}")):
        shown = form.format(measured[key]).replace("%", " %")
        everyone(run, shown in said, f"{key} = {shown} is not in {said!r}", "text")


def _spoilt(folder: Path, seed: int) -> Path:
    """Write a scan whose patterns cannot be read."""
    whole = tiny_scan(seed).to_file(folder / "whole.npz")
    path = folder / "scan.npz"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"junk" if name == "diff3d.npy" else old.read(name))
    return path


@check("O-7", "Overlap is measured without the patterns", ("backend",), framework=False)
def no_patterns(run: Recorder) -> None:
    """The patterns of the file are junk: who reads them fails, as RawData does."""
    with tempfile.TemporaryDirectory() as name:
        path = _spoilt(Path(name), run.seed)
        try:
            RawData.from_file(path)
            junk = False
        except ValueError:
            junk = True
        code, said = _said(overlap.main, path)
    everyone(run, junk, "the patterns could be read after all", "trap")
    everyone(run, code == 0 and "spacing" in said, f"exit code {code}: {said!r}", "ptycho_overlap")


@check("O-8", "ptycho_train tells how the scan is sampled", ("backend",), framework=False)
def start_line(run: Recorder) -> None:
    """Seen before the dispatcher is called, and not with --quiet."""
    scan = tiny_scan(run.seed)
    probe: Any = scan.probeGuess
    wanted = core.measure_overlap(scan.positions, probe)
    words = [
        f"spacing {wanted['spacing']:.2f} pixels",
        f"probe diameter {wanted['probe_diameter']:.2f} pixels",
        f"linear overlap {100 * wanted['linear_overlap']:.1f} %",
    ]
    place = "ptycho.workflows.backend_selector.run_cdi_example_with_backend"
    for subject in run.backends:
        with tempfile.TemporaryDirectory() as name:
            path = scan.to_file(Path(name) / "scan.npz")
            flags = ["--train_data", path, "--output_dir", Path(name) / "out", "--backend", subject]
            for quiet in ((), ("--quiet",)):
                with mock.patch(place, side_effect=ValueError("seen")) as seen:
                    _, said = _said(train.main, *flags, *quiet)
                told = not said if quiet else all(word in said for word in words)
                what = f"said {said!r}; expected {words}"
                run.require(subject, bool(seen.called) and told, what, f"flags {quiet}")


@check(
    "O-9",
    "Group measures are of the groups of training",
    ("backend",),
    framework=False,
    quick=False,
)
def same_groups(run: Recorder) -> None:
    """Drawn from RawData as the backends do; for gridsize 1 there are none."""
    scan = tiny_scan(run.seed, 8, 6)
    probe: Any = scan.probeGuess
    cases: tuple[tuple[int, int, int, int], ...] = ((2, 12, 5, 7), (2, 30, 4, 0), (3, 9, 10, 42))
    with tempfile.TemporaryDirectory() as name:
        scan.to_file(Path(name) / "scan.npz")
        for gridsize, count, pool, seed in cases:
            flags = ["--gridsize", gridsize, "--n_groups", count, "--neighbor_count", pool]
            found = _report(Path(name), *flags, "--seed", seed, "--overwrite").get("measures", {})
            grouped = scan.generate_grouped_data(
                32, K=pool, nsamples=count, seed=seed, gridsize=gridsize
            )
            wanted = core.measure_overlap(scan.positions, probe, grouped.groups)
            plain = {k: None if math.isnan(v) else v for k, v in wanted.items()}
            everyone(run, found == plain, f"{found}; expected {plain}", f"{flags}, seed {seed}")
        found = _report(Path(name), "--overwrite").get("measures", {})
    names: Sequence[str] = [n for n in core.UNITS if "group" in n or "use" in n]
    empty = bool(found) and all(found[n] is None for n in names)
    everyone(run, empty, f"{found}", "gridsize 1")
