"""Configurations drawn from the specification's own tables: whatever a row allows is tried."""

from __future__ import annotations

import functools
import math
from typing import Any

from hypothesis import strategies as st

from parity.spec.parse import load_specification
from parity.spec.records import Row
from parity.spec.values import REQUIRED, Allowed, parse_allowed
from ptycho.config.config import ModelConfig, TrainingConfig, validate_training_config

__all__ = ["counts_of_groups", "field_values", "model_configs", "training_configs"]

#: Types of rows that are not drawn: places on a disk, and the nested model.
_FIXED_TYPES = frozenset({"path", "ModelConfig"})

#: Largest integers tried where a row names no end. Sizes stay small, for a search is to end.
_LARGEST_INTEGER = {
    "n_filters_scale": 2,
    "batch_size": 9,
    "nepochs": 2,
    "n_groups": 24,
    "n_images": 24,
    "neighbor_count": 40,
    "neighbor_pool_size": 40,
    "seed": 2**64,
    "subsample_seed": 2**64,
}
_LARGE_INTEGER = 100

#: Ranges of numbers tried where a row names no end, or an end that it excludes.
_RANGES = {
    "nphotons": (1.0, 1e12),
    "learning_rate": (1e-3, 1e2),
    "gradient_clip_val": (1e-3, 1e4),
    "probe_scale": (0.1, 100.0),
}
_LARGE_NUMBER = 1e3
#: A weight of a loss between this and 0 would hide a term in rounding, not test it.
_LEAST_SHARE = 1e-2


def _integers(name: str, allowed: Allowed) -> st.SearchStrategy[Any]:
    largest = _LARGEST_INTEGER.get(name, _LARGE_INTEGER)
    return st.integers(math.ceil(allowed.low), int(min(allowed.high, largest)))


def _numbers(name: str, allowed: Allowed) -> st.SearchStrategy[Any]:
    if name in _RANGES:
        low, high = _RANGES[name]
        return st.floats(low, high)
    if name.endswith("_weight"):
        return st.sampled_from([allowed.low, allowed.high]) | st.floats(_LEAST_SHARE, allowed.high)
    return st.floats(
        allowed.low,
        min(allowed.high, _LARGE_NUMBER),
        exclude_min=allowed.low_open,
        exclude_max=allowed.high_open and allowed.high <= _LARGE_NUMBER,
    )


def field_values(row: Row) -> st.SearchStrategy[Any] | None:
    """Return what a row of a ``fields`` table allows, or None for a row that is not drawn.

    Raises ``ValueError`` for a row of a type that nobody knows how to draw.
    """
    name, kind = row.cells["Field"], row.cells["Type"]
    allowed = parse_allowed(row.cells["Allowed"])
    if kind in _FIXED_TYPES:
        return None
    values: st.SearchStrategy[Any]
    if allowed.choices:
        values = st.sampled_from(allowed.choices)
    elif kind == "bool":
        values = st.booleans()
    elif kind == "int" and allowed.interval:
        values = _integers(name, allowed)
    elif kind == "float" and allowed.interval:
        values = _numbers(name, allowed)
    else:
        raise ValueError(f"{row.id}: no values to draw for type {kind} and {allowed}")
    return st.none() | values if allowed.optional else values


@functools.cache
def _fields(table: str) -> dict[str, st.SearchStrategy[Any]]:
    drawn = {}
    for row in load_specification().of_table(table):
        values = field_values(row)
        if values is not None:
            drawn[row.cells["Field"]] = values
        elif row.cells["Default"] == REQUIRED and row.cells["Type"] != "ModelConfig":
            raise ValueError(f"{row.id} is required and cannot be drawn")
    if not drawn:
        raise ValueError(f"the specification has no table {table!r}")
    return drawn


def counts_of_groups(largest: int) -> st.SearchStrategy[int]:
    """Return how many groups a batch has, which may be none; an example shrinks to a single one."""
    return st.sampled_from([*range(1, largest + 1), 0])


def _up_to(values: st.SearchStrategy[Any], bound: int) -> st.SearchStrategy[Any]:
    return values.filter(lambda value: value <= bound)


def model_configs(
    *, largest_N: int = 256, largest_gridsize: int = 5, widest: int = 2
) -> st.SearchStrategy[ModelConfig]:
    """Return every model that the table ``model-config`` allows, up to a size."""
    bounds = {"N": largest_N, "gridsize": largest_gridsize, "n_filters_scale": widest}
    fields = dict(_fields("model-config"))
    for name, bound in bounds.items():
        fields[name] = _up_to(fields[name], bound)
    return st.builds(ModelConfig, **fields)


#: What is said of fields that do not go together; every single value is of the tables.
_RULES = ("nothing to fit", "has no stages")


def _possible(config: TrainingConfig) -> bool:
    try:
        validate_training_config(config)
    except ValueError as error:
        if any(rule in str(error) for rule in _RULES):
            return False
        raise
    return True


def training_configs(
    *, largest_N: int = 256, largest_gridsize: int = 5, widest: int = 2
) -> st.SearchStrategy[TrainingConfig]:
    """Return every training that the table ``training-config`` allows, up to a size.

    Raises ``ValueError`` while drawing where the tables allow what the validation refuses.
    """
    model = model_configs(largest_N=largest_N, largest_gridsize=largest_gridsize, widest=widest)
    drawn = st.builds(TrainingConfig, model=model, **_fields("training-config"))
    return drawn.filter(_possible)
