"""Write an example of a search to files that run it again, one backend at a time.

``repro.py`` beside ``case.npz`` is run as ``python repro.py tensorflow`` (or ``pytorch``); it
judges as the search did, prints what is wrong, and ends with 1 where something is.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from parity import process
from parity.checks.recorder import summary_of
from parity.search.cases import Case, config_from_json, config_to_json
from parity.search.laws import LawCase
from parity.search.network_cases import NetworkCase
from parity.search.physics_cases import PhysicsCase
from parity.search.training_cases import TrainingCase

__all__ = ["judge", "main", "read_case", "write_repro"]

_KINDS: dict[str, Any] = {
    kind.__name__: kind for kind in (LawCase, NetworkCase, PhysicsCase, TrainingCase)
}

_SCRIPT = '''"""{title}

Usage: python repro.py [{subjects}] (all, one after the other, if none is named).
"""

import sys

from parity.search.repro import main

sys.exit(main(__file__, sys.argv[1:]))
'''


def write_repro(folder: Path, case: Case) -> Path:
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
    text = _SCRIPT.format(title=repr(case), subjects="|".join(case.subjects))
    script.write_text(text, encoding="utf-8")
    return script


def read_case(path: Path) -> Case:
    """Return the case stored in an NPZ file of :func:`write_repro`."""
    with np.load(path) as stored:
        arrays = dict(stored)
    kind, config = _KINDS[str(arrays.pop("kind"))], config_from_json(str(arrays.pop("config")))
    case: Case = kind.of_arrays(config, arrays)
    return case


def judge(folder: Path, case: Case) -> None:
    """Judge every subject of a case.

    Raises ``AssertionError`` that says who is at fault and how, and with which command one of them
    is judged again alone: the files for it are written into ``folder``.
    """
    faults = {subject: _faults(case, subject) for subject in case.subjects}
    if any(faults.values()):
        text = [f"{subject}: {fault}" for subject, said in faults.items() for fault in said]
        guilty = "|".join(subject for subject, said in faults.items() if said)
        text.append(f"run it again: {sys.executable} {write_repro(folder, case)} [{guilty}]")
        raise AssertionError("\n".join(text))


def _faults(case: Case, subject: str) -> list[str]:
    """Return a subject's faults; an exception is one."""
    try:
        return case.faults(subject)
    except Exception as error:
        return [f"raised {summary_of(error)}"]


def main(script: str, subjects: list[str]) -> int:
    """Judge the case beside ``script`` for each subject named; return the exit code."""
    process.pin()
    case = read_case(Path(script).with_name("case.npz"))
    unknown = [subject for subject in subjects if subject not in case.subjects]
    if unknown:
        sys.stderr.write(f"{unknown} cannot be judged; there are {list(case.subjects)}\n")
        return 2
    failed = False
    for subject in subjects or case.subjects:
        faults = _faults(case, subject)
        failed = failed or bool(faults)
        for line in faults or ["nothing is wrong"]:
            sys.stdout.write(f"{subject}: {line}\n")
    return int(failed)
