"""Whom a function calls, as far as the names in its text tell."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Imports:
    """What names mean in a module: modules, and symbols of modules (its own included)."""

    module: str
    modules: dict[str, str] = field(default_factory=dict)
    symbols: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, tree: ast.Module, module: str) -> Imports:
        """Read the imports and definitions of a module."""
        found = cls(module)
        for node in tree.body:
            found.add(node)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                found.symbols[node.name] = f"{module}:{node.name}"
        return found

    def add(self, node: ast.AST) -> None:
        """Take note of an import statement; anything else is nothing."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                self.modules[alias.asname or alias.name] = alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                name = alias.asname or alias.name
                # Whether it names a module or an attribute, the text does not tell.
                self.modules[name] = f"{node.module}.{alias.name}"
                self.symbols[name] = f"{node.module}:{alias.name}"

    def within(self, function: Function) -> Imports:
        """Return what names mean in a function, its own imports included."""
        inner = Imports(self.module, dict(self.modules), dict(self.symbols))
        for node in ast.walk(function):
            inner.add(node)
        return inner


def callees(function: Function, qualname: str, imports: Imports) -> Iterator[str]:
    """Yield the symbols that ``function`` calls, each once, in the order of the text."""
    known = imports.within(function)
    owner = qualname.rpartition(".")[0]
    seen: set[str] = set()
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda node: (node.lineno, node.col_offset)):
        symbol = _resolved(call.func, owner, known)
        if symbol and symbol not in seen:
            seen.add(symbol)
            yield symbol


def _resolved(callee: ast.expr, owner: str, known: Imports) -> str:
    if isinstance(callee, ast.Name):
        return known.symbols.get(callee.id, "")
    if not isinstance(callee, ast.Attribute):
        return ""
    base = ast.unparse(callee.value)
    if base in ("self", "cls") and owner:
        return f"{known.module}:{owner}.{callee.attr}"
    if base in known.symbols and base[:1].isupper():
        return f"{known.symbols[base]}.{callee.attr}"
    if base in known.modules:
        return f"{known.modules[base]}:{callee.attr}"
    return ""
