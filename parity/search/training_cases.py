"""One training step of a configuration, by each backend and by the float64 reference."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity.backends import load_backends, oracle
from parity.backends.protocol import TrainedRun
from parity.callchain.scenario import PACKAGES
from parity.checks.samples import describe, diffraction, generator, probe_modes
from parity.compare import compare
from parity.search.cases import Arrays, too_far
from parity.search.physics_cases import FLOATS
from parity.search.space import training_configs
from ptycho.config.config import TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.training_plan import TrainingPlan, needs_labels, plan_training
from ptycho.core.weights import Weights
from ptycho.core.workflow import create_container
from ptycho.raw_data import RawData

__all__ = ["DETECTORS", "TrainingCase", "labelled_case", "training_cases"]

#: Types of patterns: counts of detectors, and what programs have made of them.
DETECTORS = ("uint8", "uint16", "uint32", "float32", "float64")

#: Positions of the scan: enough for a group of gridsize 5.
_ROWS, _COLUMNS = 4, 7
_STEP = 4.0
#: Of the loss of the first batch, whatever the configuration is.
_LIMIT = 1e-5


@dataclass(frozen=True)
class TrainingCase:
    """A training on a simulated scan: ``patterns`` (n, N, N) as they are in the file.

    They are of any type in :data:`DETECTORS`, ``positions`` (n, 2) float32 or float64, ``probe``
    (modes, N, N) and ``objects`` (n, N, N) complex64 or complex128.
    """

    subjects: ClassVar[tuple[str, ...]] = tuple(PACKAGES)

    config: TrainingConfig
    patterns: NDArray[Any]
    positions: NDArray[np.floating]
    probe: NDArray[np.complexfloating]
    objects: NDArray[np.complexfloating]

    @property
    def arrays(self) -> Arrays:
        """The inputs by name."""
        names = ("patterns", "positions", "probe", "objects")
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of_arrays(cls, config: TrainingConfig, arrays: Arrays) -> TrainingCase:
        """Return the case of these inputs."""
        return cls(config, **arrays)

    @cached_property
    def container(self) -> PtychoDataContainer:
        """The groups that the configuration draws from the scan."""
        x, y = self.positions.T
        raw = RawData(x, y, None, None, self.patterns, self.probe, None, Y=self.objects)
        return create_container(raw, self.config)

    @cached_property
    def plan(self) -> TrainingPlan:
        """Where training starts, and with which groups."""
        return plan_training(self.container, self.config)

    def loss(self, weights: dict[str, NDArray[np.float32]]) -> float:
        """Return the reference's loss of the first batch, for these weights."""
        container, batch = self.container, self.plan.epoch(0)[0]
        x = container.batch_X(batch) * np.float32(self.plan.intensity_scale)
        labels = container.batch_labels(batch) if needs_labels(self.config) else None
        offsets = container.batch_offsets(batch)
        return oracle.loss(self.config, weights, x, offsets, self.plan.intensity_scale, labels)

    def depends_on(self, name: str) -> bool:
        """Tell whether the loss of the first batch depends on a weight at all."""
        start = self.plan.weights[name]
        rng = generator(0, name)
        step = 1e-2 * rng.choice([-1.0, 1.0], start.shape) * (np.abs(start).max() or 1.0)
        moved = [self.loss({**self.plan.weights, name: start + sign * step}) for sign in (-1, 1)]
        here = self.loss(self.plan.weights)
        return any(abs(there - here) > 1e-12 * abs(here) for there in moved)

    @property
    def trainable(self) -> set[str]:
        """The weights that the configuration lets training change."""
        fixed = {
            "probe": not self.config.probe_trainable,
            "log_scale": not self.config.intensity_scale_trainable,
        }
        return {name for name in self.plan.weights if not fixed.get(name, False)}

    @cached_property
    def expected(self) -> float:
        """The reference's loss of the first batch."""
        return self.loss(self.plan.weights)

    def step(self, backend: str) -> TrainedRun:
        """Return what one training step of a backend leaves."""
        return load_backends()[backend].train_steps(self.config, self.container, 1)

    def faults(self, subject: str) -> list[str]:
        """Hold one step of a backend against the reference's loss and the trainable weights."""
        done = self.step(subject)
        found = compare(done.step_losses, [self.expected], "loss", ("step",))
        odd = [f"loss {loss} is not finite" for loss in done.step_losses if not np.isfinite(loss)]
        return [*odd, *too_far([found], _LIMIT), *self.weight_faults(done.weights)]

    def weight_faults(self, weights: Weights) -> list[str]:
        """Say which weights cannot be those after one step of this training."""
        start = self.plan.weights
        if weights.keys() != start.keys():
            return [f"weights {sorted(weights.keys() ^ start.keys())} are missing or unexpected"]
        moved = {name for name in start if not np.array_equal(weights[name], start[name])}
        still = self.trainable - moved
        if self.config.optimizer == "sgd":
            # Its step is the gradient times the rate, which may vanish in the rounding of a weight.
            still = set()
        said = {
            "is not finite": {n for n, value in weights.items() if not np.isfinite(value).all()},
            "changed, and is not trainable": moved - self.trainable,
            # What stayed must be what the loss cannot see: the probe in a supervised training, say.
            "did not change": {name for name in still if self.depends_on(name)},
        }
        return [f"weight {name!r} {what}" for what, names in said.items() for name in sorted(names)]

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print in one line what hypothesis would print as arrays."""
        printer.text(repr(self))

    def __repr__(self) -> str:
        types = ", ".join(f"{name} {value.dtype}" for name, value in self.arrays.items())
        return f"TrainingCase({describe(self.config)}; {types})"


@st.composite
def training_cases(
    draw: st.DrawFn, largest_N: int = 64, largest_gridsize: int = 3, widest: int = 1
) -> TrainingCase:
    """Return trainings of every kind that the specification allows, up to a size.

    They keep no checkpoints and no log: a search writes no files, and a log may need a package.
    """
    config = draw(
        training_configs(largest_N=largest_N, largest_gridsize=largest_gridsize, widest=widest)
    )
    config = dataclasses.replace(config, enable_checkpointing=False, logger_backend="none")
    case = labelled_case(config, draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 2)))
    waves = st.sampled_from(["complex64", "complex128"])
    return dataclasses.replace(
        case,
        patterns=_as_detected(case.patterns, draw(st.sampled_from(DETECTORS))),
        positions=case.positions.astype(draw(st.sampled_from(FLOATS))),
        probe=case.probe.astype(draw(waves)),
        objects=case.objects.astype(draw(waves)),
    )


def _as_detected(counts: NDArray[np.uint16], dtype: str) -> NDArray[Any]:
    """Return counts in an integer type, saturated; in a real one their root, an amplitude."""
    if dtype.startswith("float"):
        return np.sqrt(counts).astype(dtype)
    return np.minimum(counts.astype(np.uint32), np.iinfo(dtype).max).astype(dtype)


def labelled_case(config: TrainingConfig, seed: int, modes: int = 1) -> TrainingCase:
    """Return the case of a configuration on a scan with labels, counts in uint16."""
    rng, N = generator(seed, "scan"), config.model.N
    y, x = np.mgrid[:_ROWS, :_COLUMNS] * _STEP
    positions = np.column_stack([x.ravel(), y.ravel()]) + rng.uniform(-1.5, 1.5, (x.size, 2)) + N
    amplitude = diffraction(rng, N, (x.size,))
    objects = rng.uniform(0.3, 0.9, amplitude.shape) * np.exp(
        1j * rng.normal(0, 0.5, amplitude.shape)
    )
    counts = np.minimum(rng.poisson(400 * amplitude**2), 60_000).astype(np.uint16)
    probe = probe_modes(N, modes)
    return TrainingCase(config, counts, positions, probe, objects.astype(np.complex64))
