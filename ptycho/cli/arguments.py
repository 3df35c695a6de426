"""Command-line flags and YAML keys generated from configuration dataclasses.

A :class:`Section` is one dataclass whose fields become flags. A flag is spelt like its field,
with dashes or underscores; booleans are ``--x``/``--no-x``; ``none`` clears an optional field.
What is given on the command line beats the YAML file, which beats the dataclass defaults.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from ptycho.config.config import load_yaml_config

__all__ = ["Parser", "Section", "Values", "coerce", "make_parser", "merge", "read_config_file"]

#: Values per section name, then per field: only what somebody gave.
Values = dict[str, dict[str, Any]]

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


@dataclass(frozen=True)
class Section:
    """One dataclass as a group of flags.

    ``name`` is the key of its nested mapping in YAML; its keys are accepted there, and at the
    top level (with the prefix). ``prefix`` goes before every flag (``"torch"`` gives
    ``--torch-devices``). ``choices`` narrows fields that the types leave open. ``aliases`` are
    further spellings of a flag, ``negations`` those that switch a boolean off. ``hidden`` fields
    get no flag.
    """

    name: str
    title: str
    config_type: type
    prefix: str = ""
    help: Mapping[str, str] = field(default_factory=dict)
    choices: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    negations: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()

    def fields(self) -> dict[str, dataclasses.Field[Any]]:
        """Return the fields that have flags, by name."""
        every: dict[str, dataclasses.Field[Any]] = {
            f.name: f for f in dataclasses.fields(self.config_type)
        }
        return {name: f for name, f in every.items() if name not in self.hidden}

    def hints(self) -> dict[str, Any]:
        """Return the resolved type of every field."""
        return typing.get_type_hints(self.config_type)

    def key(self, name: str) -> str:
        """Return the flat key of a field, which is also its place in the parsed namespace."""
        return f"{self.prefix}_{name}" if self.prefix else name


# --------------------------------------------------------------------------- values


def _members(hint: Any) -> tuple[Any, ...]:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _is_bool(hint: Any) -> bool:
    return hint is bool or set(_members(hint)) == {bool, type(None)}


def _describe(hint: Any) -> str:
    names = []
    for member in _members(hint):
        if typing.get_origin(member) is typing.Literal:
            names += [str(value) for value in typing.get_args(member)]
        else:
            simple = {bool: "true or false", int: "an integer", float: "a number", Path: "a path"}
            names.append("none" if member is type(None) else simple.get(member, "text"))
    return ", ".join(names[:-1]) + f" or {names[-1]}" if len(names) > 1 else names[0]


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text not in _TRUE + _FALSE:
        raise ValueError
    return text in _TRUE


def _to_int(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            value = float(value)  # 1e6 is text to YAML and to a shell
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, int):
        return value
    raise ValueError


def _to_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError
    return float(value)


def _to_text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _to_path(value: Any) -> Path:
    return Path(_to_text(value)).expanduser()


_CONVERTERS: dict[Any, Any] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_text,
    Path: _to_path,
}


def _convert(value: Any, member: Any) -> Any:
    if member is type(None):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        raise ValueError
    if value is None:
        raise ValueError
    if typing.get_origin(member) is typing.Literal:
        if value in typing.get_args(member):
            return value
        raise ValueError
    return _CONVERTERS[member](value)


def coerce(value: Any, hint: Any) -> Any:
    """Return ``value``, from a shell or from YAML, as the field type ``hint``.

    Raises ``ValueError`` saying what is expected. Of a union, ``None`` and literals are tried
    before the types, so ``devices: auto`` is the word and ``devices: 2`` the number.
    """
    members = sorted(_members(hint), key=lambda m: m in _CONVERTERS)
    for member in members:
        try:
            return _convert(value, member)
        except (ValueError, OverflowError):
            continue
    raise ValueError(f"{value!r} is not {_describe(hint)}")


# --------------------------------------------------------------------------- the parser


class _Formatter(argparse.HelpFormatter):
    """Show each name of a flag in one spelling; others differ by dashes and underscores only."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=34, width=100)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        options = action.option_strings
        if not options or options[0] == "-h":
            return super()._format_action_invocation(action)
        if isinstance(action, argparse.BooleanOptionalAction):
            return f"{options[0]}, --no-{options[0][2:]}"
        # Of spellings of one name the first stays.
        spelt = {option.replace("_", "-"): option for option in reversed(options)}
        names = ", ".join(reversed(spelt.values()))
        if action.nargs == 0:
            return names
        return f"{names} {self._format_args(action, action.dest.upper())}"


class Parser(argparse.ArgumentParser):
    """Report a bad flag in one line, naming the nearest flag where it is unknown."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Return the namespace of ``args``; unknown ones stop the command."""
        given = [self._known_spelling(a) for a in (sys.argv[1:] if args is None else args)]
        parsed, unknown = self.parse_known_args(given, namespace)
        if unknown:
            flag = unknown[0].partition("=")[0]
            near = difflib.get_close_matches(flag, list(self._option_string_actions), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            self.error(f"unknown flag or argument {unknown[0]!r}{hint}")
        return parsed

    def _known_spelling(self, argument: str) -> str:
        """Return a flag as it was declared: any mix of dashes and underscores means the same."""
        flag, equals, value = argument.partition("=")
        if not flag.startswith("--") or flag in self._option_string_actions:
            return argument
        spellings = {o.replace("_", "-"): o for o in self._option_string_actions}
        return spellings.get(flag.replace("_", "-"), flag) + equals + value

    def error(self, message: str) -> NoReturn:
        """Stop with exit code 2 and one line on standard error."""
        self.exit(2, f"{self.prog}: error: {message} (--help lists all flags)\n")


def _argument_type(text: str, hint: Any) -> Any:
    try:
        return coerce(text, hint)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _spellings(section: Section, name: str) -> list[str]:
    stems = [section.key(name), *section.aliases.get(name, ())]
    joined = [stem.replace("_", "-") if section.prefix else stem for stem in stems]
    every = [form for s in joined for form in (s, s.replace("_", "-"), s.replace("-", "_"))]
    return [f"--{form}" for form in dict.fromkeys(every)]


def _default_text(f: dataclasses.Field[Any]) -> str:
    if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
        return " (required)"
    factory = f.default_factory
    default = f.default if factory is dataclasses.MISSING else factory()
    if default is None:
        return ""
    return f" (default: {default:g})" if isinstance(default, float) else f" (default: {default})"


def _add_flag(group: Any, section: Section, f: dataclasses.Field[Any], hint: Any) -> None:
    text = section.help.get(f.name, f.name.replace("_", " ")) + _default_text(f)
    common = {"dest": section.key(f.name), "default": argparse.SUPPRESS, "help": text}
    names = _spellings(section, f.name)
    if _is_bool(hint):
        group.add_argument(*names, action=argparse.BooleanOptionalAction, **common)
        for name in section.negations.get(f.name, ()):
            _add_off(group, names, [f"--{name}", f"--{name.replace('_', '-')}"], common)
        return
    switch = bool in _members(hint)  # with a word for a third way
    if switch:
        _add_off(group, names, [name.replace("--", "--no-", 1) for name in names], common)
    literal = typing.get_origin(hint) is typing.Literal
    choices = section.choices.get(f.name) or (typing.get_args(hint) if literal else None)
    group.add_argument(
        *names,
        type=str if literal else partial(_argument_type, hint=hint),
        choices=choices,
        metavar=None if choices else f.name.upper(),
        **({"nargs": "?", "const": True} if switch else {}),
        **common,
    )


def _add_off(group: Any, on: list[str], off: list[str], common: Mapping[str, Any]) -> None:
    text = f"switches {on[0]} off"
    group.add_argument(*dict.fromkeys(off), action="store_false", **{**common, "help": text})


def make_parser(
    prog: str, description: str, sections: Sequence[Section], epilog: str = ""
) -> argparse.ArgumentParser:
    """Return a parser with the flags of ``sections``, ``--config``, ``--quiet``, ``--verbose``.

    Fields that were not given are absent from the parsed namespace.
    """
    parser = Parser(
        prog=prog,
        usage=f"{prog} [flags]",
        description=description,
        epilog=epilog,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML file of the fields below; flags win"
    )
    loudness = parser.add_mutually_exclusive_group()
    loudness.add_argument("--quiet", action="store_true", help="say nothing but errors")
    loudness.add_argument(
        "--verbose", action="store_true", help="say everything, with tracebacks of errors"
    )
    for section in sections:
        group = parser.add_argument_group(section.title)
        hints = section.hints()
        for name, f in section.fields().items():
            _add_flag(group, section, f, hints[name])
    return parser


# --------------------------------------------------------------------------- who wins


def given_values(namespace: argparse.Namespace, sections: Sequence[Section]) -> Values:
    """Return what the command line gave, per section and field."""
    given = vars(namespace)
    return {
        s.name: {name: given[s.key(name)] for name in s.fields() if s.key(name) in given}
        for s in sections
    }


def _unknown(path: Path, key: str, known: Sequence[str]) -> ValueError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return ValueError(f"{path}: unknown key {key!r}{hint}")


def _nested(path: Path, section: Section, mapping: Any) -> dict[str, Any]:
    if not isinstance(mapping, dict):
        raise ValueError(f"{path}: {section.name!r} must be a mapping of fields")
    result = {}
    for key, value in mapping.items():
        name = str(key).replace("-", "_")
        if name not in section.fields():
            raise _unknown(
                path, f"{section.name}.{key}", [f"{section.name}.{f}" for f in section.fields()]
            )
        result[name] = value
    return result


def read_config_file(path: Path, sections: Sequence[Section]) -> Values:
    """Read a YAML file of fields, flat or nested under a section's name, coerced by field type.

    Raises ``ValueError`` naming file and key for an unknown key (with the nearest known one), a
    key given twice, or a value that its field cannot hold; ``FileNotFoundError`` without a file.
    """
    places = {s.key(name): (s, name) for s in sections for name in s.fields()}
    for s in sections:
        places |= {a: (s, name) for name, more in s.aliases.items() for a in more}
    by_name = {s.name: s for s in sections}
    collected: list[tuple[Section, str, Any]] = []
    for raw_key, value in load_yaml_config(path).items():
        key = str(raw_key).replace("-", "_")
        if key in by_name and (isinstance(value, dict) or key not in places):
            nested = _nested(path, by_name[key], value)
            collected += [(by_name[key], name, item) for name, item in nested.items()]
        elif key in places:
            collected.append((*places[key], value))
        elif any(key in s.hidden for s in sections):
            raise ValueError(f"{path}: {key!r} cannot be given here: the bundle decides it")
        else:
            raise _unknown(path, str(raw_key), [*places, *by_name])
    values: Values = {s.name: {} for s in sections}
    for section, name, value in collected:
        if name in values[section.name]:
            raise ValueError(f"{path}: {section.key(name)!r} is given twice")
        try:
            values[section.name][name] = coerce(value, section.hints()[name])
        except ValueError as error:
            raise ValueError(f"{path}: {section.key(name)}: {error}") from None
    return values


def merge(namespace: argparse.Namespace, sections: Sequence[Section]) -> Values:
    """Return the given values per section: command line over YAML file."""
    path = namespace.config
    below: Values = read_config_file(path, sections) if path is not None else {}
    above = given_values(namespace, sections)
    return {s.name: {**below.get(s.name, {}), **above[s.name]} for s in sections}
