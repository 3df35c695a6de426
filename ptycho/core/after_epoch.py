"""What happens after each epoch of a training, decided once for both backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ptycho.config.config import TrainingConfig
from ptycho.core.checkpoints import Checkpoints, Write, check_folder
from ptycho.core.history import History
from ptycho.core.metric_log import metric_log, require_logger
from ptycho.core.monitoring import stops_early
from ptycho.core.training_plan import TrainedModel

__all__ = ["AfterEpoch", "after_epoch", "check_outputs"]

#: Takes the history and a function that returns the model as it is; tells whether to stop.
AfterEpoch = Callable[[History, Callable[[], TrainedModel]], bool]


def check_outputs(config: TrainingConfig) -> None:
    """Raise what :func:`after_epoch` would: called before data is touched."""
    require_logger(config.logger_backend)
    check_folder(config)


@contextmanager
def after_epoch(
    config: TrainingConfig, label: str, write: Write, leading: bool = True
) -> Iterator[AfterEpoch]:
    """Open what a training writes on its way, and give the function to call after each epoch.

    It writes the log, then the checkpoint (by ``write``), and returns whether the training stops
    early. ``label`` says who trains. Of several processes only the ``leading`` one writes.

    Raises ``ValueError`` where the folder holds the checkpoints of another training, and
    ``RuntimeError`` where the package of a log is missing.
    """
    if not leading:
        yield lambda history, snapshot: stops_early(config, history.recorded)
        return
    checkpoints = Checkpoints(config, write)
    with metric_log(config, label) as log:

        def act(history: History, snapshot: Callable[[], TrainedModel]) -> bool:
            log(len(history), history.recorded)
            checkpoints.end_epoch(len(history), history.recorded, snapshot)
            return stops_early(config, history.recorded)

        yield act
