"""Training step and prediction beside the bare convolutions of the same network.

    python benchmarks/network.py [--backend tensorflow|pytorch] [--runs 7] [--whole] [--json FILE]

For each backend, in a process of its own: one training step (forward, loss, backward, Adam) and
one prediction through the door, each in turns with nothing but the network's 3 x 3 convolutions in
the same framework (with their gradients for the step); then what an epoch takes beyond its steps,
what a first training takes before it goes on, and how much of that a second one needs. Medians;
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

from parity import process
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.training_plan import TrainingPlan, plan_training
from ptycho.core.weights import conv_layers
from ptycho.core.workflow import create_container
from ptycho.simulation.simulate import built_in_scan

#: (N, gridsize, batch size), the small ones first.
QUICK = ((64, 1, 16), (64, 2, 16))
WHOLE = (*QUICK, (64, 1, 64), (64, 2, 64), (128, 1, 16), (128, 2, 16), (128, 1, 64), (128, 2, 64))
#: Groups in an epoch that is timed, and epochs beside the first.
_GROUPS, _EPOCHS = 128, 3

Action = Callable[[], Any]


@dataclass(frozen=True)
class Conv:
    """A 3 x 3 convolution of the network, on images of ``side`` pixels."""

    inputs: int
    outputs: int
    side: int
    first: bool

    @property
    def flops(self) -> float:
        """Floating-point operations forward, per group; biases are not counted."""
        return 2.0 * 9 * self.inputs * self.outputs * self.side**2


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
        model = self.config.model
        layers = conv_layers(model)
        return [
            Conv(each.inputs, each.outputs, _side(each.name, model), each is layers[0])
            for each in layers
        ]

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


def _side(name: str, model: ModelConfig) -> int:
    part, layer = name.split("/")[:2]
    if part == "encoder":
        return model.N >> (int(layer.removeprefix("block")) - 1)
    if part.endswith("_decoder"):
        return 8 << (int(layer.removeprefix("block")) - 1)
    at_full_size = layer == "outer" or (layer == "inner" and not model.pad_object)
    return model.N if at_full_size else model.N // 2


# --------------------------------------------------------------------------- the two backends


def _torch_actions(scene: Scene) -> dict[str, Action]:
    import torch
    from torch.nn import functional as F

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

    def tensor(*shape: int, grad: bool = True) -> Any:
        made = torch.rand(*shape).to(memory_format=torch.channels_last)
        return made.requires_grad_(grad)

    size = scene.config.batch_size
    convs = scene.convs
    inputs = [tensor(size, c.inputs, c.side, c.side, grad=not c.first) for c in convs]
    kernels = [tensor(c.outputs, c.inputs, 3, 3) for c in convs]
    biases = [torch.zeros(c.outputs, requires_grad=True) for c in convs]
    slopes = [tensor(size, c.outputs, c.side, c.side, grad=False) for c in convs]
    sources = [each for each in (*inputs, *kernels, *biases) if each.requires_grad]
    arguments = list(zip(inputs, kernels, biases, strict=True))

    def forward() -> list[Any]:
        return [F.conv2d(x, kernel, bias, padding=1) for x, kernel, bias in arguments]

    def floor_of_prediction() -> None:
        with torch.inference_mode():
            forward()

    return {
        "step": step,
        "floor of step": lambda: torch.autograd.grad(forward(), sources, slopes),
        "floor of prediction": floor_of_prediction,
    }


def _tensorflow_actions(scene: Scene) -> dict[str, Action]:
    import tensorflow as tf

    from ptycho import training
    from ptycho.model import build_models

    models = build_models(scene.config.model, scene.plan.weights)
    trained = training.TrainingStep(models, scene.config, scene.plan.intensity_scale)
    _, x, offsets = scene.batch()
    batch = [tf.constant(x), tf.constant(offsets)]
    rate = tf.constant(1e-4, tf.float32)

    size = scene.config.batch_size
    convs = scene.convs
    inputs = [tf.random.uniform((size, c.side, c.side, c.inputs)) for c in convs]
    kernels = [tf.random.uniform((3, 3, c.inputs, c.outputs)) for c in convs]
    biases = [tf.zeros(c.outputs) for c in convs]
    slopes = [tf.random.uniform((size, c.side, c.side, c.outputs)) for c in convs]

    def forward(inputs: Any, kernels: Any, biases: Any) -> Any:
        return [
            tf.nn.bias_add(tf.nn.conv2d(*each, strides=1, padding="SAME"), bias)
            for *each, bias in zip(inputs, kernels, biases, strict=True)
        ]

    @tf.function(autograph=False)
    def gradients(inputs: Any, kernels: Any, biases: Any, slopes: Any) -> Any:
        with tf.GradientTape() as tape:
            sources = [*inputs[1:], *kernels, *biases]
            tape.watch(sources)
            outputs = forward(inputs, kernels, biases)
        # What is not returned would not be computed.
        return [*outputs, *tape.gradient(outputs, sources, output_gradients=slopes)]

    predicted = tf.function(forward, autograph=False)
    return {
        "step": lambda: trained.update(rate, batch)["loss"].numpy(),
        "floor of step": lambda: gradients(inputs, kernels, biases, slopes)[0].numpy(),
        "floor of prediction": lambda: predicted(inputs, kernels, biases)[0].numpy(),
    }


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


def in_turns(actions: dict[str, Action], runs: int) -> dict[str, tuple[float, float]]:
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


def _spent(train: Callable[..., Any], scene: Scene, epochs: int) -> tuple[float, float]:
    """Return the seconds of clock and processor that a training takes."""
    config = dataclasses.replace(scene.config, nepochs=epochs)
    clock, processor = time.perf_counter(), time.process_time()
    train(scene.container, config, progress=False)
    return time.perf_counter() - clock, time.process_time() - processor


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
    stepping = {name: actions.pop(name) for name in ("step", "floor of step")}
    with _as_trained(backend):
        took = in_turns(stepping, runs)
    took |= in_turns(actions, runs)
    step, prediction = took["step"][0], took["prediction"][0]
    whole = scene.plan.steps_per_epoch * step
    beyond = _beyond_steps(backend, scene, stepping["step"], (runs + 1) // 3)
    return {
        "backend": backend,
        "N": N,
        "gridsize": gridsize,
        "batch": batch,
        "step_seconds": step,
        "step_cpu_seconds": took["step"][1],
        "step_ratio": step / took["floor of step"][0],
        "step_cpu_ratio": took["step"][1] / took["floor of step"][1],
        "step_gflop": scene.flops(training=True) / 1e9,
        "prediction_seconds": prediction,
        "prediction_cpu_seconds": took["prediction"][1],
        "prediction_ratio": prediction / took["floor of prediction"][0],
        "prediction_cpu_ratio": took["prediction"][1] / took["floor of prediction"][1],
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
        f"processor {found['step_cpu_seconds']:.3f} s, {found['step_cpu_ratio']:.2f} x)  "
        f"prediction {found['prediction_seconds']:.3f} s, {found['prediction_ratio']:.2f} x "
        f"(processor {found['prediction_cpu_seconds']:.3f} s, "
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
