"""L: losses of given predictions, reductions included."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from parity.backends import oracle
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import generator, small_model, training
from parity.compare import compare_named
from ptycho.config.config import TrainingConfig
from ptycho.core.scaling import intensity_scale


@dataclasses.dataclass(frozen=True)
class _Prediction:
    x: NDArray[np.float32]
    amplitude: NDArray[np.float32]
    intensity: NDArray[np.float32]
    patches: NDArray[np.complex64]
    labels: NDArray[np.complex64]


def _prediction(seed: int, nphotons: float, spread: float) -> _Prediction:
    """Return random measured and predicted values whose ratio scatters by ``spread``."""
    rng = generator(seed, "losses")
    shape = (3, 32, 32, 4)
    scale = intensity_scale(nphotons, shape[1])
    x = scale * rng.gamma(1.0, 0.8, shape)
    x[rng.random(shape) < 0.2] = 0.0
    amplitude = np.maximum(x, 0.1 * scale) * np.exp(rng.normal(0, spread, shape))
    patches, labels = rng.normal(size=(2, *shape)) + 1j * rng.normal(size=(2, *shape))
    return _Prediction(
        x.astype(np.float32),
        amplitude.astype(np.float32),
        (amplitude**2).astype(np.float32),
        patches.astype(np.complex64),
        labels.astype(np.complex64),
    )


def _judge(
    run: Recorder,
    config: TrainingConfig,
    given: _Prediction,
    names: tuple[str, ...],
    tolerance: str,
    case: str,
) -> None:
    scale = intensity_scale(config.nphotons, config.model.N)
    arrays = (given.x, given.amplitude, given.intensity, given.patches, given.labels)
    exact = oracle.evaluate_losses(config, scale, *arrays)
    results = run.collect(lambda b: b.evaluate_losses(config, scale, *arrays), case)
    run.judge_against(results, {name: exact[name] for name in names}, tolerance, case)


@check("L-1", "Poisson likelihood: value, reduction, pixels without counts, photon scale")
def poisson(run: Recorder) -> None:
    """At 1e5 and 1e9 photons, far from the fit and at 1 % of it."""
    for nphotons in (1e5, 1e9):
        config = training(small_model(gridsize=2), nphotons=nphotons)
        far = _prediction(run.seed, nphotons, spread=0.5)
        _judge(run, config, far, ("nll", "loss"), "loss.value", f"far, nphotons={nphotons:g}")
    for nphotons in (1e5, 1e9):
        config = training(small_model(gridsize=2), nphotons=nphotons)
        near = _prediction(run.seed, nphotons, spread=0.01)
        counted = dataclasses.replace(near, intensity=np.where(near.x > 0, near.intensity, 1e-3))
        case = f"near, nphotons={nphotons:g}"
        _judge(run, config, counted, ("nll", "loss"), "loss.poisson_near_fit", case)


@check("L-2", "Amplitude and real-space absolute errors, and the weighted sum of all terms")
def absolute_errors(run: Recorder) -> None:
    """The real-space term enters with the product of its two weights."""
    fields = {
        "nll_weight": 0.7,
        "mae_weight": 0.4,
        "realspace_weight": 0.5,
        "realspace_mae_weight": 0.3,
    }
    config = training(small_model(gridsize=2), **fields)
    given = _prediction(run.seed, config.nphotons, spread=0.5)
    names = ("nll", "mae", "realspace", "loss")
    _judge(run, config, given, names, "loss.value", "all terms")
    only_mae = training(small_model(gridsize=2), nll_weight=0.0, mae_weight=1.0)
    _judge(run, only_mae, given, ("mae", "loss"), "loss.value", "mae alone")


@check("L-3", "Supervised loss is the real-space error alone; missing labels are refused")
def supervised(run: Recorder) -> None:
    """Both refuse with a ValueError that says where labels come from."""
    config = training(small_model(gridsize=2, model_type="supervised"))
    given = _prediction(run.seed, config.nphotons, spread=0.5)
    _judge(run, config, given, ("realspace", "loss"), "loss.value", "supervised")
    weighted = training(small_model(gridsize=2), realspace_weight=1.0, realspace_mae_weight=1.0)
    scale = intensity_scale(config.nphotons, config.model.N)
    for backend in run.backends.values():
        for name, unlabelled in (("supervised", config), ("realspace_weight", weighted)):
            try:
                value = backend.evaluate_losses(
                    unlabelled, scale, given.x, given.amplitude, given.intensity, given.patches
                )["loss"]
            except ValueError as error:
                named = "objectGuess" in str(error)
                run.require(backend.name, named, f"refusal does not say what to do: {error}", name)
            else:
                run.fail(backend.name, f"no labels, yet the loss is {value}", name)


@check("L-4", "A perfect fit costs nothing, and the losses do not depend on nphotons", ("backend",))
def perfect_fit(run: Recorder) -> None:
    """Zero at the fit; equal at 1e5 and 1e9 photons for the same normalised arrays."""

    def values(scale: float, nphotons: float, exact: bool) -> dict[str, dict[str, float]]:
        rng = generator(run.seed, "fit")
        x = rng.gamma(1.0, 0.8, (2, 32, 32, 1))
        amplitude = x if exact else x * np.exp(rng.normal(0, 0.5, x.shape))
        config = training(small_model(), nphotons=nphotons)
        measured, predicted = (scale * a.astype(np.float32) for a in (x, amplitude))
        arrays = [np.asarray(a, np.float32) for a in (measured, predicted, predicted**2)]
        found = run.collect(lambda b: b.evaluate_losses(config, scale, *arrays))
        return {b: {name: terms[name] for name in ("nll", "mae")} for b, terms in found.items()}

    scales = {nphotons: intensity_scale(nphotons, 32) for nphotons in (1e5, 1e9)}
    low, high = (values(scale, nphotons, False) for nphotons, scale in scales.items())
    for name in low.keys() & high.keys():
        found = compare_named(low[name], high[name])
        run.judge(name, found, "loss.photons", "1e5 against 1e9 photons")
    for name, terms in values(scales[1e9], 1e9, True).items():
        # One is about what a prediction of nothing costs: the terms are judged in units of it.
        found = compare_named({k: 1 + v for k, v in terms.items()}, dict.fromkeys(terms, 1.0))
        run.judge(name, found, "loss.perfect_fit", "prediction equal to the data")
