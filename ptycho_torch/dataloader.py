"""Batches of groups for the PyTorch backend, gathered when asked for.

Lightning gets a loader whose sampler yields whole batches of group indices in the order that
both backends share, and whose dataset gathers such a batch from the container: the memory of a
scan does not grow with ``gridsize``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.container import PtychoDataContainer
from ptycho.core.sampling import IndexArray
from ptycho.core.training_plan import TrainingPlan

if TYPE_CHECKING:
    from torch.utils.data import DataLoader

    from ptycho_torch.model import Batch

__all__ = ["BatchSampler", "GroupDataset", "PtychoDataContainer", "Share", "training_loaders"]

logger = logging.getLogger(__name__)

#: Returns this process's rank and the number of processes that share each batch.
Ranks = Callable[[], tuple[int, int]]


class Share(NamedTuple):
    """The groups of a batch that one of several processes works on.

    ``whole`` is the number of groups in the batch, and ``weight`` what this share's mean counts for
    in the mean over processes, that this be the mean over the whole batch.
    """

    groups: IndexArray
    whole: int
    weight: float = 1.0


class GroupDataset:
    """Maps a :class:`Share` of a batch to a :class:`ptycho_torch.model.Batch`."""

    def __init__(
        self, container: PtychoDataContainer, intensity_scale: float, with_labels: bool
    ) -> None:
        self._container = container
        self._scale = np.float32(intensity_scale)
        self._with_labels = with_labels

    def __len__(self) -> int:
        """Return the number of groups."""
        return len(self._container)

    def __getitem__(self, share: Share) -> Batch:
        """Gather the groups of ``share``, scaled for the network."""
        from ptycho_torch.model import to_batch

        container, indices = self._container, share.groups
        labels = container.batch_labels(indices) if self._with_labels else None
        x = container.batch_X(indices) * self._scale
        batch = to_batch(x, container.batch_offsets(indices), labels)
        return batch._replace(whole=share.whole, weight=share.weight)


class BatchSampler:
    """Yields an epoch's batches; each process takes its share of every batch.

    ``epoch_batches(epoch)`` gives the batches of an epoch. Lightning calls :meth:`set_epoch`.
    Losses and gradients are averaged over processes; :attr:`Share.weight` makes this the mean over
    the batch, so that it trains as it would in one process.
    Where epochs differ in length the sampler is not ``sized``: Lightning asks for the length once.
    """

    def __init__(
        self,
        epoch_batches: Callable[[int], list[IndexArray]],
        ranks: Ranks = lambda: (0, 1),
        sized: bool = True,
    ) -> None:
        self._epoch_batches = epoch_batches
        self._ranks = ranks
        self._epoch = 0
        self._length = len(epoch_batches(0)) if sized else None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (from 0) that the next iteration yields."""
        self._epoch = epoch

    def __len__(self) -> int:
        """Return the number of batches in an epoch; ``TypeError`` where epochs differ."""
        if self._length is None:
            raise TypeError("the epochs of this sampler differ in length")
        return self._length

    def __iter__(self) -> Iterator[Share]:
        """Yield this process's share of one batch after the other."""
        rank, processes = self._ranks()
        for batch in self._epoch_batches(self._epoch):
            groups = np.array_split(batch, processes)[rank]
            weight = processes * len(groups) / len(batch)
            # Every process takes part in every step, if need be with a group that counts nothing.
            yield Share(groups if len(groups) else batch[:1], len(batch), weight)


def _loader(
    dataset: GroupDataset,
    epoch_batches: Callable[[int], list[IndexArray]],
    execution: PyTorchExecutionConfig,
    ranks: Ranks = lambda: (0, 1),
    sized: bool = True,
) -> DataLoader[Any]:
    """Return a loader of ``dataset`` in the order of ``epoch_batches``."""
    import torch
    from torch.utils.data import DataLoader

    return DataLoader(
        dataset,  # type: ignore[arg-type]  # any object with __getitem__ and __len__ will do
        batch_size=None,
        sampler=BatchSampler(epoch_batches, ranks, sized),
        collate_fn=_identity,
        num_workers=execution.num_workers,
        pin_memory=execution.pin_memory,
        persistent_workers=execution.persistent_workers and execution.num_workers > 0,
        prefetch_factor=execution.prefetch_factor if execution.num_workers else None,
        # Each iteration draws a seed for workers, from the global generator unless given one.
        generator=torch.Generator(),
    )


def _identity(batch: Batch) -> Batch:
    return batch


def training_loaders(
    container: PtychoDataContainer,
    plan: TrainingPlan,
    with_labels: bool,
    execution: PyTorchExecutionConfig | None = None,
    ranks: Ranks = lambda: (0, 1),
) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Return the loaders of training and validation (``None`` without validation groups)."""
    execution = execution or PyTorchExecutionConfig()
    if execution.prefetch_factor and not execution.num_workers:
        logger.warning("prefetch_factor has no effect without num_workers")
    dataset = GroupDataset(container, plan.intensity_scale, with_labels)
    whole = plan.start is None or plan.start.batch == 0
    training = _loader(
        dataset, lambda epoch: plan.epoch(plan.first_epoch + epoch), execution, ranks, whole
    )
    if not len(plan.validation):
        return training, None
    return training, _loader(dataset, lambda _: plan.validation_batches(), execution, ranks)
