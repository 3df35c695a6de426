"""The static half: where a user comes in, which modules there are, and who calls whom.

From the source text alone, so that it can be told with no framework installed.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from parity.callchain.symbols import PACKAGES, SourceFunction, checkout, source_functions

__all__ = ["EntryPoint", "call_edges", "entry_points", "import_edges", "reached"]

_DOORS = "workflows.components"
_DISPATCH = "ptycho.workflows.backend_selector"


@dataclass(frozen=True)
class EntryPoint:
    """A function that is called from outside: ``kind`` is command, dispatcher or door."""

    kind: str
    name: str
    function: SourceFunction


def _commands() -> Iterator[tuple[str, str]]:
    for point in metadata.distribution("ptychopinn").entry_points:
        if point.group == "console_scripts":
            yield point.name, point.value


def entry_points(root: Path | None = None) -> list[EntryPoint]:
    """Return commands, the dispatcher's functions and either backend's doors, in this order."""
    root = root or checkout()
    functions = source_functions(root)
    found = [
        EntryPoint("command", name, functions[target])
        for name, target in sorted(_commands())
        if target in functions
    ]
    for kind, modules in (
        ("dispatcher", (_DISPATCH,)),
        ("door", tuple(f"{p}.{room}" for p in PACKAGES for room in (_DOORS, "model_manager"))),
    ):
        for symbol, function in functions.items():
            module, _, name = symbol.partition(":")
            if module in modules and function.public and "." not in name:
                found.append(EntryPoint(kind, name, function))
    return found


def call_edges(functions: Mapping[str, SourceFunction]) -> list[tuple[str, str]]:
    """Return (caller, callee) among ``functions``, in the order of the text."""
    return [
        (symbol, callee)
        for symbol, function in functions.items()
        for callee in function.callees
        if callee in functions
    ]


def reached(start: str, functions: Mapping[str, SourceFunction]) -> list[str]:
    """Return the symbols that calls from ``start`` lead to, breadth first, itself included.

    What is called through a variable, a protocol or an entry point, the text does not tell.
    """
    order, position = [start], 0
    while position < len(order):
        for callee in functions[order[position]].callees:
            if callee in functions and callee not in order:
                order.append(callee)
        position += 1
    return order


def import_edges(root: Path | None = None) -> dict[str, set[str]]:
    """Return module -> modules of ours that its text imports, wherever in the text."""
    root = root or checkout()
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for package in PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }
    edges: dict[str, set[str]] = {}
    for module, path in paths.items():
        named: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                named.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                named.update(f"{node.module}.{alias.name}" for alias in node.names)
                named.add(node.module)
        edges[module] = {name for name in named if name in paths} - {module}
    return edges
