"""T-5: each backend beside itself, run after run and under another number of threads.

No comparison of two backends says anything below what one of them differs from itself. This
process is one side; the other is a process for each backend with two threads to an operation (one,
where this one has several), since that number is fixed when a framework starts.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from parity import own_noise, process
from parity.backends import CONTRACTED
from parity.backends.protocol import Arrays
from parity.checks import child
from parity.checks.gradients import along, elementwise, layers_of
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import generator
from parity.checks.training import twenty_steps
from parity.compare import Comparison, Figure, compare, compare_named, median
from parity.own_noise import Values

_TIMEOUT_SECONDS = 300
_GRADIENTS = "gradients of "


@dataclass
class _Others:
    """The processes with another number of threads, and the folder in which they write."""

    threads: int
    folder: tempfile.TemporaryDirectory[str]
    started: dict[str, subprocess.Popen[str]]

    def path(self, name: str) -> Path:
        return Path(self.folder.name) / f"{name}.npz"

    def ended(self, name: str) -> tuple[Values, dict[str, str]]:
        """Return what the process of a backend computed, and what its framework says it used."""
        outcome: dict[str, Any] = child.finish(self.started[name], _TIMEOUT_SECONDS)
        return own_noise.read(self.path(name), outcome["names"]), outcome["in_use"]

    def end(self) -> None:
        """End what nobody waits for any more, and remove the files."""
        for started in self.started.values():
            if started.poll() is None:
                started.kill()
                started.communicate()
        self.folder.cleanup()


def _start(seed: int) -> _Others:
    threads = 2 if os.environ.get("OMP_NUM_THREADS", "1") == "1" else 1
    others = _Others(threads, tempfile.TemporaryDirectory(), {})
    for name in sorted(CONTRACTED):
        arguments = ("-m", "parity.own_noise", name, str(seed), str(others.path(name)))
        others.started[name] = child.start(*arguments, settings=process.with_threads(threads))
    return others


@check(
    "T-5",
    "Each backend agrees with itself: run after run bit by bit, with other threads within all "
    "tolerances",
    ("backend",),
    prepare=_start,
)
def noise_floor(run: Recorder) -> None:
    """Forward passes, gradients, losses, optimiser and twenty steps; trainings repeat in T-1."""
    if not CONTRACTED & set(run.backends):
        return
    others = run.prepared(_start)
    try:
        points = own_noise.gradient_points(run.seed)
        here = run.collect(lambda b: own_noise.evaluations(b, run.seed, points))
        again = run.collect(lambda b: own_noise.evaluations(b, run.seed, points))
        moved = run.collect(lambda b: own_noise.steps(b, run.seed))
        twenty = run.collect(lambda b: own_noise.trained(twenty_steps(run, b)))
        there = run.collect(lambda b: others.ended(b.name))
    finally:
        others.end()
    for subject in here.keys() & again.keys():
        for key, values in here[subject].items():
            same = compare_named(values, again[subject][key])
            run.judge_equal(subject, same, f"run after run, {key}")
    case = f"{others.threads} threads in the other process"
    for subject in here.keys() & moved.keys() & twenty.keys() & there.keys():
        other, in_use = there[subject]
        used = in_use.get("torch threads", str(others.threads))
        run.require(subject, used == str(others.threads), f"used {used} threads", case)
        mine = {**here[subject], **moved[subject], **twenty[subject]}
        run.judge_equal(subject, compare_named(mine.pop("inputs"), other.pop("inputs")), case)
        for tolerance, comparisons, figure in _differences(mine, other, run.seed):
            run.judge(subject, comparisons, tolerance, case, figure, noise=True)


def _differences(
    mine: Values, other: Values, seed: int
) -> Iterator[tuple[str, list[Comparison], Figure]]:
    """Yield tolerance, comparisons, and the figure in which the checks use it."""
    for key in sorted(mine.keys() | other.keys()):
        one, two = mine.get(key, {}), other.get(key, {})
        if key.startswith(_GRADIENTS):
            yield "gradient.pair", elementwise(one, two), "scale_relative"
            derivatives = _derivatives(one, two, generator(seed, key))
            dark = key == f"{_GRADIENTS}dark"
            yield (
                ("gradient.dark" if dark else "gradient.differences"),
                derivatives,
                "scale_relative",
            )
            if not dark:
                yield "gradient.median", [median(derivatives)], "scale_relative"
        elif key in ("training.update", "training.weights"):
            found = compare_named(one, two)
            yield key, found, "rms"
            if key == "training.update":
                yield "training.update_median", [median(found, "rms")], "rms"
        else:
            yield key, compare_named(one, two), "scale_relative"


def _derivatives(one: Arrays, two: Arrays, rng: np.random.Generator) -> list[Comparison]:
    """Compare derivatives along one direction for each layer."""
    found = []
    for layer, names in layers_of(one).items():
        direction = {name: along([one[name]], rng) for name in names}
        left, right = (sum(float(np.sum(direction[n] * g[n])) for n in names) for g in (one, two))
        found.append(compare(left, right, f"d loss / d {layer}"))
    return found
