"""N: which positions are kept and which groups are drawn, option by option, at every door."""

from __future__ import annotations

import io
import itertools
import tempfile
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from parity.checks.observing import doors, messages, params_kept, tiny_scan
from parity.checks.recorder import Recorder
from parity.checks.registry import check
from parity.checks.samples import small_model
from ptycho.cli import train
from ptycho.config.config import TrainingConfig

Positions = NDArray[np.float64]


def _reach(positions: Positions, seed: int, count: int) -> set[int]:
    """Return a position and its ``count`` nearest neighbours, by comparing all distances."""
    order = np.argsort(np.hypot(*(positions - positions[seed]).T))
    return {int(i) for i in order[: count + 1]}


def _sets(groups: Any) -> list[frozenset[int]]:
    return [frozenset(map(int, row)) for row in groups]


def _drawn(subject: str, positions_seed: int, **fields: Any) -> tuple[Any, Positions, list[str]]:
    """Return the groups of a scan of 30 positions, the positions, and what was warned of."""
    scan = tiny_scan(positions_seed)
    config = TrainingConfig(model=small_model(gridsize=2), **fields)
    with messages("ptycho.core.grouping") as said:
        container = doors(subject).create_ptycho_data_container(scan, config)
    return container.groups, scan.positions, list(said)


@check(
    "N-11", "Groups beyond one per position: opt-in, distinct, of the whole scan", ("backend",),
    framework=False,
)  # fmt: skip
def oversampling(run: Recorder) -> None:
    """Who may be in a group is counted out; the first and the last positions seed alike."""
    pool = {"neighbor_count": 3, "neighbor_pool_size": 6}
    for subject in run.backends:
        groups, positions, said = _drawn(
            subject, run.seed, n_groups=150, enable_oversampling=True, **pool
        )
        n, sets = len(positions), _sets(groups)
        run.require(subject, len(sets) == 150 and not said, f"{len(sets)} groups of 150; {said}")
        run.require(subject, len(set(sets)) == len(sets), "a group was drawn twice")
        missing = set(range(n)) - set().union(*sets)
        run.require(subject, not missing, f"positions {sorted(missing)} are in no group")
        wide = [_reach(positions, i, 6) for i in range(n)]
        holds = all(any(group <= wide[i] for i in group) for group in sets)
        run.require(subject, holds, "a group reaches beyond 6 neighbours of each member")
        narrow = [_reach(positions, i, 3) for i in range(n)]
        beyond = [g for g in sets if not any(g <= narrow[i] for i in g)]
        run.require(subject, len(beyond) > 60, "the pool of 6 neighbours was not used")
        # The positions that an extra group can have been drawn for are in one half or the other.
        seeds = [{i for i in group if group <= wide[i]} for group in sets[n:]]
        halves = [sum(all(i // (n // 2) == half for i in s) for s in seeds) for half in (0, 1)]
        run.require(subject, min(halves) >= 5, f"the scan's halves seed {halves} extra groups")
        few, _, _ = _drawn(subject, run.seed, n_groups=n, neighbor_count=3)
        for wanted, oversampled in ((n, True), (n, False), (150, False)):
            more = {**pool, "enable_oversampling": oversampled}
            groups, _, said = _drawn(subject, run.seed, n_groups=wanted, **more)
            case = f"{wanted} groups, enable_oversampling={oversampled}"
            run.require(subject, np.array_equal(groups, few), "the pool changed the groups", case)
            told = len(said) == (wanted > n) and all(f"using {n}" in text for text in said)
            run.require(subject, told, f"the warnings are {said}", case)


@check(
    "N-12", "Sequential groups follow the scan, whatever the seed", ("backend",), framework=False
)
def sequential(run: Recorder) -> None:
    """Group i holds position i and its three nearest neighbours; a random draw does not."""
    for subject in run.backends:
        drawn = {}
        for seed, follows in itertools.product((0, 9), (True, False)):
            drawn[seed, follows], positions, _ = _drawn(
                subject, run.seed, n_groups=7, seed=seed, neighbor_count=6,
                sequential_sampling=follows,
            )  # fmt: skip
        expected = [frozenset(_reach(positions, i, 3)) for i in range(7)]
        for seed in (0, 9):
            what = f"groups are {_sets(drawn[seed, True])}; expected {expected}"
            run.require(subject, _sets(drawn[seed, True]) == expected, what, f"seed {seed}")
        apart = not np.array_equal(drawn[0, False], drawn[9, False])
        run.require(subject, apart, "two seeds draw the same groups", "not sequential")


def _read_by_command(subject: str, scan: Path, flags: list[str]) -> Any:
    """Return ``n_subsample`` as ``ptycho_train`` hands it to the data door."""
    asked: list[Any] = []

    def read(path: Path, n_images: int | None = None, **how: Any) -> None:
        asked.append(n_images if how.get("n_subsample") is None else how["n_subsample"])
        raise ValueError("read enough")

    given = ["--train_data_file", str(scan), "--backend", subject, *flags]
    replaced = mock.patch.object(doors(subject), "load_data", read)
    with replaced, params_kept(), redirect_stderr(io.StringIO()) as said:
        train.main(given)
    if not asked:
        raise RuntimeError(f"ptycho_train read no scan: {said.getvalue()}")
    return asked[0]


@check(
    "N-13", "Positions kept when a scan is loaded: how many, which", ("backend",), framework=False
)
def kept_positions(run: Recorder) -> None:
    """Numbered positions come back in scan order, from every part of the scan."""
    scan = tiny_scan(run.seed, 10, 6, 8)
    scan.xcoords[:] = np.arange(60)
    for subject in run.backends:
        with tempfile.TemporaryDirectory() as folder:
            path = scan.to_file(Path(folder) / "scan.npz")
            load = doors(subject).load_data

            def kept(load: Any = load, path: Path = path, **how: Any) -> list[int]:
                return [int(x) for x in load(path, **how).xcoords]

            half, again = (kept(n_subsample=30, subsample_seed=3) for _ in range(2))
            run.require(subject, half == again, "one seed keeps two sets of positions")
            ordered = half == sorted(set(half)) and len(half) == 30
            run.require(subject, ordered, f"{half} are not 30 positions in scan order")
            spread = all(sum(i // 15 == part for i in half) >= 3 for part in range(4))
            run.require(subject, spread, f"{half} leave out a quarter of the scan")
            seeds = [kept(n_subsample=30, subsample_seed=seed) for seed in (0, 1, 42)]
            run.require(
                subject, len({tuple(s) for s in seeds}) == 3, "seeds 0, 1, 42 keep the same"
            )
            for wanted in (None, 60, 1000):
                whole = kept(n_subsample=wanted, subsample_seed=3) == list(range(60))
                run.require(subject, whole, "positions are lost", f"n_subsample={wanted}")
            both = kept(n_images=10, n_subsample=30, subsample_seed=3)
            run.require(subject, both == half, "n_images wins over n_subsample")
            asked = _read_by_command(subject, path, ["--n_groups", "4", "--gridsize", "2"])
            run.require(subject, asked is None, f"4 groups made the command read {asked} positions")
            asked = _read_by_command(subject, path, ["--n_subsample", "9"])
            run.require(subject, asked == 9, f"--n_subsample 9 read {asked}")
