"""Which modules register checks, in the order in which the checks are run and reported."""

from __future__ import annotations

import importlib

MODULES = (
    "weights",
    "forward",
    "losses",
    "gradients",
    "training",
    "stitching",
    "archives",
    "configuration",
    "isolation",
    # clauses of the specification: sections 1 to 4.3, 6, 7, 13 and data
    "clauses_config",
    "clauses_data",
    "clauses_grouping",
    "clauses_params",
)


def load() -> None:
    """Import every module of checks, which registers what it holds."""
    for name in MODULES:
        importlib.import_module(f"parity.checks.{name}")
