"""What the suite writes: a table, plots, whether cost per item stays flat, and the backends' ratio.

Flat means: an item of the largest size costs at most 1.3 times one of the smallest, or 1.3 times
as much more as the floor's own item does; a k-d tree has more levels for more positions. The
backends take at most 1.3 times as long as each other for a step and for a prediction.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.rows import Row, missed

FLAT = 1.3
APART = 1.3
#: Below this many items fixed costs count, so a series is judged from here on.
_FLAT_FROM = 1_000

Results = dict[str, dict[str, Any]]


def flatness(rows: Sequence[Row], results: Results) -> dict[str, tuple[float, float]]:
    """Return by series the cost of an item at the largest size over that at the smallest.

    Of the step, and of its floor.
    """
    found = {}
    for group, series in dict.fromkeys((row.group, row.series) for row in rows if row.series):
        members = sorted(
            (row for row in rows if (row.group, row.series) == (group, series)),
            key=lambda row: row.count,
        )
        members = [row for row in members if "seconds" in results[row.key]]
        if len(members) > 1 and members[0].count >= _FLAT_FROM:
            found[f"{group}, {series}"] = tuple(
                results[members[-1].key][what]
                / members[-1].count
                / (results[members[0].key][what] / members[0].count)
                for what in ("seconds", "floor_seconds")
            )
    return found


def apart(rows: Sequence[Row], results: Results) -> dict[str, float]:
    """Return by step or prediction how much longer the slower backend takes."""
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if row.key.startswith(("train: step", "predict: batch")) and "seconds" in results[row.key]:
            name, _, case = row.key.split(", ", 2)
            seconds.setdefault(f"{name}, {case}", []).append(results[row.key]["seconds"])
    return {name: max(both) / min(both) for name, both in seconds.items() if len(both) == 2}


def table(rows: Sequence[Row], results: dict[str, Any]) -> tuple[str, int, int]:
    """Return the Markdown table, how many targets are missed and how many rows failed."""
    lines = [
        _machine(results), "",
        "| step | seconds | floor | floor, s | ratio | target | peak, MiB (before) | |",
        "|---|---|---|---|---|---|---|---|",
    ]  # fmt: skip
    misses = failures = 0
    for row in rows:
        result = results["rows"][row.key]
        if "failed" in result:
            failures += 1
            lines.append(f"| {row.key} | failed: {result['failed'][0]} | | | | | | |")
            continue
        short = missed(row, result)
        misses += bool(short)
        verdict = "MISSED" if short else "met" if _target(row) else ""
        extra = f", {result['megabytes']:.1f} MB" if "megabytes" in result else ""
        ratio = f"{result['ratio']:.2f}"
        if "ratio_carried_out" in result:
            ratio += f" ({result['ratio_carried_out']:.2f} as carried out)"
        held = ""
        if "peak_mib" in result:
            held = f"{result['peak_mib']:.0f} ({result['ready_mib']:.0f})"
        lines.append(
            f"| {row.key}{extra} | {_time(result['seconds'])} | {row.floor} | "
            f"{_time(result['floor_seconds'])} | {ratio} | {_target(row)} | {held} | {verdict} |"
        )
    for name, (step, floor) in results["flat"].items():
        limit = FLAT * max(1.0, floor)
        misses += step > limit
        verdict = "MISSED" if step > limit else "met"
        lines.append(
            f"| cost per item, {name}: largest over smallest | {step:.2f} | the floor's | "
            f"{floor:.2f} | | <= {limit:.2f} | | {verdict} |"
        )
    for name, ratio in results["apart"].items():
        misses += ratio > APART
        verdict = "MISSED" if ratio > APART else "met"
        limit = f"<= {APART:g} x"
        lines.append(f"| both: {name} | | the faster | | {ratio:.2f} | {limit} | | {verdict} |")
    return "\n".join(lines) + "\n", misses, failures


def _machine(results: dict[str, Any]) -> str:
    machine = results["machine"]
    packages = ", ".join(f"{k} {v}" for k, v in machine["packages"].items() if v)
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB; "
        f"{results['threads']} threads a row, {results['clock']} seconds; load "
        f"{machine['load_average']} at the start; "
        f"Python {machine['python']}, {packages}."
    )


def _target(row: Row) -> str:
    parts = []
    if row.seconds is not None:
        parts.append(f"<= {row.seconds:g} s")
    if row.ratio is not None:
        parts.append(f"<= {row.ratio:g} x")
    if row.above is not None:
        parts.append(f"<= floor + {row.above:g} s")
    parts += [f"{name} <= {limit:g}" for name, limit in row.limits.items()]
    return ", ".join(parts)


def _time(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds >= 1 else f"{seconds:.4f}"


def draw(rows: Sequence[Row], results: dict[str, Any], folder: Path) -> None:
    """Plot each step's ratio to its floor, and cost per item over size."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ran = [row for row in rows if "seconds" in results["rows"][row.key]]
    if not ran:
        return
    figure, axis = plt.subplots(figsize=(9, 1 + 0.24 * len(ran)), layout="constrained")
    for place, row in enumerate(reversed(ran)):
        result = results["rows"][row.key]
        colour = "tab:red" if missed(row, result) else "tab:blue" if _target(row) else "0.6"
        axis.barh(place, result["ratio"], color=colour)
        axis.text(result["ratio"], place, f" {_time(result['seconds'])} s", va="center", fontsize=7)
    axis.set_yticks(range(len(ran)), [row.key for row in reversed(ran)], fontsize=7)
    axis.axvline(1, color="k", lw=0.8)
    axis.set(
        xscale="log", xlabel="times its floor (blue: target met, red: missed, grey: no target)"
    )
    axis.margins(y=0.01)
    figure.savefig(folder / "ratios.png", dpi=120)
    plt.close(figure)
    series = dict.fromkeys((row.group, row.series) for row in ran if row.series)
    if not series:
        return
    figure, axis = plt.subplots(figsize=(6, 4), layout="constrained")
    for group, name in series:
        members = [row for row in ran if (row.group, row.series) == (group, name)]
        costs = [1e6 * results["rows"][row.key]["seconds"] / row.count for row in members]
        axis.plot([row.count for row in members], costs, "o-", label=f"{group}, {name}")
    axis.set(
        xscale="log", yscale="log", xlabel="patterns, positions or patches", ylabel="µs per item"
    )
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8)
    figure.savefig(folder / "cost_per_item.png", dpi=120)
    plt.close(figure)
