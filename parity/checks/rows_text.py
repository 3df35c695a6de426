"""Checks generated from the signature and flag tables; they read source text and parsers only."""

from __future__ import annotations

import argparse
import importlib
from typing import Any

from parity.checks.recorder import PAIR, Recorder
from parity.facts.live import flags, parsed_type
from parity.facts.static import Signature, functions, origin_of, written_signature
from parity.spec.records import Row, Spec
from parity.spec.values import parse_literal

#: Package of each backend's wing.
WINGS = {"tensorflow": "ptycho", "pytorch": "ptycho_torch"}


# --------------------------------------------------------------------------- signatures


def _signature(module: str, name: str) -> Signature | None:
    """Return a function's signature, following one re-export."""
    found = functions(module).get(name)
    if found is None:
        origin = origin_of(module, name)
        found = functions(origin).get(name) if origin else None
    return found


def _judge_signature(subject: str, module: str, row: Row, recorder: Recorder) -> Signature | None:
    name, cell = row.cells["Function"], row.cells["Parameters"]
    found = _signature(module, name)
    if found is None:
        recorder.fail(subject, f"{module}.{name} does not exist", module)
        return None
    wanted = written_signature(cell)
    what = f"{found.path}:{found.line}: {name}({found}); the text says ({cell})"
    recorder.require(subject, found.parameters == wanted, what, module)
    return found


def check_signature(row: Row, recorder: Recorder) -> None:
    """Judge one row of a signature table.

    A target that starts with ``ptycho`` is one module for all; another is a module of each wing,
    and then the wings are compared with each other too.
    """
    if row.target.startswith("ptycho"):
        for subject in recorder.backends:
            _judge_signature(subject, row.target, row, recorder)
        return
    found = {
        subject: _judge_signature(subject, f"{wing}.{row.target}", row, recorder)
        for subject, wing in WINGS.items()
        if subject in recorder.backends
    }
    known = [signature for signature in found.values() if signature is not None]
    if len(known) > 1:
        equal = all(signature.parameters == known[0].parameters for signature in known)
        recorder.require(PAIR, equal, " / ".join(f"({s})" for s in known), row.target)


# --------------------------------------------------------------------------- flags


def _parser(target: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = importlib.import_module(target).build_parser()
    return parser


def _default_of(target: str, name: str, action: argparse.Action) -> Any:
    """Return what a flag that is not given amounts to.

    Generated flags leave no trace when absent; their default is that of the options dataclass.
    """
    if action.default is not argparse.SUPPRESS:
        return action.default
    for section in importlib.import_module(target).SECTIONS:
        for field_name, field in section.fields().items():
            if section.key(field_name) == action.dest:
                return field.default
    raise LookupError(f"{name} belongs to no section of {target}")


_TYPE_WORDS = {"bool": ("bool",), "path": ("path", "field"), "int": ("int", "field")}


def check_flag(row: Row, recorder: Recorder) -> None:
    """Judge one row of a flag table: existence, both spellings, type and default."""
    name = row.cells["Flag"]
    known = flags(_parser(row.target))
    case = row.target
    for subject in recorder.backends:
        action = known.get(name)
        if action is None:
            recorder.fail(subject, f"{name} is not a flag of {row.target}", case)
            continue
        for other in (name.replace("_", "-"), "--" + name[2:].replace("-", "_")):
            same = known.get(other) is action
            recorder.require(subject, same, f"{other} is not the same as {name}", case)
        words = _TYPE_WORDS.get(row.cells["Type"], ("field",))
        what = f"{name} takes {parsed_type(action)}; the text says {row.cells['Type']}"
        recorder.require(subject, parsed_type(action) in words, what, case)
        found, wanted = _default_of(row.target, name, action), parse_literal(row.cells["Default"])
        what = f"{name} defaults to {found!r}; the text says {wanted!r}"
        recorder.require(subject, type(found) is type(wanted) and found == wanted, what, case)


#: Commands whose flags come from dataclasses too: module -> (table of fields, prefix).
_FIELD_FLAGS: dict[str, tuple[tuple[str, str], ...]] = {
    "ptycho.cli.train": (
        ("model-config", ""),
        ("training-config", ""),
        ("execution-config", "torch_"),
    ),
    "ptycho.cli.inference": (("inference-config", ""), ("execution-config", "torch_")),
    "ptycho_torch.train": (
        ("model-config", ""),
        ("training-config", ""),
        ("execution-config", ""),
    ),
    "ptycho_torch.inference": (("inference-config", ""),),
    "ptycho.cli.overlap": (),
    "ptycho.cli.evaluate": (),
}


def check_unspecified_flags(spec: Spec, recorder: Recorder) -> None:
    """Judge the reverse: flags that neither a row nor a field of a table accounts for."""
    for target, tables in _FIELD_FLAGS.items():
        allowed = {"help"}
        for table, prefix in tables:
            allowed |= {prefix + row.cells["Field"] for row in spec.of_table(table)}
        allowed |= {
            row.cells["Flag"].removeprefix("--")
            for row in spec.rows
            if row.kind == "flags" and row.target == target
        }
        for action in flags(_parser(target)).values():
            what = f"{action.option_strings[0]} of {target} is not in the specification"
            for subject in recorder.backends:
                recorder.require(subject, action.dest in allowed, what, target)
