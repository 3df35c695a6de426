"""Write an example of a search to files that run it again, one backend at a time.

``repro.py`` beside ``case.npz`` is run as ``python repro.py tensorflow`` (or ``pytorch``); it
prints how far the backend is from the float64 reference and ends with 1 where that is too far.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from parity import process
from parity.callchain.scenario import PACKAGES
from parity.search.cases import (
    REFERENCE,
    Case,
    config_from_json,
    config_to_json,
    groupwise,
    worst,
)
from parity.search.network_cases import NetworkCase
from parity.search.physics_cases import PhysicsCase
from parity.search.training_cases import TrainingCase

__all__ = ["distances", "kept_on_failure", "main", "read_case", "write_repro"]

_SCRIPT = '''"""{title}

Usage: python repro.py [tensorflow|pytorch] (both, one after the other, if none is named).
"""

import sys

from parity.search.repro import main

sys.exit(main(__file__, sys.argv[1:], limit={limit!r}))
'''


def write_repro(folder: Path, case: Case, limit: float, title: str = "") -> Path:
    """Write ``repro.py`` and ``case.npz`` into ``folder``; return the script's path.

    What an earlier failure of the same test left there is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    given: dict[str, Any] = {
        "kind": type(case).__name__,
        "config": config_to_json(case.config),
        **case.arrays,
    }
    np.savez_compressed(folder / "case.npz", **given)
    script = folder / "repro.py"
    script.write_text(_SCRIPT.format(title=title or repr(case), limit=limit), encoding="utf-8")
    return script


def read_case(path: Path) -> Case:
    """Return the case stored in an NPZ file of :func:`write_repro`."""
    with np.load(path) as stored:
        arrays = dict(stored)
    kind, config = str(arrays.pop("kind")), config_from_json(str(arrays.pop("config")))
    if kind == NetworkCase.__name__:
        return NetworkCase.of_arrays(cast(Any, config), arrays)
    classes: dict[str, Any] = {c.__name__: c for c in (PhysicsCase, TrainingCase)}
    return cast(Case, classes[kind](config=config, **arrays))


def distances(case: Case, judge: str) -> list[Any]:
    """Return how far a backend is from the reference, group by group and stage by stage."""
    return groupwise(case.stages(judge), case.stages(REFERENCE))


@contextmanager
def kept_on_failure(folder: Path, case: Case, limit: float) -> Iterator[None]:
    """Write the files for ``case`` if what is done inside fails, and say where they are."""
    try:
        yield
    except Exception as error:
        error.add_note(f"run it again: {sys.executable} {write_repro(folder, case, limit)}")
        raise


def main(script: str, judges: list[str], limit: float) -> int:
    """Run the case beside ``script`` with each judge named; return the exit code."""
    process.pin()
    case = read_case(Path(script).with_name("case.npz"))
    unknown = [judge for judge in judges if judge not in PACKAGES]
    if unknown:
        sys.stderr.write(f"no such backend: {unknown}; there are {list(PACKAGES)}\n")
        return 2
    failed = False
    for judge in judges or PACKAGES:
        found = worst(distances(case, judge))
        failed = failed or not found.within(limit)
        sys.stdout.write(f"{judge}: {found.describe()}; limit {limit:.1e}\n")
    return int(failed)
