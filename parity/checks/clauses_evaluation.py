"""V: scores of reconstructions, against sums written out and images of known error."""

from __future__ import annotations

import csv
import io
import json
import math
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.checks.observing import everyone
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import generator, probe_modes
from ptycho.cli import evaluate as command
from ptycho.core.metrics import (
    UNITS,
    Evaluation,
    correlation,
    evaluate,
    phase_correlation,
    phase_images,
)
from ptycho.core.similarity import multiscale_similarity, structural_similarity
from ptycho.core.stitching import extract_patches, reassemble
from ptycho.raw_data import RawData

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

#: The exponents of multi-scale similarity as published.
_PUBLISHED = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def _close(run: Recorder, found: float, wanted: float, tolerance: float, case: str) -> None:
    holds = abs(found - wanted) <= tolerance
    everyone(run, holds, f"{found}; expected {wanted} within {tolerance}", case)


def _object(
    shape: tuple[int, int], shift: tuple[float, float] = (0.0, 0.0), gain: float = 1.0
) -> ComplexArray:
    """Return waves that can be drawn anywhere: content moved by ``shift`` [y, x] pixels."""
    y, x = (np.arange(n, dtype=np.float64) - s for n, s in zip(shape, shift))
    y = y[:, None]
    wave = np.sin(0.31 * x + 0.11 * y) * np.cos(0.23 * y) + 0.6 * np.sin(0.05 * x * (1 + 0.01 * y))
    other = np.cos(0.27 * x - 0.19 * y) + 0.5 * np.sin(0.41 * y + 0.07 * x)
    whole: ComplexArray = (1 - 0.12 * wave) * np.exp(0.4j * gain * other)
    return whole


def _positions(seed: int) -> FloatArray:
    """Return a jittered scan [x, y] in one corner of a large object."""
    grid = np.stack(np.meshgrid(np.arange(9), np.arange(7)), axis=-1).reshape(-1, 2) * 5.0
    return grid + generator(seed, "scan").uniform(-1.5, 1.5, grid.shape) + (34.0, 26.0)


def _scored(image: ComplexArray, truth: ComplexArray, **more: Any) -> Evaluation:
    middle = (truth.shape[1] // 2, truth.shape[0] // 2)
    return evaluate(image, truth, middle, **more)


# --------------------------------------------------------------------------- what is compared


@check(
    "V-1", "The stored centre says where a canvas lies", ("backend",), framework=False, quick=False
)
def frame(run: Recorder) -> None:
    """True patches stitched in a corner of the object need no shift; a wrong centre shows."""
    truth, positions = _object((150, 170)), _positions(run.seed)
    for M in (16, 21):
        canvas = reassemble(extract_patches(truth, positions, 32), positions, M)
        centre = positions.mean(axis=0)
        for moved in ((0.0, 0.0), (1.25, 0.0), (0.0, -0.75)):
            scores = evaluate(canvas, truth, centre + moved, positions=positions).scores
            case = f"M = {M}, centre off by {moved}"
            _close(run, scores["shift_x"], moved[0], 0.05, case)
            _close(run, scores["shift_y"], moved[1], 0.05, case)
            everyone(run, scores["complex_nrmse"] < 0.02, f"{scores['complex_nrmse']}", case)


@check("V-2", "Only the scanned area is scored", ("backend",), framework=False)
def area(run: Recorder) -> None:
    """The box of the positions and its margin, cut by what is covered; junk elsewhere is free."""
    truth, positions = _object((120, 130)), _positions(run.seed)
    low, high = np.floor(positions.min(axis=0)), np.ceil(positions.max(axis=0))
    for margin in (0, 3):
        found = _scored(truth, truth, positions=positions, margin=margin).alignment
        left, top = (low - margin).astype(int)
        right, bottom = (high + margin).astype(int) + 1
        wanted = (slice(top, bottom), slice(left, right))
        everyone(run, found.area == wanted, f"{found.area}; expected {wanted}", f"{margin} pixels")
    box = (slice(int(low[1]), int(high[1]) + 1), slice(int(low[0]), int(high[0]) + 1))
    junk = generator(run.seed, "junk").standard_normal(truth.shape) * (5 + 2j)
    beyond = np.pad(np.ones_like(truth[box]), 8, mode="constant")
    keep = np.zeros(truth.shape)
    keep[box[0].start - 8 : box[0].stop + 8, box[1].start - 8 : box[1].stop + 8] = 1
    outside = np.where(keep > 0, truth, junk)
    everyone(run, beyond.sum() < keep.sum() < keep.size, "the junk is nowhere", "trap")
    for name, image, target in (("reconstruction", outside, truth), ("truth", truth, outside)):
        error = _scored(image, target, positions=positions).scores["complex_nrmse"]
        everyone(run, error < 0.01, f"junk in the {name} counts: {error}", name)
    covered = np.zeros_like(truth)
    covered[40:, :60] = truth[40:, :60]
    cut = _scored(covered, truth, positions=positions).alignment.area
    wanted = (slice(40, box[0].stop), slice(box[1].start, 60))
    everyone(run, cut == wanted, f"{cut}; expected {wanted}", "coverage")


@check(
    "V-3", "Shift, ramp and factor come off together", ("backend",), framework=False, quick=False
)
def alignment(run: Recorder) -> None:
    """A truth that is moved, tilted and multiplied is found perfect, and the figures come back."""
    truth, inner = _object((110, 120)), (slice(20, 90), slice(20, 100))
    y, x = np.mgrid[:110, :120]
    for shift, ramp, factor in (
        ((0.37, -1.6), (0.02, -0.045), 0.25 * np.exp(2.5j)),
        ((-2.4, 0.0), (0.0, 0.11), 4 * np.exp(-3j)),
        ((0.0, 0.55), (-0.2, 0.15), 1.0 + 0j),
    ):
        tilt = np.exp(1j * (ramp[0] * y + ramp[1] * x))
        scores = _scored(factor * tilt * _object((110, 120), shift), truth, area=inner).scores
        case = f"shift {shift}, ramp {ramp}, factor {factor:.3f}"
        for name, wanted, tolerance in (
            ("shift_y", shift[0], 0.01),
            ("shift_x", shift[1], 0.01),
            ("ramp_y", ramp[0], 1e-4),
            ("ramp_x", ramp[1], 1e-4),
            ("scale_modulus", 1 / abs(factor), 2e-3 / abs(factor)),
            ("complex_nrmse", 0.0, 3e-3),
            ("phase_mae", 0.0, 3e-3),
            ("amplitude_mae", 0.0, 3e-3),
        ):
            _close(run, scores[name], wanted, tolerance, f"{name}, {case}")
    far = _scored(_object((110, 120), (6.0, 0.0)), truth, area=inner, max_shift=3.0).scores
    everyone(run, abs(far["shift_y"]) <= 3.0, f"moved by {far['shift_y']}", "beyond max_shift")
    everyone(run, far["complex_nrmse"] > 0.05, f"error {far['complex_nrmse']}", "beyond max_shift")


@check(
    "V-4",
    "Global phases and planes of phase count for nothing",
    ("backend",),
    framework=False,
    quick=False,
)
def phases(run: Recorder) -> None:
    """Every angle, with phases across the branch cut; a plane is no picture of the object."""
    truth = _object((60, 70), gain=2.0)
    noise = generator(run.seed, "noise").standard_normal((2, *truth.shape))
    image = truth + 0.05 * (noise[0] + 1j * noise[1])
    plain = _scored(image, truth).scores
    for angle in (0.9, 2.2, math.pi, -2.6):
        for who, pair in (
            ("truth", (image, truth * np.exp(1j * angle))),
            ("reconstruction", (image * np.exp(1j * angle), truth)),
        ):
            turned = _scored(*pair).scores
            for name in plain.keys() - {"scale_phase"}:
                same = abs(turned[name] - plain[name]) <= 1e-6 * max(1.0, abs(plain[name]))
                same = same or (math.isnan(turned[name]) and math.isnan(plain[name]))
                what = f"{name} became {turned[name]}, was {plain[name]}"
                everyone(run, same, what, f"{who} turned by {angle}")
    y, x = np.mgrid[:60, :70]
    for slope in ((0.01, 0.0), (-0.03, 0.02)):
        plane = np.exp(1j * (slope[0] * y + slope[1] * x))
        tilted = _object((60, 70)) * plane
        earned = phase_correlation(plane, tilted)
        everyone(run, earned == 0, f"a plane earned {earned}", f"slope {slope}")
        lent = correlation(np.angle(plane), np.angle(tilted))
        everyone(run, abs(lent) > 0.4, f"the planes alone correlate by {lent}", "trap")
        scores = _scored(plane, tilted, max_shift=0.0).scores
        earned = scores["phase_correlation"]
        everyone(run, abs(earned) < 1e-6, f"a plane earned {earned}", f"aligned, {slope}")


# --------------------------------------------------------------------------- scores


def _terms(a: FloatArray, b: FloatArray, data_range: float) -> tuple[float, float]:
    """Return mean contrast-structure and mean similarity over all whole windows."""
    t = np.arange(11) - 5.0
    window = np.exp(-(t[:, None] ** 2 + t**2) / 4.5)
    window /= window.sum()

    def mean(image: FloatArray) -> FloatArray:
        views = np.lib.stride_tricks.sliding_window_view(image, (11, 11))
        local: FloatArray = np.einsum("ijkl,kl->ij", views, window)
        return local

    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    ma, mb = mean(a), mean(b)
    shared = 2 * (mean(a * b) - ma * mb) + c2
    structure = shared / (mean(a * a) - ma**2 + mean(b * b) - mb**2 + c2)
    luminance = (2 * ma * mb + c1) / (ma**2 + mb**2 + c1)
    return float(structure.mean()), float((structure * luminance).mean())


def _quartered(image: FloatArray) -> FloatArray:
    """Return the means of 2 x 2 pixels; an odd last row or column is left out."""
    height, width = (n // 2 * 2 for n in image.shape)
    parts = [image[i:height:2, j:width:2] for i in (0, 1) for j in (0, 1)]
    return (parts[0] + parts[1] + parts[2] + parts[3]) / 4


def _multiscale(a: FloatArray, b: FloatArray, data_range: float, scales: int) -> float:
    total = sum(_PUBLISHED[:scales])
    product = 1.0
    for scale in range(scales):
        structure, whole = _terms(a, b, data_range)
        product *= (whole if scale == scales - 1 else structure) ** (_PUBLISHED[scale] / total)
        a, b = _quartered(a), _quartered(b)
    return product


@check("V-5", "MAE, MSE, PSNR, SSIM, complex error written out", ("backend",), framework=False)
def scores_written_out(run: Recorder) -> None:
    """Of amplitudes and phases of the aligned images, by the definitions alone."""
    truth = _object((70, 64))
    noise = generator(run.seed, "noise").standard_normal((2, *truth.shape))
    result = _scored(truth * 1.03 + 0.04 * (noise[0] + 1j * noise[1]), truth)
    image, reference, found = (
        result.alignment.reconstruction,
        result.alignment.truth,
        result.scores,
    )
    pairs = {
        "amplitude": (np.abs(image), np.abs(reference)),
        "phase": (np.angle(image), np.angle(reference)),  # far from the branch cut
    }
    everyone(run, float(np.abs(pairs["phase"][0]).max()) < 3, "the phases wrap", "trap")
    for name, (a, b) in pairs.items():
        data_range, n = float(b.max() - b.min()), b.size
        mse = float(((a - b) ** 2).sum()) / n
        wanted = {
            "mae": float(np.abs(a - b).sum()) / n,
            "mse": mse,
            "psnr": 20 * math.log10(data_range) - 10 * math.log10(mse),
            "data_range": data_range,
            "ssim": _terms(a - (b.min() if name == "phase" else 0),
                           b - (b.min() if name == "phase" else 0), data_range)[1],
        }  # fmt: skip
        for key, value in wanted.items():
            _close(run, found[f"{name}_{key}"], value, 1e-9 * max(1, abs(value)), f"{name}_{key}")
    # The smallest error over c is the sine of the angle between the two images.
    cosine = abs(np.vdot(image, reference)) / math.sqrt(
        float(np.vdot(image, image).real) * float(np.vdot(reference, reference).real)
    )
    _close(run, found["complex_nrmse"], math.sqrt(1 - cosine**2), 1e-9, "complex_nrmse")


@check("V-6", "MS-SSIM with every window summed out", ("backend",), framework=False, quick=False)
def several_scales(run: Recorder) -> None:
    """At five scales and at fewer, odd sides included; luminance at the coarsest only."""
    for side, scales in ((176, 5), (175, 4), (89, 4), (45, 3), (23, 2), (13, 1)):
        shape = (side, side + 7)
        truth = np.abs(_object(shape))
        noise = generator(run.seed, f"noise {side}").standard_normal(shape)
        image, data_range = truth + 0.1 * noise + 0.02, float(np.ptp(truth))
        found, wanted = (
            multiscale_similarity(image, truth, data_range),
            _multiscale(image, truth, data_range, scales),
        )
        _close(run, found, wanted, 1e-9, f"{shape}")
        plain = structural_similarity(image, truth, data_range)
        _close(run, plain, _terms(image, truth, data_range)[1], 1e-9, f"{shape}, one scale")
    truth = _object((100, 96))
    scores = _scored(truth + 0.05, truth).scores
    everyone(run, scores["ms_ssim_scales"] == 4, f"{scores['ms_ssim_scales']} scales", "96 pixels")
    aligned = _scored(truth * np.exp(0.2j * np.abs(truth)), truth)
    images = phase_images(aligned.alignment.reconstruction, aligned.alignment.truth)
    least, data_range = images[1].min(), float(np.ptp(images[1]))
    wanted = _multiscale(images[0] - least, images[1] - least, data_range, 4)
    _close(run, aligned.scores["phase_ms_ssim"], wanted, 1e-9, "phase")


# --------------------------------------------------------------------------- files


@check(
    "V-9",
    "ptycho_evaluate prints and writes its scores",
    ("backend",),
    framework=False,
    quick=False,
)
def report(run: Recorder) -> None:
    """Four files that agree with each other, with the text, and with the scores computed here."""
    truth, positions = _object((90, 100)), _positions(run.seed)
    patches = extract_patches(truth, positions, 32)
    canvas = reassemble(patches, positions, 16).astype(np.complex64)
    centre = positions.mean(axis=0)
    x, y = positions.T
    patterns = np.ones((len(x), 32, 32), np.float32)
    scan = RawData(x, y, None, None, patterns, probe_modes(32, 1)[0], None, objectGuess=truth)
    said = io.StringIO()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan.to_file(folder / "scan.npz")
        np.savez(folder / "rec.npz", object=canvas, centre=centre)
        flags = [folder / "rec.npz", "--truth", folder / "scan.npz", "--output", folder / "out"]
        with redirect_stdout(said), redirect_stderr(io.StringIO()):
            code = command.main([str(flag) for flag in flags])
        written = sorted(path.name for path in (folder / "out").glob("*"))
        wanted = ["comparison.png", "frc.csv", "metrics.csv", "metrics.json"]
        everyone(run, code == 0 and written == wanted, f"exit code {code}: {written}", "files")
        content = json.loads((folder / "out" / "metrics.json").read_text())
        rows = list(csv.DictReader((folder / "out" / "metrics.csv").read_text().splitlines()))
        curves = list(csv.DictReader((folder / "out" / "frc.csv").read_text().splitlines()))
        picture = (folder / "out" / "comparison.png").read_bytes()
    result = evaluate(canvas, truth, centre, positions=positions)
    plain = {k: v if math.isfinite(v) else None for k, v in result.scores.items()}
    everyone(run, content["scores"] == plain, f"{content['scores']}", "metrics.json")
    everyone(run, content["units"] == UNITS, f"{content['units']}", "units")
    box = {
        key: [part.start, part.stop]
        for key, part in zip(("rows", "columns"), result.alignment.area, strict=True)
    }
    everyone(run, content["area"] == box, f"{content['area']}; expected {box}", "area")
    cells = {r["metric"]: float(r["value"]) if r["value"] else None for r in rows}
    header = list(rows[0]) == ["metric", "value", "unit"]
    everyone(run, header and cells == plain, f"{rows}", "metrics.csv")
    units = {r["metric"]: r["unit"] for r in rows}
    everyone(run, units == UNITS, f"{units}", "metrics.csv")
    columns = ["cycles_per_pixel", "pixels", "half_bit", "amplitude", "phase", "object"]
    everyone(run, list(curves[0]) == columns, f"{list(curves[0])}", "frc.csv")
    for name, ring in result.rings.items():
        column = [float(row[name]) for row in curves]
        everyone(run, column == ring.correlation[1:].tolist(), f"{column}", f"frc.csv, {name}")
    everyone(run, picture.startswith(b"\x89PNG"), f"{picture[:8]!r}", "comparison.png")
    for name in ("amplitude_ssim", "phase_ms_ssim", "phase_mae"):
        shown = f"{result.scores[name]:.4f}"
        everyone(run, shown in said.getvalue(), f"{name} = {shown} is not printed", "text")
