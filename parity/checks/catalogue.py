"""Which modules register checks, in the order in which the checks are run and reported."""

from __future__ import annotations

import importlib

MODULES = (
    "weights",
    "forward",
    "stages",
    "losses",
    "gradients",
    "training",
    "histories",
    "noise_floor",
    "long_trainings",
    "ten_epochs",
    "stitching",
    "archives",
    "configuration",
    "isolation",
    "rows",
    # clauses of the specification: sections 1 to 4.3, 6, 7, 13 and data
    "clauses_config",
    "clauses_data",
    "clauses_stored",
    "clauses_mask",
    "clauses_formats",
    "clauses_grouping",
    "clauses_sampling",
    "clauses_params",
    "clauses_cli",
    "clauses_torch_cli",
    "clauses_errors",
    "clauses_redline",
    "clauses_runs",
    "clauses_interrupt",
    "clauses_processes",
    "clauses_overlap",
    "clauses_evaluation",
    "clauses_rings",
    # clauses of the specification: sections 4.4 to 4.9, 10 to 12 and 14
    "clauses_inference",
    "clauses_training",
    "no_groups",
    "clauses_archive",
    "clauses_payload",
    "clauses_compact",
    "clauses_conversion",
    "clauses_resume",
    "clauses_endings",
    "clauses_dispatch",
    "clauses_execution",
    "clauses_served",
    "clauses_factory",
    "clauses_plugin",
    "clauses_physics",
    "clauses_network",
    "clauses_lifecycle",
    "clauses_chains",
)


def load() -> None:
    """Import every module of checks, which registers what it holds."""
    for name in MODULES:
        importlib.import_module(f"parity.checks.{name}")
