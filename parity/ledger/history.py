"""What became looser in the ledgers since an earlier revision, and whether it says why.

A tolerance may grow, and a floor sink, only with a new reason: the text of ``reason`` has to
change with the value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from parity.ledger.tolerances import Tolerance, load_tolerances, read_entries
from parity.redline.revisions import RevisionError, text_at

__all__ = ["Floors", "load_floors", "loosened_since", "sunk_since", "tolerances_at"]

Floors = Mapping[str, tuple[int, str]]

_TOLERANCES = "parity/ledger/tolerances.toml"
_FLOORS = "parity/ledger/floors.toml"


def loosened_since(old: Mapping[str, Tolerance], new: Mapping[str, Tolerance]) -> list[str]:
    """Return a complaint for each tolerance that grew under its old reason."""
    return [
        f"tolerance {name} grew from {old[name].value:.1e} to {entry.value:.1e} without a reason: "
        "say in `reason` what changed"
        for name, entry in new.items()
        if name in old and entry.value > old[name].value and entry.reason == old[name].reason
    ]


def load_floors(path: Path) -> Floors:
    """Return floor -> (value, reason)."""
    return {
        entry["id"]: (int(entry["value"]), str(entry["reason"]))
        for _, entry in read_entries(path, "floor")
    }


def sunk_since(old: Floors, new: Floors) -> list[str]:
    """Return a complaint for each floor that sank, or went away, under its old reason."""
    found = []
    for name, (value, reason) in old.items():
        now, why = new.get(name, (0, reason))
        if now < value and why == reason:
            found.append(f"floor {name} sank from {value} to {now} without a reason")
    return found


def _shown(root: Path, revision: str, file: str, folder: Path) -> Path | None:
    path = folder / Path(file).name
    try:
        path.write_text(text_at(root, revision, file), encoding="utf-8")
    except RevisionError:
        return None
    return path


def tolerances_at(root: Path, revision: str) -> tuple[dict[str, Tolerance], Floors]:
    """Return both ledgers at a git revision; one that was not there is empty."""
    with tempfile.TemporaryDirectory() as name:
        paths = [_shown(root, revision, file, Path(name)) for file in (_TOLERANCES, _FLOORS)]
        tolerances = load_tolerances(paths[0]) if paths[0] else {}
        floors = load_floors(paths[1]) if paths[1] else {}
    return tolerances, floors
