"""Train both backends on one simulated scan and compare their reconstructions.

    python examples/train_both.py

Takes a minute or two on two cores.
"""

from pathlib import Path

import numpy as np

from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.metrics import evaluate
from ptycho.simulation.simulate import built_in_scan
from ptycho.workflows.backend_selector import run_cdi_example_with_backend


def main() -> None:
    """Train, reconstruct, score and compare."""
    scan = built_in_scan(seed=0, N=64, n_positions=120)
    objects = {}
    for backend in ("tensorflow", "pytorch"):
        config = TrainingConfig(
            model=ModelConfig(N=64, gridsize=1, n_filters_scale=1),
            backend=backend,
            n_groups=120,
            nepochs=8,
            nphotons=scan.metadata["nphotons"],
            output_dir=Path("outputs") / backend,
        )
        amplitude, phase, results = run_cdi_example_with_backend(
            scan, scan, config, M=32, do_stitching=True
        )
        objects[backend] = amplitude * np.exp(1j * phase)
        centre = results["global_offsets"].reshape(-1, 2).mean(axis=0)
        scores = evaluate(
            objects[backend], scan.objectGuess, centre, positions=scan.positions
        ).scores
        print(
            f"{backend:<10} loss {results['history']['loss'][-1]:.5f}, "
            f"phase correlation with the truth {scores['phase_correlation']:.3f}, "
            f"{results['seconds']:.0f} s"
        )
    difference = np.abs(objects["tensorflow"] - objects["pytorch"]).max()
    print(f"largest difference between the two: {difference:.1e}")


if __name__ == "__main__":
    main()
