"""The pages that are written from traces: summary, taps, chains as text, stages as a picture."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.callchain.chain import CanonicalCall
from parity.callchain.jobs import DESCRIPTIONS
from parity.callchain.scenario import PACKAGES, stage_symbols
from parity.callchain.stages import first_entries_of, misplaced, read_stages, stage_events
from parity.callchain.static_report import table
from parity.callchain.symbols import source_functions
from parity.callchain.taps import TAPS, in_common, owner_of
from parity.callchain.traces import Trace
from parity.compare import compare
from parity.ledger import load_tolerances
from parity.spec.parse import load_specification
from parity.spec.records import Row

__all__ = ["chains_as_text", "out_of_line", "stage_diagram", "summary", "tap_points"]

DIFFERS = "DIFFERS"

Traces = Mapping[str, Mapping[str, Trace]]


def _stages(trace: Trace) -> list[str]:
    rows = load_specification().of_table("stages")
    symbols = stage_symbols(rows, PACKAGES[trace.backend])
    return stage_events(trace.events, {symbol: stage for stage, symbol in symbols.items()})


def _counted(stages: Sequence[str]) -> str:
    counts = Counter(stages)
    shown = (f"{s} x{counts[s]}" if counts[s] > 1 else s for s in first_entries_of(stages))
    return " > ".join(shown)


def stage_diagram(traces: Traces, scenarios: Iterable[str]) -> list[str]:
    """Return a mermaid diagram: stages in order, a lane for each scenario.

    Backends share a lane while they pass the stages in one order; without a trace there is none.
    """
    if not traces:
        return ["Nothing was traced."]
    lines = ["```mermaid", "flowchart LR"]
    for scenario in scenarios:
        orders: dict[tuple[str, ...], list[str]] = {}
        for backend, found in traces.items():
            order = tuple(first_entries_of(_stages(found[scenario])))
            orders.setdefault(order, []).append(backend)
        for order, backends in orders.items():
            lane = "_".join([scenario, *backends]).replace("-", "_")
            nodes = [f"{lane}_{stage}[{stage}]" for stage in order]
            lines += [f'  subgraph {lane}["{scenario}: {", ".join(backends)}"]', "    direction LR"]
            lines += [f"    {' --> '.join(nodes)}", "  end"]
    return [*lines, "```"]


def summary(
    initiative: str, traces: Traces, scenarios: Sequence[str], skipped: Mapping[str, str]
) -> str:
    """Return ``callchain/summary.md``, one page."""
    expected = {r.cells["Scenario"]: r for r in load_specification().of_table("chains")}
    lines = [f"# Call chains of {initiative}", ""]
    lines += [f"- {backend}: {why}" for backend, why in skipped.items() if why]
    rows = []
    for scenario in scenarios:
        orders = []
        for backend, found in traces.items():
            stages = _stages(found[scenario])
            orders.append(first_entries_of(stages))
            wrong = misplaced(stages, read_stages(expected[scenario].cells["Stages"]))
            verdict = "; ".join(wrong) or "as specified"
            rows.append((f"`{scenario}`", backend, _counted(stages), verdict))
        if len(orders) > 1:
            same = all(order == orders[0] for order in orders)
            verdict = "one order" if same else "orders differ"
            rows.append((f"`{scenario}`", "both", "", verdict))
    lines += ["", "## Stages", ""]
    lines += table(("Scenario", "Backend", "Stages by first entry", "Verdict"), rows)
    lines += ["", "## What was done", ""]
    lines += [f"- `{scenario}`: {DESCRIPTIONS[scenario]}" for scenario in scenarios]
    lines += ["", "## Diagram", "", *stage_diagram(traces, scenarios)]
    return "\n".join(lines) + "\n"


def out_of_line(traces: Traces, scenarios: Sequence[str]) -> list[str]:
    """Return what is not as specified: stages, their order in the backends, taps."""
    expected = {r.cells["Scenario"]: r for r in load_specification().of_table("chains")}
    found = []
    for scenario in scenarios:
        stages = {b: _stages(each[scenario]) for b, each in traces.items()}
        for backend, entered in stages.items():
            wrong = misplaced(entered, read_stages(expected[scenario].cells["Stages"]))
            found += [f"{scenario}, {backend}: {what}" for what in wrong]
        if len({tuple(first_entries_of(entered)) for entered in stages.values()}) > 1:
            found.append(f"{scenario}: the backends' orders differ")
    for row in load_specification().of_table("taps"):
        name, scenario = row.cells["Tap"], row.cells["Scenario"]
        if scenario in scenarios:
            values = _values(traces, name, scenario)
            missing = sorted(set(traces) - set(values))
            found += [f"tap {name} was not taken in {', '.join(missing)}"] if missing else []
            if _difference(name, row.cells["Tolerance"], values) == DIFFERS:
                found.append(f"tap {name} differs between the backends")
    return found


def _values(traces: Traces, name: str, scenario: str) -> dict[str, Any]:
    taps = {backend: each[scenario].taps for backend, each in traces.items()}
    return {backend: found[name] for backend, found in taps.items() if name in found}


def _difference(name: str, tolerance: str, values: Mapping[str, Any]) -> str:
    if len(values) < 2:
        return "not compared"
    left, right = itertools.islice(values.values(), 2)
    if tolerance in ("equal", "shared"):
        same = in_common(left) == in_common(right) if tolerance == "shared" else None
        return "equal" if (np.array_equal(left, right) if same is None else same) else DIFFERS
    limit = load_tolerances()[tolerance]
    within = compare(left, right, name).within(limit.value)
    return f"within {limit.value:.1e}" if within else DIFFERS


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    return f"{len(value)} entries"


def _place(row: Row, backend: str) -> str:
    symbol = owner_of(row, backend)
    function = source_functions().get(symbol)
    name = symbol.partition(":")[2]
    return f"`{function.path}:{name}`" if function else f"{symbol}, not found"


def tap_points(traces: Traces, scenarios: Sequence[str]) -> str:
    """Return ``trace/tap_points.md``: each tap, and how near each other the backends are."""
    rows = []
    for row in load_specification().of_table("taps"):
        name, scenario, tolerance = (row.cells[c] for c in ("Tap", "Scenario", "Tolerance"))
        if scenario not in scenarios:
            continue
        values = _values(traces, name, scenario)
        owners = dict.fromkeys(_place(row, backend) for backend in traces or PACKAGES)
        rows.append(
            (
                name,
                " and ".join(owners),
                row.cells["Unit"],
                row.cells["Shape"],
                _shown(next(iter(values.values()))) if values else "not taken",
                TAPS[name].purpose,
                f"`parity check --id '{row.id}'` ({tolerance})",
                _difference(name, tolerance, values),
            )
        )
    columns = ("Tap", "Owner", "Unit", "Shape", "Here", "Purpose", "Validated by", "Backends")
    lines = ["# Tap points", "", "Named values at stages, the first of a scenario.", ""]
    return "\n".join([*lines, *table(columns, rows)]) + "\n"


def _text(calls: Sequence[CanonicalCall], depth: int) -> list[str]:
    lines = []
    for call in calls:
        times = call.get("times") or call.get("repeat")
        name = call.get("call", "block")
        lines.append(f"{'  ' * depth}{name}{f' x{times}' if times else ''}")
        lines += _text(call.get("calls", ()), depth + 1)
    return lines


def chains_as_text(traces: Traces, scenarios: Sequence[str], skipped: Mapping[str, str]) -> str:
    """Return ``dynamic.txt``: every chain as an indented tree, or why there is none."""
    lines = [f"{backend}: not traced: {why}" for backend, why in skipped.items() if why]
    for backend, found in traces.items():
        for scenario in scenarios:
            lines += ["", f"== {scenario}, {backend}", *_text(found[scenario].chain, 1)]
    return "\n".join(lines).lstrip("\n") + "\n"
