"""Taps whose values are no arrays: who departs from what the specification and core say.

The table of members says what is in an archive; core, what the legacy configuration of a training
is. A value of which neither says anything is compared between the backends alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from parity.callchain.jobs import RATE
from parity.callchain.scenario import tiny_config
from parity.callchain.taps import in_common
from parity.diverge.walk import Stage, StageResult
from parity.layout import differences
from parity.spec.parse import load_specification
from ptycho.core.training_plan import training_params

__all__ = ["expected_plain", "judge_plain"]

_MANIFESTS = ("manifest.dill", "manifest.json")


def _members(backend: str) -> list[str]:
    """Return the members of a backend's archive by the specification, in order."""
    rows = load_specification().of_table("archive")
    wanted = [row for row in rows if row.cells["Required"] in ("both", backend)]
    return sorted(row.cells["Member"] for row in wanted)


def expected_plain(tap: str, backend: str) -> Any:
    """Return what a backend has at a tap of plain values, None where only the other one tells."""
    if tap in ("member inventory", "extracted files"):
        return _members(backend)
    if tap == "manifest":
        return {"checksums": [name for name in _members(backend) if name not in _MANIFESTS]}
    if tap == "configuration snapshot":
        return training_params(dataclasses.replace(tiny_config(backend), learning_rate=RATE))
    return None


def _tree(value: Any) -> Any:
    """Return a list as a mapping, so that what is missing in it has a name."""
    if isinstance(value, list):
        return {str(item): "there" for item in value}
    return value


def _departs(value: Any, wanted: Any) -> list[str]:
    """Return the lines at which a backend's value is not what is wanted of it."""
    if wanted is None:
        return []
    if "checksums" in wanted:
        # The checksums are the archive's own: of a manifest the names of the members are wanted.
        value, wanted = sorted(value.get("checksums", ())), wanted["checksums"]
    return differences(_tree(wanted), _tree(value))


def judge_plain(stage: Stage, values: Mapping[str, Any], wanted: Mapping[str, Any]) -> StageResult:
    """Compare what is common to both backends, and each with what is wanted of it.

    Who departs from that is off; where nobody does, or nothing is wanted, two that differ both are.
    """
    left, right = (_tree(in_common(value)) for value in values.values())
    apart = differences(left, right)
    off = {name: lines for name, v in values.items() if (lines := _departs(v, wanted[name]))}
    names = tuple(off) or (tuple(values) if apart else ())
    lines = [f"expected/{name}: {line}" for name in off for line in off[name]]
    statistics = {name: f"{len(value)} entries" for name, value in values.items()} if names else {}
    both = "/".join(values)
    lines += [f"{both}: {line}" for line in apart]
    return StageResult(stage, {}, names, dict(statistics), lines)
