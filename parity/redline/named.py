"""Clauses held against the code: every name that they write out exists in it."""

from __future__ import annotations

import re

from parity.facts.members import mentioned
from parity.redline.static import Contradiction
from parity.redline.words import values_of
from parity.spec.records import Clause

#: A name, or a call of it.
_NAME = re.compile(r"([A-Za-z_][\w.]*)(?:\(.*\))?")
_SHORTEST = 3


def _known(name: str) -> bool:
    last = name.rpartition(".")[2]
    return len(last) < _SHORTEST or mentioned(last) is not None


def _flag_known(flag: str) -> bool:
    name = flag.removeprefix("--").replace("-", "_")
    field = name.removeprefix("no_").removeprefix("torch_")
    return bool(mentioned(name) or mentioned(field))


def judge_clause(clause: Clause) -> list[Contradiction] | None:
    """Return the names that the code lacks; ``None`` where the clause writes out no name.

    That the names exist is all that the code's text tells of a clause; its checks tell the rest.
    """
    values = values_of(clause.text)
    names = [found.group(1) for s in values.symbols if (found := _NAME.fullmatch(s))]
    # Of ``--torch-<field>`` only the beginning is written out.
    flags = [flag for flag in values.flags if not flag.endswith("-")]
    files = [f.rpartition("/")[2] for f in values.files if "*" not in f]
    if not (names or flags or files or values.errors):
        return None
    missing = [name for name in (*names, *values.errors) if not _known(name)]
    missing += [flag for flag in flags if not _flag_known(flag)]
    missing += [file for file in files if not mentioned(file)]
    return [
        Contradiction(
            clause.id, clause.place.path, name, "ptycho, ptycho_torch, parity", "no such name"
        )
        for name in missing
    ]
