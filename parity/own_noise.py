"""What a backend gives for fixed inputs, to be held against the same with other threads.

``python -m parity.own_noise NAME SEED FILE.npz`` works under the environment's threads, writes the
values and prints one line of JSON; ``parity.checks.noise_floor`` reads both.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity import process

if TYPE_CHECKING:
    from parity.backends import Backend, TrainedRun
    from parity.backends.protocol import Arrays
    from parity.checks.samples import Sample
    from ptycho.config.config import TrainingConfig

__all__ = ["Points", "Values", "evaluations", "gradient_points", "read", "steps", "trained"]

#: Arrays by name for each of the tolerances that they are held to.
Values = dict[str, "Arrays"]
#: Configuration and inputs by case.
Points = dict[str, "tuple[TrainingConfig, Sample]"]


def _forward(backend: Backend, seed: int, values: Values) -> None:
    from parity.checks.samples import generator, sample, small_model, with_short_sums

    short = "short"
    cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "single": ({}, {}),
        "single 64": ({"N": 64, "n_filters_scale": 2}, {}),
        "groups": ({"gridsize": 2}, {"modes": 2}),
        short: ({"gridsize": 2, "probe_big": False}, {}),
    }
    for case, (fields, inputs) in cases.items():
        config = small_model(**fields)
        given = sample(config, seed, **inputs)
        family = "forward_short" if case == short else "forward"
        if case == short:
            given = with_short_sums(given, seed)
        out = backend.evaluate(config, given.weights, given.x, given.offsets)
        named = {f"{case}: {name}": out[name] for name in out}
        values.setdefault(f"{family}.network", {})[f"{case}: patches"] = out["patches"]
        values.setdefault(f"{family}.pair", {}).update(named)
        physics = {name: value for name, value in named.items() if "patches" not in name}
        values.setdefault("forward.physics", {}).update(physics)
    config = small_model(gridsize=2)
    given, rng = sample(config, seed, batch=3), generator(seed, "merged patches")
    patches = rng.normal(size=(2, *given.x.shape))
    complex_patches = (patches[0] + 1j * patches[1]).astype("complex64")
    merged = backend.merge(config, complex_patches, given.offsets)
    values["stitching.merge"] = {"merged: object": merged}


def gradient_points(seed: int) -> Points:
    """Return where gradients are taken: off the kinks, which takes a while to find."""
    from parity.checks.gradients import ALL_TERMS, prepared
    from parity.checks.samples import small_model, training

    plain = training(small_model(), probe_trainable=True)
    grouped = training(small_model(gridsize=2), **ALL_TERMS, probe_trainable=True)
    return {
        case: (config, prepared(config, seed, modes=modes))
        for case, config, modes in (("plain", plain, 2), ("terms", grouped, 2), ("dark", plain, 1))
    }


def _gradients(backend: Backend, points: Points, values: Values) -> None:
    import numpy as np

    from parity.checks.gradients import labels_for

    for case, (config, given) in points.items():
        fixed = given.x, given.offsets, given.intensity_scale, labels_for(config, given)
        found = backend.loss_gradients(config, given.weights, *fixed)
        values[f"gradients of {case}"] = dict(found)
        if case != "dark":
            patterns = backend.input_gradient(config, given.weights, *fixed)
            values.setdefault("gradient.pair", {})[f"{case}: d loss / d x"] = patterns
        # What the prediction is held against is part of what must be the same on both sides.
        taken = np.frombuffer(_digest({**given.weights, "x": given.x}), np.uint8)
        values.setdefault("inputs", {})[f"{case}: digest"] = taken


def _digest(arrays: Arrays) -> bytes:
    whole = hashlib.sha256()
    for name in sorted(arrays):
        whole.update(name.encode() + arrays[name].tobytes())
    return whole.digest()


def _small_parts(backend: Backend, seed: int, values: Values) -> None:
    """Add losses of given predictions, and two steps of the optimiser from given gradients."""
    import numpy as np

    from parity.checks.samples import generator, sample, small_model, training

    config = training(small_model(gridsize=2), mae_weight=0.3, realspace_weight=0.5)
    given, rng = sample(config.model, seed), generator(seed, "predictions")
    amplitude = (given.x * rng.uniform(0.7, 1.3, given.x.shape) + 0.5).astype(np.float32)
    patches = (given.labels * rng.uniform(0.7, 1.3, given.x.shape)).astype(np.complex64)
    predicted = amplitude, np.square(amplitude), patches, given.labels
    terms = backend.evaluate_losses(config, given.intensity_scale, given.x, *predicted)
    values["loss.value"] = {name: np.asarray(value) for name, value in terms.items()}
    gradients = [
        {n: rng.normal(0, 1, v.shape).astype(np.float32) for n, v in given.weights.items()}
        for _ in range(2)
    ]
    moved = backend.optimiser_steps(config, given.weights, gradients, [1e-3, 5e-4])
    values["training.adam"] = dict(moved)


def evaluations(backend: Backend, seed: int, points: Points) -> Values:
    """Return forward passes, gradients, losses and optimiser steps of fixed inputs.

    ``gradients of CASE`` are by canonical name; ``inputs`` are digests of what they are taken at.
    """
    values: Values = {}
    _forward(backend, seed, values)
    _gradients(backend, points, values)
    _small_parts(backend, seed, values)
    return values


def trained(result: TrainedRun) -> Values:
    """Return the losses and weights of a training by the tolerances that they are held to."""
    from parity.checks.training import curves_of

    curves = curves_of(result)
    return {
        "training.first_losses": {"first: step_losses": curves["step_losses"][:3]},
        "training.losses": curves,
        "training.weights": dict(result.weights),
    }


def steps(backend: Backend, seed: int) -> Values:
    """Return how far each weight has moved after four steps with clipping."""
    import numpy as np

    from parity.checks.samples import scan_container
    from parity.checks.training import CLIPPED_STEPS
    from ptycho.core.training_plan import plan_training

    container = scan_container(1, seed, groups=8)
    start = plan_training(container, CLIPPED_STEPS).weights
    found = backend.train_steps(CLIPPED_STEPS, container, 4).weights
    return {"training.update": {n: np.asarray(v, np.float64) - start[n] for n, v in found.items()}}


def write(values: Values, path: Path) -> list[list[str]]:
    """Write the arrays as NPZ and return their tolerances and names, in the order of the file."""
    import numpy as np

    named = [(key, name, v) for key, group in values.items() for name, v in group.items()]
    # Names of weights have slashes, which are folders in a file of arrays: numbers stand for them.
    arrays: dict[str, Any] = {f"v{i}": value for i, (_, _, value) in enumerate(named)}
    np.savez(path, **arrays)
    return [[key, name] for key, name, _ in named]


def read(path: Path, names: list[list[str]]) -> Values:
    """Return what :func:`write` wrote under these names."""
    import numpy as np

    values: Values = {}
    with np.load(path) as file:
        for i, (key, name) in enumerate(names):
            values.setdefault(key, {})[name] = file[f"v{i}"]
    return values


def main() -> int:
    """Compute, write, and say under how many threads."""
    from parity.backends import load_backends
    from parity.checks.samples import scan_container
    from parity.checks.training import TWENTY_STEPS

    name, seed, path = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    backend = load_backends()[name]
    twenty = backend.train_steps(TWENTY_STEPS, scan_container(2, seed, groups=20), 20)
    values = {
        **evaluations(backend, seed, gradient_points(seed)),
        **steps(backend, seed),
        **trained(twenty),
    }
    outcome = {"names": write(values, path), "in_use": process.in_use()}
    sys.stdout.write("\n" + json.dumps(outcome) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
