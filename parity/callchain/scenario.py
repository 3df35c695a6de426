"""The jobs that are traced: a tiny training with saving, and a reconstruction from the bundle."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

from parity.backends.protocol import NotOffered
from parity.callchain.recorder import first_entries
from parity.spec.records import Row
from ptycho import params
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.raw_data import RawData
from ptycho.simulation.simulate import built_in_scan

BackendName = Literal["tensorflow", "pytorch"]

#: Package of each built-in backend.
PACKAGES = {"tensorflow": "ptycho", "pytorch": "ptycho_torch"}

#: Stages that a training, and an inference, pass.
TRAINING = ("load", "configure", "group", "build", "scale", "forward", "loss", "save")
INFERENCE = ("restore", "load", "group", "scale", "infer", "stitch")


def package_of(backend: str) -> str:
    """Return the package of a backend; :class:`NotOffered` for one that has none of its own."""
    if backend not in PACKAGES:
        raise NotOffered(f"this check uses the doors of a package, and {backend} has none")
    return PACKAGES[backend]


def own_symbol(where: str, package: str) -> str:
    """Return a symbol of the specification; one without a package is the backend's own."""
    return where if where.startswith("ptycho") else f"{package}.{where}"


def stage_symbols(rows: tuple[Row, ...], package: str) -> dict[str, str]:
    """Return stage -> symbol from the stages table; bare modules are the backend's own."""
    return {row.cells["Stage"]: own_symbol(row.cells["Where"], package) for row in rows}


def tiny_config(backend: str) -> TrainingConfig:
    """Return a training of two steps that either backend finishes in seconds."""
    model = ModelConfig(N=32, n_filters_scale=1, gridsize=2, probe_big=False)
    config = TrainingConfig(
        model=model, n_groups=16, batch_size=8, nepochs=1, validation_fraction=0.0
    )
    config.backend = cast(BackendName, backend)
    return config


def _keeping_params(job: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        before = dict(params.cfg)
        try:
            job()
        finally:
            params.cfg.clear()
            params.cfg.update(before)

    return run


def trace_stages(backend: str, rows: tuple[Row, ...]) -> dict[str, list[str]]:
    """Return the stages entered by ``train`` and by ``infer``, in order of first entry."""
    package = package_of(backend)
    symbols = stage_symbols(rows, package)
    stage_of = {symbol: stage for stage, symbol in symbols.items()}
    components = importlib.import_module(f"{package}.workflows.components")
    manager = importlib.import_module(f"{package}.model_manager")
    components.require_framework()
    with tempfile.TemporaryDirectory() as folder:
        scan, bundle = Path(folder) / "scan.npz", Path(folder) / "bundle"
        built_in_scan(N=32, n_positions=25).to_file(scan)
        config = tiny_config(backend)
        config.output_dir = bundle

        def train() -> None:
            components.train_cdi_model(RawData.from_file(scan), None, config)
            manager.save(bundle)

        def infer() -> None:
            model, _ = components.load_inference_bundle(bundle)
            components.reassemble_cdi_image(RawData.from_file(scan), config, model, M=10)

        entered = {
            "train": first_entries(_keeping_params(train), symbols.values()),
            "infer": first_entries(_keeping_params(infer), symbols.values()),
        }
    return {job: [stage_of[symbol] for symbol in order] for job, order in entered.items()}
