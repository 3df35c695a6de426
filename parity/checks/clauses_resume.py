"""B-1 to B-3: trainings that go on from a bundle, in the same backend and in the other."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from parity.backends import Backend, TrainedRun
from parity.checks.clauses_inference import refusal
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from parity.checks.samples import describe, scan_container, small_model, training
from parity.checks.scenes import doors, params_restored
from parity.compare import compare, compare_named
from ptycho.config.config import TrainingConfig
from ptycho.core.bundle import read_bundle, write_bundle
from ptycho.core.container import PtychoDataContainer

#: Six steps in three epochs; the rate changes with every step, so a lost step shows.
_WHOLE = training(
    small_model(),
    batch_size=4,
    nepochs=3,
    validation_fraction=0.2,
    learning_rate=1e-4,
    scheduler="WarmupCosine",
    probe_trainable=True,
)
_STEPS, _CUT = 6, 4


def _container(run: Recorder) -> PtychoDataContainer:
    return run.once("resumed scan", lambda: scan_container(1, run.seed, groups=10))


def _whole(run: Recorder, backend: Backend) -> TrainedRun:
    return run.once(
        ("whole training", backend.name),
        lambda: backend.train_steps(_WHOLE, _container(run), _STEPS),
    )


def _begun(run: Recorder, backend: Backend) -> bytes:
    """Return the bundle of the training cut after two of its three epochs."""

    def cut() -> bytes:
        part = backend.train_steps(_WHOLE, _container(run), _CUT)
        with tempfile.TemporaryDirectory() as folder:
            return backend.write_bundle(part, Path(folder)).read_bytes()

    return run.once(("begun training", backend.name), cut)


def _resumed(run: Recorder, writer: Backend, reader: Backend) -> TrainedRun:
    """Return the training that ``writer`` began and ``reader`` ended."""

    def rest() -> TrainedRun:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "begun.zip"
            path.write_bytes(_begun(run, writer))
            config = dataclasses.replace(_WHOLE, resume=path)
            return reader.train_steps(config, _container(run), _STEPS)

    return run.once(("resumed training", writer.name, reader.name), rest)


def _numbers(history: dict[str, Any]) -> dict[str, Any]:
    return {name: np.asarray(values, np.float64) for name, values in history.items()}


@check("B-1", "A resumed training gives what an uninterrupted one gives, bit by bit", ("backend",))
def exact(run: Recorder) -> None:
    """Cut after two of three epochs, with validation, a schedule and a probe that trains."""
    for subject, backend in run.backends.items():
        whole, rest = _whole(run, backend), _resumed(run, backend, backend)
        same = rest.step_losses == whole.step_losses[_CUT:] and len(rest.step_losses) > 0
        what = f"step losses {rest.step_losses}; uninterrupted {whole.step_losses[_CUT:]}"
        run.require(subject, same, what)
        history = compare_named(_numbers(rest.history), _numbers(whole.history))
        run.judge_equal(subject, history, "history")
        run.judge_equal(subject, compare_named(rest.weights, whole.weights), "weights")


@check("B-2", "A training goes on in either backend", ("backend", "pair"))
def across(run: Recorder) -> None:
    """Begun in each and ended in each, against the one that was not interrupted."""
    for writer, first in run.backends.items():
        for reader, second in run.backends.items():
            case = f"begun by {writer}, ended by {reader}, {describe(_WHOLE)}"
            whole, rest = _whole(run, first), _resumed(run, first, second)
            losses = compare(rest.step_losses, whole.step_losses[_CUT:], "step_losses", ("step",))
            weights = compare_named(rest.weights, whole.weights)
            for subject in (reader,) if writer == reader else (reader, PAIR):
                run.judge(subject, [losses], "resume.losses", case)
                run.judge(subject, weights, "resume.weights", case, "rms")


def _other_patterns(container: PtychoDataContainer) -> PtychoDataContainer:
    return PtychoDataContainer(
        container.patterns,
        container.groups,
        container.positions,
        container.probe,
        container.normalisation * 1.01,
        labels=container.labels,
    )


@check("B-3", "What does not fit the archived training is refused by name", ("backend",))
def misfits(run: Recorder) -> None:
    """Through the training door: fields, groups, patterns, epochs, and a bundle without state."""
    given = _container(run)
    model = dataclasses.replace(_WHOLE.model, amp_activation="swish")
    fields: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
        "seed": ({"seed": 7}, ("seed is 7, was 42",)),
        "model": ({"model": model}, ("amp_activation is 'swish', was 'sigmoid'",)),
        "two": (
            {"batch_size": 5, "learning_rate": 0.5},
            ("batch_size is 5, was 4", "learning_rate is 0.5, was 0.0001"),
        ),
        "probe": ({"probe_trainable": False}, ("probe_trainable is False, was True",)),
        "epochs": ({"nepochs": 2}, ("nepochs", "above 2")),
    }
    scans: dict[str, tuple[Callable[[], PtychoDataContainer], str]] = {
        "groups": (lambda: scan_container(1, run.seed + 1, groups=10), "other groups"),
        "patterns": (lambda: _other_patterns(given), "patterns"),
    }
    for subject, backend in run.backends.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "begun.zip"
            path.write_bytes(_begun(run, backend))
            config = dataclasses.replace(_WHOLE, resume=path)
            for case, (changes, words) in fields.items():
                changed = dataclasses.replace(config, **changes)
                _attempt(run, subject, given, changed, words, case)
            for case, (make, word) in scans.items():
                _attempt(run, subject, make(), config, (word,), case)
            bare = dataclasses.replace(read_bundle(path), state=None)
            empty = write_bundle(Path(folder) / "empty.zip", bare, {})
            changed = dataclasses.replace(config, resume=empty)
            _attempt(run, subject, given, changed, ("training.h5",), "no state")
            changed = dataclasses.replace(config, resume=Path(folder) / "none.zip")
            error = "FileNotFoundError"
            _attempt(run, subject, given, changed, ("none.zip",), "no file", error)


def _attempt(
    run: Recorder,
    subject: str,
    container: PtychoDataContainer,
    config: TrainingConfig,
    words: tuple[str, ...],
    case: str,
    error: str = "ValueError",
) -> None:
    with params_restored():
        kind, text = refusal(doors(subject).train_cdi_model, container, None, config)
    run.require(subject, kind == error, f"{kind or 'nothing'} ({text}); not {error}", case)
    for word in (*words, str(config.resume)):
        run.require(subject, word in text, f"{text!r} does not say {word!r}", case)
