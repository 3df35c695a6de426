"""Training by ``lightning.pytorch.Trainer``, in the epoch order that both backends share."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray

from ptycho.config.config import TrainingConfig
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.after_epoch import AfterEpoch, after_epoch
from ptycho.core.container import PtychoDataContainer
from ptycho.core.geometry import merge_canvas_side
from ptycho.core.history import History
from ptycho.core.patterns import pixel_weights
from ptycho.core.progress import TrainingProgress
from ptycho.core.schedule import LearningRateSchedule
from ptycho.core.training_plan import (
    TrainedModel,
    TrainingPlan,
    check_groups,
    check_loss,
    needs_labels,
    plan_training,
    training_params,
)
from ptycho.core.training_state import TrainingState
from ptycho.core.weights import Weights
from ptycho_torch.dataloader import training_loaders
from ptycho_torch.model import (
    PtychoPINN_Lightning,
    canonical_array,
    canonical_name,
    get_canonical_weights,
    plain_fields,
    set_canonical_weights,
    to_batch,
)
from ptycho_torch.model_manager import save
from ptycho_torch.moments import get_moments, set_moments
from ptycho_torch.process_settings import training_settings
from ptycho_torch.processes import check_processes

__all__ = ["LearningRate", "Recorder", "build_module", "loss_gradients", "train"]

logger = logging.getLogger(__name__)

#: Batches whose losses are fetched together from a GPU, which fetching makes wait.
_FETCH_EVERY = 16


class LearningRate(pl.Callback):
    """Sets the learning rate before each batch; hears of the loss at the end of each epoch.

    ``first_step`` is the schedule's step at which this run begins.
    """

    def __init__(self, schedule: LearningRateSchedule, first_step: int = 0) -> None:
        self._schedule, self._first_step = schedule, first_step
        self.rate = schedule.rate(first_step)

    def on_train_batch_start(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set the rate of the optimiser step that this batch belongs to."""
        self.rate = self._schedule.rate(self._first_step + trainer.global_step)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rate

    def end_epoch(self, monitored_loss: float) -> None:
        """Pass the epoch's loss on to the schedule."""
        self._schedule.end_epoch(monitored_loss)


class Start(pl.Callback):
    """Gives the optimiser the moments of an earlier run, once the weights are in their place."""

    def __init__(self, state: TrainingState) -> None:
        self._state = state

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Put the moments in."""
        set_moments(trainer.optimizers[0], module.model, self._state)  # type: ignore[arg-type]


class Recorder(pl.Callback):
    """Keeps the history, shows progress, and stops a training whose loss is not finite.

    ``first_epoch`` is the epoch (from 0) in which this run begins.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        progress: TrainingProgress,
        history: History | None = None,
        first_epoch: int = 0,
    ) -> None:
        self.history = history or History()
        self.step_losses: list[float] = []
        self.epoch = self._first_epoch = first_epoch
        self._learning_rate = learning_rate
        self._progress = progress
        self._pending: list[torch.Tensor] = []
        self._fetched = 0
        self.after: AfterEpoch = lambda history, snapshot: False
        self.snapshot: Callable[[], TrainedModel] | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Note the epoch."""
        self.epoch, self._fetched = self._first_epoch + trainer.current_epoch, 0

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Take the batch's loss, the mean over processes."""
        loss = outputs["loss"]
        if trainer.world_size > 1:
            loss = trainer.strategy.reduce(loss, reduce_op="mean")
        self._pending.append(loss)
        if loss.device.type == "cpu" or len(self._pending) == _FETCH_EVERY:
            self._fetch()
        # An epoch cut short by max_steps is validated too, as it is when told to stop.
        trainer.should_stop = trainer.should_stop or trainer.global_step == trainer.max_steps

    def on_train_epoch_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Record the epoch's mean values, validation included."""
        self._fetch()
        metrics = trainer.callback_metrics
        # Lightning validates first; the reader looks for the training loss first.
        names = sorted(metrics, key=lambda name: name.startswith("val_"))
        values = {name: float(metrics[name]) for name in names}
        self._learning_rate.end_epoch(values.get("val_loss", values["loss"]))
        values["learning_rate"] = self._learning_rate.rate
        self.history.record(self.epoch, values)
        self._progress.end_epoch(values)
        if self.snapshot is not None and self.after(self.history, self.snapshot):
            trainer.should_stop = True

    def on_exception(
        self, trainer: pl.Trainer, module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Take the losses of what was trained before an interrupt."""
        if isinstance(exception, KeyboardInterrupt):
            self._fetch()

    def _fetch(self) -> None:
        pending, self._pending = self._pending, []
        for loss in torch.stack(pending).tolist() if pending else ():
            check_loss(loss, self.epoch, self._fetched)
            self._fetched += 1
            self.step_losses.append(loss)
            self._progress.step(loss)


def build_module(
    container: PtychoDataContainer, config: TrainingConfig, plan: TrainingPlan
) -> PtychoPINN_Lightning:
    """Return the Lightning module of a training, holding the weights it starts from."""
    largest = float(np.abs(container.local_offsets).max())
    module = PtychoPINN_Lightning(
        model=plain_fields(config.model),
        training=plain_fields(config),
        modes=plan.weights["probe"].shape[0],
        intensity_scale=plan.intensity_scale,
        canvas_side=merge_canvas_side(config.model.N, largest),
    )
    set_canonical_weights(module.model, plan.weights)
    _mask(module, container.bad_pixels)
    return module


def _mask(module: PtychoPINN_Lightning, bad_pixels: NDArray[np.bool_] | None) -> None:
    weights = pixel_weights(bad_pixels)
    module.pixel_weights = None if weights is None else torch.from_numpy(weights)


def train(
    container: PtychoDataContainer,
    config: TrainingConfig,
    *,
    execution_config: PyTorchExecutionConfig | None = None,
    weights: Weights | None = None,
    max_steps: int | None = None,
    progress: bool = True,
    callbacks: Sequence[pl.Callback] = (),
) -> TrainedModel:
    """Train the model of ``config`` on the groups of ``container``.

    Starts from canonical ``weights``, by default the seeded initial ones, or goes on from
    ``config.resume``. ``max_steps`` ends training early. An interrupt from the keyboard ends it
    too: what was reached is returned, and ``history["interrupted"]`` holds the number of the epoch
    that was cut short.
    ``execution_config`` says on what and how to run; ``callbacks`` are the caller's, called after
    the training's own.

    Raises ``ValueError`` where data, weights and configuration do not fit, and ``RuntimeError``
    if the loss becomes NaN or infinite.
    """
    started = time.perf_counter()
    execution = execution_config or PyTorchExecutionConfig()
    plan = plan_training(container, config, weights)
    module = build_module(container, config, plan)
    steps = -(-plan.steps_per_epoch // execution.accum_steps)
    schedule = LearningRateSchedule(config, steps, plan.plateau)
    learning_rate = LearningRate(schedule, plan.position(0, execution.accum_steps)[-1])
    shown = progress and execution.enable_progress_bar and rank_zero_only.rank == 0
    with (
        TrainingProgress(
            config.nepochs, plan.steps_per_epoch, "PyTorch", shown, first_epoch=plan.first_epoch
        ) as bar,
        tempfile.TemporaryDirectory() as scratch,
        training_settings(),
        after_epoch(config, "PyTorch", save, rank_zero_only.rank == 0) as after,
    ):
        recorder = Recorder(learning_rate, bar, plan.history(), plan.first_epoch)
        own = [learning_rate, recorder, *([Start(plan.start)] if plan.start else [])]
        epochs = config.nepochs - plan.first_epoch
        try:
            trainer = _trainer(config, execution, epochs, max_steps, scratch, [*own, *callbacks])
        except MisconfigurationException as error:
            raise ValueError(
                f"PyTorchExecutionConfig: accelerator {execution.accelerator!r}, devices "
                f"{execution.devices!r}, strategy {execution.strategy!r}: {error} Name hardware "
                "that is here; accelerator 'auto' takes what there is"
            ) from error
        check_processes(trainer)
        loaders = training_loaders(
            container,
            plan,
            with_labels=needs_labels(config),
            execution=execution,
            ranks=lambda: (trainer.global_rank, trainer.world_size),
        )

        def reached() -> TrainedModel:
            moments, taken = get_moments(trainer.optimizers[0], module.model)
            begun = plan.start.step if plan.start else 0
            taken = taken or begun + trainer.global_step
            return TrainedModel(
                backend="pytorch",
                config=config.model,
                weights=get_canonical_weights(module.model),
                intensity_scale=plan.intensity_scale,
                normalisation=container.normalisation,
                params=training_params(config, container.bad_pixels),
                history=recorder.history.as_dict(),
                step_losses=recorder.step_losses,
                seconds=time.perf_counter() - started,
                native=module,
                process=trainer.global_rank,
                state=plan.state(taken, moments, schedule, recorder.history, execution.accum_steps),
            )

        recorder.after, recorder.snapshot = after, reached
        interrupted = _fit(trainer, module, loaders)
        trained = reached()
        module.trainer = None  # which would keep the data alive as long as the model
    if interrupted:
        logger.warning("training interrupted in epoch %d", recorder.epoch + 1)
        trained.history["interrupted"] = [float(recorder.epoch + 1)]
    return trained


def loss_gradients(
    config: TrainingConfig,
    weights: Weights,
    x: NDArray[np.float32],
    offsets: NDArray[np.float32],
    intensity_scale: float,
    labels: NDArray[np.complex64] | None = None,
    bad_pixels: NDArray[np.bool_] | None = None,
) -> dict[str, NDArray[np.float32]]:
    """Return the gradient of one batch's loss in every trainable weight, by canonical name.

    ``x`` (B, N, N, C) is s0 * X, ``offsets`` (B, 1, 2, C) are relative coordinates in pixels,
    ``labels`` (B, N, N, C) the ground-truth patches where the loss needs them; ``bad_pixels``
    (N, N) have no part in it. Raises ``ValueError`` for no groups.
    """
    check_groups(len(x), "batch")
    module = PtychoPINN_Lightning(
        model=plain_fields(config.model),
        training=plain_fields(config),
        modes=weights["probe"].shape[0],
        intensity_scale=intensity_scale,
        canvas_side=merge_canvas_side(config.model.N, float(np.abs(offsets).max())),
    )
    set_canonical_weights(module.model, weights)
    _mask(module, bad_pixels)
    module.measure(to_batch(x, offsets, labels))["loss"].backward()
    return {
        canonical_name(name): canonical_array(
            name, torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        )
        for name, parameter in module.model.named_parameters()
        if parameter.requires_grad
    }


def _trainer(
    config: TrainingConfig,
    execution: PyTorchExecutionConfig,
    epochs: int,
    max_steps: int | None,
    scratch: str,
    callbacks: list[pl.Callback],
) -> pl.Trainer:
    return pl.Trainer(
        accelerator=execution.accelerator,
        devices=execution.devices,
        num_nodes=execution.num_nodes,
        strategy=execution.strategy,
        precision=execution.precision,  # type: ignore[arg-type]  # checked by the configuration
        deterministic=execution.deterministic,
        max_epochs=epochs,
        max_steps=-1 if max_steps is None else max_steps,
        accumulate_grad_batches=execution.accum_steps,
        gradient_clip_val=config.gradient_clip_val,
        gradient_clip_algorithm=config.gradient_clip_algorithm,
        callbacks=callbacks,
        default_root_dir=scratch,
        # The samplers share batches out among processes themselves.
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _fit(trainer: pl.Trainer, module: pl.LightningModule, loaders: tuple[Any, Any]) -> bool:
    """Run the training; return whether the keyboard interrupted it."""
    training, validation = loaders
    try:
        trainer.fit(module, training, validation)
    except SystemExit as leaving:
        # Lightning turns a keyboard interrupt into the end of the process.
        if not isinstance(leaving.__context__, KeyboardInterrupt):
            raise
        return True
    except KeyboardInterrupt:
        return True
    return bool(trainer.interrupted)
