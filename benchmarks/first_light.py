"""Figures of the first light: stitching of true patches, and training at equal epochs.

    python benchmarks/first_light.py stitching
    python benchmarks/first_light.py equal-epochs [--backend pytorch] [--epochs 20]

``equal-epochs`` trains on one half of a hard scan and reconstructs both: an object of
392 x 392 pixels whose amplitude (0.5 to 1) and phase (-1 to 1 rad) are unrelated random fields
with lines, lit by a defocused disc, 990 positions in each half, 512 groups of the first for
training. ``docs/first_light.md`` has what it gave.
"""

from __future__ import annotations

import argparse
import json
import sys
import time

import numpy as np

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.metrics import evaluate
from ptycho.core.stitching import reassemble
from ptycho.raw_data import RawData
from ptycho.simulation.objects import lines_thickness, random_field
from ptycho.simulation.probes import defocused_disc
from ptycho.simulation.simulate import simulate_scan
from ptycho.workflows.backend_selector import get_backend, train_cdi_model_with_backend

SIDE, N, STEP = 392, 64, 7.4


def hard_scan(seed: int = 0) -> tuple[RawData, RawData]:
    """Return the training (top) and test (bottom) half of the scan, 990 positions each."""
    rng = np.random.default_rng(seed)
    shape = (SIDE, SIDE)

    def field() -> np.ndarray:
        mixed = 0.6 * random_field(shape, rng) + 0.4 * lines_thickness(shape, rng)
        return (mixed - mixed.min()) / np.ptp(mixed)

    truth = (0.5 + 0.5 * field()) * np.exp(1j * (2 * field() - 1))
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
        batch_size=8,
        mae_weight=1.0,
        nll_weight=0.0,
        learning_rate=2e-3,
        scheduler="WarmupCosine",
        lr_min_ratio=0.02,
        intensity_scale_trainable=False,
        backend=backend,
        seed=0,
    )
    start, used = time.perf_counter(), time.process_time()
    results = train_cdi_model_with_backend(train, None, config)
    scores: dict[str, float] = {
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - used,
        "loss": results["history"]["loss"][-1],
    }
    components = get_backend(backend)
    for name, scan in (("train", train), ("test", test)):
        _, _, stitched = components.reassemble_cdi_image(
            scan, config, results["model_instance"], M=20
        )
        offsets = stitched["global_offsets"]
        canvas = reassemble(stitched["obj_tensor_full"], offsets, 20)
        centre = np.asarray(offsets).reshape(-1, 2).mean(axis=0)
        found = evaluate(canvas, scan.objectGuess, centre, positions=scan.positions).scores
        for key in ("amplitude_ssim", "phase_ssim", "complex_nrmse"):
            scores[f"{name}_{key}"] = found[key]
        for key in ("amplitude_correlation", "phase_correlation"):
            scores[f"{name}_{key}"] = found[key]
    return scores


def stitching() -> int:
    """Print the stitching checks of the parity gate with what they measured."""
    from parity.gate import run_gate

    report = run_gate(ids=["S"])
    for result in report.checks:
        verdicts = ", ".join(f"{name} {v.status}" for name, v in result.verdicts.items())
        print(f"{result.id}  {result.title}: {verdicts}")
    return report.exit_code


def main() -> int:
    """Run one benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("stitching", "equal-epochs"))
    parser.add_argument("--backend", default="pytorch", choices=("tensorflow", "pytorch"))
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--groups", type=int, default=512)
    args = parser.parse_args()
    if args.what == "stitching":
        return stitching()
    scores = equal_epochs(args.backend, args.epochs, args.groups)
    print(json.dumps({key: round(value, 4) for key, value in scores.items()}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
