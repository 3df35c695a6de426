"""Functions of our packages as the source text has them: place, body, and whom they call.

Read with ``ast``: nothing is imported, so no framework is needed.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from parity.callchain.callees import Imports, callees

__all__ = ["PACKAGES", "SourceFunction", "checkout", "source_functions"]

#: Packages that are traced; the harness itself is not.
PACKAGES = ("ptycho", "ptycho_torch")

_PROPERTIES = frozenset({"property", "cached_property"})


@dataclass(frozen=True)
class SourceFunction:
    """A function or method in the source text.

    ``symbol`` is ``module:qualname``, ``path`` relative to the checkout, ``body`` the hash of the
    syntax tree without docstring and lines, ``callees`` the symbols it calls as far as names
    tell.
    """

    symbol: str
    path: str
    line: int
    body: str
    public: bool
    callees: tuple[str, ...]

    @property
    def anchor(self) -> str:
        """``path:line``."""
        return f"{self.path}:{self.line}"


def checkout() -> Path:
    """Return the folder that holds the packages."""
    return Path(__file__).resolve().parents[2]


def body_hash(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return 12 hex digits that change with the code of a function, not with its place."""
    bare = copy.deepcopy(node)
    if ast.get_docstring(bare, clean=False) is not None:
        bare.body = bare.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.dump(bare).encode()).hexdigest()[:12]


def _is_property(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    names = {ast.unparse(each).rpartition(".")[2] for each in node.decorator_list}
    return bool(names & _PROPERTIES)


def _functions(
    tree: ast.Module | ast.ClassDef, prefix: str = ""
) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from _functions(node, f"{prefix}{node.name}.")
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield f"{prefix}{node.name}", node


def _module(path: Path, root: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _of_file(path: Path, root: Path) -> Iterator[SourceFunction]:
    module = _module(path, root)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = Imports.of(tree, module)
    for name, node in _functions(tree):
        parts = name.split(".")
        public = not any(part.startswith("_") for part in parts) and not _is_property(node)
        yield SourceFunction(
            symbol=f"{module}:{name}",
            path=path.relative_to(root).as_posix(),
            line=node.lineno,
            body=body_hash(node),
            public=public,
            callees=tuple(callees(node, name, imports)),
        )


@lru_cache(maxsize=4)
def source_functions(
    root: Path | None = None, packages: tuple[str, ...] = PACKAGES
) -> dict[str, SourceFunction]:
    """Return every function of the packages below ``root`` by symbol, in order of the text."""
    root = root or checkout()
    found: dict[str, SourceFunction] = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            for function in _of_file(path, root):
                found[function.symbol] = function
    return found
