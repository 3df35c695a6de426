"""Laws of the physics: how results follow when inputs change, whoever computes them.

A law takes a case and a generator and returns the changed case and a function from the results
of the first to what the results of the second have to be. It knows no formula of the model.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from parity.callchain.scenario import PACKAGES
from parity.search.cases import REFERENCE, Arrays, groupwise, too_far
from parity.search.physics_cases import PhysicsCase
from ptycho.config.config import ModelConfig

__all__ = ["LAWS", "Law", "LawCase"]

Expectation = Callable[[Arrays], Arrays]
Law = Callable[[PhysicsCase, np.random.Generator], tuple[PhysicsCase, Expectation]]

#: Both sides of a law are rounded: twice what one side may be off.
_LIMITS = {REFERENCE: 1e-11, **dict.fromkeys(PACKAGES, 2e-6)}

_COMPLEX = ("object", "extracted")
_DIFFRACTION = ("amplitude", "intensity")


def _only(*names: str) -> Expectation:
    return lambda stages: {name: stages[name] for name in names}


def _times(patches: NDArray[Any], factor: complex) -> NDArray[np.complex128]:
    # In double precision: the backends round it, and the reference obeys to its own precision.
    return patches.astype(np.complex128) * factor


def global_phase(case: PhysicsCase, rng: np.random.Generator) -> tuple[PhysicsCase, Expectation]:
    """A phase common to all object patches is the object's and leaves no trace in the patterns."""
    turn = np.exp(1j * rng.uniform(-np.pi, np.pi))

    def expected(stages: Arrays) -> Arrays:
        turned = {name: stages[name] * turn for name in _COMPLEX}
        return {**turned, **_only(*_DIFFRACTION)(stages)}

    return case.changed(patches=_times(case.patches, turn)), expected


def probe_against_object(
    case: PhysicsCase, rng: np.random.Generator
) -> tuple[PhysicsCase, Expectation]:
    """A factor moved from the object to the probe leaves the patterns as they are."""
    factor = np.exp(rng.uniform(-2, 2) + 1j * rng.uniform(-np.pi, np.pi))
    probe = (case.probe[..., 0] + 1j * case.probe[..., 1].astype(np.float64)) * factor
    planes = np.stack([probe.real, probe.imag], axis=-1)
    return (
        case.changed(probe=planes, patches=_times(case.patches, 1 / factor)),
        _only(*_DIFFRACTION),
    )


def translated_scan(case: PhysicsCase, rng: np.random.Generator) -> tuple[PhysicsCase, Expectation]:
    """Where a group's centre lies, by whole pixels, changes neither its patches nor patterns.

    Not so where one object patch stands for all members: it stands at the centre.
    """
    # On a grid of 1/256 pixel the sum is exact in single precision.
    places = np.round(case.offsets * 256) / 256
    moves = rng.integers(-20, 21, (len(places), 1, 2, 1))
    if case.patches.shape[-1] < places.shape[-1]:
        moves = np.zeros_like(moves)
    return (
        case.changed(offsets=(places + moves).astype(np.float32)),
        _only("extracted", *_DIFFRACTION),
    )


def permuted_groups(case: PhysicsCase, rng: np.random.Generator) -> tuple[PhysicsCase, Expectation]:
    """The order of groups in a batch is the order of the results."""
    order = rng.permutation(len(case.patches))
    moved = case.changed(patches=case.patches[order], offsets=case.offsets[order])
    return moved, lambda stages: {name: value[order] for name, value in stages.items()}


def permuted_members(
    case: PhysicsCase, rng: np.random.Generator
) -> tuple[PhysicsCase, Expectation]:
    """The order of members in a group is the order of its patterns; the object does not see it."""
    order = rng.permutation(case.offsets.shape[-1])
    patches = case.patches
    if patches.shape[-1] > 1:
        patches = np.ascontiguousarray(patches[..., order])
    moved = case.changed(patches=patches, offsets=np.ascontiguousarray(case.offsets[..., order]))

    def expected(stages: Arrays) -> Arrays:
        members = {name: stages[name][..., order] for name in ("extracted", *_DIFFRACTION)}
        return {**members, "object": stages["object"]}

    return moved, expected


def lone_group(case: PhysicsCase, rng: np.random.Generator) -> tuple[PhysicsCase, Expectation]:
    """A group's results are the same in a batch of its own."""
    one = int(rng.integers(max(len(case.patches), 1)))
    here = slice(one, one + 1)
    alone = case.changed(patches=case.patches[here], offsets=case.offsets[here])
    return alone, lambda stages: {name: value[here] for name, value in stages.items()}


def single_patch(case: PhysicsCase, rng: np.random.Generator) -> tuple[PhysicsCase, Expectation]:
    """Members with one patch at one place make the pattern of that patch alone (gridsize 1)."""
    config = dataclasses.replace(case.config, gridsize=1)
    seen = np.ones((config.N, config.N))
    if config.pad_object and not config.probe_big:
        quarter = config.N // 4
        seen[:] = 0
        seen[quarter : config.N - quarter, quarter : config.N - quarter] = 1
    patch = (case.patches[..., :1] * seen[:, :, None]).astype(np.complex64)
    case_of_one = PhysicsCase(
        config, patch, np.zeros((len(patch), 1, 2, 1), np.float32), case.probe, case.log_scale
    )
    return case_of_one, lambda stages: {name: value[..., :1] for name, value in stages.items()}


def _together(case: PhysicsCase) -> PhysicsCase:
    """Return the case with the first member's patch for all members, all at the centre."""
    # Windowed beforehand, for what is not merged is not windowed.
    patch = single_patch(case, np.random.default_rng(0))[0].patches
    same = np.repeat(patch, case.patches.shape[-1], axis=-1)
    return case.changed(patches=same, offsets=np.zeros_like(case.offsets))


#: Each law by name, and what a case has to look like for it.
LAWS: dict[str, tuple[Law, Callable[[PhysicsCase], PhysicsCase]]] = {
    "global phase": (global_phase, lambda case: case),
    "probe against object": (probe_against_object, lambda case: case),
    "translated scan": (
        translated_scan,
        lambda case: case.changed(offsets=(np.round(case.offsets * 256) / 256).astype(np.float32)),
    ),
    "permuted groups": (permuted_groups, lambda case: case),
    "permuted members": (permuted_members, lambda case: case),
    "lone group": (lone_group, lambda case: case),
    "single patch": (single_patch, _together),
}


@dataclass(frozen=True)
class LawCase:
    """A law by name, the seed of how it changes its inputs, and these inputs."""

    subjects: ClassVar[tuple[str, ...]] = tuple(_LIMITS)

    law: str
    seed: int
    inputs: PhysicsCase

    @property
    def config(self) -> ModelConfig:
        """The configuration of the model."""
        return self.inputs.config

    @property
    def arrays(self) -> Arrays:
        """The inputs by name, with law and seed."""
        return {
            "law": np.asarray(self.law),
            "seed": np.asarray(self.seed, np.uint64),
            **self.inputs.arrays,
        }

    @classmethod
    def of_arrays(cls, config: ModelConfig, arrays: Arrays) -> LawCase:
        """Return the case of these inputs."""
        inputs = {name: value for name, value in arrays.items() if name not in ("law", "seed")}
        return cls(str(arrays["law"]), int(arrays["seed"]), PhysicsCase(config, **inputs))

    def faults(self, subject: str) -> list[str]:
        """Hold what a subject makes of the changed inputs against what follows from the first."""
        law, prepared = LAWS[self.law]
        first = prepared(self.inputs)
        second, expected = law(first, np.random.default_rng(self.seed))
        wanted = expected(first.stages(subject))
        found = second.stages(subject)
        compared = groupwise({name: found[name] for name in wanted}, wanted)
        return too_far(compared, _LIMITS[subject])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """Print in one line what hypothesis would print as arrays."""
        printer.text(repr(self))

    def __repr__(self) -> str:
        return f"LawCase({self.law!r}, seed {self.seed}, {self.inputs!r})"
