"""What is searched over: a configuration, arrays, and stages that each judge can compute."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from parity.compare import Comparison, compare_named
from ptycho.config.config import ModelConfig, TrainingConfig

__all__ = [
    "REFERENCE",
    "Arrays",
    "Case",
    "config_from_json",
    "config_to_json",
    "groupwise",
    "too_far",
]

#: The judge that computes in double precision, with code of its own.
REFERENCE = "float64"

Arrays = dict[str, NDArray[Any]]


class Case(Protocol):
    """One example of a search, which says itself whose results are wrong."""

    #: Who is judged: backends, and :data:`REFERENCE` where it is held to something itself.
    subjects: ClassVar[tuple[str, ...]]

    @property
    def config(self) -> ModelConfig | TrainingConfig:
        """The configuration of the model or training."""
        ...

    @property
    def arrays(self) -> Arrays:
        """The inputs by name; with the configuration they are the whole example."""
        ...

    def faults(self, subject: str) -> list[str]:
        """Return what is wrong with what ``subject`` computes, beside the limit; empty if nothing.

        It asks no other backend.
        """
        ...


def groupwise(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[Comparison]:
    """Compare group by group, so that a bright group hides nothing of a faint one."""
    whole = compare_named(found, expected, same_dtype=False)
    if any(comparison.problem for comparison in whole):
        return whole
    comparisons = []
    for group in range(len(next(iter(expected.values())))):
        left, right = ({n: side[n][group] for n in expected} for side in (found, expected))
        comparisons += [
            dataclasses.replace(each, where={"B": group, **each.where})
            for each in compare_named(left, right, same_dtype=False)
        ]
    return comparisons


def too_far(comparisons: list[Comparison], limit: float) -> list[str]:
    """Say which comparisons are beyond a limit, the farthest first."""
    beyond = [comparison for comparison in comparisons if not comparison.within(limit)]
    beyond.sort(key=lambda c: -np.inf if c.problem else -c.scale_relative)
    return [f"{comparison.describe()}; limit {limit:.1e}" for comparison in beyond]


def config_to_json(config: ModelConfig | TrainingConfig) -> str:
    """Return a configuration as JSON; paths become text."""
    return json.dumps(dataclasses.asdict(config), default=str)


def config_from_json(text: str) -> ModelConfig | TrainingConfig:
    """Return the configuration that :func:`config_to_json` wrote."""
    fields: dict[str, Any] = json.loads(text)
    if "model" not in fields:
        return ModelConfig(**fields)
    for name in ("output_dir", "train_data_file", "test_data_file"):
        fields[name] = None if fields[name] is None else Path(fields[name])
    return TrainingConfig(**{**fields, "model": ModelConfig(**fields["model"])})
