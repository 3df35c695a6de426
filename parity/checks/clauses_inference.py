"""Q-1 to Q-7: loading a bundle, predicting from it, and stitching what it predicts."""

from __future__ import annotations

import functools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.backends import Backend
from parity.checks.observing import load_with_backend
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import NPHOTONS, generator, sample
from parity.checks.scenes import NORMALISATION, params_restored, stitcher, written_bundle
from parity.checks.training import TWENTY_STEPS
from parity.compare import compare
from ptycho import loader, params
from ptycho.raw_data import RawData

_MODEL = TWENTY_STEPS.model

#: What the caller has set before loading, all of it wrong for the bundle.
_WRONG: dict[str, Any] = {
    "N": 64,
    "gridsize": 1,
    "n_filters_scale": 2,
    "nphotons": 7.0,
    "intensity_scale": 1.0,
    "normalisation": 2.0,
    "probe.mask": True,
    "amp_activation": "relu",
}

#: What the bundle says instead.
_RIGHT: dict[str, Any] = {
    "N": 32,
    "gridsize": 2,
    "n_filters_scale": 1,
    "nphotons": NPHOTONS,
    "intensity_scale": math.sqrt(NPHOTONS) / 16,
    "normalisation": NORMALISATION,
    "probe.mask": False,
    "amp_activation": "sigmoid",
}


def _predictor(run: Recorder, reader: str, writer: Backend) -> Any:
    """Return the model that ``reader`` makes of the bundle of ``writer``."""

    def load() -> Any:
        with tempfile.TemporaryDirectory() as folder, params_restored():
            written_bundle(run, writer, Path(folder))
            return load_with_backend(reader, Path(folder))[0]

    return run.once(("predictor", reader, writer.name), load)


@check(
    "Q-1",
    "A bundle's configuration and scales replace the caller's; it predicts complex64",
    ("backend",),
)
def restores(run: Recorder) -> None:
    """Whichever backend wrote it."""
    given = sample(_MODEL, run.seed, batch=3)
    for reader in run.backends:
        for writer in run.backends.values():
            case = f"bundle of {writer.name}"
            with tempfile.TemporaryDirectory() as folder, params_restored():
                written_bundle(run, writer, Path(folder))
                params.cfg.update(_WRONG, output_prefix="the caller's place")
                loaded: Any = load_with_backend(reader, Path(folder))
                cfg = dict(params.cfg)
            pair = isinstance(loaded, tuple) and len(loaded) == 2
            run.require(reader, pair, f"returned {type(loaded).__name__}, not a pair", case)
            model, parameters = loaded
            for key, value in _RIGHT.items():
                found = (cfg.get(key), parameters.get(key))
                what = f"{key} is {found} in params.cfg and parameters; the bundle's is {value!r}"
                run.require(reader, found == (value, value), what, case)
            kept = cfg.get("output_prefix") == "the caller's place"
            run.require(reader, kept, "the caller's output_prefix was replaced", case)
            x = given.x / np.float32(given.intensity_scale)
            patches = model.predict([x * cfg["intensity_scale"], given.offsets.astype(np.float64)])
            plain = type(patches) is np.ndarray and patches.dtype == np.complex64
            what = f"{type(patches).__name__} of {getattr(patches, 'dtype', None)}"
            run.require(reader, plain, f"predicted {what}; expected a complex64 array", case)
            shape = np.shape(patches)
            run.require(reader, shape == (3, 32, 32, 1), f"predicted shape {shape}", case)
            alive = bool(np.isfinite(patches).all()) and bool(np.all(np.any(patches, axis=(1, 2))))
            run.require(reader, alive, "a patch is empty or not finite", case)


@check("Q-2", "Predictions do not depend on how groups are split into batches", ("backend",))
def batches(run: Recorder) -> None:
    """Batches of one, two and all, and calls of one group each, with offsets of any size."""
    given = sample(_MODEL, run.seed, batch=5)
    spread = np.array([0.0, 0.3, 1.0, 2.5, 5.0], np.float32)[:, None, None, None]
    offsets = given.offsets * spread
    for reader, backend in run.backends.items():
        model = _predictor(run, reader, backend)
        whole = model.predict([given.x, offsets], batch_size=5)
        parts = {
            f"batches of {size}": model.predict([given.x, offsets], batch_size=size)
            for size in (1, 2)
        }
        single = [model.predict([given.x[[i]], offsets[[i]]]) for i in range(5)]
        parts["one call for each group"] = np.concatenate(single)
        for case, part in parts.items():
            found = compare(part, whole, "object patches")
            run.judge(reader, [found], "archive.prediction", case)


def refusal(job: Callable[..., Any], *given: Any, **named: Any) -> tuple[str, str]:
    """Return type and text of what ``job`` raises; empty texts where it raises nothing."""
    try:
        job(*given, **named)
    except Exception as error:
        return type(error).__name__, str(error)
    return "", ""


@check(
    "Q-3", "Inputs that do not fit the model are refused, naming its N and gridsize", ("backend",)
)
def misfits(run: Recorder) -> None:
    """Another side, channel count, rank, number of offsets, and more or less than two inputs."""
    x, offsets = np.ones((2, 32, 32, 4), np.float32), np.zeros((2, 1, 2, 4), np.float32)
    inputs: dict[str, list[Any]] = {
        "N=64": [np.ones((2, 64, 64, 4), np.float32), offsets],
        "gridsize 1": [x[..., :1], offsets[..., :1]],
        "gridsize 3": [np.ones((2, 32, 32, 9), np.float32), np.zeros((2, 1, 2, 9), np.float32)],
        "no batch axis": [x[0], offsets[0]],
        "an axis too many": [x[None], offsets],
        "offsets of other groups": [x, offsets[:1]],
        "offsets without axis": [x, offsets[:, 0]],
        "offsets (B, C, 2)": [x, np.zeros((2, 1, 4, 2), np.float32)],
        "patterns alone": [x],
    }
    for reader, backend in run.backends.items():
        model = _predictor(run, reader, backend)
        for case, given in inputs.items():
            kind, text = refusal(model.predict, given)
            run.require(reader, kind == "ValueError", f"{kind or 'nothing'} was raised", case)
            named = "N=32" in text and "gridsize=2" in text
            run.require(reader, named, f"{text!r} does not name N=32 and gridsize=2", case)
        kind, text = refusal(model.predict, [x, offsets])
        run.require(reader, kind == "", f"{kind}: {text}", "inputs that fit")


def _centres(count: int) -> NDArray[np.float64]:
    rng = generator(0, "centres")
    return np.asarray(rng.uniform(-20, 20, (count, 1, 2, 1)))


@check(
    "Q-4",
    "reassemble_position: types, sides, refusals, and no global state",
    ("backend",),
    framework=False,
)
def reassembly(run: Recorder) -> None:
    """Any complex type, either precision of offsets, every M up to N, with params.cfg empty."""
    patches = np.ones((6, 32, 32, 1), np.complex128) * np.exp(0.3j)
    offsets = np.round(_centres(6), 2)
    bad: dict[str, tuple[Any, Any, int]] = {
        "an offset missing": (patches, offsets[:-1], 10),
        "a patch missing": (patches[:-1], offsets, 10),
        "M=0": (patches, offsets, 0),
        "M=-3": (patches, offsets, -3),
        "M=33": (patches, offsets, 33),
    }
    for subject in run.backends:
        place = stitcher(subject).reassemble_position
        with params_restored():
            params.cfg.clear()
            for M in range(1, 33):
                image = place(patches, offsets, M=M)
                square = image.shape == (image.shape[0], image.shape[0], 1)
                holds = square and image.dtype == np.complex64
                run.require(subject, holds, f"{image.shape} of {image.dtype}", f"M={M}")
            for patch_type in (np.complex64, np.complex128):
                for offset_type in (np.float32, np.float64):
                    case = f"{np.dtype(patch_type)} patches, {np.dtype(offset_type)} offsets"
                    found = place(patches.astype(patch_type), offsets.astype(offset_type), M=9)
                    run.require(subject, found.dtype == np.complex64, f"{found.dtype}", case)
                    wanted = place(patches, offsets.astype(offset_type), M=9)
                    compared = compare(found, wanted, "canvas", ("y", "x", "one"))
                    run.judge(subject, [compared], "stitching.canvas", case)
            for case, (stack, points, M) in bad.items():
                kind, text = refusal(place, stack, points, M=M)
                what = f"{kind or 'nothing'} was raised: {text}"
                run.require(subject, kind == "ValueError", what, case)
            left = dict(params.cfg)
            run.require(subject, not left, f"params.cfg was given {sorted(left)}")


@check(
    "Q-5",
    "The canvas shows every patch at its place, and zero where there is none",
    ("backend",),
    framework=False,
)
def places(run: Recorder) -> None:
    """Patches of one number each, so far apart that they do not touch; even and odd M."""
    points = np.array([[10.0, 3.0], [-50.0, 21.0], [70.0, 60.0], [-30.0, -84.0]])
    numbers = np.array([1 + 2j, -3 + 1j, 2 - 2j, 0.5 + 4j])
    patches = np.broadcast_to(numbers[:, None, None, None], (4, 32, 32, 1)).astype(np.complex64)
    for M in (8, 9):
        images = {
            subject: stitcher(subject).reassemble_position(patches, points[:, None, :, None], M=M)
            for subject in run.backends
        }
        for subject, image in images.items():
            expected = _squares(len(image), M, points, numbers)
            count = int(np.count_nonzero(expected))
            run.require(subject, count == 4 * M * M, f"{count} pixels expected, not {4 * M * M}")
            wrong = np.argwhere(image[..., 0] != expected)[:3].tolist()
            what = f"canvas of {len(image)} differs, first at {wrong}"
            run.require(subject, not wrong, what, f"M={M}")


@check(
    "Q-6",
    "Offsets from the loading door lay the canvas over the middle of objectGuess",
    ("backend",),
    framework=False,
)
def framed_places(run: Recorder) -> None:
    """Patches far from the middle of the object array; even and odd M, even and odd sides."""
    points = np.array([[40.0, 33.0], [95.0, 21.0], [70.0, 60.0], [30.0, 84.0]])
    numbers = np.array([1 + 2j, -3 + 1j, 2 - 2j, 0.5 + 4j])
    patches = np.broadcast_to(numbers[:, None, None, None], (4, 32, 32, 1)).astype(np.complex64)
    for (height, width), M in (((140, 150), 8), ((140, 150), 9), ((141, 151), 8)):
        scan = RawData.from_coords_without_pc(
            points[:, 0],
            points[:, 1],
            np.ones((4, 32, 32), np.float32),
            np.ones((32, 32), np.complex64),
            None,
            np.ones((height, width), np.complex64),
        )
        grouped = functools.partial(scan.generate_grouped_data, 32, gridsize=1, nsamples=1)
        with params_restored():
            params.cfg.pop("normalisation", None)
            container = loader.load(grouped, scan.probeGuess)
        order = container.groups[:, 0]
        # The client's position is the middle of a patch, and of its central M pixels for even M.
        power = np.abs(numbers) ** 2
        content = (points * power[:, None]).sum(axis=0) / power.sum() + (M % 2) / 2
        from_middle = content - np.array([width - 1, height - 1]) / 2
        for subject in run.backends:
            image = stitcher(subject).reassemble_position(
                patches[order], container.global_offsets, M=M
            )
            weight = np.abs(image[..., 0]) ** 2
            rows, columns = np.indices(weight.shape)
            found = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
            off = float(np.abs(found - from_middle - (len(image) - 1) / 2).max())
            case = f"object {height} x {width}, M={M}"
            run.require(subject, off < 0.05, f"content lies {off:.3g} pixels off", case)


@check(
    "Q-7",
    "The loading door groups again for a model of another gridsize",
    ("backend",),
    framework=False,
)
def grouped_again(run: Recorder) -> None:
    """A model of gridsize 2 is current and groups of one pattern are given, and the reverse."""
    rng = generator(0, "positions")
    x, y = rng.uniform(0, 40, (2, 12))
    patterns, probe = np.ones((12, 32, 32), np.float32), np.ones((32, 32), np.complex64)
    scan = RawData.from_coords_without_pc(x, y, patterns, probe, None)
    for model, asked in ((2, 1), (1, 2), (2, 2)):
        with params_restored():
            params.cfg.update(normalisation=1.0, gridsize=model)
            container = loader.load(
                functools.partial(scan.generate_grouped_data, 32, gridsize=asked), probe
            )
        C = container.channels
        what = f"groups of {C} for a model of gridsize {model}"
        for subject in run.backends:
            run.require(subject, model**2 == C, what, f"gridsize {asked} asked for")


def _squares(
    side: int, M: int, points: NDArray[np.float64], numbers: NDArray[np.complex128]
) -> NDArray[np.complex64]:
    """Return the canvas of squares of M pixels, the one at M//2 on the position itself."""
    image = np.zeros((side, side), np.complex64)
    middle = points.mean(axis=0)
    along = np.arange(side) - side / 2 + (0.5 if M % 2 else 0.0)
    for (px, py), number in zip(points, numbers, strict=True):
        columns = [0 <= x - px + M // 2 < M for x in along + middle[0]]
        rows = [0 <= y - py + M // 2 < M for y in along + middle[1]]
        image[np.ix_(np.flatnonzero(rows), np.flatnonzero(columns))] = number
    return image
