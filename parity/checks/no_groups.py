"""Q-71 and Q-72: what there is of no groups, and what there is not."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from parity.backends import Backend
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import describe, sample, scan_container, small_model, training
from parity.checks.scenes import doors, params_restored, written_bundle
from parity.checks.training import TWENTY_STEPS
from ptycho.config.config import ModelConfig


def _expected(config: ModelConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    members, one = config.gridsize**2, 1
    emitted = members if config.object_big else one
    channels = {
        "patches": (emitted, "complex64"),
        "object": (one, "complex64"),
        "amplitude": (members, "float32"),
        "intensity": (members, "float32"),
    }
    return {name: ((0, config.N, config.N, C), dtype) for name, (C, dtype) in channels.items()}


@check("Q-71", "No groups in, none out: stages, merged objects and predictions", ("backend",))
def results(run: Recorder) -> None:
    """Empty arrays of the shapes and types that groups would have."""
    _judge_stages(run, small_model())
    _judge_stages(run, small_model(gridsize=2))
    _judge_stages(run, small_model(gridsize=2, object_big=False))
    model = TWENTY_STEPS.model
    given = sample(model, run.seed)
    for subject, predicted in run.collect(
        lambda b: _predicted(run, b, given.x[:0], given.offsets[:0]), "predict"
    ).items():
        shape, dtype = _expected(model)["object"]
        _judge_nothing(run, subject, "prediction", predicted, shape, dtype, "predict")


def _judge_stages(run: Recorder, config: ModelConfig) -> None:
    case = describe(config)
    given, wanted = sample(config, run.seed), _expected(config)
    x, offsets, patches = (array[:0] for array in (given.x, given.offsets, given.labels))
    evaluated = run.collect(lambda b: b.evaluate(config, given.weights, x, offsets), case)
    for subject, found in evaluated.items():
        for name, (shape, dtype) in wanted.items():
            _judge_nothing(run, subject, name, found.get(name), shape, dtype, case)
    merged = run.collect(lambda b: b.merge(config, patches, offsets), case)
    for subject, canvas in merged.items():
        _judge_nothing(run, subject, "object", canvas, *wanted["object"], f"merge, {case}")


def _predicted(run: Recorder, backend: Backend, x: Any, offsets: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder, params_restored():
        written_bundle(run, backend, Path(folder))
        return backend.load_and_predict(Path(folder), x, offsets)


def _judge_nothing(
    run: Recorder,
    subject: str,
    name: str,
    found: Any,
    shape: tuple[int, ...],
    dtype: str,
    case: str,
) -> None:
    what = f"{np.shape(found)} of {getattr(found, 'dtype', type(found).__name__)}"
    holds = what == f"{shape} of {dtype}"
    run.require(subject, holds, f"{name} is {what}, not {shape} of {dtype}", case)


def _jobs(run: Recorder) -> dict[str, Callable[[Backend], Any]]:
    """Return what has a loss and gets no groups."""
    config = training(small_model(gridsize=2), batch_size=4)
    given, container = sample(config.model, run.seed), scan_container(2, run.seed)
    nothing = container.subset(slice(0, 0))
    weights, scale = given.weights, given.intensity_scale
    x, offsets, labels = (array[:0] for array in (given.x, given.offsets, given.labels))

    def by_the_door(backend: Backend) -> Any:
        with params_restored():
            return doors(backend.name).train_cdi_model(nothing, None, config)

    return {
        "losses": lambda b: b.evaluate_losses(config, scale, x, x, x, labels, labels),
        "gradients": lambda b: b.loss_gradients(config, weights, x, offsets, scale),
        "gradient in the patterns": lambda b: b.input_gradient(config, weights, x, offsets, scale),
        "training": lambda b: b.train_steps(config, nothing, 1),
        "train_cdi_model": by_the_door,
    }


@check("Q-72", "Losses, gradients and trainings of no groups are refused, alike in both")
def refusals(run: Recorder) -> None:
    """With a ``ValueError`` that says that there are no groups."""
    for case, job in _jobs(run).items():
        said = {}
        for subject, backend in run.backends.items():
            try:
                result = job(backend)
            except Exception as error:
                holds = isinstance(error, ValueError) and "no groups" in str(error)
                run.require(subject, holds, f"raised {error!r}", case)
                said[subject] = str(error)
            else:
                run.fail(subject, f"no groups, yet there is {result!r}"[:300], case)
        for one, other in itertools.combinations(said.values(), 2):
            run.require(PAIR, one == other, f"{one!r} and {other!r}", case)
