"""Typed values in the cells of specification tables: defaults and allowed values."""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Default cell of a field that has to be given.
REQUIRED = "required"

_INTERVAL = re.compile(r"^([\[(])\s*([-\w.]+)\s*,\s*([-\w.]+)\s*([\])])$")
_PATH = re.compile(r"^Path\((.*)\)$")


def parse_literal(cell: str) -> Any:
    """Return the Python value of a default cell; ``Path('x')`` is a path.

    >>> parse_literal("1e-3"), parse_literal("Path('out')").name
    (0.001, 'out')
    """
    path = _PATH.match(cell)
    try:
        return Path(ast.literal_eval(path.group(1))) if path else ast.literal_eval(cell)
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"default {cell!r} is not a Python literal") from error


@dataclass(frozen=True)
class Allowed:
    """What a field accepts: an enumeration, an interval, or anything; perhaps also ``None``."""

    choices: tuple[Any, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = True
    high_open: bool = True
    interval: bool = False
    optional: bool = False

    def accepts(self, value: Any) -> bool:
        """Tell whether the text allows ``value`` (types aside)."""
        if value is None:
            return self.optional
        if self.choices:
            return any(value == choice and type(value) is type(choice) for choice in self.choices)
        if not self.interval:
            return True
        above = value > self.low if self.low_open else value >= self.low
        below = value < self.high if self.high_open else value <= self.high
        return bool(above and below)


def parse_allowed(cell: str) -> Allowed:
    """Parse an Allowed cell.

    >>> parse_allowed("(0, inf) or None").accepts(0), parse_allowed("{'a', 'b'}").choices
    (False, ('a', 'b'))
    """
    optional = cell.endswith(" or None")
    body = cell.removesuffix(" or None").strip()
    if body == "any":
        return Allowed(optional=optional)
    if body.startswith("{"):
        # A set literal has no order and the text has one: read it as a tuple.
        return Allowed(choices=ast.literal_eval(f"({body[1:-1]},)"), optional=optional)
    match = _INTERVAL.match(body)
    if match is None:
        raise ValueError(f"allowed values {cell!r} are neither a set, an interval nor 'any'")
    opening, low, high, closing = match.groups()
    return Allowed(
        low=float(low),
        high=float(high),
        low_open=opening == "(",
        high_open=closing == ")",
        interval=True,
        optional=optional,
    )
