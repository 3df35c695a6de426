"""What a training run does before and between its gradient steps, the same in both backends."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import (
    KEY_MAPPINGS,
    ModelConfig,
    TrainingConfig,
    dataclass_to_legacy_dict,
)
from ptycho.core.container import PtychoDataContainer
from ptycho.core.history import History
from ptycho.core.patterns import BAD_PIXELS, bad_pixels_of, mask_to_text
from ptycho.core.resume import PLACES, resume_point
from ptycho.core.sampling import IndexArray, batches, epoch_order, split_indices
from ptycho.core.scaling import intensity_scale
from ptycho.core.schedule import LearningRateSchedule, PlateauState
from ptycho.core.training_state import TrainingState, groups_digest
from ptycho.core.weights import Weights, check_weights, initial_weights

__all__ = [
    "TrainedModel",
    "TrainingPlan",
    "check_fits",
    "check_groups",
    "check_loss",
    "needs_labels",
    "plan_training",
    "probe_of",
    "training_params",
]

_PLACES = frozenset(KEY_MAPPINGS.get(name, name) for name in PLACES)


@dataclass
class TrainedModel:
    """The outcome of a training run, in terms that either backend understands.

    ``weights`` are canonical; ``intensity_scale`` is s0, by which normalised amplitude is
    multiplied before it enters the network, and ``normalisation`` the factor that made the
    training amplitude X. ``params`` is the legacy snapshot that goes into the bundle. ``history``
    has one list entry per epoch, ``step_losses`` one per batch of this run. ``state`` is where the
    training stands, for a run that goes on from it. ``native`` is the backend's own model object.
    ``process`` numbers the processes that trained together; of these, 0 alone writes files.
    """

    backend: str
    config: ModelConfig
    weights: Weights
    intensity_scale: float
    normalisation: float
    params: dict[str, Any]
    history: dict[str, list[float]]
    step_losses: list[float]
    seconds: float
    native: Any = field(repr=False, default=None)
    process: int = 0
    state: TrainingState | None = field(repr=False, default=None)

    @property
    def bad_pixels(self) -> NDArray[np.bool_] | None:
        """Pixels (N, N) that were bad in the scan trained on, or None."""
        return bad_pixels_of(self.params, self.config.N)


@dataclass(frozen=True)
class TrainingPlan:
    """Which groups are trained on in which order, and what the model starts from.

    ``start`` is the state of an earlier run that this one goes on from.
    """

    intensity_scale: float
    weights: Weights
    training: IndexArray
    validation: IndexArray
    batch_size: int
    seed: int
    groups: str
    start: TrainingState | None = None

    @property
    def first_epoch(self) -> int:
        """The epoch (from 0) in which this run begins."""
        return self.start.epoch if self.start else 0

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch; the last one may be smaller than the others."""
        return math.ceil(len(self.training) / self.batch_size)

    def epoch(self, epoch: int) -> list[IndexArray]:
        """Return the batches of ``epoch`` (from 0) as indices of groups.

        Those of the first epoch that an earlier run has done are left out.
        """
        order = self.training[epoch_order(len(self.training), self.seed, epoch)]
        done = self.start.batch if self.start and epoch == self.start.epoch else 0
        return batches(order, self.batch_size)[done:]

    def position(self, steps: int, batches_per_step: int = 1) -> tuple[int, int, int]:
        """Return (complete epochs, batches of the next, schedule's step) after ``steps`` steps.

        ``steps`` are those of this run alone.
        """
        per_epoch = math.ceil(self.steps_per_epoch / batches_per_step)
        begun = self.start.batch // batches_per_step if self.start else 0
        step = self.first_epoch * per_epoch + begun + steps
        epoch, rest = divmod(step, per_epoch)
        return epoch, rest * batches_per_step, step

    def state(
        self,
        steps: int,
        moments: tuple[Weights, Weights],
        schedule: LearningRateSchedule,
        history: History,
        batches_per_step: int = 1,
    ) -> TrainingState:
        """Return where the training stands after ``steps`` optimiser steps of both runs."""
        begun = self.start.step if self.start else 0
        epoch, batch, _ = self.position(steps - begun, batches_per_step)
        return TrainingState(
            epoch=epoch,
            batch=batch,
            step=steps,
            first=moments[0],
            second=moments[1],
            plateau=schedule.plateau,
            history=history.first(epoch),
            groups=self.groups,
        )

    @property
    def plateau(self) -> PlateauState | None:
        """What the learning rate schedule goes on from."""
        return self.start.plateau if self.start else None

    def history(self) -> History:
        """Return the history that this run adds to."""
        return History(self.start.history if self.start else None)

    def validation_batches(self) -> list[IndexArray]:
        """Return the validation batches as indices of groups; empty if there is no validation."""
        return batches(self.validation, self.batch_size)


def plan_training(
    container: PtychoDataContainer, config: TrainingConfig, weights: Weights | None = None
) -> TrainingPlan:
    """Return the plan of a training run; ``weights`` default to the seeded initial ones.

    With ``config.resume`` they are those of the model there, whose training goes on. Raises
    ``ValueError`` if there are no groups, if the data does not fit the model, if there is no
    probe, if labels are needed and missing, or if given ``weights`` are not those of this network;
    with ``config.resume`` also what :func:`ptycho.core.resume.resume_point` raises.
    """
    model = config.model
    check_groups(len(container), "training data")
    check_fits(container, model, "training data")
    if needs_labels(config) and not container.has_labels:
        raise ValueError(
            f"model_type={model.model_type!r} with realspace_weight={config.realspace_weight} and "
            f"realspace_mae_weight={config.realspace_mae_weight} compares with object patches, "
            "and the training data has none: give RawData an objectGuess or Y, or train a 'pinn' "
            "model with realspace_weight=0"
        )
    scale = intensity_scale(config.nphotons, model.N)
    start = None
    if config.resume is not None:
        if weights is not None:
            raise ValueError("weights and config.resume both say what to start from: give one")
        bundle, start = resume_point(container, config)
        weights = bundle.weights
    if weights is None:
        if container.probe is None:
            raise ValueError("the training data has no probe: give RawData a probeGuess")
        weights = initial_weights(model, config.seed, container.probe, scale)
    check_weights(weights, model)
    training, validation = split_indices(len(container), config.validation_fraction, config.seed)
    groups = groups_digest(container)
    size, seed = config.batch_size, config.seed
    return TrainingPlan(scale, weights, training, validation, size, seed, groups, start)


def needs_labels(config: TrainingConfig) -> bool:
    """Tell whether the loss compares with ground-truth object patches."""
    real_space = config.realspace_weight * config.realspace_mae_weight > 0
    return config.model.model_type == "supervised" or real_space


def check_fits(container: PtychoDataContainer, model: ModelConfig, what: str) -> None:
    """Raise ``ValueError`` unless ``container`` has the model's patch side and group size."""
    if container.N != model.N:
        raise ValueError(
            f"the {what} has {container.N} x {container.N} patterns but the model is configured "
            f"for N={model.N}: set ModelConfig.N={container.N} or crop the patterns"
        )
    if container.gridsize != model.gridsize:
        raise ValueError(
            f"the {what} is grouped for gridsize {container.gridsize} but the model is configured "
            f"for gridsize {model.gridsize}: group it again"
        )


def check_groups(groups: int, what: str) -> None:
    """Raise ``ValueError`` unless there are ``groups``: a loss is a mean over them."""
    if groups < 1:
        raise ValueError(
            f"the {what} has no groups, and a loss is a mean over groups: give at least one"
        )


def check_loss(loss: float, epoch: int, step: int) -> None:
    """Raise ``RuntimeError`` if ``loss`` is NaN or infinite; ``epoch`` and ``step`` from 0."""
    if not math.isfinite(loss):
        raise RuntimeError(
            f"the loss became {loss} in epoch {epoch + 1}, step {step + 1}: training stopped. "
            "Lower learning_rate, set gradient_clip_val (1.0, say), and check the diffraction "
            "data for NaN and infinity"
        )


def training_params(
    config: TrainingConfig, bad_pixels: NDArray[np.bool_] | None = None
) -> dict[str, Any]:
    """Return the legacy snapshot of ``config`` for a bundle: plain values, no paths.

    ``bad_pixels`` (N, N) of the scan trained on are kept as text.
    """
    flat = dataclass_to_legacy_dict(config)
    kept = {key: value for key, value in flat.items() if value is not None and key not in _PLACES}
    return kept if bad_pixels is None else {**kept, BAD_PIXELS: mask_to_text(bad_pixels)}


def probe_of(weights: Weights) -> NDArray[np.complex64]:
    """Return the model's probe, complex64 (modes, N, N), from canonical weights."""
    planes = weights["probe"]
    return (planes[..., 0] + 1j * planes[..., 1]).astype(np.complex64)
