"""K-9 and D-10: what errors say, and that both backends' doors say the same."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from parity.checks.observing import (
    doors,
    everyone,
    messages,
    outcome,
    params_kept,
    says,
    tiny_scan,
)
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan

Job = Callable[[Any, Path], object]


def _grouped(model: dict[str, Any], **fields: Any) -> Job:
    """Return a job that groups a scan of 6 patterns of 32 pixels as configured."""
    config = TrainingConfig(model=ModelConfig(**{"N": 32, **model}), **{"n_groups": 4, **fields})
    return lambda door, _: door.create_ptycho_data_container(tiny_scan(0, 3, 2), config)


def _containing(data: Any) -> Job:
    config = TrainingConfig(model=ModelConfig(N=32))
    return lambda door, _: door.create_ptycho_data_container(data, config)


def _unlabelled(door: Any, _: Path) -> object:
    container = _grouped({})(door, _)
    return container.batch_labels([0])  # type: ignore[attr-defined]  # a container


def _partial(door: Any, folder: Path) -> object:
    np.savez(folder / "partial.npz", xcoords=np.ones(3), diff3d=np.ones((3, 32, 32)))
    return door.load_data(folder / "partial.npz")


def _text(door: Any, folder: Path) -> object:
    (folder / "text.npz").write_text("no archive")
    return door.load_data(folder / "text.npz")


def _too_few(door: Any, folder: Path) -> object:
    path = tiny_scan(0, 3, 2).to_file(folder / "scan.npz")
    return door.load_data(path, n_subsample=0)


def _without_patterns() -> RawData:
    line = np.arange(4.0)
    return RawData(line, line, None, None, None, np.ones((32, 32), complex), None)


#: Situation -> job, type, words for what was wrong, where, and what to do.
_SITUATIONS: dict[str, tuple[Job, type[Exception], tuple[str, ...]]] = {
    "no file": (
        lambda door, folder: door.load_data(folder / "none.npz"),
        FileNotFoundError, ("no such file", "none.npz"),
    ),
    "no scan in it": (_partial, KeyError, ("partial.npz", "lacks", "ycoords", "it has", "xcoords")),
    "no archive": (_text, ValueError, ("text.npz", "not an NPZ file")),
    "another side": (
        _grouped({"N": 64}), ValueError, ("32 x 32", "model.N is 64", "set ModelConfig.N=32")
    ),
    "no network": (_grouped({"N": 48}), ValueError, ("ModelConfig.N is 48", "allowed", "64")),
    "nothing to fit": (_grouped({}, nll_weight=0.0), ValueError, ("nll_weight", "above 0")),
    "too few positions": (_grouped({"gridsize": 3}), ValueError, ("gridsize 3", "9", "6")),
    "no scan": (_containing("scan.npz"), TypeError, ("str", "RawData")),
    "no patterns": (_containing(_without_patterns()), ValueError, ("diff3d",)),
    "no labels": (_unlabelled, ValueError, ("no labels", "objectGuess", "Y", "pinn")),
    "nothing left": (_too_few, ValueError, ("n_subsample is 0", "integer >= 1")),
    "one image": (
        lambda door, folder: door.save_outputs(np.ones((4, 4)), None, {}, folder),
        ValueError, ("phase is None", "both or neither"),
    ),
    "images from nowhere": (
        lambda door, folder: door.save_outputs(np.ones((4, 4)), np.ones((4, 5)), {}, folder),
        ValueError, ("amplitude is (4, 4)", "phase is (4, 5)"),
    ),
}  # fmt: skip


@check("K-9", "Errors name thing, place and remedy, alike in both backends", framework=False)
def errors(run: Recorder) -> None:
    """Through each backend's doors; type and text are equal."""
    for situation, (job, kind, words) in _SITUATIONS.items():
        found: dict[str, Exception | None] = {}
        for subject in run.backends:
            with tempfile.TemporaryDirectory() as name, params_kept():
                found[subject] = outcome(job, doors(subject), Path(name))
                left = sorted(p.name for p in Path(name).iterdir() if p.suffix != ".npz")
            error = found[subject]
            run.require(subject, says(error, kind, *words), f"{error!r} lacks {words}", situation)
            run.require(subject, not left, f"left {left}", situation)
        for one, other in itertools.combinations(found.values(), 2):
            alike = type(one) is type(other) and _plain(one) == _plain(other)
            run.require(PAIR, alike, f"{one!r} and {other!r}", situation)


def _plain(error: Exception | None) -> str:
    """Return the message without the temporary folder's name."""
    return " ".join(Path(word).name for word in str(error).split())


@check(
    "D-10",
    "Patterns whose zero frequency lies in the corners are taken with a warning",
    ("backend",),
    framework=False,
)
def zero_frequency(run: Recorder) -> None:
    """Simulated patterns as they are, shifted, as amplitude, with a beam stop; no structure."""
    raw = built_in_scan(N=32, n_positions=9)
    centred = np.asarray(raw.diff3d)
    stop = centred.copy()
    stop[:, 13:19, 13:19] = 0
    corner = np.fft.ifftshift(centred, axes=(1, 2))
    cases: dict[str, tuple[Any, bool]] = {
        "centred": (centred, False),
        "beam stop": (stop, False),
        "uniform": (np.ones_like(centred), False),
        "corner": (corner, True),
        "corner, counts": ((np.asarray(corner) ** 2).round().astype(np.int64), True),
    }
    for case, (patterns, expected) in cases.items():
        with messages("ptycho.core.scan_checks") as said:
            RawData.from_coords_without_pc(
                raw.xcoords, raw.ycoords, patterns, raw.probeGuess, raw.scan_index
            )
        text = " ".join(said)
        told = "N/2" in text and "fftshift" in text
        everyone(run, told == expected, f"warned: {text!r}", case)
