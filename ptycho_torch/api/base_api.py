"""What the client's plugin "PtychoPINN-Torch" calls to train, reopen and reconstruct.

Thin doors: scans are read, grouped, trained and stitched by the rooms that both plugins share.
Importing this module loads no framework.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import InferenceConfig as SharedInferenceConfig
from ptycho.config.config import ModelConfig as SharedModelConfig
from ptycho.config.config import TrainingConfig as SharedTrainingConfig
from ptycho.config.config import validate_model_config
from ptycho.config.execution import PyTorchExecutionConfig
from ptycho.core.framed import where_it_appears
from ptycho.core.stitching import reassemble
from ptycho.core.workflow import evaluate_test_data, every_position, prepare
from ptycho.io.atomic import write_bytes
from ptycho_torch import model_manager
from ptycho_torch.api.data_loader import DataloaderFormats, PtychoDataLoader
from ptycho_torch.checkpoint import RECORD, CheckpointRecord, read_checkpoint
from ptycho_torch.config_bridge import (
    to_execution_config,
    to_inference_config,
    to_model_config,
    to_training_config,
)
from ptycho_torch.config_params import (
    DataConfig,
    DatagenConfig,
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
)
from ptycho_torch.lightning_utils import CHECKPOINTS, LAST
from ptycho_torch.torch_import import require_torch

if TYPE_CHECKING:
    from ptycho_torch.model import PtychoPINN_Lightning

__all__ = [
    "ConfigManager",
    "DataloaderFormats",
    "InferenceEngine",
    "PtychoDataLoader",
    "PtychoModel",
    "Trainer",
]

logger = logging.getLogger(__name__)

_LIGHTNING = "lightning"
#: Patterns predicted at a time, at most: more costs memory and changes no result.
_LARGEST_BATCH = 32


@dataclass
class ConfigManager:
    """The plugin's configurations, together."""

    data_config: DataConfig = field(default_factory=DataConfig)
    model_config: ModelConfig = field(default_factory=ModelConfig)
    training_config: TrainingConfig = field(default_factory=TrainingConfig)
    inference_config: InferenceConfig = field(default_factory=InferenceConfig)
    datagen_config: DatagenConfig = field(default_factory=DatagenConfig)

    @classmethod
    def from_loaded_model(cls, ptycho_model: PtychoModel) -> ConfigManager:
        """Return the configurations of a model that was loaded or trained."""
        return cls(
            ptycho_model.data_config,
            ptycho_model.model_config,
            ptycho_model.training_config,
            ptycho_model.inference_config,
        )

    def validate_arch_compatibility(self, ptycho_model: PtychoModel) -> None:
        """Log a warning for each field in which a loaded network differs; the network wins.

        Raises ``ValueError`` naming a field that no network follows.
        """
        own, loaded = self.shared_model(), ptycho_model.loaded().model.config
        for name, value in vars(own).items():
            if value != getattr(loaded, name):
                logger.warning(
                    "the configuration's %s is %r but the loaded model has %r, which is used",
                    name, value, getattr(loaded, name),
                )  # fmt: skip

    def shared_model(self) -> SharedModelConfig:
        """Return the network as both backends know it; ``ValueError`` as the bridge raises."""
        return to_model_config(self.data_config, self.model_config)

    def shared_training(self, n_positions: int) -> SharedTrainingConfig:
        """Return the training on a scan of that many positions, after checking the rest too."""
        model = self.shared_model()
        validate_model_config(model)
        self.shared_inference(model)
        return to_training_config(
            model,
            self.data_config,
            self.model_config,
            self.training_config,
            n_positions=n_positions,
        )

    def shared_inference(self, model: SharedModelConfig) -> SharedInferenceConfig:
        """Return how a reconstruction with ``model`` groups its scan."""
        return to_inference_config(model, self.data_config, self.inference_config)

    def execution(self) -> PyTorchExecutionConfig:
        """Return what to run on, here."""
        cuda = require_torch().cuda.is_available()
        return to_execution_config(self.training_config, self.inference_config, cuda)


class PtychoModel:
    """A network with the plugin's configurations.

    ``model`` is the class ``PtychoPINN_Lightning`` until the network is trained or loaded, and
    then the network: its weights start from the scan's probe.
    """

    def __init__(
        self,
        model_config: ModelConfig,
        data_config: DataConfig,
        training_config: TrainingConfig,
        inference_config: InferenceConfig,
    ) -> None:
        self.model_config = model_config
        self.data_config = data_config
        self.training_config = training_config
        self.inference_config = inference_config
        self.model: Any = None

    @classmethod
    def _new_model(
        cls, model: type[PtychoPINN_Lightning], config_manager: ConfigManager
    ) -> PtychoModel:
        """Return a model of the Lightning class ``model`` that is yet to be trained."""
        new = cls(
            config_manager.model_config,
            config_manager.data_config,
            config_manager.training_config,
            config_manager.inference_config,
        )
        new.model = model
        return new

    @staticmethod
    def _extract_configs_from_checkpoint(
        path: str | Path,
    ) -> tuple[DataConfig, ModelConfig, TrainingConfig, InferenceConfig]:
        """Return a checkpoint's configurations of data, model, training and inference.

        Raises as :func:`ptycho_torch.checkpoint.read_checkpoint` does.
        """
        record = read_checkpoint(path)
        return (
            record.data_config,
            record.model_config,
            record.training_config,
            record.inference_config,
        )

    def loaded(self) -> PtychoPINN_Lightning:
        """Return the network; ``RuntimeError`` before one is trained or loaded."""
        if self.model is None or isinstance(self.model, type):
            raise RuntimeError("this model is neither trained nor loaded: do either first")
        network: PtychoPINN_Lightning = self.model
        return network


class Trainer:
    """One training of a model on a loader's scan; leaves a checkpoint in the run's folder.

    Lightning callbacks appended to ``_trainer.callbacks`` are called in the training.
    """

    def __init__(
        self, model: PtychoModel, dataloader: PtychoDataLoader, config_manager: ConfigManager
    ) -> None:
        self._model = model
        self._dataloader = dataloader
        self._configs = config_manager
        self._trainer = SimpleNamespace(callbacks=[])

    @classmethod
    def _from_lightning(
        cls,
        model: PtychoModel,
        dataloader: PtychoDataLoader,
        orchestration: str,
        config_manager: ConfigManager,
    ) -> Trainer:
        """Return a trainer; ``orchestration`` is "lightning"."""
        _check_orchestration(orchestration)
        return cls(model, dataloader, config_manager)

    def train(self, orchestration: str = _LIGHTNING, experiment_name: str = "") -> Path:
        """Train, save and return the checkpoint's path; ``experiment_name`` goes to the log.

        Raises ``ValueError`` naming a field that cannot be followed or data that do not fit, and
        ``RuntimeError`` if the loss becomes NaN or infinite.
        """
        _check_orchestration(orchestration)
        raw = self._dataloader.raw
        config = self._configs.shared_training(len(raw))
        container, _ = prepare(raw, None, config)
        execution = self._configs.execution()
        from ptycho_torch import training

        logger.info(
            "training %s on %d groups of %d positions, %s",
            experiment_name or "a model", len(container), len(raw), execution.accelerator,
        )  # fmt: skip
        trained = training.train(
            container, config, execution_config=execution, callbacks=self._trainer.callbacks
        )
        model_manager.remember(trained)
        module = trained.native
        module.record = CheckpointRecord(
            self._configs.data_config,
            self._configs.model_config,
            self._configs.training_config,
            self._configs.inference_config,
            trained.normalisation,
            container.bad_pixels,
        )
        self._model.model = module
        content = model_manager.checkpoint_bytes(
            module, "autoencoder", {RECORD: module.record.to_plain()}
        )
        folder = self._dataloader.output_dir / CHECKPOINTS
        folder.mkdir(parents=True, exist_ok=True)
        return write_bytes(folder / LAST, content)


class InferenceEngine:
    """Reconstructs scans with a trained or loaded model."""

    def __init__(self, config_manager: ConfigManager, ptycho_model: PtychoModel) -> None:
        self._configs = config_manager
        self._model = ptycho_model

    def predict_and_stitch(self, loader: PtychoDataLoader) -> NDArray[np.complex64]:
        """Return the object, complex64 (S, S), that a patch at every position makes.

        The canvas lies around the middle of the positions' bounding box, where the client has
        the centre of its object: the canvas' geometric middle, (S - 1)/2, shows the object there.
        Uncovered pixels are 0. Pixels that were bad in training are 0 for the network here too.

        Raises ``ValueError`` where the scan does not fit the model, ``RuntimeError`` where no
        model is loaded.
        """
        from ptycho_torch.model import get_canonical_weights

        module = self._model.loaded()
        config, record = module.model.config, module.record
        if record is None:
            raise ValueError("the loaded checkpoint was not written by this plugin: train again")
        execution = self._configs.execution()
        predictor = model_manager.ObjectPredictor(
            config,
            get_canonical_weights(module.model),
            module.intensity_scale,
            record.normalisation,
            record.bad_pixels,
            accelerator=execution.accelerator,
            batch_size=min(self._configs.inference_config.batch_size, _LARGEST_BATCH),
        )
        raw = loader.raw
        grouping = self._configs.shared_inference(config)
        container = every_position(raw, grouping, config, record.normalisation)
        container = container.masked_as(record.bad_pixels)
        patches = evaluate_test_data(predictor, container)
        positions = raw.positions
        middle = where_it_appears((positions.min(axis=0) + positions.max(axis=0)) / 2)
        trim = self._configs.inference_config.middle_trim
        image = reassemble(patches, container.global_offsets, trim, middle)
        return image.astype(np.complex64, copy=False)


def _check_orchestration(orchestration: str) -> None:
    if orchestration != _LIGHTNING:
        raise ValueError(f"orchestration is {orchestration!r}; allowed: {_LIGHTNING!r}")
