"""Checks generated from the scan-file and error tables, through each backend's doors."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.callchain.scenario import package_of
from parity.checks.recorder import Recorder
from parity.spec.records import Row
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.archive import ArchiveError
from ptycho.raw_data import RawData

# --------------------------------------------------------------------------- scan files


def _scan_arrays() -> dict[str, Any]:
    """Return a valid scan with every key of the schema."""
    n, N = 6, 32
    rng = np.random.default_rng(0)
    probe = np.exp(-(((np.mgrid[:N, :N] - N / 2) / 6) ** 2).sum(axis=0)).astype(np.complex64)
    return {
        "diff3d": rng.random((n, N, N), np.float32) + 0.1,
        "xcoords": 20 + rng.random(n) * 10,
        "ycoords": 20 + rng.random(n) * 10,
        "probeGuess": probe,
        "xcoords_start": 20 + rng.random(n) * 10,
        "ycoords_start": 20 + rng.random(n) * 10,
        "scan_index": np.arange(n),
        "objectGuess": np.ones((64, 60), np.complex64),
        "Y": np.ones((n, N, N), np.complex64),
        "norm_Y_I": np.array(2.5),
        "bad_pixels": np.zeros((N, N), bool),
        "measurement_domain": np.array("amplitude"),
        "_metadata": np.array(json.dumps({"nphotons": 1e6})),
    }


def _read(arrays: dict[str, Any], folder: str) -> RawData:
    path = Path(folder) / "scan.npz"
    np.savez(path, **arrays)
    return RawData.from_file(path)


_DTYPES = {"real": "fiu", "complex": "c", "float64": "f", "int": "iu", "bool": "b", "str": "U"}


def check_npz_key(row: Row, recorder: Recorder) -> None:
    """Judge one key of a scan file: needed or not, read back, and written again."""
    key, required = row.cells["Key"], row.cells["Required"] == "yes"
    arrays = _scan_arrays()
    for subject in recorder.backends:
        kinds = _DTYPES[row.cells["Dtype"]]
        kind = arrays[key].dtype.kind
        recorder.require(subject, kind in kinds, f"{key} is tried with kind {kind!r}", "dtype")
        rest = {name: value for name, value in arrays.items() if name != key}
        with tempfile.TemporaryDirectory() as folder:
            try:
                _read(rest, folder)
                refused = ""
            except KeyError as error:
                refused = str(error)
            what = f"without {key}: {refused or 'the file is read'}"
            recorder.require(subject, (key in refused) == required, what, "required")
            again = Path(folder) / "again.npz"
            _read(arrays, folder).to_file(again)
            with np.load(again, allow_pickle=False) as stored:
                same = key in stored and _equal(key, stored[key], arrays[key])
            recorder.require(subject, same, f"{key} changes when read and written", "round trip")


def _equal(key: str, a: NDArray[Any], b: NDArray[Any]) -> bool:
    if key == "_metadata":
        return bool(json.loads(str(a)) == json.loads(str(b)))
    return a.dtype == b.dtype and bool(np.array_equal(a, b))


# --------------------------------------------------------------------------- errors


def _changed(**changes: Any) -> dict[str, Any]:
    return {**_scan_arrays(), **changes}


def _with_nan() -> dict[str, Any]:
    arrays = _scan_arrays()
    arrays["diff3d"][1, 2, 3] = np.nan
    return arrays


def _file_errors() -> dict[str, dict[str, Any]]:
    """Return situation -> arrays of a scan file that shows it."""
    scan = _scan_arrays()
    zero = {k: v[:0] for k, v in scan.items() if k in ("diff3d", "xcoords", "ycoords")}
    dropped = {"xcoords_start", "ycoords_start", "scan_index", "Y"}
    return {
        "missing key": {k: v for k, v in scan.items() if k != "ycoords"},
        "wrong rank": _changed(diff3d=scan["diff3d"][0]),
        "NaN in patterns": _with_nan(),
        "negative patterns": _changed(diff3d=scan["diff3d"] - 1),
        "non-square patterns": _changed(diff3d=scan["diff3d"][:, :, :30]),
        "lengths differ": _changed(xcoords=scan["xcoords"][:-1]),
        "zero positions": {k: v for k, v in {**scan, **zero}.items() if k not in dropped},
        "empty probe": _changed(probeGuess=np.zeros_like(scan["probeGuess"])),
    }


def _other_errors(package: str) -> dict[str, Callable[[Path], object]]:
    components = importlib.import_module(f"{package}.workflows.components")
    selector = importlib.import_module("ptycho.workflows.backend_selector")

    def unsupported(folder: Path) -> object:
        config = TrainingConfig(model=ModelConfig(N=48))
        return components.create_ptycho_data_container(None, config)

    def corrupt(folder: Path) -> object:
        (folder / "wts.h5.zip").write_bytes(b"PK\x03\x04 not an archive")
        return components.load_inference_bundle(folder)

    return {
        "missing scan file": lambda folder: components.load_data(folder / "none.npz"),
        "unsupported N": unsupported,
        "missing bundle": lambda folder: components.load_inference_bundle(folder),
        "corrupt bundle": corrupt,
        "unknown backend": lambda folder: selector.get_backend("jax"),
    }


_ERRORS: dict[str, type[Exception]] = {
    "FileNotFoundError": FileNotFoundError,
    "KeyError": KeyError,
    "ValueError": ValueError,
    "ArchiveError": ArchiveError,
}

#: Phrases that name a thing instead of quoting a word.
_PHRASES = {
    "the path": ("none.npz", "wts.h5.zip"),
    "the key": ("ycoords",),
    "the available names": ("tensorflow",),
}


def check_error(row: Row, recorder: Recorder) -> None:
    """Judge one row of the error table through each backend's doors."""
    situation, wanted, phrase = (row.cells[c] for c in ("Situation", "Error", "Phrase"))
    for subject in recorder.backends:
        package = package_of(subject)
        components = importlib.import_module(f"{package}.workflows.components")
        files, others = _file_errors(), _other_errors(package)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            try:
                if situation in files:
                    path = folder / "scan.npz"
                    np.savez(path, **files[situation])
                    components.load_data(path)
                else:
                    others[situation](folder)
                caught: Exception | None = None
            except Exception as error:
                caught = error
        expected = isinstance(caught, _ERRORS[wanted])
        recorder.require(subject, expected, f"{caught!r}; the text says {wanted}", situation)
        words = _PHRASES.get(phrase, (phrase,))
        said = any(word.lower() in str(caught).lower() for word in words)
        recorder.require(subject, said, f"{str(caught)!r} does not say {phrase!r}", situation)
