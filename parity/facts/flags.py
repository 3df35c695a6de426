"""The flags of a command, read from its module's text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from parity.facts.members import Found, fields_of
from parity.facts.static import source_path, syntax_tree

#: Where every command gets ``--config``, ``--quiet`` and ``--verbose`` from.
_SHARED = "ptycho.cli.arguments"


@dataclass(frozen=True)
class StaticFlag:
    """A flag: its name without dashes, type words, default as Python text, place.

    ``configuration``: it stands for a field of a configuration that is defined elsewhere.
    """

    name: str
    types: frozenset[str]
    default: str
    place: Found
    configuration: bool = False


def _written(module: str) -> Iterator[StaticFlag]:
    """Yield the flags that ``add_argument`` calls write out."""
    path = source_path(module)
    for node in ast.walk(syntax_tree(path)):
        if not isinstance(node, ast.Call) or not ast.unparse(node.func).endswith("add_argument"):
            continue
        options = {k.arg: ast.unparse(k.value) for k in node.keywords if k.arg}
        switch = options.get("action") == "'store_true'"
        default = "False" if switch else options.get("default", "None")
        kind = "bool" if switch else options.get("type", "str")
        place = Found(ast.unparse(node), str(path), node.lineno)
        for given in node.args:
            if isinstance(given, ast.Constant) and str(given.value).startswith("--"):
                yield StaticFlag(str(given.value)[2:], frozenset({kind}), default, place)


def _of_sections(module: str) -> Iterator[StaticFlag]:
    """Yield the flags made from dataclasses of the module that ``Section`` calls name."""
    path = source_path(module)
    for node in ast.walk(syntax_tree(path)):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) != "Section":
            continue
        holder = next((a.id for a in node.args if isinstance(a, ast.Name)), "")
        prefix = next(
            (f"{ast.literal_eval(k.value)}_" for k in node.keywords if k.arg == "prefix"), ""
        )
        try:
            fields = fields_of(f"{module}:{holder}")
        except LookupError:
            continue
        for name, fact in fields.items():
            default, elsewhere = fact.default or "None", fact.place.path != str(path)
            yield StaticFlag(prefix + name, fact.types, default, fact.place, elsewhere)


@cache
def flags_of(module: str) -> dict[str, StaticFlag]:
    """Return the flags of the command in ``module`` by name, dashes written as underscores."""
    every = [*_written(_SHARED), *_written(module), *_of_sections(module)]
    return {flag.name.replace("-", "_"): flag for flag in every}
