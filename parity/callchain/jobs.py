"""The scenarios that are traced: what each prepares unseen, and the job that is watched."""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parity.callchain.scenario import package_of, tiny_config
from ptycho import params
from ptycho.config.config import InferenceConfig, TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan

__all__ = ["DESCRIPTIONS", "RATE", "Job", "Workshop"]

#: Learning rate of every scenario.
RATE = 1e-7

#: Scenario -> what is watched. The first is the one that finds the framework not yet imported.
DESCRIPTIONS = {
    "dispatch": "run_cdi_example_with_backend on a scan in memory, training and stitching",
    "train": "configure, load a scan file, train_cdi_model",
    "save": "model_manager.save of the model trained last",
    "load": "load_inference_bundle of a bundle",
    "infer": "configure, load a scan file, load a bundle, group, predict",
    "stitch": "reassemble_cdi_image of a scan with a loaded model",
    "cli-train": "ptycho_train on a scan file",
    "cli-infer": "ptycho_inference on a scan file and a bundle",
}

_M = 10


@dataclass
class Job:
    """One scenario, ready to run."""

    name: str
    run: Callable[[], Any]


def _command(module: str, flags: list[Any]) -> None:
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        code = importlib.import_module(module).main([str(flag) for flag in flags])
    if code:
        raise RuntimeError(f"{module} ended with exit code {code}: {said.getvalue()}")


@dataclass
class Workshop:
    """Makes the scenarios of one backend in a folder; a bundle is trained when first needed.

    ``framework_is_there`` is called once the framework is imported, before anything is prepared.
    """

    backend: str
    folder: Path
    framework_is_there: Callable[[], None] = lambda: None
    scan: Path = field(init=False)
    _trained: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.scan = built_in_scan(N=32, n_positions=25).to_file(self.folder / "scan.npz")

    @property
    def bundle(self) -> Path:
        """The folder of the bundle that loading and inference read."""
        return self.folder / "bundle"

    def components(self) -> Any:
        """Return the backend's workflow doors."""
        return importlib.import_module(f"{package_of(self.backend)}.workflows.components")

    def manager(self) -> Any:
        """Return the backend's module that saves and loads."""
        return importlib.import_module(f"{package_of(self.backend)}.model_manager")

    def config(self) -> TrainingConfig:
        """Return the training configuration of every scenario.

        The rate is so small that Adam, whose first steps have the size of the rate whatever the
        gradient, cannot blow rounding up to where the backends' models differ.
        """
        config = tiny_config(self.backend)
        config.learning_rate = RATE
        return config

    def inference_config(self) -> InferenceConfig:
        """Return the inference configuration of every scenario."""
        config = InferenceConfig(
            model=self.config().model, model_path=self.bundle, test_data_file=self.scan
        )
        config.backend = self.config().backend
        return config

    def execution(self) -> PyTorchExecutionConfig | None:
        """Return the execution configuration, which one backend takes."""
        if self.backend != "pytorch":
            return None
        return PyTorchExecutionConfig(accelerator="cpu", enable_progress_bar=False)

    def job(self, name: str) -> Job:
        """Return a scenario; ``ValueError`` for an unknown one."""
        if name not in DESCRIPTIONS:
            raise ValueError(f"no scenario {name!r}; there are {', '.join(DESCRIPTIONS)}")
        make: Callable[[], Callable[[], Any]] = getattr(self, f"_{name.replace('-', '_')}")
        if name != "dispatch":
            self.components().require_framework()
            self.framework_is_there()
        run = make()
        # Every scenario begins as a fresh process does.
        params.restore_defaults()
        return Job(name, run)

    def _ready_bundle(self) -> Path:
        if not self._trained:
            components = self.components()
            components.train_cdi_model(RawData.from_file(self.scan), None, self.config())
            self.manager().save(self.bundle)
            self._trained = True
        return self.bundle

    # ------------------------------------------------------------------ scenarios

    def _dispatch(self) -> Callable[[], Any]:
        from ptycho.workflows.backend_selector import run_cdi_example_with_backend

        raw, config = RawData.from_file(self.scan), self.config()
        execution = self.execution()
        return lambda: run_cdi_example_with_backend(
            raw, raw, config, M=_M, do_stitching=True, torch_execution_config=execution
        )

    def _train(self) -> Callable[[], Any]:
        components, config = self.components(), self.config()

        def train() -> None:
            components.update_legacy_dict(params.cfg, config)
            raw = components.load_data(self.scan)
            components.train_cdi_model(raw, None, config)

        return train

    def _save(self) -> Callable[[], Any]:
        self._ready_bundle()
        return lambda: self.manager().save(self.folder / "saved")

    def _load(self) -> Callable[[], Any]:
        components, bundle = self.components(), self._ready_bundle()
        return lambda: components.load_inference_bundle(bundle)

    def _infer(self) -> Callable[[], Any]:
        from ptycho.workflows.backend_selector import load_inference_bundle_with_backend

        components, bundle = self.components(), self._ready_bundle()
        config, asked = self.config(), self.inference_config()

        def infer() -> None:
            components.update_legacy_dict(params.cfg, asked)
            raw = components.load_data(self.scan)
            model, _ = load_inference_bundle_with_backend(bundle, asked)
            data = components.create_ptycho_data_container(raw, config, model.normalisation)
            model.predict([data.X * model.intensity_scale, data.local_offsets])

        return infer

    def _stitch(self) -> Callable[[], Any]:
        components = self.components()
        model, _ = components.load_inference_bundle(self._ready_bundle())
        raw, config = RawData.from_file(self.scan), self.config()
        return lambda: components.reassemble_cdi_image(raw, config, model, M=_M)

    def _cli_train(self) -> Callable[[], Any]:
        config = self.config()
        flags = ["--train_data_file", self.scan, "--output_dir", self.folder / "trained"]
        flags += ["--backend", self.backend, "--M", _M, "--quiet"]
        given = ("n_groups", "batch_size", "nepochs", "validation_fraction", "learning_rate")
        for name in given:
            flags += [f"--{name}", getattr(config, name)]
        flags += ["--gridsize", 2, "--n_filters_scale", 1, "--do_stitching"]
        return lambda: _command("ptycho.cli.train", flags)

    def _cli_infer(self) -> Callable[[], Any]:
        flags = ["--model_path", self._ready_bundle(), "--test_data_file", self.scan]
        flags += ["--output_dir", self.folder / "inferred", "--backend", self.backend]
        return lambda: _command("ptycho.cli.inference", [*flags, "--M", _M, "--quiet"])
