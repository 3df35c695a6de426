"""One backend's part of the demo, run in a process of its own.

``train`` trains and writes the bundle, ``reconstruct`` loads a bundle in a new process and
stitches the object. Arguments and results are files, so that nothing survives in memory between
training and reloading.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from parity import process
from ptycho.cli.console import run_command
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.raw_data import RawData
from ptycho.workflows.backend_selector import (
    bundle_reader,
    get_backend,
    train_cdi_model_with_backend,
)

#: Written beside the bundle by ``train``.
TRAINING_FILE = "training.json"


def load_config(path: Path) -> TrainingConfig:
    """Read a training configuration written by :func:`save_config`."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    model = ModelConfig(**fields.pop("model"))
    return TrainingConfig(model=model, **fields)


def save_config(path: Path, fields: dict[str, Any]) -> None:
    """Write the fields of a training configuration (``model`` nested) as JSON."""
    path.write_text(json.dumps(fields, indent=1), encoding="utf-8")


def train(backend: str, scan: Path, config_file: Path, output: Path) -> None:
    """Train on ``scan`` and write the bundle and ``training.json`` into ``output``."""
    config = load_config(config_file)
    config.backend = backend  # type: ignore[assignment]  # one of the choices of --backend
    config.output_dir = output
    raw = RawData.from_file(scan)
    start = time.perf_counter()
    results = train_cdi_model_with_backend(raw, None, config)
    seconds = time.perf_counter() - start
    manager = get_backend(backend).model_manager
    started_saving = time.perf_counter()
    manager.save(output)
    summary = {
        "history": results["history"],
        "train_seconds": seconds,
        "cpu_seconds": time.process_time(),
        "save_seconds": time.perf_counter() - started_saving,
        "settings": process.in_force(),
    }
    (output / TRAINING_FILE).write_text(json.dumps(summary), encoding="utf-8")


def reconstruct(backend: str, scan: Path, bundle: Path, output: Path, M: int) -> None:
    """Load ``bundle`` with ``backend`` and write the stitched object to the file ``output``."""
    components = get_backend(backend)
    start = time.perf_counter()
    predictor, params = bundle_reader(components)(bundle)
    load_seconds = time.perf_counter() - start
    config = TrainingConfig(
        model=ModelConfig(N=params["N"], gridsize=params["gridsize"]), seed=params["npseed"]
    )
    config.neighbor_count = params["neighbor_count"]
    start = time.perf_counter()
    amplitude, phase, results = components.reassemble_cdi_image(
        RawData.from_file(scan), config, predictor, M=M
    )
    centre = np.asarray(results["global_offsets"]).reshape(-1, 2).mean(axis=0)
    np.savez(
        output,
        object=np.squeeze(amplitude * np.exp(1j * phase)).astype(np.complex64),
        centre=centre,
        load_seconds=load_seconds,
        reconstruct_seconds=time.perf_counter() - start,
    )


def _act(args: argparse.Namespace) -> None:
    if args.action == "train":
        train(args.backend, args.scan, args.config, args.output)
    else:
        reconstruct(args.backend, args.scan, args.bundle, args.output, args.M)


def main(argv: list[str] | None = None) -> int:
    """Run one action; see ``--help``."""
    parser = argparse.ArgumentParser(prog="parity.demo.worker", description=__doc__)
    parser.add_argument("action", choices=("train", "reconstruct"))
    parser.add_argument("--backend", required=True, choices=("tensorflow", "pytorch"))
    parser.add_argument("--scan", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--M", type=int, default=20)
    # What a command's console looks at: the demo's own output says the rest.
    parser.set_defaults(quiet=False, verbose=False)
    return run_command(parser, argv, _act)


if __name__ == "__main__":
    sys.exit(main())
