"""The PyTorch backend's workflow doors; importing this module loads no framework."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import (
    ModelConfig,
    TrainingConfig,
    update_legacy_dict,
    validate_training_config,
)
from ptycho.config.execution import PyTorchExecutionConfig, with_execution
from ptycho.core.after_epoch import check_outputs
from ptycho.core.container import PtychoDataContainer
from ptycho.core.loading import load_data
from ptycho.core.outputs import save_outputs
from ptycho.core.workflow import (
    adopt_bundle,
    configure,
    create_container,
    prepare,
    publish_scales,
    reassemble_image,
    training_results,
)
from ptycho.raw_data import RawData
from ptycho_torch import model_manager
from ptycho_torch.torch_import import require_torch

__all__ = [
    "BACKEND",
    "ModelConfig",
    "PtychoDataContainer",
    "PyTorchExecutionConfig",
    "RawData",
    "TrainingConfig",
    "create_ptycho_data_container",
    "load_data",
    "load_inference_bundle",
    "load_inference_bundle_torch",
    "model_manager",
    "reassemble_cdi_image",
    "require_framework",
    "run_cdi_example",
    "run_cdi_example_torch",
    "save_outputs",
    "train_cdi_model",
    "train_cdi_model_torch",
    "update_legacy_dict",
]

BACKEND = "pytorch"
#: Groups in a batch of predictions unless the execution settings say otherwise.
_PREDICTED_TOGETHER = 32

Data = RawData | PtychoDataContainer


def require_framework() -> None:
    """Import torch and Lightning; ``RuntimeError`` saying what to install where that fails."""
    require_torch()


def create_ptycho_data_container(
    data: Data, config: TrainingConfig, normalisation: float | None = None
) -> PtychoDataContainer:
    """Return ``data`` grouped as ``config`` says, after writing ``config`` to ``params.cfg``.

    ``normalisation`` is the training data's factor, for data that a trained model is to see.
    Raises as :func:`ptycho.core.workflow.create_container` does.
    """
    configure(config)
    return create_container(data, config, normalisation)


def train_cdi_model(
    train_data: Data,
    test_data: Data | None,
    config: TrainingConfig,
    execution_config: PyTorchExecutionConfig | None = None,
) -> dict[str, Any]:
    """Train a model and return the ``results`` of ``docs/architecture.md``, section 4.

    The model becomes the one that ``model_manager.save`` saves, and its scales and probe go to
    ``params.cfg``. ``execution_config`` says on what and how to run, and wins over ``config``
    where it names a setting of the training; it is not written there.

    Raises ``ValueError`` for a bad configuration or data that does not fit it, ``RuntimeError``
    without torch and Lightning or if the loss becomes NaN or infinite.
    """
    execution = execution_config or PyTorchExecutionConfig()
    validate_training_config(config)
    # What the execution settings say of the training stays out of params.cfg (CONFIG-002).
    effective = with_execution(config, execution)
    validate_training_config(effective)
    check_outputs(effective)
    train, test = prepare(train_data, test_data, config)
    require_framework()
    from ptycho_torch import training

    trained = training.train(train, effective, execution_config=execution)
    model_manager.remember(trained)
    publish_scales(trained)
    model = model_manager.ObjectPredictor.of(
        trained,
        accelerator=execution.accelerator,
        batch_size=execution.inference_batch_size or _PREDICTED_TOGETHER,
    )
    return training_results(trained, model, train, test)


def run_cdi_example(
    train_data: Data,
    test_data: Data | None,
    config: TrainingConfig,
    flip_x: bool = False,
    flip_y: bool = False,
    transpose: bool = False,
    M: int = 20,
    do_stitching: bool = False,
    execution_config: PyTorchExecutionConfig | None = None,
) -> tuple[NDArray[np.float32] | None, NDArray[np.float32] | None, dict[str, Any]]:
    """Train a model and, with ``do_stitching``, stitch what it makes of ``test_data``.

    Returns (amplitude, phase, results); the images are (S, S) or both ``None``. Errors are those
    of :func:`train_cdi_model`.
    """
    results = train_cdi_model(train_data, test_data, config, execution_config)
    if not do_stitching or test_data is None:
        return None, None, results
    amplitude, phase, stitched = reassemble_cdi_image(
        test_data, config, results["model_instance"], flip_x, flip_y, transpose, M
    )
    return amplitude, phase, {**results, **stitched}


def reassemble_cdi_image(
    test_data: Data,
    config: Any,
    model: Any,
    flip_x: bool = False,
    flip_y: bool = False,
    transpose: bool = False,
    M: int = 20,
    keep_patches: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[str, Any]]:
    """Predict with ``model`` at every position of ``test_data`` and stitch the patches.

    Arguments and return value are those of :func:`ptycho.core.workflow.reassemble_image`.
    """
    return reassemble_image(test_data, config, model, flip_x, flip_y, transpose, M, keep_patches)


def load_inference_bundle(
    path: str | Path, execution_config: PyTorchExecutionConfig | None = None
) -> tuple[Any, dict[str, Any]]:
    """Load a saved model of either backend; return (model, copy of ``params.cfg``).

    ``path`` is the directory holding ``wts.h5.zip``, the archive, or an unpacked one.
    ``model.predict([X * intensity_scale, local_offsets])`` gives object patches, complex64
    (B, N, N, 1). ``params.cfg`` takes the model's configuration, scales and probe from the
    bundle, but no paths. ``execution_config`` says on what to predict, and how much at a time.

    Raises ``FileNotFoundError`` where there is no bundle, ``ValueError`` (``ArchiveError``) for
    a file that is none, ``RuntimeError`` without torch and Lightning.
    """
    model, bundle = model_manager.load(path)
    if execution_config is not None:
        model.accelerator = execution_config.accelerator
        model.batch_size = execution_config.inference_batch_size or model.batch_size
    return model, adopt_bundle(bundle)


#: The same doors under the names that say which backend they belong to.
run_cdi_example_torch = run_cdi_example
train_cdi_model_torch = train_cdi_model
load_inference_bundle_torch = load_inference_bundle
