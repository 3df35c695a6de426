"""Facts read from source text: no module is imported, so no framework is needed."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@dataclass(frozen=True)
class Parameter:
    """One parameter: name, default as Python text (``None`` = required), kind marker."""

    name: str
    default: str | None
    kind: str = ""


@dataclass(frozen=True)
class Signature:
    """A function's parameters and where it is defined."""

    parameters: tuple[Parameter, ...]
    path: str
    line: int

    def __str__(self) -> str:
        return ", ".join(
            p.kind + p.name + (f"={p.default}" if p.default is not None else "")
            for p in self.parameters
        )


def source_path(module: str) -> Path:
    """Return the source file of ``module``; its parent packages are located, not imported.

    Raises ``ModuleNotFoundError`` where there is none.
    """
    top, *rest = module.split(".")
    spec = find_spec(top)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"no package {top!r}")
    base = Path(next(iter(spec.submodule_search_locations))).joinpath(*rest)
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    raise ModuleNotFoundError(f"no source for module {module!r} under {base.parent}")


@cache
def syntax_tree(path: Path) -> ast.Module:
    """Return the parsed source of ``path``."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def _parameters(arguments: ast.arguments) -> tuple[Parameter, ...]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    found = [
        Parameter(a.arg, None if d is None else ast.unparse(d))
        for a, d in zip(positional, defaults, strict=True)
    ]
    if arguments.vararg:
        found.append(Parameter(arguments.vararg.arg, None, "*"))
    found += [
        Parameter(a.arg, None if d is None else ast.unparse(d), "keyword-only ")
        for a, d in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    if arguments.kwarg:
        found.append(Parameter(arguments.kwarg.arg, None, "**"))
    return tuple(found)


def functions(module: str) -> dict[str, Signature]:
    """Return the module-level functions of ``module`` by name; re-exports are not followed."""
    path = source_path(module)
    return {
        node.name: Signature(_parameters(node.args), str(path), node.lineno)
        for node in syntax_tree(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def written_signature(parameters: str) -> tuple[Parameter, ...]:
    """Return the parameters written in a specification cell such as ``a, b=None``.

    Raises ``ValueError`` where the cell is not a parameter list.
    """
    try:
        tree = ast.parse(f"def f({parameters}): ...")
    except SyntaxError as error:
        raise ValueError(f"{parameters!r} is not a parameter list") from error
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    return _parameters(function.args)


def origin_of(module: str, name: str) -> str | None:
    """Return the module from which ``module`` imports ``name``, or ``None`` if it does not."""
    for node in syntax_tree(source_path(module)).body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return node.module
    return None
