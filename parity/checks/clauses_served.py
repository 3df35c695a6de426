"""Q-64 to Q-66: which backend serves the doors of the client's first plugin."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from unittest import mock

from parity.callchain.scenario import PACKAGES, BackendName, package_of
from parity.checks.clauses_inference import refusal
from parity.checks.isolation import isolated
from parity.checks.observing import doors, everyone, messages
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import small_model
from parity.checks.scenes import params_restored, written_bundle
from ptycho import model_manager, params
from ptycho.cli import train as train_cli
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
    update_legacy_dict,
)
from ptycho.config.environment import BACKEND_VARIABLE
from ptycho.core.bundle import read_bundle
from ptycho.workflows import backend_selector, components


@contextlib.contextmanager
def named_by_environment(name: str | None) -> Iterator[None]:
    """Let ``PTYCHO_BACKEND`` be ``name``, or be unset."""
    with mock.patch.dict("os.environ"):
        import os

        os.environ.pop(BACKEND_VARIABLE, None)
        if name is not None:
            os.environ[BACKEND_VARIABLE] = name
        yield


def _configurations(**given: Any) -> list[Any]:
    model, here = small_model(), Path(__file__)
    return [TrainingConfig(model, **given), InferenceConfig(model, here, here, **given)]


@check(
    "Q-64",
    "PTYCHO_BACKEND names the backend of configurations that name none",
    ("backend",),
    framework=False,
)
def environment(run: Recorder) -> None:
    """Unset, empty, set, unknown; and what is given as argument, flag or in a file wins."""
    for name, expected in ((None, "tensorflow"), ("", "tensorflow"), ("pytorch", "pytorch")):
        with named_by_environment(name):
            found = [config.backend for config in _configurations()]
            everyone(run, found == [expected] * 2, f"backend is {found}", f"variable {name!r}")
            given = [config.backend for config in _configurations(backend="tensorflow")]
            everyone(run, given == ["tensorflow"] * 2, f"argument lost: {given}", f"{name!r}")
    with named_by_environment("pytorch"), tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.yaml"
        file.write_text("backend: tensorflow\n")
        for case, flags in (("flag", ["--backend", "tensorflow"]), ("file", ["--config", file])):
            arguments = ["--train_data", "scan.npz", *map(str, flags)]
            job = train_cli.read_job(train_cli.build_parser().parse_args(arguments))
            everyone(run, job.config.backend == "tensorflow", f"{job.config.backend} won", case)
    with named_by_environment("jax"), params_restored():
        for case, config in zip(("training", "inference"), _configurations(), strict=True):
            if case == "training":
                kind, text = refusal(components.train_cdi_model, None, None, config)
            else:
                kind, text = refusal(
                    backend_selector.load_inference_bundle_with_backend, Path(), config
                )
            named = all(word in text for word in ("jax", BACKEND_VARIABLE, *PACKAGES))
            everyone(run, kind == "ValueError" and named, f"{kind or 'no error'}: {text}", case)


@check(
    "Q-65",
    "At the client's doors the configured backend trains and saves its own model",
    ("backend",),
    framework=False,
)
def served_training(run: Recorder) -> None:
    """Stand-ins for PyTorch's and for a newcomer's doors; TensorFlow's own training is Q-66."""
    for subject in run.backends:
        package_of(subject)
        calls: list[str] = []

        def stand_in(what: str, outcome: Any, into: list[str] = calls) -> Any:
            def call(*given: Any, **named: Any) -> Any:
                into.append(what)
                return outcome

            return call

        results: dict[str, Any] = {"history": {}, "model_instance": None}
        chosen = doors(subject)
        with contextlib.ExitStack() as stack:
            stack.enter_context(params_restored())
            stack.enter_context(messages(backend_selector.__name__))
            patched = {
                "require_framework": None,
                "train_cdi_model": results,
                "prepare": (None, None),
            }
            if subject == "pytorch":
                for name, outcome in patched.items():
                    stack.enter_context(mock.patch.object(chosen, name, stand_in(name, outcome)))
                save = stand_in("save", Path("saved"))
                stack.enter_context(mock.patch.object(chosen.model_manager, "save", save))
            else:
                training = mock.Mock(side_effect=_ReachedError)
                stack.enter_context(mock.patch.object(components, "prepare", training))
            config = TrainingConfig(small_model())
            config.backend = cast(BackendName, subject)
            held = vars(model_manager._Holder).copy()
            try:
                for door in (components.train_cdi_model, components.run_cdi_example):
                    kind, text = refusal(door, None, None, config)
                    if subject == "pytorch":
                        run.require(subject, not kind, f"{kind}: {text}", door.__name__)
                        run.require(subject, "train_cdi_model" in calls, f"{calls}", door.__name__)
                        where = model_manager.save("anywhere")
                        run.require(subject, where == Path("saved"), f"saved {where}", "save")
                        calls.clear()
                    else:
                        own = kind == "_ReachedError"
                        run.require(subject, own, f"handed over: {kind} {text}", door.__name__)
            finally:
                model_manager._Holder.model = held["model"]
                model_manager._Holder.backend = held["backend"]


def _others(model: ModelConfig) -> ModelConfig:
    return dataclasses.replace(model, gridsize=3, amp_activation="softplus")


class _ReachedError(Exception):
    """Ends TensorFlow's own training at its first step."""


@check(
    "Q-66",
    "The backend that wrote a bundle answers for it, and serves the client alone",
    ("backend",),
)
def served_bundles(run: Recorder) -> None:
    """Who answers for each backend's bundle; the client's calls where the other is absent."""
    for subject, backend in run.backends.items():
        package = package_of(subject)
        with tempfile.TemporaryDirectory() as folder, params_restored():
            written_bundle(run, backend, Path(folder))
            for name in (None, *PACKAGES):
                with named_by_environment(name):
                    update_legacy_dict(
                        params.cfg, TrainingConfig(_others(read_bundle(folder).config))
                    )
                    with messages("ptycho.core.workflow") as said:
                        model, _ = components.load_inference_bundle(folder)
                    with messages("ptycho.core.workflow") as silence:
                        components.load_inference_bundle(folder)
                answered = type(model).__module__.partition(".")[0]
                what = f"{answered} answered for a bundle of {subject}"
                run.require(subject, answered == package, what, f"PTYCHO_BACKEND {name}")
                text = " ".join(said)
                named = "gridsize is 2, not 3" in text and "amp_activation" in text
                named = named and "probe_scale" not in text and not silence
                run.require(subject, named, f"{text!r}, then {silence}", "settings overruled")
    for subject, outcome in run.collect(lambda b: isolated(run, b)).items():
        found = outcome["client"]
        run.require(subject, found["tag"] == subject, f"the bundle says {found['tag']}", "alone")
        shape = found["shape"] == [9, 32, 32, 1] and found["finite"]
        run.require(subject, shape, f"predicted {found['shape']}", "alone")
        run.require(subject, not found["asked"], f"asked for {found['asked']}", "alone")
        run.require(subject, found["same"], "the other's bundle predicts otherwise", "fallback")
        (other,) = set(PACKAGES) - {subject}
        told = any(f"written by {other}" in text for text in found["fallback"])
        run.require(subject, told, f"nothing is said: {found['fallback']}", "fallback")
