"""What the validators accept, read from their text: bounds of numbers and listed choices.

Read are calls ``_check_int(config, "field", least)`` and ``_check_real(config, "field", low, high,
low_open=, high_open=)``, alone or in a loop over names, and comparisons of a field with constants.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from functools import cache

from parity.facts.members import Found, value_of
from parity.facts.static import source_path, syntax_tree
from parity.spec.values import Allowed

Bound = tuple[Allowed, Found]


def _number(node: ast.expr) -> float:
    return math.inf if ast.unparse(node) == "math.inf" else float(ast.literal_eval(node))


def _field(node: ast.expr, loops: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """Return the fields that an argument or operand names."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return (node.value,)
    if isinstance(node, ast.Name):
        return loops.get(node.id, ())
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) in ("config", "self"):
        return (node.attr,)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
        return _field(node.args[1], loops)
    return ()


def _from_call(
    call: ast.Call, loops: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, Allowed]]:
    name = ast.unparse(call.func)
    arguments = call.args if name.startswith("self.") else call.args[1:]
    options = {k.arg: ast.literal_eval(k.value) for k in call.keywords if k.arg}
    if name.endswith("_check_int") and len(arguments) >= 2:
        bound = Allowed(low=_number(arguments[1]), low_open=False, interval=True)
    elif name.endswith("_check_real") and len(arguments) >= 3:
        low, high = _number(arguments[1]), _number(arguments[2])
        is_open = options.get("high_open", False) or math.isinf(high)
        bound = Allowed((), low, high, options.get("low_open", False), is_open, interval=True)
    else:
        return
    for field in _field(arguments[0], loops):
        yield field, bound


def _from_compare(
    node: ast.Compare, loops: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, Allowed]]:
    """Read ``low <= field <= high``."""
    if len(node.ops) != 2 or not all(isinstance(op, ast.Lt | ast.LtE) for op in node.ops):
        return
    try:
        low, high = _number(node.left), _number(node.comparators[1])
    except (ValueError, TypeError):
        return
    opened = [isinstance(op, ast.Lt) for op in node.ops]
    bound = Allowed((), low, high, opened[0], opened[1], interval=True)
    for field in _field(node.comparators[0], loops):
        yield field, bound


def _walk(
    node: ast.AST, path: str, loops: dict[str, tuple[str, ...]]
) -> Iterator[tuple[str, Bound]]:
    if isinstance(node, ast.For) and isinstance(node.target, ast.Name):
        try:
            values = ast.literal_eval(node.iter)
            loops = {**loops, node.target.id: tuple(v for v in values if isinstance(v, str))}
        except (ValueError, TypeError):
            pass
    found: Iterator[tuple[str, Allowed]] = iter(())
    if isinstance(node, ast.Call):
        try:
            found = iter(list(_from_call(node, loops)))
        except (ValueError, TypeError):
            found = iter(())
    elif isinstance(node, ast.Compare):
        found = _from_compare(node, loops)
    for field, bound in found:
        place = Found(ast.unparse(node), path, getattr(node, "lineno", 1))
        yield field, (bound, place)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, path, loops)


@cache
def bounds_of(module: str) -> dict[str, Bound]:
    """Return the bounds of the fields that a module's validators check, by field name."""
    path = source_path(module)
    found: dict[str, Bound] = {}
    for field, bound in _walk(syntax_tree(path), str(path), {}):
        found.setdefault(field, bound)
    return found


@cache
def choices_of(module: str) -> dict[str, tuple[tuple[object, ...], Found]]:
    """Return the listed choices of fields: those of dictionaries from names to tuples.

    A tuple may stand there under the name of a constant, imported ones included.
    """
    path = source_path(module)
    found: dict[str, tuple[tuple[object, ...], Found]] = {}
    for node in ast.walk(syntax_tree(path)):
        if not isinstance(node, ast.Dict):
            continue
        for key, value in zip(node.keys, node.values, strict=True):
            try:
                if isinstance(value, ast.Name):
                    value, _ = value_of(f"{module}:{value.id}")  # noqa: PLW2901
                listed = isinstance(key, ast.Constant) and isinstance(value, ast.Tuple)
                choices = ast.literal_eval(value) if listed else None
            except (ValueError, LookupError):
                continue
            if isinstance(key, ast.Constant) and choices is not None:
                found[str(key.value)] = (choices, Found(ast.unparse(value), str(path), key.lineno))
    return found
