"""Q-38 and Q-39: configurations made by the factory, and where a reconstruction predicts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

from parity.checks.observing import everyone, outcome, params_kept, says, tiny_scan
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.scenes import written_bundle
from ptycho.config.config import InferenceConfig, ModelConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.raw_data import RawData
from ptycho.workflows.backend_selector import load_inference_bundle_with_backend
from ptycho_torch import config_factory
from ptycho_torch.config_factory import create_inference_payload, create_training_payload


@check(
    "Q-38",
    "The factory follows its order, tells who decided, and configures without reading patterns",
    ("backend",),
    framework=False,
)
def factory(run: Recorder) -> None:
    """One field at each level; the record; params.cfg; what is refused, by name."""
    execution = PyTorchExecutionConfig(learning_rate=2e-3, scheduler="Exponential")
    defaults = {"learning_rate": 5e-3, "batch_size": 5, "nepochs": 7, "early_stop_patience": 3}
    overrides = {"scheduler": "Adaptive", "max_epochs": 9, "gridsize": 2}
    barred = mock.patch.object(RawData, "__init__", side_effect=AssertionError("patterns are read"))
    with tempfile.TemporaryDirectory() as name, params_kept() as cfg:
        scan = tiny_scan(run.seed, 3, 2, 32).to_file(Path(name) / "scan.npz")
        with barred:
            made = create_training_payload(scan, Path(name) / "out", overrides, execution, defaults)
        config, kept = made.training_config, made.execution_config
        values: dict[str, tuple[Any, Any]] = {
            "scheduler": (config.scheduler, "Adaptive"),
            "the settled scheduler of the execution": (kept.scheduler, None),
            "learning_rate of the execution": (kept.learning_rate, 2e-3),
            "nepochs": (config.nepochs, 9),
            "batch_size": (config.batch_size, 5),
            "N": (config.model.N, 32),
            "gridsize": (config.model.gridsize, 2),
            "seed": (config.seed, 42),
            "params.cfg N": (cfg.get("N"), 32),
            "params.cfg nepochs": (cfg.get("nepochs"), 9),
            "params.cfg learning_rate": (cfg.get("learning_rate"), 5e-3),
        }
        for case, (found, wanted) in values.items():
            everyone(run, found == wanted, f"{case} is {found!r}, not {wanted!r}", case)
        record = {n: (o.value, o.source, o.displaced) for n, o in made.overrides_applied.items()}
        expected = {
            "scheduler": ("Adaptive", "override", "Default"),
            "nepochs": (9, "override", 7),
            "gridsize": (2, "override", 1),
            "learning_rate": (2e-3, "execution config", 5e-3),
            "batch_size": (5, "default of the command", 16),
            "early_stop_patience": (3, "default of the command", None),
            "N": (32, "data", 64),
        }
        everyone(run, record == expected, f"{record}; expected {expected}", "record")
        _judge_refusals(run, scan, Path(name))


def _judge_refusals(run: Recorder, scan: Path, folder: Path) -> None:
    text = folder / "text.npz"
    text.write_text("no scan", encoding="utf-8")
    for given, kind, words in (
        ((scan, folder, {"N": 64}), ValueError, ("N is 64", "32")),
        ((scan, folder, {"batchsize": 3}), ValueError, ("batchsize", "batch_size")),
        ((scan, folder, {"batch_size": 0}), ValueError, ("batch_size", "0")),
        ((scan, folder, {"backend": "tensorflow"}), ValueError, ("backend",)),
        ((text, folder), ValueError, ("text.npz",)),
        ((folder / "none.npz", folder), FileNotFoundError, ("none.npz",)),
    ):
        error = outcome(create_training_payload, *given)
        everyone(run, says(error, kind, *words), f"{error!r}", f"{given[2:]}")
    error = outcome(create_inference_payload, folder / "no bundle", scan, folder)
    everyone(run, isinstance(error, FileNotFoundError), f"{error!r}", "no bundle")
    error = outcome(config_factory.populate_legacy_params, PyTorchExecutionConfig())
    everyone(run, isinstance(error, TypeError), f"{error!r}", "execution configuration")


@check("Q-39", "A reconstruction predicts where and in what portions it is told", ("backend",))
def predicting(run: Recorder) -> None:
    """Through the dispatcher; and the factory's payload has the bundle's own model."""
    execution = PyTorchExecutionConfig("cpu", inference_batch_size=3)
    for subject, backend in run.backends.items():
        with tempfile.TemporaryDirectory() as name, params_kept():
            folder = Path(name)
            written_bundle(run, backend, folder)
            scan = tiny_scan(run.seed, 3, 2, 32).to_file(folder / "scan.npz")
            payload = create_inference_payload(folder, scan, folder, {"seed": 7}, execution)
            model = payload.inference_config.model
            run.require(subject, model.gridsize == 2, f"the payload's model is {model}", "factory")
            seed = payload.overrides_applied["seed"]
            run.require(subject, seed.displaced == 42, f"{seed}", "factory")
            config = InferenceConfig(ModelConfig(), folder, scan)
            config.backend = subject  # type: ignore[assignment]  # the name of a backend
            given: dict[str, Any] = {
                "torch_execution_config": execution if subject == "pytorch" else None
            }
            loaded, _ = load_inference_bundle_with_backend(folder, config, **given)
            if subject == "pytorch":
                told = (loaded.accelerator, loaded.batch_size)
                run.require(subject, told == ("cpu", 3), f"it predicts with {told}", "loaded")
            else:
                run.require(subject, hasattr(loaded, "predict"), "it does not predict", "loaded")
