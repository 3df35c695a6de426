"""Facts about classes, constants and written-out texts, read from source without importing it."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from parity.facts.static import origin_of, source_path, syntax_tree


@dataclass(frozen=True)
class Found:
    """A value in the code: Python text, file, line (from 1)."""

    text: str
    path: str
    line: int

    @property
    def anchor(self) -> str:
        """``path:line``, the path from the repository's root."""
        return f"{relative(self.path)}:{self.line}"


@dataclass(frozen=True)
class StaticField:
    """A dataclass field: type words, choices of its ``Literal``, default (``None``: required)."""

    types: frozenset[str]
    choices: tuple[Any, ...]
    default: str | None
    place: Found

    @property
    def optional(self) -> bool:
        """Whether ``None`` is one of its types."""
        return "None" in self.types


def relative(path: str) -> str:
    """Return ``path`` as seen from the repository's root, if it lies in it."""
    root = Path(__file__).resolve().parents[2]
    given = Path(path)
    return given.relative_to(root).as_posix() if given.is_relative_to(root) else given.as_posix()


def _literal_types(node: ast.expr) -> tuple[frozenset[str], tuple[Any, ...]]:
    if isinstance(node, ast.BinOp):
        left, right = _literal_types(node.left), _literal_types(node.right)
        return left[0] | right[0], left[1] + right[1]
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal"):
        values = ast.literal_eval(node.slice)
        choices = values if isinstance(values, tuple) else (values,)
        return frozenset(type(value).__name__ for value in choices), choices
    return frozenset({ast.unparse(node)}), ()


def _default(node: ast.expr | None) -> str | None:
    """Return the default's text; that of a factory is what its lambda gives.

    Of ``from_environment(variable, otherwise)`` that is what holds where the variable is unset.
    """
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("field"):
        for keyword in node.keywords:
            if keyword.arg == "default":
                return ast.unparse(keyword.value)
            if keyword.arg == "default_factory" and isinstance(keyword.value, ast.Lambda):
                body = keyword.value.body
                if isinstance(body, ast.Call) and ast.unparse(body.func) == "from_environment":
                    body = body.args[1]
                return ast.unparse(body)
        return None
    return None if node is None else ast.unparse(node)


def _settled(body: ast.ClassDef) -> dict[str, str]:
    """Return defaults that ``__post_init__`` puts in place of ``None``."""
    found = {}
    for node in ast.walk(body):
        if not isinstance(node, ast.If) or not isinstance(node.body[0], ast.Assign):
            continue
        target, value = node.body[0].targets[0], node.body[0].value
        if (
            isinstance(target, ast.Attribute)
            and isinstance(value, ast.Constant)
            and ast.unparse(node.test) == f"{ast.unparse(target)} is None"
        ):
            found[target.attr] = ast.unparse(value)
    return found


def home_of(module: str, name: str) -> tuple[str, ast.stmt] | None:
    """Return the module and the statement that define ``name``; re-exports are followed."""
    for _ in range(5):
        for node in syntax_tree(source_path(module)).body:
            if name in _names(node):
                return module, node
        origin = origin_of(module, name)
        if origin is None:
            return None
        module = origin
    return None


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [ast.unparse(node.target)] if node.value is not None else []
    if isinstance(node, ast.Assign):
        return [ast.unparse(target) for target in node.targets]
    return []


@cache
def fields_of(target: str) -> dict[str, StaticField]:
    """Return the fields of the dataclass ``module:Name``.

    Raises ``LookupError`` where there is no such class.
    """
    module, _, name = target.partition(":")
    home = home_of(module, name)
    if home is None or not isinstance(home[1], ast.ClassDef):
        raise LookupError(f"no class {target}")
    path, settled = str(source_path(home[0])), _settled(home[1])
    fields = {}
    for node in home[1].body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            types, choices = _literal_types(node.annotation)
            default = settled.get(node.target.id, _default(node.value))
            place = Found(ast.unparse(node), path, node.lineno)
            fields[node.target.id] = StaticField(types, choices, default, place)
    return fields


def value_of(target: str) -> tuple[ast.expr, str]:
    """Return the expression assigned to ``module:NAME`` and the path of its file.

    Raises ``LookupError`` where nothing is assigned to it at the module's level.
    """
    module, _, name = target.partition(":")
    home = home_of(module, name)
    value = getattr(home[1], "value", None) if home else None
    if home is None or value is None:
        raise LookupError(f"no constant {target}")
    return value, str(source_path(home[0]))


@cache
def entries_of(target: str) -> tuple[dict[str, Found], bool]:
    """Return the entries that the dictionary ``module:NAME`` writes out, and whether that is all.

    Raises ``LookupError`` where there is no such dictionary.
    """
    value, path = value_of(target)
    if not isinstance(value, ast.Dict):
        return {}, False
    found, complete = {}, True
    for key, item in zip(value.keys, value.values, strict=True):
        if isinstance(key, ast.Constant) and isinstance(item, ast.Constant):
            found[str(key.value)] = Found(str(item.value), path, key.lineno)
        else:
            complete = False
    return found, complete


@cache
def _sources(package: str) -> tuple[tuple[Path, str], ...]:
    files = sorted(source_path(package).parent.rglob("*.py"))
    return tuple((path, path.read_text(encoding="utf-8")) for path in files)


@cache
def written(package: str, text: str) -> Found | None:
    """Return where a package's modules write out a string that ends with ``text``, if they do."""
    for path, source in _sources(package):
        if text not in source:
            continue
        for node in ast.walk(syntax_tree(path)):
            value = getattr(node, "value", None) if isinstance(node, ast.Constant) else None
            if isinstance(value, str) and value.endswith(text):
                return Found(repr(value), str(path), getattr(node, "lineno", 1))
    return None


def resolves(symbol: str) -> bool:
    """Tell whether ``package.module:Name.attribute`` or ``package.module.Name`` exists."""
    dotted, _, inner = symbol.partition(":")
    parts = dotted.split(".")
    names = inner.split(".") if inner else []
    while parts:
        try:
            source_path(".".join(parts)) if len(parts) > 1 else _package(parts[0])
        except ModuleNotFoundError:
            if inner:
                return False
            names.insert(0, parts.pop())
            continue
        return _defined(".".join(parts), names)
    return False


def _package(name: str) -> None:
    if not (Path(__file__).resolve().parents[2] / name).is_dir():
        raise ModuleNotFoundError(name)


def _defined(module: str, names: list[str]) -> bool:
    if not names:
        return True
    home = home_of(module, names[0])
    if home is None:
        return False
    if len(names) == 1 or not isinstance(home[1], ast.ClassDef):
        return True
    return any(
        names[1] in [*_names(node), ast.unparse(getattr(node, "target", ast.Constant(0)))]
        for node in home[1].body
    )


#: Packages in which a name that the specification uses may be found.
_PACKAGES = ("ptycho", "ptycho_torch", "parity")


@cache
def mentioned(name: str) -> Found | None:
    """Return the first line of the packages' sources with ``name`` as a word, if there is one."""
    word = re.compile(rf"(?<![\w.]){re.escape(name)}(?!\w)|\.{re.escape(name)}(?!\w)")
    for package in _PACKAGES:
        for path, source in _sources(package):
            found = word.search(source) if name in source else None
            if found:
                line = source.count("\n", 0, found.start()) + 1
                return Found(source.splitlines()[line - 1].strip(), str(path), line)
    return None
