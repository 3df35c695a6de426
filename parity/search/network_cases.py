"""Inputs of the whole network: random weights, patterns from dark to bright, groups."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from parity.backends import oracle
from parity.callchain.scenario import PACKAGES
from parity.checks.samples import describe, sample
from parity.compare import Comparison
from parity.ledger import load_tolerances
from parity.search.cases import REFERENCE, Arrays, groupwise, too_far
from parity.search.physics_cases import FLOATS
from parity.search.space import counts_of_groups, model_configs
from ptycho.config.config import ModelConfig
from ptycho.core.weights import Weights

__all__ = ["NetworkCase", "network_cases"]

#: Brightness of patterns in units of the scan's mean. Brighter ones saturate the phase head, where
#: a rounding error of the last convolution is a large part of a turn in any single precision.
_BRIGHTEST = 3.0
#: Pixels from the group's centre. Farther off, a faint corner of the object may be all that is
#: lit, and the network's rounding, which is relative to the whole, large against it.
_SPREADS = (0.0, 4.3, 8.0)
#: Of scale, from network input to diffraction amplitude.
_AMPLITUDE = 1e-5
#: Ten convolutions of hundreds of terms each moved either backend by 6 times one digit.
_DIGITS = 16


@dataclass(frozen=True)
class NetworkCase:
    """Scaled patterns ``x`` (B, N, N, C) with ``weights`` and ``offsets`` (B, 1, 2, C).

    B may be 0; offsets are float32 or float64.
    """

    subjects: ClassVar[tuple[str, ...]] = tuple(PACKAGES)

    config: ModelConfig
    weights: Weights
    x: NDArray[np.float32]
    offsets: NDArray[np.floating]

    @property
    def arrays(self) -> Arrays:
        """The inputs by name."""
        named = {f"weights/{name}": value for name, value in self.weights.items()}
        return {"x": self.x, "offsets": self.offsets, **named}

    @classmethod
    def of_arrays(cls, config: ModelConfig, arrays: Arrays) -> NetworkCase:
        """Return the case of these inputs."""
        weights = {n.removeprefix("weights/"): v for n, v in arrays.items() if "weights/" in n}
        return cls(config, weights, arrays["x"], arrays["offsets"])

    def stages(self, judge: str) -> Arrays:
        """Return ``patches``, ``object``, ``extracted``, ``amplitude`` and ``intensity``."""
        given: tuple[Any, ...] = (self.config, self.weights, self.x, self.offsets)
        if judge == REFERENCE:
            return oracle.evaluate(*given)
        stages: Arrays = importlib.import_module(f"{PACKAGES[judge]}.model").evaluate(*given)
        return stages

    @cached_property
    def expected(self) -> Arrays:
        """What the reference computes."""
        return self.stages(REFERENCE)

    def faults(self, subject: str) -> list[str]:
        """Hold a backend's stages against the reference, each to its own limit.

        That is the ledger's ``forward.network``, and 1e-5 of an amplitude. Rounding depends on
        how the weights fall: where an example is beyond, it may still be as near as single
        precision can be, within a few times of what one digit of weights and patterns moves the
        reference itself.
        """
        usual = load_tolerances()["forward.network"].value
        faults = []
        for found in groupwise(self.stages(subject), self.expected):
            limit = _AMPLITUDE if found.name == "amplitude" else usual
            if not found.within(limit) and not found.problem:
                limit = max(limit, _DIGITS * self._conditioning(found))
            faults += too_far([found], limit)
        return faults

    def _conditioning(self, found: Comparison) -> float:
        """Return how far one digit moves the reference in a stage, in any group."""
        moved = (groupwise(self.rounded(seed), self.expected) for seed in range(3))
        return max(c.scale_relative for each in moved for c in each if c.name == found.name)

    def rounded(self, seed: int) -> Arrays:
        """Return the reference's results after weights and patterns moved by one float32 digit."""
        rng = np.random.default_rng(seed)

        def moved(values: NDArray[Any]) -> NDArray[np.float64]:
            digits = np.finfo(np.float32).eps * rng.uniform(-1, 1, np.shape(values))
            return np.asarray(values, np.float64) * (1 + digits)

        weights: Arrays = {name: moved(value) for name, value in self.weights.items()}
        # The scale is a logarithm: a digit of it is many of what it multiplies.
        weights["log_scale"] = self.weights["log_scale"]
        return oracle.evaluate(self.config, weights, moved(self.x), self.offsets)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print in one line what hypothesis would print as arrays."""
        printer.text(repr(self))

    def __repr__(self) -> str:
        modes = len(self.weights["probe"])
        return (
            f"NetworkCase({describe(self.config)}, {len(self.x)} groups, {modes} modes, "
            f"offsets {self.offsets.dtype})"
        )


@st.composite
def network_cases(
    draw: st.DrawFn, largest_N: int = 64, largest_gridsize: int = 3, widest: int = 1
) -> NetworkCase:
    """Return cases of every model that the specification allows, up to a size."""
    config = draw(
        model_configs(largest_N=largest_N, largest_gridsize=largest_gridsize, widest=widest)
    )
    groups = draw(counts_of_groups(2))
    given = sample(
        config,
        draw(st.integers(0, 2**32 - 1)),
        batch=groups,
        modes=draw(st.integers(1, 2)),
        spread=draw(st.sampled_from(_SPREADS)),
    )
    bright = st.sampled_from([1.0, 0.0]) | st.floats(1e-2, _BRIGHTEST)
    factors = np.array([draw(bright) for _ in range(groups)], np.float32)
    x = given.x * factors[:, None, None, None]
    offsets = given.offsets.astype(draw(st.sampled_from(FLOATS)))
    return NetworkCase(config, given.weights, x, offsets)
