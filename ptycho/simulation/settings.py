"""What a simulated scan is made of; standard library only, so that a command can read it fast."""

from __future__ import annotations

import dataclasses
import math
import typing
from typing import Any, Literal

ObjectName = Literal["siemens_star", "particles", "lines", "cells", "test_pattern", "grf"]
ProbeName = Literal["gaussian", "disc", "defocused_disc", "zone_plate"]
ScanName = Literal["raster", "jittered_raster", "fermat_spiral", "random"]

OBJECTS: tuple[str, ...] = typing.get_args(ObjectName)
PROBES: tuple[str, ...] = typing.get_args(ProbeName)
SCANS: tuple[str, ...] = typing.get_args(ScanName)


@dataclasses.dataclass(frozen=True)
class ScanSettings:
    """One simulated scan; the defaults are the built-in one.

    ``N`` is the side of a pattern, ``step`` the scan's spacing in pixels (None: 5/64 of N),
    ``nphotons`` the mean number of photons per pattern, ``modes`` the number of incoherent
    probe modes, ``absorption`` and ``phase_shift`` (radians) what the thickest point of the
    object does to the wave. ``counts`` stores photon counts instead of amplitudes. Object, scan
    pattern and photon noise have random streams of their own, all from ``seed``.

    Raises ``ValueError`` naming the field and what is allowed.
    """

    object: ObjectName = "particles"
    probe: ProbeName = "zone_plate"
    scan: ScanName = "jittered_raster"
    N: int = 64
    n_positions: int = 900
    step: float | None = None
    nphotons: float = 1e9
    modes: int = 1
    absorption: float = 0.35
    phase_shift: float = 0.8
    counts: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        _check_name("object", self.object, OBJECTS)
        _check_name("probe", self.probe, PROBES)
        _check_name("scan", self.scan, SCANS)
        _check(self.N >= 16 and self.N % 2 == 0, "N", self.N, "an even number, at least 16")
        _check(self.n_positions >= 1, "n_positions", self.n_positions, "at least 1")
        _check(self.modes >= 1, "modes", self.modes, "at least 1")
        _check(self.seed >= 0, "seed", self.seed, "at least 0")
        _check(_positive(self.nphotons), "nphotons", self.nphotons, "a positive number")
        _check(self.step is None or _positive(self.step), "step", self.step, "a positive number")
        for name in ("absorption", "phase_shift"):
            value = getattr(self, name)
            _check(math.isfinite(value) and value >= 0, name, value, "a number, at least 0")

    @property
    def spacing(self) -> float:
        """The scan's spacing in object pixels."""
        return 5 / 64 * self.N if self.step is None else self.step

    def as_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, ``step`` resolved."""
        return {**dataclasses.asdict(self), "step": self.spacing}


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _check_name(field: str, value: str, allowed: tuple[str, ...]) -> None:
    _check(value in allowed, field, repr(value), f"one of {', '.join(allowed)}")


def _check(fine: bool, field: str, value: Any, allowed: str) -> None:
    if not fine:
        raise ValueError(f"{field} is {value}; allowed: {allowed}")
