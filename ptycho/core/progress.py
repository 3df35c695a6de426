"""Progress of a training on standard error: a live bar on a terminal, else a line per epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

__all__ = ["TrainingProgress", "hidden_progress"]

_hidden: ContextVar[bool] = ContextVar("hidden", default=False)


@contextmanager
def hidden_progress() -> Iterator[None]:
    """Hide the progress of every training that starts within the ``with`` block."""
    token = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(token)


class TrainingProgress:
    """Context manager that shows epoch, loss and remaining time of a training.

    ``total_epochs`` and ``steps_per_epoch`` are the planned numbers; a training that stops
    earlier simply leaves the bar unfinished. ``enabled=False`` shows nothing. ``console`` is
    where to write (standard error unless given). ``first_epoch`` epochs were done by an earlier
    run. Everything lives in the object: several trainings in one process do not share a bar.
    """

    def __init__(
        self,
        total_epochs: int,
        steps_per_epoch: int,
        label: str,
        enabled: bool = True,
        console: Console | None = None,
        first_epoch: int = 0,
    ) -> None:
        self._total_epochs = total_epochs
        self._steps_per_epoch = steps_per_epoch
        self._label = label
        self._enabled = enabled and not _hidden.get()
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._epoch = self._first_epoch = first_epoch
        self._started = 0.0

    def __enter__(self) -> Self:
        """Start the clock and, on a terminal, the bar."""
        self._started = time.monotonic()
        if self._enabled:
            if self._console is None:
                from rich.console import Console

                self._console = Console(stderr=True, highlight=False, soft_wrap=True)
            if self._console.is_terminal:
                self._start_bar(self._console)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release the terminal, also when training failed or was interrupted."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def step(self, loss: float) -> None:
        """Count one optimiser step; ``loss`` is that step's loss."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, loss=f"loss {loss:.4g}")

    def end_epoch(self, values: Mapping[str, float]) -> None:
        """Count one epoch; ``values`` are its results (``loss``, ``val_loss``, …)."""
        self._epoch += 1
        if not self._enabled or self._console is None:
            return
        report = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bar is not None and self._task is not None:
            # An epoch may take fewer steps than planned: the bar follows the epochs.
            completed = self._epoch * self._steps_per_epoch
            self._bar.update(self._task, completed=completed, epoch=self._epoch, loss=report)
        else:
            self._console.print(self._line(report), markup=False)

    def _line(self, report: str) -> str:
        elapsed = time.monotonic() - self._started
        mean = elapsed / (self._epoch - self._first_epoch)
        left = mean * max(self._total_epochs - self._epoch, 0)
        return (
            f"{self._label}: epoch {self._epoch}/{self._total_epochs}  {report}  "
            f"{elapsed:.1f} s, about {timedelta(seconds=round(left))} left"
        )

    def _start_bar(self, console: Console) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[epoch]}/{task.fields[epochs]}"),
            TextColumn("{task.fields[loss]}", markup=False),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._bar.add_task(
            self._label,
            total=self._total_epochs * self._steps_per_epoch,
            completed=self._epoch * self._steps_per_epoch,
            epoch=self._epoch,
            epochs=self._total_epochs,
            loss="",
        )
        self._bar.start()
