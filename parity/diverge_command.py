"""``parity diverge``: which stage of a scenario is the first at which a backend is off."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parity import process

if TYPE_CHECKING:
    from parity.diverge.walk import Divergence, StageResult

__all__ = ["add_diverge", "diverge_command", "report_json", "report_lines"]

#: Of the file; the number grows when its readers have to change.
SCHEMA_ID = "ptychopinn-parity-diverge-1"

BACKENDS = ("tensorflow", "pytorch")
#: Scenarios that have taps; of the last two the values are no arrays.
SCENARIOS = ("train", "infer", "stitch", "save", "load")

_HEADINGS = {
    "shared": "Shared inputs: each stage is given the same values of those before it",
    "free": "Free-running: what each program had at its taps",
}
_MEANING = {
    "shared": "given the same inputs, so the fault lies in this stage",
    "free": "running free only: the fault lies between this tap and the one before it, in what is "
    "not a stage of its own, or differences have added up",
}


def add_diverge(commands: Any) -> None:
    """Add ``diverge`` to the subparsers of ``parity``."""
    parser = commands.add_parser(
        "diverge",
        help="name the first stage at which the backends part, and which one is off",
        description="Walk the taps of a scenario in order, first with shared inputs, then as the "
        "programs run, and name the first stage that is off, in which backend, by how much.",
        epilog="Exit codes: 0 nothing is off, 1 a stage is, 2 the walk itself failed.",
    )
    parser.add_argument("scenario", metavar="SCENARIO", help=f"one of {', '.join(SCENARIOS)}")
    parser.add_argument(
        "--shared-only", action="store_true", help="leave out the programs' own runs"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write stages, settings and seed as JSON"
    )


def _distance(result: StageResult) -> str:
    worst = result.worst
    if worst is None:
        return "alike" if not result.differences else f"{len(result.differences)} differences"
    parts = [
        f"{left}/{right} {'?' if c.problem else format(c.scale_relative, '.1e')}"
        for (left, right), c in result.distances.items()
    ]
    return "  ".join(parts)


def _walk_lines(walk: Divergence) -> list[str]:
    lines = [_HEADINGS[walk.mode]]
    for result in walk.results:
        if walk.mode == "shared" and not result.distances:
            continue
        mark = f"OFF: {' and '.join(result.culprits)}" if result.culprits else "ok"
        bound = "equal" if result.stage.limit is None else f"{result.stage.limit:.1e}"
        lines.append(f"  {result.stage.name:<28}{mark:<24}{_distance(result)}  (limit {bound})")
    return lines


def _close(walks: list[Divergence]) -> str:
    all_of = [
        (c.scale_relative / result.stage.limit, c, result)
        for walk in walks
        for result in walk.results
        for c in result.distances.values()
        if result.stage.limit
    ]
    if not all_of:
        return "nothing differs"
    share, worst, result = max(all_of, key=lambda item: item[0])
    return (
        f"nothing differs; nearest to its limit is {result.stage.name}: "
        f"{worst.scale_relative:.1e} of scale, {100 * share:.0f} % of {result.stage.tolerance}"
    )


def report_lines(scenario: str, walks: list[Divergence]) -> list[str]:
    """Return the report: every stage, then the first that is off, or how close all are."""
    from parity.diverge.walk import first_divergence

    lines = [line for walk in walks for line in [*_walk_lines(walk), ""]]
    found = first_divergence(walks)
    if found is None:
        return [*lines, f"{scenario}: {_close(walks)}"]
    walk, result = found
    lines.append(
        f"{scenario}: the first divergence is at {result.stage.name!r}, in "
        f"{' and '.join(result.culprits)} ({_MEANING[walk.mode]})"
    )
    if result.worst is not None:
        lines.append(f"  {result.worst.describe()}")
    lines += [f"  {name:<12}{statistics}" for name, statistics in result.statistics.items()]
    return [*lines, *(f"  {line}" for line in result.differences[:10])]


def _plain_stage(result: StageResult) -> dict[str, Any]:
    distances = [
        {
            "between": list(pair),
            "scale_relative": None if c.problem else c.scale_relative,
            "problem": c.problem,
            "what": c.describe(),
        }
        for pair, c in result.distances.items()
    ]
    return {
        "stage": result.stage.name,
        "axes": list(result.stage.dims),
        "limit": result.stage.limit,
        "tolerance": result.stage.tolerance,
        "off": list(result.culprits),
        "distances": distances,
        "statistics": {name: str(found) for name, found in result.statistics.items()},
        "differences": result.differences,
    }


def report_json(scenario: str, walks: list[Divergence], seed: int) -> dict[str, Any]:
    """Return every stage of the walks as plain values; ``first`` is null where nothing is off."""
    from parity.diverge.walk import first_divergence

    found = first_divergence(walks)
    return {
        "schema": SCHEMA_ID,
        "scenario": scenario,
        "seed": seed,
        "settings": process.in_force(),
        "first": found and {"walk": found[0].mode, **_plain_stage(found[1])},
        "walks": [
            {"mode": walk.mode, "stages": [_plain_stage(result) for result in walk.results]}
            for walk in walks
        ],
    }


def diverge_command(arguments: argparse.Namespace) -> int:
    """Walk, print; 1 where a stage is off."""
    from parity.callchain.traces import missing_framework
    from parity.diverge.judges import REFERENCE
    from parity.diverge.scenarios import Setting, free_walk, shared_stages
    from parity.diverge.walk import first_divergence, walk_shared
    from parity.ledger import load_tolerances
    from parity.report_file import write_report

    scenario = arguments.scenario
    if scenario not in SCENARIOS:
        raise ValueError(f"no scenario {scenario!r} has taps; there are {', '.join(SCENARIOS)}")
    absent = [why for why in map(missing_framework, BACKENDS) if why]
    if absent:
        raise RuntimeError(f"both backends are needed: {'; '.join(absent)}")
    tolerances, setting = load_tolerances(), Setting(BACKENDS)
    stages = shared_stages(scenario, setting, tolerances)
    walks = []
    if stages:
        walks.append(walk_shared(stages, (REFERENCE, *BACKENDS)))
    if not arguments.shared_only:
        walks.append(free_walk(scenario, setting, stages, tolerances))
    lines = [*report_lines(scenario, walks), process.in_force_line()]
    sys.stdout.write("\n".join(lines) + "\n")
    if arguments.json is not None:
        write_report(report_json(scenario, walks, setting.config.seed), arguments.json)
    return 0 if first_divergence(walks) is None else 1
