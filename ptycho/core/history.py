"""What a training reports per epoch, collected alike by both backends."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

__all__ = ["History"]


class History:
    """Values per epoch under their names: ``loss``, ``nll``, ``mae``, ``val_loss``, ….

    Every list has one entry per recorded epoch; an epoch that did not report a name has NaN
    there, so that index i of any list belongs to the same epoch.
    """

    def __init__(self, earlier: Mapping[str, Sequence[float]] | None = None) -> None:
        """Start with what an ``earlier`` run recorded of the first epochs: equally long lists."""
        self._values = {name: list(series) for name, series in (earlier or {}).items()}
        self._epochs = list(range(max((len(s) for s in self._values.values()), default=0)))

    def __len__(self) -> int:
        """Return the number of recorded epochs."""
        return len(self._epochs)

    @property
    def epochs(self) -> list[int]:
        """The recorded epochs, in order."""
        return list(self._epochs)

    def record(self, epoch: int, values: Mapping[str, float]) -> None:
        """Append the values of ``epoch``, which must come after those already recorded.

        Raises ``ValueError`` for an epoch out of order, and for the name ``train_loss``, which
        :meth:`as_dict` derives from ``loss``.
        """
        if self._epochs and epoch <= self._epochs[-1]:
            raise ValueError(
                f"history has epoch {self._epochs[-1]} already; epoch {epoch} cannot follow it"
            )
        if "train_loss" in values:
            raise ValueError("history: record 'loss'; 'train_loss' is derived from it")
        recorded = len(self._epochs)
        for name, value in values.items():
            self._values.setdefault(name, [math.nan] * recorded).append(float(value))
        for series in self._values.values():
            series.extend([math.nan] * (recorded + 1 - len(series)))
        self._epochs.append(epoch)

    @property
    def recorded(self) -> dict[str, list[float]]:
        """A copy of all lists under the names that were recorded."""
        return {name: list(series) for name, series in self._values.items()}

    def as_dict(self) -> dict[str, list[float]]:
        """Return a copy of all lists, with ``train_loss`` as another name of ``loss``."""
        lists = self.recorded
        if "loss" in lists:
            lists["train_loss"] = list(lists["loss"])
        return lists

    def first(self, epochs: int) -> dict[str, list[float]]:
        """Return the recorded lists cut, or filled with NaN, to the first ``epochs`` epochs."""
        missing = [math.nan] * max(0, epochs - len(self._epochs))
        return {name: [*series[:epochs], *missing] for name, series in self._values.items()}
