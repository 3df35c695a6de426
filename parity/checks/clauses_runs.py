"""J: whole runs through the doors: what they leave behind, and in which order they go."""

from __future__ import annotations

import io
import itertools
import tempfile
from contextlib import redirect_stderr
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.callchain.recorder import first_entries
from parity.callchain.scenario import package_of, tiny_config
from parity.checks.observing import doors, outcome, params_kept, says
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.scenes import written_bundle
from ptycho import params
from ptycho.cli import inference
from ptycho.config.config import TrainingConfig, dataclass_to_legacy_dict
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.progress import hidden_progress
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan
from ptycho.workflows.backend_selector import train_cdi_model_with_backend

#: What both backends take from the same NumPy functions.
_SHARED = {
    "groups": "ptycho.core.grouping:draw_groups",
    "normalisation": "ptycho.core.scaling:normalisation_factor",
    "validation split": "ptycho.core.sampling:split_indices",
    "epoch order": "ptycho.core.sampling:epoch_order",
    "learning rates": "ptycho.core.schedule:LearningRateSchedule.rate",
    "initial weights": "ptycho.core.weights:initial_weights",
}

_CONFIGURE = "ptycho.config.config:update_legacy_dict"

#: Settings that are unlike the defaults and change no number.
_EXECUTION = PyTorchExecutionConfig(
    accelerator="cpu", deterministic="warn", enable_progress_bar=False, inference_batch_size=5
)


@dataclass
class _Trained:
    """What one training gave and left in ``params.cfg``."""

    losses: list[float]
    model: Any
    weights: dict[str, NDArray[Any]]
    cfg: dict[str, Any]
    entered: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, results: dict[str, Any]) -> _Trained:
        model = results["model_instance"]
        weights = {name: np.array(value) for name, value in model.weights.items()}
        return cls(list(results["step_losses"]), model, weights, dict(params.cfg))

    def differences(self, other: _Trained) -> list[str]:
        """Return the names of what differs by a single bit."""
        found = [n for n in self.weights if not np.array_equal(self.weights[n], other.weights[n])]
        found += ["losses"] if self.losses != other.losses else []
        for key in ("probe", "intensity_scale", "normalisation"):
            found += [] if np.array_equal(self.cfg[key], other.cfg[key]) else [f"params.cfg {key}"]
        return found


def _with_other_data(scan: RawData) -> RawData:
    """Return the scan brighter and under another probe."""
    assert scan.diff3d is not None
    assert scan.probeGuess is not None
    probe = np.roll(scan.probeGuess, 3, axis=-1) * np.exp(1j * np.arange(scan.diff3d.shape[-1]))
    return RawData(scan.xcoords, scan.ycoords, None, None, scan.diff3d * 7, probe, None)


def _trainings(subject: str) -> dict[str, _Trained]:
    """Train, train something else, and train the first again, in this process."""
    package = package_of(subject)
    scan = built_in_scan(N=32, n_positions=25)
    config, other = tiny_config(subject), tiny_config(subject)
    other.nphotons, other.seed, other.model.gridsize = 1e4, 3, 1
    steps = [_CONFIGURE, f"{package}.model:set_canonical_weights", *_SHARED.values()]
    runs: dict[str, _Trained] = {}

    def dispatch() -> None:
        given = {"torch_execution_config": _EXECUTION} if subject == "pytorch" else {}
        runs["first"] = _Trained.of(train_cdi_model_with_backend(scan, None, config, **given))

    with hidden_progress(), params_kept():
        entered = first_entries(dispatch, steps)
        runs["first"].entered = entered
        train = partial(doors(subject).train_cdi_model, execution_config=_EXECUTION)
        runs["other"] = _Trained.of(train(_with_other_data(scan), None, other))
        runs["again"] = _Trained.of(train(scan, None, config))
    return runs


def _trained(run: Recorder, subject: str) -> dict[str, _Trained]:
    return run.once(("trainings", subject), partial(_trainings, subject))


@check("J-1", "Trainings in one process do not see each other", ("backend",))
def separate(run: Recorder) -> None:
    """Another scan, probe, dose, gridsize and seed in between change no bit."""
    for subject in run.backends:
        runs = _trained(run, subject)
        first, other, again = runs["first"], runs["other"], runs["again"]
        changed = first.differences(again)
        run.require(subject, not changed, f"after another training differ: {changed}", "again")
        differs = {"losses", "params.cfg probe", "params.cfg intensity_scale"}
        missing = sorted(differs - set(first.differences(other)))
        run.require(subject, not missing, f"the other training has the same {missing}", "other")
        kept = {n: np.array_equal(v, first.model.weights[n]) for n, v in first.weights.items()}
        run.require(subject, all(kept.values()), "the first model's weights moved", "first model")
        scales = (first.model.intensity_scale, first.cfg["intensity_scale"])
        run.require(subject, scales[0] == scales[1], f"the scales are {scales}", "first model")


@check("J-2", "The dispatcher configures first; only known keys are left", ("backend",))
def handshake(run: Recorder) -> None:
    """The first entries of a training, and every key of ``params.cfg`` after it."""
    for subject in run.backends:
        first = _trained(run, subject)["first"]
        package = package_of(subject)
        for name, later in (
            ("group", _SHARED["groups"]),
            ("build", f"{package}.model:set_canonical_weights"),
        ):
            both = _CONFIGURE in first.entered and later in first.entered
            holds = both and first.entered.index(_CONFIGURE) < first.entered.index(later)
            run.require(subject, holds, f"{name} is not after configure: {first.entered}", name)
        config: TrainingConfig = tiny_config(subject)
        known = {*dataclass_to_legacy_dict(config), "h5_path"}
        known |= {"probe", "intensity_scale", "normalisation", "bad_pixels"}
        strange = sorted(set(first.cfg) - known)
        run.require(subject, not strange, f"{strange} were written to params.cfg", "keys")
        wanted = {k: v for k, v in dataclass_to_legacy_dict(config).items() if v is not None}
        wrong = sorted(k for k, v in wanted.items() if first.cfg.get(k) != v)
        run.require(subject, not wrong, f"{wrong} are not as configured", "values")


@check("J-3", "Both backends take their numbers from the same functions")
def shared_functions(run: Recorder) -> None:
    """Each is entered by each training; the probe and scales that result are equal."""
    results = {subject: _trained(run, subject)["first"] for subject in run.backends}
    for subject, trained in results.items():
        for what, symbol in _SHARED.items():
            run.require(subject, symbol in trained.entered, f"{symbol} is not entered", what)
    for left, right in itertools.combinations(results.values(), 2):
        for key in ("probe", "normalisation"):
            same = np.array_equal(left.cfg[key], right.cfg[key])
            run.require(PAIR, same, f"params.cfg[{key!r}] differs between the backends", key)


def _reconstruct(reader: str, bundle: Path, scan: Path, output: Path) -> NDArray[Any]:
    flags = ["--model_path", bundle, "--test_data_file", scan, "--output_dir", output]
    flags += ["--backend", reader, "--M", 10, "--quiet"]
    with params_kept(), redirect_stderr(io.StringIO()) as said:
        code = inference.main([str(flag) for flag in flags])
    if code:
        raise RuntimeError(f"ptycho_inference ended with exit code {code}: {said.getvalue()}")
    with np.load(output / "reconstruction.npz") as stored:
        return np.asarray(stored["object"])


@check("J-4", "ptycho_inference reads bundles of each backend with each backend")
def commands(run: Recorder) -> None:
    """The same bundle gives the same picture; another normalisation would show."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = built_in_scan(N=32, n_positions=25).to_file(folder / "scan.npz")
        for writer, backend in run.backends.items():
            written_bundle(run, backend, folder / writer)
            seen: dict[str, NDArray[Any]] = {}
            for reader in run.backends:
                case = f"{writer}'s bundle"
                job = partial(_reconstruct, reader, folder / writer, scan)
                try:
                    seen[reader] = job(folder / f"{writer} {reader}")
                except Exception as error:
                    run.fail(reader, f"{error!r}", case)
                    continue
                canvas = seen[reader]
                square = canvas.ndim == 2 and canvas.shape[0] == canvas.shape[1]
                holds = square and bool(np.isfinite(canvas).all() and np.abs(canvas).max() > 0)
                run.require(reader, holds, f"reconstructed {canvas.shape} without content", case)
            for left, right in itertools.combinations(seen.values(), 2):
                equal = left.shape == right.shape and np.allclose(
                    left, right, rtol=0, atol=1e-4 * float(np.abs(left).max())
                )
                run.require(PAIR, equal, "the two reconstructions differ", f"{writer}'s bundle")
            broken = outcome(_reconstruct, next(iter(run.backends)), folder / "no", scan, folder)
            run.require(writer, says(broken, RuntimeError, "exit code 2"), f"{broken!r}", "none")
