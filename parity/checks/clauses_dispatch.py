"""Q-31 to Q-35: who is chosen, what is handed over, and what is said where a framework lacks."""

from __future__ import annotations

import contextlib
import importlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from unittest import mock

from parity.callchain.scenario import PACKAGES, BackendName, package_of
from parity.checks import child
from parity.checks.clauses_inference import refusal
from parity.checks.door_trainings import scan
from parity.checks.observing import messages
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import small_model
from parity.checks.scenes import doors, params_restored
from parity.isolated import FRAMEWORKS
from ptycho.config.config import InferenceConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.workflows import backend_selector

_TIMEOUT_SECONDS = 120

#: What a refusal says: whose framework it is, and how to get it.
_PHRASES = {
    "tensorflow": ("TensorFlow backend selected", "pip install", "tensorflow>=2.19"),
    "pytorch": ("PyTorch backend selected", "pip install", "torch>=2.2", "lightning"),
}


def _unequipped(seed: int) -> subprocess.Popen[str]:
    return child.start("-m", "parity.unequipped")


@check(
    "Q-31",
    "Without its framework a backend refuses, says how to install it, and none takes its place",
    ("backend",),
    framework=False,
    prepare=_unequipped,
)
def policy(run: Recorder) -> None:
    """Through five doors: without any framework, beside the other one, and with an old one."""
    report = run.once("Q-31", lambda: child.finish(run.prepared(_unequipped), _TIMEOUT_SECONDS))
    for subject, phrases in _PHRASES.items():
        if subject not in run.backends:
            continue
        found = report[subject]
        for situation, errors in found["errors"].items():
            for door, (kind, text) in errors.items():
                case = f"{door}, {situation} there"
                run.require(subject, kind == "RuntimeError", f"{kind or 'no error'}: {text}", case)
                for phrase in phrases:
                    run.require(subject, phrase in text, f"{text!r} lacks {phrase!r}", case)
        others = sorted(set(found["asked"]) - FRAMEWORKS[subject])
        run.require(subject, not others, f"the import of {others} was tried")
        run.require(subject, bool(found["asked"]), "no framework was asked for at all")


_NEWCOMER = """
BACKEND = "newcomer"

def require_framework():
    pass

def train_cdi_model(train_data, test_data, config):
    return {"history": {"loss": [0.0]}, "by": BACKEND}
"""


@contextlib.contextmanager
def _newcomer() -> Iterator[None]:
    """Put a distribution on the path that declares a backend as an entry point."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "newcomer_of_parity.py").write_text(_NEWCOMER, encoding="utf-8")
        info = folder / "newcomer_of_parity-0.1.dist-info"
        info.mkdir()
        text = "Metadata-Version: 2.1\nName: newcomer-of-parity\nVersion: 0.1\n"
        (info / "METADATA").write_text(text, encoding="utf-8")
        text = "[ptychopinn.backends]\nnewcomer = newcomer_of_parity\n"
        (info / "entry_points.txt").write_text(text, encoding="utf-8")
        sys.path.insert(0, name)
        importlib.invalidate_caches()
        try:
            yield
        finally:
            sys.path.remove(name)
            sys.modules.pop("newcomer_of_parity", None)
            importlib.invalidate_caches()


def _training(backend: str) -> TrainingConfig:
    config = TrainingConfig(model=small_model())
    config.backend = cast(BackendName, backend)
    return config


@check("Q-32", "Backends are found by their entry points", ("backend",), framework=False)
def entry_points(run: Recorder) -> None:
    """Each backend's module under its name; a distribution that comes adds one, and it runs."""
    selector = backend_selector
    before = selector.available_backends()
    with _newcomer(), params_restored():
        during = selector.available_backends()
        config = _training("newcomer")
        kind, text = refusal(selector.train_cdi_model_with_backend, None, None, config)
        results: dict[str, Any] = {}
        if not kind:
            results = selector.train_cdi_model_with_backend(None, None, config)
    after = selector.available_backends()
    for subject in run.backends:
        if subject in PACKAGES:
            run.require(subject, subject in before, f"available are {before}")
            found = selector.get_backend(subject)
            named = found.__name__ == f"{PACKAGES[subject]}.workflows.components"
            run.require(subject, named, f"{subject} is {found.__name__}")
            run.require(subject, subject == found.BACKEND, f"it calls itself {found.BACKEND}")
        run.require(subject, set(during) == {*before, "newcomer"}, f"with a newcomer: {during}")
        run.require(subject, after == before, f"after the newcomer left: {after}")
        ran = {results.get("by"), results.get("backend")} == {"newcomer"}
        run.require(subject, ran, f"the newcomer's training: {results}{kind} {text}")


@contextlib.contextmanager
def _recorded() -> Iterator[list[tuple[str, str, dict[str, Any]]]]:
    """Replace the doors of both backends; collect (backend, door, keywords) of their calls."""
    calls: list[tuple[str, str, dict[str, Any]]] = []

    def stand_in(name: str, door: str, outcome: Any) -> Any:
        def call(*given: Any, **keywords: Any) -> Any:
            calls.append((name, door, keywords))
            return outcome

        return call

    outcomes: dict[str, Any] = {
        "train_cdi_model": {"history": {}},
        "run_cdi_example": (None, None, {"history": {}}),
        "load_inference_bundle": ("a model", {}),
        "require_framework": None,
    }
    with contextlib.ExitStack() as stack, params_restored():
        stack.enter_context(messages(backend_selector.__name__))
        for name in PACKAGES:
            for door, outcome in outcomes.items():
                stand = stand_in(name, door, outcome)
                # TensorFlow's own reader has a name of its own, for the client's door chooses.
                own = f"{door}_tensorflow"
                found = own if hasattr(doors(name), own) else door
                stack.enter_context(mock.patch.object(doors(name), found, stand))
        yield calls


@check(
    "Q-33",
    "The configuration's backend decides who runs, and is named in the results",
    ("backend",),
    framework=False,
)
def choice(run: Recorder) -> None:
    """Training, example and loading; an unknown name is refused with those that there are."""
    selector, here = backend_selector, Path(__file__)
    for subject in run.backends:
        if subject in PACKAGES:
            with _recorded() as calls:
                inference = InferenceConfig(small_model(), here, here)
                inference.backend = cast(BackendName, subject)
                trained = selector.train_cdi_model_with_backend(None, None, _training(subject))
                example = selector.run_cdi_example_with_backend(None, None, _training(subject))
                selector.load_inference_bundle_with_backend(here, inference)
            ran = [(name, door) for name, door, _ in calls if door != "require_framework"]
            names = ("train_cdi_model", "run_cdi_example", "load_inference_bundle")
            expected = [(subject, door) for door in names]
            run.require(subject, ran == expected, f"{ran} ran; expected {expected}")
            told = (trained.get("backend"), example[2].get("backend"))
            run.require(subject, told == (subject, subject), f"results name {told}")
        for case in ("TrainingConfig", "InferenceConfig"):
            with _recorded() as calls:
                unknown = InferenceConfig(small_model(), here, here)
                unknown.backend = cast(BackendName, "jax")
                if case == "TrainingConfig":
                    kind, text = refusal(
                        selector.train_cdi_model_with_backend, None, None, _training("jax")
                    )
                else:
                    kind, text = refusal(selector.load_inference_bundle_with_backend, here, unknown)
            run.require(subject, kind == "ValueError", f"{kind or 'no error'}: {text}", case)
            listed = all(name in text for name in ("jax", *PACKAGES))
            run.require(subject, listed, f"{text!r} does not list the backends", case)
            run.require(subject, not calls, f"{calls} ran all the same", case)


@check(
    "Q-34",
    "The execution configuration reaches the PyTorch backend and no other",
    ("backend",),
    framework=False,
)
def hand_over(run: Recorder) -> None:
    """Given to the dispatcher with either backend; defaults where none is given."""
    given = PyTorchExecutionConfig(accelerator="cpu", accum_steps=3)
    selector = backend_selector
    for subject in run.backends:
        package_of(subject)
        for case, execution in (("given", given), ("not given", None)):
            keyword: dict[str, Any] = {"torch_execution_config": execution}
            with _recorded() as calls:
                selector.train_cdi_model_with_backend(None, None, _training(subject), **keyword)
                selector.run_cdi_example_with_backend(None, None, _training(subject), **keyword)
            for _, door, keywords in calls:
                if door == "require_framework":
                    continue
                found = keywords.get("execution_config")
                if subject == "pytorch":
                    wanted = execution or PyTorchExecutionConfig()
                    same = found == wanted if execution is None else found is execution
                    run.require(subject, same, f"{door} got {found}, not {wanted}", case)
                else:
                    run.require(subject, found is None, f"{door} got {found}", case)


class _CapturedError(Exception):
    """Ends a training where it was to be watched."""


_ASKED: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 2,
    "num_nodes": 3,
    "strategy": "ddp_spawn",
    "deterministic": "warn",
    "precision": "bf16-mixed",
    "accum_steps": 3,
}


@check(
    "Q-35", "Execution settings reach Lightning's trainer, by which PyTorch trains", ("backend",)
)
def trainer(run: Recorder) -> None:
    """The trainer's arguments, and that its fit is called; TensorFlow asks for no such thing."""
    execution = PyTorchExecutionConfig(**_ASKED)
    for subject in run.backends:
        if subject != "pytorch":
            with _recorded() as calls, params_restored():
                backend_selector.train_cdi_model_with_backend(
                    None, None, _training("tensorflow"), torch_execution_config=execution
                )
            handed = [keywords for _, _, keywords in calls if "execution_config" in keywords]
            run.require(subject, not handed, f"it was handed {handed}")
            continue
        import lightning.pytorch as pl

        train = doors("pytorch").train_cdi_model
        made = mock.Mock(side_effect=_CapturedError)
        with mock.patch.object(pl, "Trainer", made), params_restored():
            kind, text = refusal(
                train, scan(), None, _training("pytorch"), execution_config=execution
            )
        run.require(subject, made.call_count == 1, f"no trainer was made: {kind} {text}")
        found = made.call_args.kwargs if made.called else {}
        for name, value in _ASKED.items():
            key = "accumulate_grad_batches" if name == "accum_steps" else name
            what = f"{key} is {found.get(key)!r}, not {value!r}"
            run.require(subject, found.get(key) == value, what, name)
        fit = mock.Mock(side_effect=_CapturedError)
        plain = PyTorchExecutionConfig(accelerator="cpu", enable_progress_bar=False)
        with mock.patch.object(pl.Trainer, "fit", fit), params_restored():
            kind, text = refusal(train, scan(), None, _training("pytorch"), execution_config=plain)
        ended = kind == "_CapturedError" and fit.call_count == 1
        run.require(subject, ended, f"fit was called {fit.call_count} times: {kind} {text}")
