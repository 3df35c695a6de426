"""Checks generated from the tables of measures: units, and ranges on scans and reconstructions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from parity.checks.observing import everyone, jittered_positions
from parity.checks.recorder import Recorder
from parity.checks.samples import generator, probe_modes
from parity.facts.live import resolve
from parity.spec.records import Row
from parity.spec.values import parse_allowed
from ptycho.core.grouping import draw_groups
from ptycho.core.metrics import evaluate
from ptycho.core.overlap import measure_overlap

Measured = Sequence[Mapping[str, float]]


def _overlaps(seed: int) -> Measured:
    """Measure dense, sparse and repeated scans, with groups and without, and a lone position."""
    probe, rng = probe_modes(32, 2), generator(seed, "overlaps")
    dense = jittered_positions(seed, 9, 8)
    scans = (dense, 8 * dense, np.vstack([dense, dense[:5]]), dense[:1], dense[:2])
    found = [measure_overlap(positions, probe) for positions in scans]
    for gridsize in (1, 2, 3):
        groups = draw_groups(dense, gridsize, 20, rng, neighbor_count=9)
        found.append(measure_overlap(dense, probe, groups))
    return found


def _scores(seed: int) -> Measured:
    """Score the truth itself, disturbed and worthless images, and a flat truth."""
    rng = generator(seed, "scores")
    y, x = np.mgrid[:60, :64]
    wave = np.sin(x / 3) * np.cos(y / 4)
    truth = (1 - 0.2 * wave) * np.exp(0.7j * wave)
    noise = rng.standard_normal(truth.shape) + 1j * rng.standard_normal(truth.shape)
    images = (truth, truth + 0.1 * noise, 3j * noise, np.conj(truth), np.ones_like(truth))
    found = [evaluate(image, truth, (32, 30)).scores for image in images]
    return [*found, evaluate(truth, np.ones_like(truth), (32, 30)).scores]


#: What is measured to try the rows of a table, by its target.
_SAMPLES = {"ptycho.core.overlap:UNITS": _overlaps, "ptycho.core.metrics:UNITS": _scores}


def check_measure(row: Row, run: Recorder) -> None:
    """Judge one row: the unit, and the range on samples, undefined only where the text allows."""
    name, unit = row.cells["Measure"], row.cells["Unit"]
    found = resolve(row.target).get(name)
    everyone(run, found == unit, f"{name} has the unit {found}; the text says {unit}", "unit")
    allowed = parse_allowed(row.cells["Range"])
    samples: Measured = run.once(row.target, lambda: _SAMPLES[row.target](run.seed))
    values = [measures[name] for measures in samples if name in measures]
    finite = [value for value in values if math.isfinite(value)]
    everyone(run, len(values) == len(samples) and bool(finite), f"{name}: {values}", "measured")
    for value in values:
        given = value if math.isfinite(value) else None
        what = f"{name} is {value}; the text allows {row.cells['Range']}"
        everyone(run, allowed.accepts(given), what, "range")


def check_unspecified_measures(tables: Mapping[str, set[str]], run: Recorder) -> None:
    """Judge the reverse: measures that no row describes."""
    for target, described in tables.items():
        for name in resolve(target):
            what = f"{target}: {name} has no row in the specification"
            everyone(run, name in described, what, target)
