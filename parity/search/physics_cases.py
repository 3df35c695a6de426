"""Inputs of the physics as they come nowhere else.

Far, half and hairline offsets, huge and no amplitudes, probes of several modes.
"""

from __future__ import annotations

import dataclasses
import importlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity.backends import oracle
from parity.callchain.scenario import PACKAGES
from parity.checks.samples import describe
from parity.ledger import load_tolerances
from parity.search.cases import REFERENCE, Arrays, groupwise, too_far
from parity.search.space import counts_of_groups, model_configs
from ptycho.config.config import ModelConfig

__all__ = ["FLOATS", "PhysicsCase", "physics_cases"]

#: Types of coordinates: the containers' own is double precision.
FLOATS = ("float32", "float64")

#: How far from the group's centre members lie at most, in patch sides: far off its first patch.
_FARTHEST = 1.5
_LARGEST_MODES = 3


@dataclass(frozen=True)
class PhysicsCase:
    """Object patches with a probe and positions.

    ``patches`` (B, N, N, O) complex64 or complex128, O = C or 1 (``object_big=False``);
    ``offsets`` (B, 1, 2, C) float32 or float64, in both cases numbers that single precision has;
    ``probe`` (modes, N, N, 2) float32; ``log_scale`` () float32. B may be 0.
    """

    subjects: ClassVar[tuple[str, ...]] = tuple(PACKAGES)

    config: ModelConfig
    patches: NDArray[np.complexfloating]
    offsets: NDArray[np.floating]
    probe: NDArray[np.float32]
    log_scale: NDArray[np.float32]

    @property
    def arrays(self) -> Arrays:
        """The inputs by name."""
        names = [field.name for field in dataclasses.fields(self)][1:]
        return {name: getattr(self, name) for name in names}

    @classmethod
    def of_arrays(cls, config: ModelConfig, arrays: Arrays) -> PhysicsCase:
        """Return the case of these inputs."""
        return cls(config, **arrays)

    def stages(self, judge: str) -> Arrays:
        """Return ``object``, ``extracted``, ``amplitude`` and ``intensity``."""
        weights = {"probe": self.probe, "log_scale": self.log_scale}
        given: tuple[Any, ...] = (self.config, weights, self.patches, self.offsets)
        if judge == REFERENCE:
            return oracle.propagate(*given)
        stages: Arrays = importlib.import_module(f"{PACKAGES[judge]}.model").propagate(*given)
        return stages

    @cached_property
    def expected(self) -> Arrays:
        """What the reference computes."""
        return self.stages(REFERENCE)

    def faults(self, subject: str) -> list[str]:
        """Hold a backend's stages against the reference, to ``forward.physics`` of the ledger."""
        limit = load_tolerances()["forward.physics"].value
        return too_far(groupwise(self.stages(subject), self.expected), limit)

    def changed(self, **parts: NDArray[Any]) -> PhysicsCase:
        """Return the case with some of its arrays replaced."""
        given = {"config": self.config, **self.arrays, **parts}
        return PhysicsCase(**given)  # type: ignore[arg-type]  # arrays by name

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print in one line what hypothesis would print as arrays."""
        printer.text(repr(self))

    def __repr__(self) -> str:
        modes, batch = len(self.probe), len(self.patches)
        places = np.array2string(self.offsets[:, 0], max_line_width=200, threshold=40)
        return (
            f"PhysicsCase({describe(self.config)}, {batch} groups of {self.patches.dtype}, "
            f"{modes} modes, offsets {places} {self.offsets.dtype}, "
            f"log_scale {float(self.log_scale):g})"
        )


def _coordinate(N: int) -> st.SearchStrategy[float]:
    """Whole, half and hairline pixels, and anything in single precision, far ones too."""
    reach = int(_FARTHEST * N)
    whole = st.integers(-reach, reach).map(float)
    near = st.floats(-N / 2, N / 2, width=32)
    hair = st.floats(-1, 1, width=32).map(lambda value: value * 2.0**-12)
    return st.one_of(near, whole, whole.map(lambda v: v + 0.5), hair, st.just(0.0))


def _waves(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    return np.asarray(rng.normal(size=shape) + 1j * rng.normal(size=shape))


def _probe(rng: np.random.Generator, N: int, modes: int, size: float) -> NDArray[np.float32]:
    y, x = (np.mgrid[:N, :N] - N / 2) / N
    spot = np.exp(-((x - 0.06) ** 2 + (y + 0.04) ** 2) / 0.05)
    waves = spot * (1 + 0.3 * _waves(rng, (modes, N, N))) * size
    return np.stack([waves.real, waves.imag], axis=-1).astype(np.float32)


@st.composite
def physics_cases(
    draw: st.DrawFn, largest_N: int = 64, largest_gridsize: int = 3, batch: int = 3
) -> PhysicsCase:
    """Return cases of every model that the specification allows, up to a size."""
    config = draw(model_configs(largest_N=largest_N, largest_gridsize=largest_gridsize, widest=1))
    N, channels = config.N, config.gridsize**2
    emitted = channels if config.object_big else 1
    groups = draw(counts_of_groups(batch))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    place = st.lists(_coordinate(N), min_size=2 * channels, max_size=2 * channels)
    offsets = np.array([draw(place) for _ in range(groups)], np.float32)
    factor = st.sampled_from([1.0, 0.0, 1e-6, 1e6]) | st.floats(1e-3, 1e3)
    sizes = np.array([draw(factor) for _ in range(groups)])
    patches = _waves(rng, (groups, N, N, emitted)) * sizes[:, None, None, None]
    return PhysicsCase(
        config,
        patches.astype(np.complex64).astype(draw(st.sampled_from(["complex64", "complex128"]))),
        offsets.reshape(groups, 1, 2, channels).astype(draw(st.sampled_from(FLOATS))),
        _probe(rng, N, draw(st.integers(1, _LARGEST_MODES)), draw(st.sampled_from([1.0, 1e-3]))),
        np.asarray(draw(st.floats(-3, 10)), np.float32),
    )
