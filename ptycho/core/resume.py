"""Going on with a training that was saved: what is read, and what has to fit."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

from ptycho.config.config import KEY_MAPPINGS, TrainingConfig
from ptycho.core.archive import ARCHIVE_NAME
from ptycho.core.bundle import Bundle, read_bundle
from ptycho.core.checkpoint_files import checkpoints_in, last_checkpoint
from ptycho.core.container import PtychoDataContainer
from ptycho.core.training_state import TrainingState, groups_digest

__all__ = ["PLACES", "archived_training", "resume_point"]

#: Fields that say where one run's files are; a model does not remember them.
PLACES = ("output_dir", "train_data_file", "test_data_file", "resume")
#: Fields that say when a run ends and what it writes on its way, and change no number.
OUTPUTS = (
    "early_stop_patience",
    "enable_checkpointing",
    "checkpoint_save_top_k",
    "checkpoint_monitor_metric",
    "checkpoint_mode",
    "logger_backend",
)
#: Fields that a run which goes on may choose anew.
_FREE = frozenset((*PLACES, *OUTPUTS, "model", "nepochs", "backend", "n_images"))
#: How far factors from the same patterns may lie apart, on another machine.
_SAME_FACTOR = 1e-6


def resume_point(
    container: PtychoDataContainer, config: TrainingConfig
) -> tuple[Bundle, TrainingState]:
    """Return the model in ``config.resume`` and the state from which its training goes on.

    Raises ``FileNotFoundError`` or ``ArchiveError`` where it cannot be read, and ``ValueError``
    naming every field that differs where the configuration, the groups or the patterns are not
    those of its training, where all epochs are done, or where it holds no state.
    """
    assert config.resume is not None
    path = _bundle_to_resume(Path(config.resume))
    bundle = read_bundle(path)
    where = f"resume: {path}"
    if bundle.state is None:
        raise ValueError(
            f"{where} holds a model but not the state of its training (autoencoder/training.h5), "
            "so it cannot be resumed: train anew, or save it with this release"
        )
    _check_configuration(bundle, config, where)
    if groups_digest(container) != bundle.state.groups:
        raise ValueError(
            f"{where} was trained on other groups or scan positions than the {len(container)} "
            "groups given: give the same scan and the same sampling (n_subsample, subsample_seed)"
        )
    same = math.isclose(container.normalisation, bundle.normalisation, rel_tol=_SAME_FACTOR)
    if not same:
        raise ValueError(
            f"{where} was trained on patterns with the normalisation {bundle.normalisation:g}, "
            f"those given have {container.normalisation:g}: give the same scan"
        )
    if config.nepochs <= bundle.state.epoch:
        raise ValueError(
            f"{where} has been trained for {bundle.state.epoch} epochs and nepochs, which counts "
            f"them, is {config.nepochs}: set nepochs above {bundle.state.epoch}"
        )
    return bundle, bundle.state


def _bundle_to_resume(path: Path) -> Path:
    """Return the last checkpoint in a folder that has checkpoints and no bundle, else ``path``."""
    if path.is_dir() and not (path / ARCHIVE_NAME).exists() and checkpoints_in(path):
        return last_checkpoint(path)
    return path


def archived_training(bundle: Bundle) -> TrainingConfig:
    """Return the training configuration that a bundle's snapshot describes.

    Places are left at their defaults, and so are fields that the snapshot does not have.
    """
    values: dict[str, Any] = {}
    for f in dataclasses.fields(TrainingConfig):
        key = KEY_MAPPINGS.get(f.name, f.name)
        if f.name != "model" and f.name not in PLACES and key in bundle.params:
            values[f.name] = bundle.params[key]
    return TrainingConfig(model=bundle.config, **values)


def _check_configuration(bundle: Bundle, config: TrainingConfig, where: str) -> None:
    archived = archived_training(bundle)
    different = [
        f"{f.name} is {getattr(ours, f.name)!r}, was {getattr(theirs, f.name)!r}"
        for ours, theirs in ((config.model, archived.model), (config, archived))
        for f in dataclasses.fields(ours)
        if f.name not in _FREE and getattr(ours, f.name) != getattr(theirs, f.name)
    ]
    if different:
        raise ValueError(
            f"{where} was trained with another configuration ({'; '.join(different)}): give the "
            "same, or train anew"
        )
