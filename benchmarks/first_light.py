"""Figures of the first light: stitching of true patches, and training on one half of a scan.

    python -m benchmarks.first_light stitching
    python -m benchmarks.first_light equal-epochs [--backend pytorch] [--epochs 20]
    python -m benchmarks.first_light measured --data FILE.npz [--backend pytorch] [--epochs 32]

``equal-epochs`` trains on one half of a hard scan and reconstructs both: an object of
392 x 392 pixels whose amplitude (0.5 to 1) and phase (-1 to 1 rad) are unrelated random fields
with lines, lit by a defocused disc, 990 positions in each half, 512 groups of the first for
training. A flat image is scored beside it. ``measured`` trains on the upper half of a measured
scan (by ``ycoords``) with the demo's settings and says how well the reconstructions of both halves
explain the measured patterns. ``docs/first_light.md`` has what they gave.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.halves import part
from parity import process
from parity.demo.settings import stitched_side, training_fields
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.metrics import evaluate
from ptycho.core.residual import diffraction_residual
from ptycho.raw_data import RawData
from ptycho.simulation.objects import lines_thickness, random_field
from ptycho.simulation.probes import defocused_disc
from ptycho.simulation.simulate import simulate_scan
from ptycho.workflows.backend_selector import get_backend, train_cdi_model_with_backend

SIDE, N, STEP = 392, 64, 7.4
AMPLITUDE_STD, PHASE_STD = 0.107, 0.4
SCORES = (
    "amplitude_correlation",
    "phase_correlation",
    "amplitude_ssim",
    "phase_ssim",
    "amplitude_psnr",
    "phase_psnr",
    "complex_nrmse",
)


def hard_scan(seed: int = 0) -> tuple[RawData, RawData]:
    """Return the training (top) and test (bottom) half of the scan, 990 positions each."""
    rng = np.random.default_rng(seed)
    shape = (SIDE, SIDE)

    def field() -> np.ndarray:
        mixed = 0.6 * random_field(shape, rng) + 0.4 * lines_thickness(shape, rng)
        return (mixed - np.median(mixed)) / mixed.std()

    amplitude = np.clip(0.75 + AMPLITUDE_STD * field(), 0.5, 1)
    truth = amplitude * np.exp(1j * np.clip(PHASE_STD * field(), -1, 1))
    steps = N / 2 + STEP * np.arange(45)
    x, y = np.meshgrid(steps[:44], steps)
    positions = np.stack([x.ravel(), y.ravel()], axis=1) + rng.uniform(-1, 1, (x.size, 2))
    positions = np.clip(positions, N / 2, SIDE - N / 2)
    halves = np.split(positions, 2)
    first, second = (
        simulate_scan(truth, defocused_disc(N), half, nphotons=1e9, rng=rng) for half in halves
    )
    return first, second


def equal_epochs(backend: str, epochs: int, groups: int) -> dict[str, float]:
    """Train on the first half, reconstruct both; return scores and seconds."""
    train, test = hard_scan()
    model = ModelConfig(N=N, gridsize=1, n_filters_scale=1, probe_big=False)
    config = TrainingConfig(
        model=model,
        nepochs=epochs,
        n_groups=groups,
        batch_size=4,
        mae_weight=1.0,
        nll_weight=0.0,
        learning_rate=1e-3,
        scheduler="WarmupCosine",
        lr_min_ratio=0.02,
        intensity_scale_trainable=False,
        backend=backend,
        seed=0,
    )
    results, scores = _train(train, config)
    for name, scan in (("train", train), ("test", test)):
        canvas, centre = _reconstruct(scan, config, results, M=20)
        for prefix, image in (("", canvas), ("flat_", np.where(canvas != 0, 1, 0))):
            found = evaluate(image, scan.objectGuess, centre, positions=scan.positions).scores
            scores |= {f"{prefix}{name}_{key}": found[key] for key in SCORES}
    return scores


def measured(backend: str, epochs: int, path: Path) -> dict[str, float]:
    """Train on the upper half of a measured scan; return what explains both halves' patterns."""
    scan = RawData.from_file(path)
    config = TrainingConfig(**_demo_fields(scan, epochs), backend=backend)
    upper = scan.ycoords < np.median(scan.ycoords)
    halves = {"train": part(scan, upper), "test": part(scan, ~upper)}
    config.n_groups = len(halves["train"])
    results, scores = _train(halves["train"], config)
    M = stitched_side(config.model.N, config.model.pad_object)
    for name, half in halves.items():
        canvas, centre = _reconstruct(half, config, results, M=M)
        found = diffraction_residual(
            canvas, centre, half.positions, half.probeGuess, half.amplitude(), half.bad_pixels
        )
        scores |= {f"{name}_{key}": value for key, value in vars(found).items()}
        if half.objectGuess is not None:
            close = evaluate(canvas, half.objectGuess, centre, positions=half.positions).scores
            scores[f"{name}_phase_correlation"] = close["phase_correlation"]
    return scores


def _demo_fields(scan: RawData, epochs: int) -> dict[str, Any]:
    fields = training_fields(scan, epochs, seed=0, gridsize=1)
    return {**fields, "model": ModelConfig(**fields["model"])}


def _train(scan: RawData, config: TrainingConfig) -> tuple[dict[str, Any], dict[str, float]]:
    start, used = time.perf_counter(), time.process_time()
    results = train_cdi_model_with_backend(scan, None, config)
    return results, {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - used,
        "loss": results["history"]["loss"][-1],
    }


def _reconstruct(
    scan: RawData, config: TrainingConfig, results: dict[str, Any], M: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the stitched object and its centre [x, y]."""
    amplitude, phase, stitched = get_backend(config.backend).reassemble_cdi_image(
        scan, config, results["model_instance"], M=M
    )
    centre = np.asarray(stitched["global_offsets"]).reshape(-1, 2).mean(axis=0)
    return np.squeeze(amplitude * np.exp(1j * phase)), centre


def stitching() -> int:
    """Print the stitching checks of the parity gate with what they measured."""
    from parity.gate import run_gate

    report = run_gate(ids=["S"])
    for result in report.checks:
        verdicts = ", ".join(f"{name} {v.status}" for name, v in result.verdicts.items())
        print(f"{result.id}  {result.title}: {verdicts}")
    print(process.in_force_line())
    return report.exit_code


def main() -> int:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("stitching", "equal-epochs", "measured"))
    parser.add_argument("--backend", default="pytorch", choices=("tensorflow", "pytorch"))
    parser.add_argument("--epochs", type=int, help="default 20, measured: 32")
    parser.add_argument("--data", type=Path, help="the measured scan")
    parser.add_argument("--groups", type=int, default=512)
    args = parser.parse_args()
    if args.what == "stitching":
        return stitching()
    if args.what == "measured":
        if args.data is None:
            parser.error("measured needs --data FILE")
        scores = measured(args.backend, args.epochs or 32, args.data)
    else:
        scores = equal_epochs(args.backend, args.epochs or 20, args.groups)
    rounded = {key: round(value, 4) for key, value in scores.items()}
    print(json.dumps({**rounded, "settings": process.in_force()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
