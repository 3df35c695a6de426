"""``callchain/static.md``: what the source text tells of how the backends do a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parity.callchain.entry_points import (
    EntryPoint,
    call_edges,
    entry_points,
    import_edges,
    reached,
)
from parity.callchain.rooms import kept
from parity.callchain.scenario import PACKAGES, stage_symbols
from parity.callchain.symbols import SourceFunction, source_functions
from parity.spec.parse import load_specification
from parity.spec.records import Row

__all__ = ["static_report", "table"]

_CONFIGURE = "ptycho.config.config:update_legacy_dict"
#: What leaves something behind: files, ``params.cfg``, the model trained last.
_EFFECTS = {
    "ptycho.config.config:update_legacy_dict": "params.cfg",
    "ptycho.core.workflow:publish_scales": "params.cfg",
    "ptycho.core.workflow:adopt_bundle": "params.cfg",
    "ptycho.params:set": "params.cfg",
    "ptycho.model_manager:remember": "the model trained last",
    "ptycho_torch.model_manager:remember": "the model trained last",
    "ptycho.core.archive:write_archive": "an archive",
    "ptycho.io.atomic:write_bytes": "a file",
    "ptycho.io.npz:write_npz": "a file",
}
#: Functions from which each scenario sets out.
STARTS = {
    "dispatch": ("ptycho.workflows.backend_selector:run_cdi_example_with_backend",),
    "train": (".workflows.components:train_cdi_model",),
    "save": (".model_manager:save",),
    "load": (".workflows.components:load_inference_bundle",),
    "infer": (
        ".workflows.components:load_inference_bundle",
        ".model_manager:ObjectPredictor.predict",
    ),
    "stitch": (".workflows.components:reassemble_cdi_image",),
    "cli-train": ("ptycho.cli.train:train",),
    "cli-infer": ("ptycho.cli.inference:infer",),
}


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a markdown table as lines."""
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows]


def _anchored(symbol: str, functions: Mapping[str, SourceFunction]) -> str:
    """Return the place of a symbol; a class is where its first method is."""
    found = functions.get(symbol)
    if found is None:
        found = next((f for s, f in functions.items() if s.startswith(f"{symbol}.")), None)
    return f"`{found.anchor}`" if found else "not found"


def _starts(scenarios: Sequence[str], backends: Sequence[str]) -> list[str]:
    places = [
        f"{PACKAGES[backend]}{start}" if start.startswith(".") else start
        for scenario in scenarios
        for backend in backends
        for start in STARTS[scenario]
    ]
    return list(dict.fromkeys(places))


def _configuring(functions: Mapping[str, SourceFunction]) -> list[tuple[str, str, str]]:
    return [
        (f"`{symbol}`", f"`{function.anchor}`", f"`{callee}`")
        for symbol, function in functions.items()
        for callee in function.callees
        if callee in _EFFECTS and _EFFECTS[callee] == "params.cfg"
    ]


def _stage_rows(
    rows: tuple[Row, ...], backends: Sequence[str], functions: Mapping[str, SourceFunction]
) -> list[list[str]]:
    symbols = {backend: stage_symbols(rows, PACKAGES[backend]) for backend in backends}
    return [
        [
            f"`{row.cells['Stage']}`",
            *(
                f"`{symbols[backend][row.cells['Stage']]}` "
                f"{_anchored(symbols[backend][row.cells['Stage']], functions)}"
                for backend in backends
            ),
        ]
        for row in rows
    ]


def _edge_rows(
    starts: Sequence[str], functions: Mapping[str, SourceFunction]
) -> list[tuple[str, str, str]]:
    near = {symbol for start in starts for symbol in reached(start, functions)}
    shown = {symbol for symbol in near if kept(functions[symbol])}
    return [
        (f"`{caller}`", f"`{callee}`", f"`{functions[caller].anchor}`")
        for caller, callee in call_edges(functions)
        if caller in near and callee in shown
    ]


def _deltas(functions: Mapping[str, SourceFunction]) -> list[tuple[str, str]]:
    """Return public functions that a room has in one package and not in the other."""
    rooms: dict[str, dict[str, set[str]]] = {}
    for symbol, function in functions.items():
        package, _, rest = symbol.partition(".")
        room, _, name = rest.partition(":")
        if function.public and "." not in name:
            rooms.setdefault(room, {}).setdefault(package, set()).add(name)
    rows = []
    for room, names in sorted(rooms.items()):
        if len(names) < 2:
            continue
        left, right = names["ptycho"], names["ptycho_torch"]
        for package, only in (("ptycho", left - right), ("ptycho_torch", right - left)):
            rows += [(f"`{package}.{room}`", f"`{name}`") for name in sorted(only)]
    return rows


def _effects(functions: Mapping[str, SourceFunction]) -> list[tuple[str, str, str]]:
    return [
        (_EFFECTS[callee], f"`{symbol}`", f"`{function.anchor}`")
        for symbol, function in functions.items()
        for callee in function.callees
        if callee in _EFFECTS
    ]


def _modules() -> list[tuple[str, str]]:
    return [
        (f"`{module}`", " ".join(f"`{name}`" for name in sorted(names)) or "none")
        for module, names in import_edges().items()
    ]


def static_report(question: str, scenarios: Sequence[str], backends: Sequence[str]) -> str:
    """Return the page; nothing is imported or run for it."""
    functions, spec = source_functions(), load_specification()
    entries: list[EntryPoint] = entry_points()
    starts = _starts(scenarios, backends)
    lines = ["# Call chains, from the source text", "", "## Question", "", question, ""]
    lines += ["## Candidate entry points", ""]
    lines += table(
        ("Kind", "Name", "Symbol", "Place"),
        [(e.kind, e.name, f"`{e.function.symbol}`", f"`{e.function.anchor}`") for e in entries],
    )
    lines += ["", f"Here: {', '.join(f'`{start}`' for start in starts)}.", ""]
    lines += ["## Configuration flow", ""]
    lines += [f"Who writes `params.cfg`, and by what; `{_CONFIGURE}` comes first (CONFIG-001).", ""]
    lines += table(("Function", "Place", "By"), _configuring(functions))
    lines += ["", "## Stages", ""]
    lines += table(("Stage", *backends), _stage_rows(spec.of_table("stages"), backends, functions))
    lines += ["", "## Calls", ""]
    lines += table(("Caller", "Callee", "Place"), _edge_rows(starts, functions))
    lines += ["", "## Archive layout", ""]
    lines += table(
        ("Member", "Kind", "Required"),
        [
            (f"`{row.cells['Member']}`", row.cells["Kind"], row.cells["Required"])
            for row in spec.of_table("archive")
        ],
    )
    lines += ["", "## Deltas between the backends", ""]
    lines += ["Public functions that a room has in one package only.", ""]
    lines += table(("Room", "Function"), _deltas(functions))
    lines += ["", "## Side effects", ""]
    lines += table(("What", "Function", "Place"), _effects(functions))
    lines += ["", "## Modules", "", "What each module imports of ours.", ""]
    lines += table(("Module", "Imports"), _modules())
    return "\n".join(lines) + "\n"
