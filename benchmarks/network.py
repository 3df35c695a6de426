"""Training step and prediction beside the bare convolutions of the same network.

    python benchmarks/network.py [--backend tensorflow|pytorch] [--runs 7] [--whole] [--json FILE]

For each backend, in a process of its own: one training step (forward, loss, backward, Adam) and
one prediction through the door, each in turns with nothing but the network's 3 x 3 convolutions in
the same framework (with their gradients for the step), and with the same as they are carried out,
those of upsampled images as transposed ones with 4/9 of the operations; then what an epoch takes
beyond its steps, what a first training takes before it goes on, and how much of that a second one
needs. Medians;
seconds of the clock, and of the processor. To be run on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import resident
from benchmarks.convolutions import (
    Action,
    Actions,
    Conv,
    both,
    convolutions_of,
    tensorflow_convolutions,
    torch_convolutions,
)
from parity import process
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.training_plan import TrainingPlan, plan_training
from ptycho.core.workflow import create_container
from ptycho.simulation.simulate import built_in_scan

#: (N, gridsize, batch size), the small ones first.
QUICK = ((64, 1, 16), (64, 2, 16))
WHOLE = (*QUICK, (64, 1, 64), (64, 2, 64), (128, 1, 16), (128, 2, 16), (128, 1, 64), (128, 2, 64))
#: Groups in an epoch that is timed, and epochs beside the first.
_GROUPS, _EPOCHS = 128, 3


@dataclass(frozen=True)
class Scene:
    """One network with the data for a training of it."""

    config: TrainingConfig
    container: PtychoDataContainer
    plan: TrainingPlan

    @classmethod
    def of(cls, N: int, gridsize: int, batch: int) -> Scene:
        """Return a scene whose epochs have ``_GROUPS`` groups."""
        config = TrainingConfig(
            model=ModelConfig(N=N, gridsize=gridsize), batch_size=batch, n_groups=_GROUPS,
            nepochs=1, validation_fraction=0.0,
        )  # fmt: skip
        container = create_container(built_in_scan(N=N, n_positions=_GROUPS), config)
        return cls(config, container, plan_training(container, config))

    @property
    def convs(self) -> list[Conv]:
        """The network's convolutions, as its table of layers has them."""
        return convolutions_of(self.config.model)

    def flops(self, training: bool) -> float:
        """Operations of the convolutions for a batch; three times as many with gradients."""
        convs, batch = self.convs, self.config.batch_size
        times = [3.0 - each.first if training else 1.0 for each in convs]
        return batch * sum(n * each.flops for n, each in zip(times, convs, strict=True))

    def batch(self) -> tuple[Any, Any, Any]:
        """Return indices, scaled patterns and offsets of the first batch."""
        indices = self.plan.epoch(0)[0]
        x = self.container.batch_X(indices) * np.float32(self.plan.intensity_scale)
        return indices, x, self.container.batch_offsets(indices)


# --------------------------------------------------------------------------- the two backends


def _torch_actions(scene: Scene) -> Actions:

    from ptycho_torch import training
    from ptycho_torch.dataloader import GroupDataset, Share

    module = training.build_module(scene.container, scene.config, scene.plan)
    optimizer: Any = module.configure_optimizers()
    indices = scene.plan.epoch(0)[0]
    dataset = GroupDataset(scene.container, scene.plan.intensity_scale, with_labels=False)
    batch = dataset[Share(indices, len(indices))]

    def step() -> None:
        optimizer.zero_grad()
        module.measure(batch)["loss"].backward()
        optimizer.step()

    return {"step": step} | both(torch_convolutions, scene.convs, scene.config.batch_size)


def _tensorflow_actions(scene: Scene) -> Actions:
    import tensorflow as tf

    from ptycho import training
    from ptycho.model import build_models

    models = build_models(scene.config.model, scene.plan.weights)
    trained = training.TrainingStep(models, scene.config, scene.plan.intensity_scale)
    _, x, offsets = scene.batch()
    batch = [tf.constant(x), tf.constant(offsets)]
    rate = tf.constant(1e-4, tf.float32)

    update = {"step": lambda: trained.update(rate, batch)["loss"].numpy()}
    return update | both(tensorflow_convolutions, scene.convs, scene.config.batch_size)


def _training(backend: str) -> Any:
    if backend == "pytorch":
        from ptycho_torch import training
    else:
        from ptycho import training  # type: ignore[no-redef]  # the other wing's twin
    return training


def _predictor(backend: str, trained: Any) -> Any:
    if backend == "pytorch":
        from ptycho_torch import model_manager
    else:
        from ptycho import model_manager  # type: ignore[no-redef]  # the other wing's twin
    return model_manager.ObjectPredictor.of(trained)


def _as_trained(backend: str) -> AbstractContextManager[None]:
    """Return what a training of this backend runs in, for steps and their floors."""
    if backend == "pytorch":
        from ptycho_torch.process_settings import training_settings

        return training_settings()
    return nullcontext()


def _traced(backend: str) -> int:
    """Return how many functions were traced in this process; PyTorch traces none."""
    if backend == "pytorch":
        return 0
    from ptycho import model

    return model._kept.cache_info().misses


# --------------------------------------------------------------------------- measuring


def in_turns(actions: Actions, runs: int) -> dict[str, tuple[float, float]]:
    """Return median seconds of clock and processor of actions that take turns, after one each."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for number in range(runs + 1):
        for name, action in actions.items():
            clock, processor = time.perf_counter(), time.process_time()
            action()
            if number:
                spent = time.perf_counter() - clock, time.process_time() - processor
                taken[name].append(spent)
    return {
        name: (statistics.median(c for c, _ in each), statistics.median(p for _, p in each))
        for name, each in taken.items()
    }


def _held(action: Action) -> tuple[float, float]:
    """Return what this process holds before an action, and at most during it, in MiB."""
    before = resident.now()
    resident.forget_peak()
    action()
    return before, resident.peak()


def _spent(train: Callable[..., Any], scene: Scene, epochs: int) -> tuple[float, float]:
    """Return the seconds of clock and processor that a training takes."""
    config = dataclasses.replace(scene.config, nepochs=epochs)
    clock, processor = time.perf_counter(), time.process_time()
    train(scene.container, config, progress=False)
    return time.perf_counter() - clock, time.process_time() - processor


def epoch_runs(runs: int) -> int:
    """Return how often epochs are run where steps are run so often: in haste once."""
    return 3 if runs >= 5 else 1


def _beyond_steps(backend: str, scene: Scene, step: Action, runs: int) -> list[float]:
    """Return what an epoch takes beyond its steps, relative to these: of clock and processor."""
    train = _training(backend).train
    steps = scene.plan.steps_per_epoch
    found: list[tuple[float, ...]] = []
    for _ in range(runs):
        short = _spent(train, scene, 1)
        long = _spent(train, scene, 1 + _EPOCHS)
        with _as_trained(backend):
            bare = in_turns({"step": step}, steps)["step"]
        epoch = [(b - a) / _EPOCHS for a, b in zip(short, long, strict=True)]
        found.append(tuple(e / (steps * s) - 1 for e, s in zip(epoch, bare, strict=True)))
    return [statistics.median(each) for each in zip(*found, strict=True)]


def measure(backend: str, N: int, gridsize: int, batch: int, runs: int) -> dict[str, Any]:
    """Return the figures of one configuration."""
    scene = Scene.of(N, gridsize, batch)
    training = _training(backend)
    firsts, traced = [], [_traced(backend)]
    for _ in range(2):
        firsts.append(_spent(training.train, scene, 1)[0])
        traced.append(_traced(backend))
    actions = (_torch_actions if backend == "pytorch" else _tensorflow_actions)(scene)
    trained = training.train(scene.container, scene.config, progress=False, max_steps=1)
    predictor = _predictor(backend, trained)
    _, *inputs = scene.batch()
    actions["prediction"] = lambda: predictor.predict(inputs, batch_size=batch)
    stepping = {name: each for name, each in actions.items() if name.endswith("step")}
    predicting = {name: each for name, each in actions.items() if name.endswith("prediction")}
    with _as_trained(backend):
        held = {"step": _held(actions["step"])}
        took = in_turns(stepping, runs)
    held["prediction"] = _held(actions["prediction"])
    took |= in_turns(predicting, runs)
    step, prediction = took["step"][0], took["prediction"][0]
    whole = scene.plan.steps_per_epoch * step
    beyond = _beyond_steps(backend, scene, actions["step"], epoch_runs(runs))
    return {
        "backend": backend,
        "N": N,
        "gridsize": gridsize,
        "batch": batch,
        "step_seconds": step,
        "step_cpu_seconds": took["step"][1],
        "step_ratio": step / took["floor of step"][0],
        "step_cpu_ratio": took["step"][1] / took["floor of step"][1],
        "step_ratio_carried_out": step / took["carried out of step"][0],
        "step_mib": held["step"],
        "step_gflop": scene.flops(training=True) / 1e9,
        "prediction_seconds": prediction,
        "prediction_cpu_seconds": took["prediction"][1],
        "prediction_ratio": prediction / took["floor of prediction"][0],
        "prediction_cpu_ratio": took["prediction"][1] / took["floor of prediction"][1],
        "prediction_ratio_carried_out": prediction / took["carried out of prediction"][0],
        "prediction_mib": held["prediction"],
        "prediction_gflop": scene.flops(training=False) / 1e9,
        "epoch_overhead": beyond[0],
        "epoch_cpu_overhead": beyond[1],
        "first_training_seconds": firsts[0] - whole,
        "second_training_seconds": firsts[1] - whole,
        "second_training_traces": traced[2] - traced[1],
    }


def line(found: dict[str, Any]) -> str:
    """Return the figures of one configuration in one line."""
    return (
        f"{found['backend']:10} N={found['N']:3} gridsize={found['gridsize']} "
        f"batch={found['batch']:2}  step {found['step_seconds']:.3f} s, "
        f"{found['step_ratio']:.2f} x convolutions ({found['step_gflop']:.0f} GFLOP; "
        f"{found['step_ratio_carried_out']:.2f} x as carried out; "
        f"processor {found['step_cpu_seconds']:.3f} s, {found['step_cpu_ratio']:.2f} x)  "
        f"prediction {found['prediction_seconds']:.3f} s, {found['prediction_ratio']:.2f} x "
        f"({found['prediction_ratio_carried_out']:.2f} x as carried out; "
        f"processor {found['prediction_cpu_seconds']:.3f} s, "
        f"{found['prediction_cpu_ratio']:.2f} x)  "
        f"rest of an epoch {100 * found['epoch_overhead']:.1f} % "
        f"(processor {100 * found['epoch_cpu_overhead']:.1f} %)  "
        f"start {found['first_training_seconds']:.1f} s, "
        f"then {found['second_training_seconds']:.1f} s"
    )


def main() -> int:
    """Measure, print a line for each configuration, and write the figures as JSON if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", choices=("tensorflow", "pytorch"))
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--whole", action="store_true", help="larger patterns and batches too")
    parser.add_argument("--only", type=int, help="the number, from 0, of the one to measure")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    args = parser.parse_args()
    cases = WHOLE if args.whole else QUICK
    if args.backend and args.only is not None:
        found = measure(args.backend, *WHOLE[args.only], args.runs)
        sys.stdout.write(json.dumps(found) + "\n")
        return 0
    figures = []
    numbers = range(len(cases)) if args.only is None else [args.only]
    for number in numbers:
        for backend in (args.backend,) if args.backend else ("tensorflow", "pytorch"):
            command = [sys.executable, __file__, "--backend", backend, "--only", str(number)]
            done = subprocess.run(
                [*command, "--runs", str(args.runs)], stdout=subprocess.PIPE, text=True, check=True
            )
            figures.append(json.loads(done.stdout.splitlines()[-1]))
            sys.stdout.write(line(figures[-1]) + "\n")
            sys.stdout.flush()
    if args.json:
        content = {"settings": process.in_force(), "figures": figures}
        args.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
