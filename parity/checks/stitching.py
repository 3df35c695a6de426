"""S: true patches become the true object again, at its place."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends import oracle
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import generator, small_model
from parity.compare import compare

_N = 32
_LEAST_CORRELATION = 0.999


def _object(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return a smooth object at any coordinates in pixels, without a symmetry."""
    amplitude = 0.6 + 0.2 * np.sin(0.21 * x + 0.05 * y) + 0.15 * np.cos(0.13 * y - 0.04 * x + 1)
    phase = 0.8 * np.sin(0.11 * x - 0.17 * y) + 0.5 * np.cos(0.19 * y + 0.3) + 0.01 * x
    return np.asarray(amplitude * np.exp(1j * phase))


def _true_patches(centres: NDArray[np.float64]) -> NDArray[np.complex64]:
    """Return (K, N, N): pixel N/2 shows the object at the centre, exactly, off the grid too."""
    steps = np.arange(_N) - _N // 2
    x = centres[:, 0, None, None] + steps[None, None, :]
    y = centres[:, 1, None, None] + steps[None, :, None]
    return _object(x, y).astype(np.complex64)


def _canvas_truth(side: int, M: int, mean: NDArray[np.float64]) -> NDArray[np.complex128]:
    steps = np.arange(side) - side / 2 + (0.5 if M % 2 else 0.0)
    return _object(*np.meshgrid(steps + mean[0], steps + mean[1]))


def correlation(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return |<a, b>| / (|a| |b|) of two complex images with their means removed."""
    left, right = a - a.mean(), b - b.mean()
    norm = np.linalg.norm(left) * np.linalg.norm(right)
    return float(abs(np.vdot(left, right)) / norm) if norm > 0 else 0.0


def _judge_truth(
    run: Recorder, subject: str, canvas: NDArray[Any], M: int, mean: NDArray[np.float64], case: str
) -> None:
    """Demand r > 0.999 in place, and less after a shift by one pixel in any direction."""
    inside = slice(M // 2, canvas.shape[0] - M // 2)
    square = canvas[inside, inside]
    truth = _canvas_truth(canvas.shape[0], M, mean)
    in_place = correlation(square, truth[inside, inside])
    run.require(
        subject, in_place > _LEAST_CORRELATION, f"r = {in_place:.6f} with the true object", case
    )
    for axis in (0, 1):
        for step in (1, -1):
            shifted = correlation(square, np.roll(truth, step, axis)[inside, inside])
            what = f"r = {in_place:.6f} in place but {shifted:.6f} at {step:+d} on axis {axis}"
            run.require(subject, shifted < in_place, what, case)


def _scan(seed: int) -> NDArray[np.float64]:
    rng = generator(seed, "stitching")
    grid = np.stack(np.meshgrid(np.arange(9) * 5.0, np.arange(6) * 6.0), axis=-1).reshape(-1, 2)
    return np.asarray(grid + rng.uniform(-1.5, 1.5, grid.shape) + (57.0, 91.0))


def _column(centres: NDArray[np.float64]) -> NDArray[np.float64]:
    return centres[:, None, :, None]


@check("S-1", "True patches of a jittered scan stitch to the true object, even and odd M")
def single_positions(run: Recorder) -> None:
    """Through each backend's public door, one patch per position."""
    centres = _scan(run.seed)
    patches = _true_patches(centres)
    for M in (16, 15, _N):
        _judge_door(run, patches, centres, M)


def _judge_door(
    run: Recorder, patches: NDArray[np.complex64], centres: NDArray[np.float64], M: int
) -> None:
    case = f"gridsize 1, M={M}"
    doors = run.collect(lambda b: b.stitch(patches[..., None], _column(centres), M), case)
    for subject, canvas in doors.items():
        _judge_truth(run, subject, canvas, M, centres.mean(axis=0), case)
    for left, right in run.pairs(doors):
        run.judge_equal(PAIR, [compare(left, right, "canvas")], case)


def _groups(centres: NDArray[np.float64], gridsize: int, seed: int) -> NDArray[np.int64]:
    rng = generator(seed, f"groups {gridsize}")
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=-1)
    near = np.argsort(distance, axis=1)[:, : gridsize**2]
    return np.asarray(rng.permuted(near, axis=1), np.int64)


@check("S-2", "True patches merged by groups and stitched give the true object")
def merged_groups(run: Recorder) -> None:
    """Each backend's own merge, then its own door; groups of 4 and 9 in random order."""
    centres = _scan(run.seed)
    patches = _true_patches(centres)
    for gridsize in (2, 3):
        _judge_merge(run, patches, centres, gridsize)


def _judge_merge(
    run: Recorder, patches: NDArray[np.complex64], centres: NDArray[np.float64], gridsize: int
) -> None:
    case = f"gridsize {gridsize}"
    config = small_model(gridsize=gridsize)
    groups = _groups(centres, gridsize, run.seed)
    middle = centres[groups].mean(axis=1)
    relative = (middle[:, None] - centres[groups]).transpose(0, 2, 1)[:, None]
    stack = np.ascontiguousarray(np.moveaxis(patches[groups], 1, -1))
    offsets = relative.astype(np.float32)
    merged = run.collect(lambda b: b.merge(config, stack, offsets), case)
    exact = oracle.merge(config, stack.astype(np.complex128), offsets.astype(np.float64))
    expected = {"object": oracle.centre(exact, _N)}
    found = {name: {"object": obj} for name, obj in merged.items()}
    run.judge_against(found, expected, "stitching.merge", case)
    for subject, obj in merged.items():
        canvas = run.backends[subject].stitch(obj, _column(middle), 16)
        _judge_truth(run, subject, canvas, 16, middle.mean(axis=0), case)


@check("S-3", "Stitching agrees with the patch-by-patch float64 reference")
def against_reference(run: Recorder) -> None:
    """Random patches, so that nothing smooths a wrong weight away."""
    rng = generator(run.seed, "stitching noise")
    centres = _scan(run.seed)[:7]
    shape = (2, len(centres), _N, _N)
    real, imaginary = rng.normal(size=shape)
    patches = (real + 1j * imaginary).astype(np.complex64)
    for M in (10, 13):
        _judge_canvas(run, patches, centres, M)


def _judge_canvas(
    run: Recorder, patches: NDArray[np.complex64], centres: NDArray[np.float64], M: int
) -> None:
    case = f"M={M}"
    doors = run.collect(lambda b: b.stitch(patches[..., None], _column(centres), M), case)
    expected = {"canvas": oracle.stitch(patches, centres, M)}
    found = {name: {"canvas": canvas} for name, canvas in doors.items()}
    run.judge_against(found, expected, "stitching.canvas", case)
