"""H: scans in HDF5, and positions that are none."""

from __future__ import annotations

import contextlib
import io
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from parity.checks.observing import doors, everyone, messages, outcome, result, says, tiny_scan
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import probe_modes, small_model
from parity.demo.settings import read_scan
from ptycho.cli import evaluate, inference, train
from ptycho.config.config import TrainingConfig
from ptycho.core.grouping import draw_groups
from ptycho.core.sampling import grouping_generator
from ptycho.raw_data import RawData

_ENTRY = "entry_1/instrument_1"
#: Pixel sizes of the object and its middle, all different.
_GEOMETRY = {
    "pixel_width_m": 2e-9,
    "pixel_height_m": 3e-9,
    "center_x_m": 1e-6,
    "center_y_m": -4e-6,
}


def _scan(seed: int, **more: Any) -> RawData:
    obj = np.exp(1j * np.linspace(0, 1, 90 * 80)).reshape(90, 80)
    metadata = {"object_geometry": dict(_GEOMETRY)}
    counts = np.random.default_rng(seed).integers(0, 900, (12, 32, 32)).astype(np.uint16)
    return tiny_scan(seed, 4, 3, patterns=counts, objectGuess=obj, metadata=metadata, **more)


def _metres(scan: RawData) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions in metres: pixel W/2 is the middle of the object."""
    return (scan.xcoords - 40) * 2e-9 + 1e-6, (scan.ycoords - 45) * 3e-9 - 4e-6


def _product(path: Path, scan: RawData) -> None:
    with h5py.File(path, "w") as file:
        file["probe_position_x_m"], file["probe_position_y_m"] = _metres(scan)
        file["probe"] = np.asarray(scan.probeGuess)[None, None]
        file["object"] = np.asarray(scan.objectGuess)[None]
        file["object"].attrs.update(_GEOMETRY)
        file["raw_data/diffraction"] = scan.diff3d


def _training_file(path: Path, scan: RawData) -> None:
    with h5py.File(path, "w") as file:
        file["patterns"], file["probe"] = scan.diff3d, np.asarray(scan.probeGuess)[None]
        file["object"] = scan.objectGuess
        file["bad_pixels"] = np.zeros((32, 32), bool)
        file["probe_position_x_px"], file["probe_position_y_px"] = (
            scan.xcoords - 0.5,
            scan.ycoords - 0.5,
        )


def _cxi(path: Path, scan: RawData, basis: Any = None) -> None:
    """Write 1 Angstrom, 1 m and detector pixels that make the object pixels of the product."""
    x, y = _metres(scan)
    with h5py.File(path, "w") as file:
        file["cxi_version"] = 160
        file[f"{_ENTRY}/detector_1/data"] = scan.diff3d
        file["entry_1/data_1/data"] = h5py.SoftLink(f"/{_ENTRY}/detector_1/data")
        file[f"{_ENTRY}/detector_1/distance"] = 1.0
        file[f"{_ENTRY}/detector_1/x_pixel_size"] = 1e-10 / (32 * 2e-9)
        file[f"{_ENTRY}/detector_1/y_pixel_size"] = 1e-10 / (32 * 3e-9)
        file[f"{_ENTRY}/source_1/energy"] = 6.62607015e-34 * 299792458.0 / 1e-10
        file[f"{_ENTRY}/source_1/illumination"] = scan.probeGuess
        if basis is not None:
            file[f"{_ENTRY}/detector_1/basis_vectors"] = np.asarray(basis, np.float64).T
        file["entry_1/sample_1/geometry_1/translation"] = np.stack([x, y, 0 * x], axis=1)


_WRITERS: dict[str, Callable[[Path, RawData], None]] = {
    "product": _product,
    "training data": _training_file,
    "CXI": _cxi,
}


@check("H-1", "HDF5 scans: told by content, whatever the name", ("backend",), framework=False)
def formats(run: Recorder) -> None:
    """Patterns, probe and positions in object pixels, by both backends' doors."""
    scan = _scan(run.seed)
    for case, write in _WRITERS.items():
        for name in ("scan.h5", "scan.npz", "scan"):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / name
                write(path, scan)
                for subject in run.backends:
                    read = result(run, case, doors(subject).load_data, path)
                    if read is None:
                        continue
                    same = np.array_equal(read.diff3d, np.asarray(scan.diff3d))
                    typed = read.diff3d.dtype == np.uint16
                    run.require(subject, same and typed, "other patterns", f"{case}, {name}")
                    same = np.array_equal(np.squeeze(read.probeGuess), np.asarray(scan.probeGuess))
                    run.require(subject, same, "another probe", f"{case}, {name}")
                    shift = read.positions - scan.positions
                    if case == "CXI":  # its origin is its own: the smallest comes to N/2
                        shift -= 16 - scan.positions.min(axis=0)
                    worst = float(np.abs(shift).max())
                    what = f"positions are off by up to {worst} pixels"
                    run.require(subject, worst < 1e-6, what, f"{case}, {name}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.npz"
        for case, content in (("text", b"x,y\n1,2\n"), ("empty", b"")):
            path.write_bytes(content)
            error = outcome(RawData.from_file, path)
            everyone(run, says(error, ValueError, str(path), "NPZ", "HDF5"), f"{error!r}", case)
        with h5py.File(path, "w") as file:
            file["temperature"] = 3.0
        error = outcome(RawData.from_file, path)
        everyone(run, says(error, ValueError, str(path), "temperature"), f"{error!r}", "HDF5")


@check("H-2", "CXI: the object's pixel, and its axes", ("backend",), framework=False)
def cxi_geometry(run: Recorder) -> None:
    """The detector's axes along, against and across the laboratory's; what is missing is named."""
    scan = _scan(run.seed)
    x, y = (np.asarray(c) for c in _metres(scan))
    #: rows' step, columns' step -> position along the columns and the rows, in metres
    cases = {
        "none": (None, x, y),
        "as without": (((0, -1, 0), (-1, 0, 0)), x, y),
        "columns along x": (((0, -1, 0), (1, 0, 0)), -x, y),
        "rows along y": (((0, 2, 0), (-1, 0, 0)), x, -y),
        "a quarter turned": (((-1, 0, 0), (0, -1, 0)), y, x),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.cxi"
        for case, (basis, along_columns, along_rows) in cases.items():
            _cxi(path, scan, basis)
            found = RawData.from_file(path)
            for got, metres, pixel in (
                (found.xcoords, along_columns, 2e-9),
                (found.ycoords, along_rows, 3e-9),
            ):
                worst = float(np.abs(got - 16 - (metres - metres.min()) / pixel).max())
                everyone(run, worst < 1e-6, f"off by up to {worst} pixels", case)
        for name in ("detector_1/distance", "detector_1/x_pixel_size", "source_1/energy"):
            _cxi(path, scan)
            with h5py.File(path, "r+") as file:
                del file[f"{_ENTRY}/{name}"]
            error = outcome(RawData.from_file, path)
            everyone(run, says(error, KeyError, str(path), name), f"{error!r}", name)


@check("H-3", "A product written and read again is equal", ("backend",), framework=False)
def product_round_trip(run: Recorder) -> None:
    """Every field, dtype included."""
    modes = np.concatenate([probe_modes(32, 2), probe_modes(32, 1) * 1j])
    mask = np.eye(32, dtype=bool)
    scan = _scan(run.seed)
    full = RawData(
        scan.xcoords, scan.ycoords, scan.xcoords + 1, scan.ycoords - 2, scan.diff3d, modes,
        np.arange(12), scan.objectGuess, np.full((12, 32, 32), 2j), 1.5, scan.metadata, mask,
        "amplitude",
    )  # fmt: skip
    for case, given in (("least", scan), ("full", full)):
        with tempfile.TemporaryDirectory() as folder:
            again = RawData.from_file(given.to_file(Path(folder) / "scan.h5"))
        for name, before in vars(given).items():
            after = getattr(again, name)
            if isinstance(before, np.ndarray):
                same = before.dtype == after.dtype and np.array_equal(before, after)
            else:
                same = before == after
            everyone(run, bool(same), f"{name} became {after!r}", f"{case}, {name}")


def _external(file: h5py.File, other: Path) -> None:
    file["raw_data/diffraction"] = h5py.ExternalLink(str(other), "/patterns")


def _virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout((12, 32, 32), np.uint16)
    layout[:] = h5py.VirtualSource(str(other), "patterns", (12, 32, 32))
    file.create_virtual_dataset("raw_data/diffraction", layout)


def _storage(file: h5py.File, other: Path) -> None:
    file.create_dataset(
        "raw_data/diffraction", (12, 32, 32), "u1", external=[(str(other), 0, 12 * 32 * 32)]
    )


def _huge(file: h5py.File, other: Path) -> None:
    file.create_dataset("raw_data/diffraction", (10**6, 2**14, 2**14), "u2", chunks=(1, 64, 64))


def _compound(file: h5py.File, other: Path) -> None:
    file["raw_data/diffraction"] = np.zeros((12, 32, 32), [("a", "u2"), ("b", "f4")])


@check("H-4", "Hostile HDF5 is refused", ("backend",), framework=False)
def hostile(run: Recorder) -> None:
    """What lies in other files stays there; made-up sizes take no memory."""
    scan = _scan(run.seed)
    cases = {
        "external link": (_external, "another file"),
        "virtual dataset": (_virtual, "other files"),
        "external storage": (_storage, "other files"),
        "made-up size": (_huge, "declares shape"),
        "compound": (_compound, "dtype"),
    }
    for case, (spoil, word) in cases.items():
        with tempfile.TemporaryDirectory() as folder:
            path, other = Path(folder) / "scan.h5", Path(folder) / "other.h5"
            _product(path, scan)
            with h5py.File(other, "w") as file:
                file["patterns"] = scan.diff3d
            with h5py.File(path, "r+") as file:
                del file["raw_data/diffraction"]
                spoil(file, other)
            for subject in run.backends:
                tracemalloc.start()
                error = outcome(doors(subject).load_data, path)
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                told = says(error, ValueError, str(path), "raw_data/diffraction", word)
                run.require(subject, told, f"{error!r}", case)
                run.require(subject, peak < 5e6, f"{peak} bytes were taken", case)


@check("H-5", "Every command takes every format", ("backend",), framework=False, quick=False)
def commands(run: Recorder) -> None:
    """Up to the point where the content matters: a scan of another size than the model's."""
    scan = _scan(run.seed)
    for case, write in _WRITERS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "scan"
            write(path, scan)
            absent = Path(folder) / "absent"
            calls: dict[str, tuple[Callable[[list[str]], int], list[str], str]] = {
                "ptycho_train": (
                    train.main,
                    ["--train_data", str(path), "--N", "64", "--output_dir", str(absent)],
                    "32 x 32",
                ),
                "ptycho_inference": (
                    inference.main,
                    ["--test_data", str(path), "--model_path", folder, "--M", "33"],
                    "N = 32",
                ),
            }
            for command, (main, flags, word) in calls.items():
                with contextlib.redirect_stderr(io.StringIO()) as said:
                    code = main([*flags, "--quiet"])
                holds = code == 2 and word in said.getvalue()
                what = f"{command}: exit code {code}, {said.getvalue()!r}"
                everyone(run, holds, what, f"{command}, {case}")
            _evaluate(run, scan, path, has_truth=case != "CXI")
            same = np.array_equal(np.asarray(read_scan(path).diff3d), np.asarray(scan.diff3d))
            everyone(run, same, "ptycho_demo reads other patterns", f"ptycho_demo, {case}")


def _evaluate(run: Recorder, scan: RawData, path: Path, has_truth: bool) -> None:
    """Score the object itself, cut about the mean position, against the truth in ``path``."""
    centre = np.round(scan.positions.mean(axis=0))
    column, row = (int(c) for c in centre)
    picture = np.asarray(scan.objectGuess)[row - 16 : row + 16, column - 16 : column + 16]
    reconstruction, output = path.with_name("reconstruction.npz"), path.with_name("scores")
    np.savez(reconstruction, object=picture, centre=centre)
    flags = [str(reconstruction), "--truth", str(path), "--output", str(output)]
    with contextlib.redirect_stderr(io.StringIO()) as said:
        code = evaluate.main([*flags, "--margin", "8", "--quiet"])
    holds = code == 0 if has_truth else code == 2 and "no objectGuess" in said.getvalue()
    everyone(run, holds, f"exit code {code}, {said.getvalue()!r}", f"ptycho_evaluate, {path}")


@check("H-7", "Stacks are turned by the number of positions", ("backend",), framework=False)
def stacks(run: Recorder) -> None:
    """Either axis, both, or neither has that many entries."""
    N = 32
    rng = np.random.default_rng(run.seed)
    for case, shape, turned in (
        ("n first", (7, N, N), False),
        ("n last", (N, N, 7), True),
        ("cube", (N, N, N), False),
    ):
        n = N if case == "cube" else 7
        patterns = rng.integers(0, 99, shape).astype(np.uint16)
        wanted = np.moveaxis(patterns, 2, 0) if turned else patterns
        for key in ("diff3d", "diffraction"):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "scan.npz"
                arrays: dict[str, Any] = {key: patterns, "probeGuess": np.ones((N, N), complex)}
                np.savez(path, xcoords=np.arange(n), ycoords=np.arange(n), **arrays)
                for subject in run.backends:
                    read = result(run, case, doors(subject).load_data, path)
                    same = read is not None and np.array_equal(read.diff3d, wanted)
                    run.require(subject, same, "patterns were turned wrongly", f"{case}, {key}")
                np.savez(path, xcoords=np.arange(n - 2), ycoords=np.arange(n - 2), **arrays)
                error = outcome(RawData.from_file, path)
                told = says(error, ValueError, "diff3d", str(path))
                everyone(run, told, f"{error!r}", f"{case}, {key}, positions for neither")


# --------------------------------------------------------------------------- positions


@check("H-6", "Positions in other units are refused", ("backend",), framework=False)
def units(run: Recorder) -> None:
    """When grouping and when stitching, without a canvas being made; stray members of groups."""
    scan = _scan(run.seed)
    config = TrainingConfig(model=small_model(), n_groups=12)
    for case, factor, words in (
        ("too wide", 1e9, ("span", "16384", "coord_scale")),
        ("metres", 1e-9, ("span", "metres", "coord_scale")),
    ):
        moved = RawData(
            scan.xcoords * factor, scan.ycoords * factor, None, None, scan.diff3d,
            scan.probeGuess, None,
        )  # fmt: skip
        for subject in run.backends:
            error = outcome(doors(subject).create_ptycho_data_container, moved, config)
            run.require(subject, says(error, ValueError, *words), f"{error!r}", case)
    patches = np.ones((2, 32, 32, 1), np.complex64)
    offsets = np.array([[0.0, 0.0], [1e7, 0.0]])[:, None, :, None]
    for subject, backend in run.backends.items():
        tracemalloc.start()
        error = outcome(backend.stitch, patches, offsets, 20)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        told = says(error, ValueError, "1e+07 x 0", "16384")
        run.require(subject, told and peak < 1e7, f"{error!r}, {peak} bytes", "stitching")
    x, y = np.full((2, 12), 7.0)
    still = RawData(x, y, None, None, scan.diff3d, scan.probeGuess, None)
    for subject in run.backends:
        with messages("ptycho.core.position_checks") as warnings:
            doors(subject).create_ptycho_data_container(still, config)
        run.require(subject, any("equal" in w for w in warnings), f"{warnings}", "equal positions")
    x, y = np.append(scan.xcoords[1:], 5000.0), np.append(scan.ycoords[1:], 60.0)
    stray = RawData(x, y, None, None, scan.diff3d, scan.probeGuess, None)
    config = TrainingConfig(model=small_model(gridsize=2), n_groups=12)
    drawn = draw_groups(stray.positions, 2, 12, grouping_generator(config.seed))
    everyone(run, bool((drawn == 11).any()), "no group has the stray position", "stray")
    for subject in run.backends:
        error = outcome(doors(subject).create_ptycho_data_container, stray, config)
        run.require(subject, says(error, ValueError, "11", "4 N"), f"{error!r}", "stray")
