"""D: scan files, measurement domain, positions, and what is refused."""

from __future__ import annotations

import errno
import io
import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from parity.checks.observing import doors, everyone, outcome, params_kept, result, says, tiny_scan
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import probe_modes
from ptycho.cli import simulate
from ptycho.config.config import InferenceConfig, ModelConfig, TrainingConfig
from ptycho.core.bundle import Bundle, read_bundle, write_bundle
from ptycho.core.container import PtychoDataContainer
from ptycho.core.loading import load_data
from ptycho.core.outputs import save_outputs
from ptycho.core.stitching import extract_patches, reassemble
from ptycho.core.weights import initial_weights
from ptycho.core.workflow import adopt_bundle
from ptycho.io.atomic import write_bytes
from ptycho.loader import load
from ptycho.raw_data import RawData

# --------------------------------------------------------------------------- files


@check("D-1", "Scan files: stored patterns come back unchanged", ("backend",), framework=False)
def stored_patterns(run: Recorder) -> None:
    """Every kind of number, in the file's own layout and with the pattern index last."""
    rng = np.random.default_rng(run.seed)
    for kind in ("u1", "u2", "u4", "i2", "i8", "f2", "f4", "f8", ">u2"):
        patterns = (rng.random((7, 32, 32)) * 100).astype(kind)
        arrays: dict[str, Any] = {
            "xcoords": np.arange(7.0),
            "ycoords": np.arange(7.0) * 2,
            "probeGuess": np.ones((32, 32), complex),
        }
        for layout, stored in (("n first", patterns), ("n last", patterns.transpose(1, 2, 0))):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "scan.npz"
                np.savez(path, diff3d=stored, **arrays)
                for subject in run.backends:
                    read = result(run, f"{layout}, {kind}", doors(subject).load_data, path)
                    found = np.zeros(0) if read is None else read.diff3d
                    same = found.dtype == patterns.dtype and np.array_equal(found, patterns)
                    what = f"read as {found.dtype} {found.shape}; expected {kind} {patterns.shape}"
                    run.require(subject, bool(same), what, f"{layout}, {kind}")


def _full_scan(seed: int) -> RawData:
    rng = np.random.default_rng(seed)
    probe = probe_modes(32, 1)[0]
    scan = tiny_scan(seed, 3, 2, patterns=rng.integers(0, 900, (6, 32, 32)).astype(np.uint16))
    return RawData(
        scan.xcoords, scan.ycoords, scan.xcoords + 0.25, scan.ycoords - 0.5, scan.diff3d,
        np.stack([probe, probe * 0.5j]), np.arange(6)[::-1],
        rng.random((70, 64)) * (1 + 1j), rng.random((6, 32, 32)) * 1j, 3.25,
        {"nphotons": 1e6, "notes": ["ü", {"deep": None}]}, rng.random((32, 32)) > 0.9, "amplitude",
    )  # fmt: skip


def _differences(one: RawData, other: RawData) -> list[str]:
    names = sorted(name for name in vars(one) if not name.startswith("_"))
    found = []
    for name in names:
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, np.ndarray):
            same = isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
        else:
            same = (a is None) == (b is None) and bool(a == b)
        found += [] if same else [f"{name}: {a!r} became {b!r}"]
    return found


@check("D-2", "A scan written and read again is equal in every key", ("backend",), framework=False)
def round_trip(run: Recorder) -> None:
    """A scan with everything and one with nothing optional."""
    for case, scan in (("full", _full_scan(run.seed)), ("least", tiny_scan(run.seed, 3, 2))):
        with tempfile.TemporaryDirectory() as folder:
            path = scan.to_file(Path(folder) / "scan.npz")
            lost = _differences(scan, RawData.from_file(path))
            everyone(run, not lost, f"changed: {lost}", case)
            everyone(run, len(list(Path(folder).iterdir())) == 1, "more than one file", case)


class _Explosive:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


@check("D-3", "Files with pickled objects are refused and not run", ("backend",), framework=False)
def pickles(run: Recorder) -> None:
    """In a needed key and in an optional one; the message names the key and says what to do."""
    for key in ("diff3d", "objectGuess", "_metadata"):
        for subject in run.backends:
            with tempfile.TemporaryDirectory() as folder:
                trap, path = Path(folder) / "executed", Path(folder) / "scan.npz"
                arrays: dict[str, Any] = {
                    "xcoords": np.arange(3.0),
                    "ycoords": np.arange(3.0),
                    "diff3d": np.ones((3, 32, 32)),
                    "probeGuess": np.ones((32, 32), complex),
                }
                arrays[key] = np.array([_Explosive(trap)], dtype=object)
                np.savez(path, allow_pickle=True, **arrays)
                error = outcome(doors(subject).load_data, path)
                told = says(error, ValueError, key, str(path), "plain array")
                run.require(subject, told, f"{error!r}", key)
                run.require(subject, not trap.exists(), "the object was unpickled", key)


# --------------------------------------------------------------------------- refusals


def _broken() -> dict[str, tuple[dict[str, Any], str]]:
    """Return case -> changed constructor arguments and the array that is to be named."""
    patterns = np.ones((4, 32, 32), np.float32)

    def spoilt(value: float) -> NDArray[np.float32]:
        changed = patterns.copy()
        changed[2, 5, 7] = value
        return changed

    line = np.arange(4.0)
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "NaN": ({"diff3d": spoilt(np.nan)}, "diff3d"),
        "infinity": ({"diff3d": spoilt(np.inf)}, "diff3d"),
        "minus infinity": ({"diff3d": spoilt(-np.inf)}, "diff3d"),
        "negative": ({"diff3d": spoilt(-1e-3)}, "diff3d"),
        "negative integer": ({"diff3d": spoilt(-1).astype(np.int32)}, "diff3d"),
        "not square": ({"diff3d": patterns[:, :, :31]}, "diff3d"),
        "rank 2": ({"diff3d": patterns[0]}, "diff3d"),
        "rank 4": ({"diff3d": patterns[..., None]}, "diff3d"),
        "too few patterns": ({"diff3d": patterns[:3]}, "diff3d"),
        "too few rows": ({"ycoords": line[:3]}, "ycoords"),
        "positions of rank 2": ({"xcoords": line[:, None]}, "xcoords"),
        "empty probe": ({"probeGuess": np.zeros((32, 32), complex)}, "probeGuess"),
        "small probe": ({"probeGuess": np.ones((31, 31), complex)}, "probeGuess"),
        "oblong probe": ({"probeGuess": np.ones((32, 30), complex)}, "probeGuess"),
        "probe of rank 1": ({"probeGuess": np.ones(32, complex)}, "probeGuess"),
        "zero positions": (
            {"xcoords": line[:0], "ycoords": line[:0], "diff3d": patterns[:0]}, "positions"
        ),
    }  # fmt: skip
    for name in ("xcoords", "ycoords", "xcoords_start", "ycoords_start"):
        for value in (np.nan, np.inf):
            cases[f"{name} {value}"] = ({name: np.array([0.0, 1.0, value, 3.0])}, name)
    return cases


@check("D-4", "What makes no scan is refused, naming the array", ("backend",), framework=False)
def refusals(run: Recorder) -> None:
    """One thing wrong at a time; without it the scan is accepted."""
    line = np.arange(4.0)
    right: dict[str, Any] = {
        "xcoords": line, "ycoords": line, "xcoords_start": None, "ycoords_start": None,
        "diff3d": np.ones((4, 32, 32), np.float32), "probeGuess": np.ones((32, 32), complex),
        "scan_index": None,
    }  # fmt: skip
    everyone(run, outcome(RawData, **right) is None, "a valid scan is refused", "valid")
    for case, (changes, name) in _broken().items():
        error = outcome(RawData, **{**right, **changes})
        everyone(run, says(error, ValueError, name), f"{error!r}; expected {name}", case)


# --------------------------------------------------------------------------- domain and scale


def _amplitudes() -> NDArray[np.float64]:
    """Return whole numbers, so that their squares and the roots of these are exact."""
    return np.random.default_rng(3).integers(0, 15, (30, 32, 32)).astype(np.float64)


#: Case -> dtype, domain of the scan, domain of the configuration, whether counts are meant.
_DOMAINS: dict[str, tuple[str, str, str, bool]] = {
    "integers": ("u1", "auto", "auto", True),
    "16-bit integers": ("u2", "auto", "auto", True),
    "32-bit integers": ("i4", "auto", "auto", True),
    "floats": ("f4", "auto", "auto", False),
    "doubles": ("f8", "auto", "auto", False),
    "floats declared counts": ("f4", "counts", "auto", True),
    "integers declared amplitude": ("u2", "amplitude", "auto", False),
    "floats configured as counts": ("f4", "auto", "counts", True),
    "integers configured as amplitude": ("u2", "auto", "amplitude", False),
}


class _Listener:
    """Stands for a trained model and keeps what it is asked to predict from."""

    intensity_scale, normalisation = 3.0, 0.37

    def __init__(self) -> None:
        self.config = ModelConfig(N=32)
        self.heard: list[NDArray[Any]] = []

    def predict(self, inputs: Any, batch_size: int = 32) -> NDArray[np.complex64]:
        self.heard.append(np.asarray(inputs[0]))
        return np.ones((len(inputs[0]), 32, 32, 1), np.complex64)


def _configurations(domain: str) -> tuple[TrainingConfig, InferenceConfig]:
    model = ModelConfig(N=32)
    training = TrainingConfig(model=model, n_groups=30)
    inference = InferenceConfig(model=model, model_path=Path(), test_data_file=Path())
    for config in (training, inference):
        config.measurement_domain = domain  # type: ignore[assignment]  # from the table above
    return training, inference


@check("D-5", "One square root of counts, in training and inference", ("backend",), framework=False)
def domain(run: Recorder) -> None:
    """Integers or declared counts; the scan keeps its patterns, asking twice changes nothing."""
    small = _amplitudes()
    for case, (kind, declared, configured, counts) in _DOMAINS.items():
        # Counts up to 56644, whose squares and sums fit no 16 bits.
        amplitude = small if kind == "u1" else small * 17
        given = (amplitude**2 if counts else amplitude).astype(kind)
        kept = given.copy()
        scan = tiny_scan(run.seed, patterns=given, measurement_domain=declared)
        for subject in run.backends:
            training, inference = _configurations(configured)
            model, door = _Listener(), doors(subject)
            for _ in range(2):
                container = door.create_ptycho_data_container(scan, training)
                same = np.array_equal(container.amplitude, amplitude.astype(np.float32))
                run.require(subject, same, "training does not see the amplitude", case)
            door.reassemble_cdi_image(scan, inference, model, M=10)
            factor = np.float32(model.normalisation)
            seen = amplitude.astype(np.float32) * factor * np.float32(model.intensity_scale)
            holds = np.array_equal(np.concatenate(model.heard)[..., 0], seen)
            run.require(subject, holds, "inference does not see amplitude times factor", case)
            same = scan.diff3d is given and given.dtype == kind and np.array_equal(given, kept)
            run.require(subject, bool(same), "diff3d did not stay as given", case)


@check("D-6", "Integers are counts unless the domain says otherwise", ("backend",), framework=False)
def domain_rule(run: Recorder) -> None:
    """Every dtype under every declaration, in the file and when loading."""
    for kind in ("u1", "u2", "i4", "u8", "f4", "f8"):
        for declared in ("auto", "amplitude", "counts"):
            natural = "counts" if np.dtype(kind).kind in "iu" else "amplitude"
            wanted = natural if declared == "auto" else declared
            patterns = np.full((6, 32, 32), 9, kind)
            scan = tiny_scan(run.seed, 3, 2, patterns=patterns, measurement_domain=declared)
            amplitude = scan.amplitude()
            root = bool(np.all(amplitude == (3 if wanted == "counts" else 9)))
            case = f"{kind} declared {declared}"
            everyone(run, scan.domain == wanted, f"taken as {scan.domain}", case)
            everyone(run, root, f"amplitude of 9 is {amplitude.max()}", case)
            if kind not in ("u2", "f4"):
                continue
            with tempfile.TemporaryDirectory() as folder:
                path = scan.to_file(Path(folder) / "scan.npz")
                read = load_data(path).domain
                imposed = load_data(path, measurement_domain="counts").domain
            everyone(run, read == wanted, f"taken as {read} from the file", case)
            everyone(run, imposed == "counts", f"{imposed} though loaded as counts", case)
    error = outcome(tiny_scan, run.seed, measurement_domain="photons")
    everyone(run, says(error, ValueError, "photons", "counts"), f"{error!r}", "unknown domain")


@check("D-7", "Inference uses the bundle's normalisation factor", ("backend",), framework=False)
def stored_factor(run: Recorder) -> None:
    """A scan ten times brighter than any: its own factor would give itself away."""
    scan = tiny_scan(run.seed, patterns=(_amplitudes() * 10).astype(np.float32))
    amplitude = scan.amplitude()
    for subject in run.backends:
        model = _Listener()
        doors(subject).reassemble_cdi_image(scan, _configurations("auto")[0], model, M=10)
        heard = np.concatenate(model.heard)[..., 0]
        ratio = float(heard.sum() / amplitude.sum(dtype=np.float64))
        what = f"patterns were scaled by {ratio}; the model's are {0.37 * 3.0}"
        run.require(subject, abs(ratio / (0.37 * 3.0) - 1) < 1e-5, what, "reassemble_cdi_image")
    config = ModelConfig(N=32, n_filters_scale=1)
    weights = initial_weights(config, 0, np.asarray(scan.probeGuess), 3.0)
    bundle = Bundle("tensorflow", config, weights, 3.0, 0.37)
    with tempfile.TemporaryDirectory() as folder, params_kept() as cfg:
        adopt_bundle(read_bundle(write_bundle(folder, bundle, {})))
        factor, scale = cfg.get("normalisation"), cfg.get("intensity_scale")
        container = load(lambda: scan.generate_grouped_data(32, gridsize=1), scan.probeGuess)
    what = f"params.cfg has normalisation {factor} and scale {scale}; the bundle 0.37 and 3.0"
    everyone(run, (factor, scale) == (0.37, 3.0), what, "params.cfg")
    found = container.normalisation
    everyone(run, found == 0.37, f"ptycho.loader.load used {found}, not 0.37", "ptycho.loader")


# --------------------------------------------------------------------------- positions


@check("D-8", "x runs along columns, y along rows, pixel N/2 on it", ("backend",), framework=False)
def axes(run: Recorder) -> None:
    """One bright object pixel shows where a patch looks and where stitching puts it."""
    N, row, column = 32, 41, 57
    obj = np.zeros((90, 100), np.complex128)
    obj[row, column] = 1
    for dx, dy in ((0, 0), (3, 0), (0, 3), (-2, 5)):
        centres = np.array([[column + dx, row + dy]], np.float64)
        patch = extract_patches(obj, centres, N)[0]
        peak = tuple(int(i) for i in np.unravel_index(np.abs(patch).argmax(), patch.shape))
        wanted = (N // 2 - dy, N // 2 - dx)
        what = f"the pixel is at {peak} of the patch; expected {wanted}"
        everyone(run, peak == wanted, what, f"position moved by ({dx}, {dy})")
    positions = np.array([[column - 4.0, row - 6.0], [column + 4.0, row + 6.0]])
    canvas = np.abs(reassemble(extract_patches(obj, positions, N), positions, N))
    peak = tuple(int(i) for i in np.unravel_index(canvas.argmax(), canvas.shape))
    middle = (canvas.shape[0] // 2,) * 2
    everyone(run, peak == middle, f"stitched to {peak}; expected {middle}", "stitching")
    x, y = np.array([30.0, 50.0]), np.array([40.0, 44.0])
    patterns, probe = np.ones((2, N, N), np.float32), np.ones((N, N), complex)
    scan = RawData(x, y, None, None, patterns, probe, None, objectGuess=obj)
    columns = np.array_equal(scan.positions, [[30.0, 40.0], [50.0, 44.0]])
    everyone(run, columns, f"positions are {scan.positions.tolist()}; expected [x, y]", "RawData")
    for subject in run.backends:
        config = TrainingConfig(model=ModelConfig(N=N), n_groups=2)
        container: PtychoDataContainer = doors(subject).create_ptycho_data_container(scan, config)
        labels = np.zeros((2, N, N, 1)) if container.Y is None else container.Y
        # The pixel is 7 columns right of and 3 rows above the second position.
        holds = labels[1, N // 2 - 3, N // 2 + 7, 0] == 1
        run.require(subject, bool(holds), "a label shows another part of the object", "labels")


# --------------------------------------------------------------------------- failures


def _writers(scan: RawData, bundle: Bundle) -> dict[str, Callable[[Path], object]]:
    """Return what writes files: name -> writing into a folder."""
    results = {"history": {"loss": [1.0]}}
    return {
        "scan": lambda folder: scan.to_file(folder / "scan.npz"),
        "bundle": lambda folder: write_bundle(folder, bundle, {}),
        "bytes": lambda folder: write_bytes(folder / "metrics.json", b"{}"),
        "outputs": lambda folder: save_outputs(None, None, results, folder),
        "command": _command,
    }


def _command(folder: Path) -> None:
    flags = ["--output", str(folder / "simulated.npz"), "--N", "32", "--n-positions", "4"]
    with redirect_stderr(io.StringIO()) as said:
        code = simulate.main([*flags, "--overwrite", "--quiet"])
    if code:
        raise OSError(f"exit code {code}: {said.getvalue()}")


@check("D-9", "A failed save leaves what was there and nothing else", ("backend",), framework=False)
def failed_saves(run: Recorder) -> None:
    """The disk is full, or the content cannot be written; before that every writer has worked."""
    scan = tiny_scan(run.seed, 3, 2)
    config = ModelConfig(N=32, n_filters_scale=1)
    weights = initial_weights(config, 0, np.asarray(scan.probeGuess), 3.0)
    writers = _writers(scan, Bundle("tensorflow", config, weights, 3.0, 0.37))
    full = OSError(errno.ENOSPC, "no space left on device")
    scan_with_junk = tiny_scan(run.seed, 3, 2, metadata={"junk": object()})
    junk = Bundle("tensorflow", config, weights, 3.0, 0.37, {"junk": object()})
    bad = {**_writers(scan_with_junk, junk), "outputs": lambda f: save_outputs(1, None, {}, f)}
    for name, write in writers.items():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            write(folder)
            before = {path.name: path.read_bytes() for path in folder.iterdir()}
            with mock.patch("os.replace", side_effect=full):
                errors = [outcome(write, folder)]
            if name in ("scan", "bundle", "outputs"):
                errors.append(outcome(bad[name], folder))
            after = {path.name: path.read_bytes() for path in folder.iterdir()}
            everyone(run, bool(before) and None not in errors, f"errors: {errors}", name)
            what = f"left {sorted(after)}, where {sorted(before)} was, or other content"
            everyone(run, after == before, what, name)
