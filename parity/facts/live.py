"""Facts read from living objects: dataclass fields, parsers, constants."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import types
import typing
from pathlib import Path
from typing import Any

#: What a specification's Type cell may say, and the Python types behind it.
SCALARS: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str, "path": Path}

#: Stands for "has to be given".
REQUIRED = dataclasses.MISSING


def resolve(target: str) -> Any:
    """Return the object behind ``module:name``; ``ValueError`` where the target is not one."""
    module, _, name = target.partition(":")
    if not name:
        raise ValueError(f"target {target!r} is not of the form module:name")
    return getattr(importlib.import_module(module), name)


@dataclasses.dataclass(frozen=True)
class FieldFact:
    """Default and types of one dataclass field; ``optional`` where ``None`` is a type of it."""

    default: Any
    types: frozenset[type]
    optional: bool


def _types_of(hint: Any) -> set[type]:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return set().union(*(_types_of(member) for member in typing.get_args(hint)))
    if origin is typing.Literal:
        return {type(value) for value in typing.get_args(hint)}
    return {hint}


def _default_of(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return REQUIRED


def dataclass_fields(config_type: type) -> dict[str, FieldFact]:
    """Return the fields of a configuration dataclass by name."""
    hints = typing.get_type_hints(config_type)
    facts = {}
    for field in dataclasses.fields(config_type):
        found = _types_of(hints[field.name])
        optional = type(None) in found
        facts[field.name] = FieldFact(_default_of(field), frozenset(found - {type(None)}), optional)
    return facts


def flags(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Return every spelling of every flag of a parser."""
    # argparse has no public way to list the actions of a parser.
    return {name: action for action in parser._actions for name in action.option_strings}


def parsed_type(action: argparse.Action) -> str:
    """Return what a flag takes: ``bool`` for switches, else the name of its type, or ``field``."""
    switches = (argparse.BooleanOptionalAction, argparse._StoreTrueAction)
    if isinstance(action, switches):
        return "bool"
    if action.type is Path:
        return "path"
    return action.type.__name__ if isinstance(action.type, type) else "field"
