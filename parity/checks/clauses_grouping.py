"""N: groups, their coordinates, labels and scale, against brute force on small scans."""

from __future__ import annotations

import itertools
import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parity.checks.observing import doors, everyone, jittered_positions, messages, tiny_scan
from parity.checks.recorder import PAIR, Recorder
from parity.checks.registry import check
from ptycho.config.config import ModelConfig, TrainingConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.grouping import draw_groups
from ptycho.core.sampling import epoch_order, grouping_generator, split_indices
from ptycho.raw_data import RawData

_LOGGER = "ptycho.core.grouping"

#: Ways of drawing: gridsize, groups asked for (0 = one per position), further arguments.
_WAYS: tuple[tuple[int, int, dict[str, Any]], ...] = (
    (1, 0, {}),
    (2, 0, {}),
    (2, 11, {}),
    (2, 11, {"sequential": True}),
    (2, 70, {"oversample": True, "pool_size": 6}),
    (3, 0, {"neighbor_count": 12}),
)


def _draw(positions: NDArray[np.float64], way: int, seed: int) -> NDArray[np.int64]:
    gridsize, wanted, more = _WAYS[way]
    rng = grouping_generator(seed)
    return draw_groups(positions, gridsize, wanted or len(positions), rng, **more)


def _nearest(positions: NDArray[np.float64], index: int, count: int) -> set[int]:
    """Return the ``count`` nearest neighbours of a position, by comparing all distances."""
    distances = np.hypot(*(positions - positions[index]).T)
    distances[index] = np.inf
    return {int(i) for i in np.argsort(distances)[:count]}


@check("N-1", "Groups: distinct members, a seed and its neighbours", ("backend",), framework=False)
def members(run: Recorder) -> None:
    """Where every position is a seed, group i holds position i; else some member is the seed."""
    positions = jittered_positions(run.seed, 6, 5)
    for way, (gridsize, wanted, more) in enumerate(_WAYS):
        groups, case = _draw(positions, way, run.seed), f"gridsize {gridsize}, {wanted}, {more}"
        expected = (wanted or len(positions), gridsize**2)
        what = f"groups are {groups.dtype} {groups.shape}; expected int64 {expected}"
        everyone(run, groups.shape == expected and groups.dtype == np.int64, what, case)
        distinct = all(len(set(row)) == len(row) for row in groups.tolist())
        everyone(run, distinct, "a group holds a position twice", case)
        if not wanted or more.get("sequential"):
            seeds = all(i in row for i, row in enumerate(groups.tolist()))
            everyone(run, seeds, "a group lacks its seed position", case)
        pool = more.get("pool_size", more.get("neighbor_count", 4))
        near = {i: _nearest(positions, i, pool) | {i} for i in range(len(positions))}
        holds = all(any(set(row) <= near[s] for s in row) for row in groups.tolist())
        everyone(run, holds, f"a group is not a member with {pool} nearest neighbours", case)


@check("N-2", "Members of a group in row-major spatial order", ("backend",), framework=False)
def order(run: Recorder) -> None:
    """On jittered rasters by comparing rows and columns, on an exact one by name."""
    positions = jittered_positions(run.seed, 6, 5)
    for way, (gridsize, wanted, more) in enumerate(_WAYS):
        placed = positions[_draw(positions, way, run.seed)]
        placed = placed.reshape(-1, gridsize, gridsize, 2)
        y, x = placed[..., 1], placed[..., 0]
        rows = bool(np.all(y.max(axis=2)[:, :-1] <= y.min(axis=2)[:, 1:]))
        columns = bool(np.all(x[:, :, :-1] <= x[:, :, 1:]))
        case = f"gridsize {gridsize}, {wanted}, {more}"
        everyone(run, rows, "a row of members reaches below the next row", case)
        everyone(run, columns, "x falls along a row of members", case)
    square = np.array([[5.0, 9.0], [5.0, 2.0], [1.0, 2.0], [1.0, 9.0]])
    found = draw_groups(square, 2, 1, grouping_generator(run.seed), neighbor_count=3)
    what = f"corners of a square are ordered {found.tolist()}; expected [[2, 1, 3, 0]]"
    everyone(run, found.tolist() == [[2, 1, 3, 0]], what, "square")


def _distinct_sets(positions: NDArray[np.float64], pool: int) -> int:
    """Return how many sets of a seed and three of its ``pool`` neighbours there are."""
    found = set()
    for seed in range(len(positions)):
        for others in itertools.combinations(_nearest(positions, seed, pool), 3):
            found.add(frozenset({seed, *others}))
    return len(found)


@check("N-3", "How many groups are drawn, and what is said of it", ("backend",), framework=False)
def counts(run: Recorder) -> None:
    """``nsamples=1`` is one per position, more are totals; requests beyond the scan are capped."""
    scan = tiny_scan(run.seed)
    n = len(scan)
    for gridsize, wanted in itertools.product((1, 2), (1, 2, 7, n)):
        with messages(_LOGGER) as said:
            groups = scan.generate_grouped_data(32, nsamples=wanted, gridsize=gridsize)[
                "nn_indices"
            ]
        expected = n if wanted == 1 else wanted
        case = f"nsamples={wanted}, gridsize {gridsize}, {n} positions"
        everyone(run, len(groups) == expected, f"{len(groups)} groups; expected {expected}", case)
        everyone(run, not said, f"warned without reason: {said}", case)
    for gridsize, oversampled in ((1, False), (2, False), (1, True)):
        with messages(_LOGGER) as said:
            groups = scan.generate_grouped_data(
                32, nsamples=n + 3, gridsize=gridsize, enable_oversampling=oversampled
            )["nn_indices"]
        case = f"{n + 3} of {n}, gridsize {gridsize}, oversampling {oversampled}"
        everyone(run, len(groups) == n, f"{len(groups)} groups; expected {n}", case)
        told = len(said) == 1 and str(n + 3) in said[0] and f"using {n}" in said[0]
        everyone(run, told, f"the warning is {said}; expected both numbers", case)
    small = tiny_scan(run.seed, 3, 2)
    offered = _distinct_sets(small.positions, 4)
    with messages(_LOGGER) as said:
        groups = small.generate_grouped_data(
            32, nsamples=500, gridsize=2, enable_oversampling=True, neighbor_pool_size=4
        )["nn_indices"]
    sets = len({frozenset(row) for row in groups.tolist()})
    what = f"{len(groups)} groups, {sets} distinct; the scan offers {offered}"
    everyone(run, len(groups) == sets == offered, what, "oversampling to the end")
    told = len(said) == 1 and "500" in said[0] and f"using {offered}" in said[0]
    everyone(run, told, f"the warning is {said}", "oversampling to the end")


@check(
    "N-4", "Random draws: seeded, and apart from global generators", ("backend",), framework=False
)
def draws(run: Recorder) -> None:
    """Equal seeds give equal groups whatever the global generators do; 0 is a seed like others."""
    scan = tiny_scan(run.seed)

    def drawn(seed: int | None) -> list[Any]:
        grouped = scan.generate_grouped_data(32, nsamples=9, gridsize=2, K=7, seed=seed)
        found: list[Any] = grouped["nn_indices"].tolist()
        return found

    state: Any = np.random.get_state()  # noqa: NPY002  # the generator that is looked at
    plain = random.getstate()
    first = drawn(5)
    now: Any = np.random.get_state()  # noqa: NPY002
    untouched = np.array_equal(state[1], now[1]) and random.getstate() == plain
    everyone(run, untouched, "grouping moved a global random generator", "global")
    try:
        np.random.seed(99)  # noqa: NPY002
        again = drawn(5)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    everyone(run, again == first, "the same seed gives other groups", "repeated")
    everyone(run, drawn(6) != first, "another seed gives the same groups", "seeds 5 and 6")

    def ordered(seed: int) -> list[Any]:
        return list(epoch_order(40, seed, 0))

    def split(seed: int) -> list[Any]:
        return list(split_indices(40, 0.25, seed)[1])

    makers: tuple[tuple[str, Callable[[int], list[Any]]], ...] = (
        ("groups", drawn), ("epoch order", ordered), ("split", split)
    )  # fmt: skip
    for purpose, made in makers:
        different = all(made(0) != made(other) for other in (1, 42))
        everyone(run, different, f"{purpose} of seed 0 are those of seed 1 or 42", "seed 0")
        everyone(run, made(0) == made(0), f"{purpose} of seed 0 differ", "seed 0")


@check("N-5", "Relative coordinates and centres of groups", ("backend",), framework=False)
def coordinates(run: Recorder) -> None:
    """Four positions by hand, then a scan with plain numbers, one group at a time."""
    corner = np.array([[10.0, 20.0], [12.0, 20.0], [10.0, 24.0], [12.0, 24.0]])
    quiet = np.ones((4, 8, 8), np.float32)
    by_hand = PtychoDataContainer(quiet, np.array([[0, 1, 2, 3]]), corner, None, 1.0)
    local = by_hand.local_offsets.tolist()
    wanted = [[[[1.0, -1.0, 1.0, -1.0], [2.0, 2.0, -2.0, -2.0]]]]
    everyone(run, local == wanted, f"relative coordinates {local}; expected {wanted}", "by hand")
    centre = by_hand.global_offsets.tolist()
    everyone(
        run, centre == [[[[11.0], [22.0]]]], f"centre {centre}; expected x 11, y 22", "by hand"
    )
    scan = tiny_scan(run.seed)
    grouped = scan.generate_grouped_data(32, nsamples=8, gridsize=2, seed=run.seed)
    container = PtychoDataContainer(
        scan.amplitude(), grouped["nn_indices"], scan.positions, None, 1.0
    )
    for place, local_offsets, centres in (
        ("container", container.local_offsets, container.global_offsets),
        ("grouped data", grouped["coords_relative"], grouped["coords_offsets"]),
    ):
        shapes = (local_offsets.shape, centres.shape)
        what = f"shapes {shapes}; expected (8, 1, 2, 4) and (8, 1, 2, 1)"
        everyone(run, shapes == ((8, 1, 2, 4), (8, 1, 2, 1)), what, place)
        worst = 0.0
        for b, row in enumerate(grouped["nn_indices"].tolist()):
            for axis, values in enumerate((scan.xcoords, scan.ycoords)):
                mean = sum(float(values[j]) for j in row) / len(row)
                worst = max(worst, abs(centres[b, 0, axis, 0] - mean))
                for c, j in enumerate(row):
                    worst = max(
                        worst, abs(local_offsets[b, 0, axis, c] - (mean - float(values[j])))
                    )
        everyone(run, worst < 1e-9, f"coordinates are off by up to {worst} pixels", place)


@check("N-6", "Labels are cut at each member's own position", ("backend",), framework=False)
def labels(run: Recorder) -> None:
    """An object that says column + i row: bilinear cuts of it are exact at any position."""
    row, column = np.mgrid[:100, :90].astype(np.float64)
    scan = tiny_scan(run.seed, objectGuess=column + 1j * row)
    container = PtychoDataContainer.from_raw(scan, N=32, gridsize=2, n_groups=6, seed=run.seed)
    found = container.Y
    if found is None:
        everyone(run, False, "the container has no labels in spite of objectGuess")
        return
    i, j = np.mgrid[:32, :32] - 16
    worst = 0.0
    for b, group in enumerate(container.groups.tolist()):
        for c, member in enumerate(group):
            truth = scan.xcoords[member] + j + 1j * (scan.ycoords[member] + i)
            worst = max(worst, float(np.abs(found[b, :, :, c] - truth).max()))
    everyone(run, worst < 1e-4, f"labels are off by up to {worst}", "objectGuess")
    given = np.arange(len(scan))[:, None, None] * np.ones((1, 32, 32)) * (1 + 2j)
    stored = tiny_scan(run.seed, Y=given)
    patches = PtychoDataContainer.from_raw(stored, N=32, gridsize=2, n_groups=6, seed=run.seed).Y
    numbers = np.zeros(0) if patches is None else patches[:, 5, 7].real
    everyone(run, np.array_equal(numbers, container.groups), f"Y is gathered as {numbers}", "Y")


@check("N-7", "Normalisation comes from the whole scan", ("backend",), framework=False)
def normalisation(run: Recorder) -> None:
    """Mean energy (N/2)^2 over the scan, whichever groups are drawn."""
    for N in (32, 64):
        rng = np.random.default_rng(run.seed)
        patterns = rng.random((12, N, N)) * rng.uniform(0.1, 30, (12, 1, 1))
        scan = tiny_scan(run.seed, 4, 3, N, patterns.astype(np.float32))
        energies = [float((pattern.astype(np.float64) ** 2).sum()) for pattern in scan.amplitude()]
        for wanted, gridsize in ((12, 1), (3, 1), (4, 2)):
            container = PtychoDataContainer.from_raw(
                scan, N=N, gridsize=gridsize, n_groups=wanted, seed=run.seed
            )
            mean = container.normalisation**2 * sum(energies) / 12
            case = f"N={N}, {wanted} groups, gridsize {gridsize}"
            what = f"the mean energy is {mean}; expected {(N // 2) ** 2}"
            everyone(run, abs(mean / (N // 2) ** 2 - 1) < 1e-6, what, case)
            x = container.batch_X([0])[0, :, :, 0]
            ratio = x.sum() / scan.amplitude()[container.groups[0, 0]].sum()
            same = abs(ratio / container.normalisation - 1) < 1e-5
            everyone(run, same, f"X is amplitude times {ratio}, not the factor", case)


@check(
    "N-8", "Groups are indices; no pattern is copied to draw them", ("backend",), framework=False
)
def laziness(run: Recorder) -> None:
    """Peak memory of drawing 300 groups of 4 stays far below one copy of the patterns."""
    scan = tiny_scan(run.seed, 10, 8, 64)
    scan.generate_grouped_data(64, nsamples=2, gridsize=2)  # SciPy is imported by now
    size = scan.amplitude().nbytes
    for subject in run.backends:
        config = TrainingConfig(
            model=ModelConfig(N=64, gridsize=2), n_groups=300, enable_oversampling=True
        )
        config.neighbor_pool_size = 7
        door = doors(subject)
        tracemalloc.start()
        try:
            grouped = scan.generate_grouped_data(
                64, nsamples=300, gridsize=2, enable_oversampling=True, neighbor_pool_size=7
            )
            container = door.create_ptycho_data_container(scan, config)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        what = f"{peak} bytes were needed; one copy of the patterns is {size}"
        run.require(subject, peak < size / 2, what, "memory")
        shared = np.shares_memory(container.amplitude, scan.diff3d)
        run.require(subject, shared, "the container holds a copy of the patterns", "memory")
        for place, groups in (("data", grouped["nn_indices"]), ("container", container.groups)):
            holds = groups.shape == (300, 4) and groups.dtype == np.int64
            run.require(subject, holds, f"groups are {groups.dtype} {groups.shape}", place)
        batch = container.batch_X([3, 1])
        wanted = scan.amplitude()[container.groups[[3, 1]]] * np.float32(container.normalisation)
        same = np.array_equal(batch, wanted.transpose(0, 2, 3, 1))
        run.require(subject, same, "a batch is not made of its groups' patterns", "batch")


@check("N-9", "Both backends' doors make equal containers", framework=False)
def equal_containers(run: Recorder) -> None:
    """Bit by bit: groups, factor, input, coordinates, labels."""
    scan: RawData = tiny_scan(run.seed, objectGuess=np.ones((90, 90), complex))
    names = ("groups", "X", "local_offsets", "global_offsets", "Y", "probe")
    for gridsize, seed in ((1, 0), (2, 7)):
        config = TrainingConfig(model=ModelConfig(N=32, gridsize=gridsize), n_groups=9, seed=seed)
        made = {s: doors(s).create_ptycho_data_container(scan, config) for s in run.backends}
        for subject, container in made.items():
            run.require(subject, len(container) == 9, f"{len(container)} groups; expected 9")
        for left, right in itertools.combinations(made.values(), 2):
            unequal = [n for n in names if not np.array_equal(getattr(left, n), getattr(right, n))]
            unequal += ["normalisation"] if left.normalisation != right.normalisation else []
            run.require(PAIR, not unequal, f"{unequal} differ", f"gridsize {gridsize}")
