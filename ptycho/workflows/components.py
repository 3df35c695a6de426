"""The TensorFlow backend's workflow doors; importing this module loads no framework.

They are also the doors of the client's first plugin, which another backend can serve: one that
``config.backend`` names trains, and the one that wrote a bundle answers for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

# The client reaches ptycho.loader, probe and tf_helper as attributes of the package.
from ptycho import loader, model_manager, params, probe, tf_helper
from ptycho.config.config import (
    ModelConfig,
    TrainingConfig,
    update_legacy_dict,
    validate_training_config,
)
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
    warn_of_overruled,
)
from ptycho.raw_data import RawData
from ptycho.tensorflow_import import require_tensorflow
from ptycho.workflows import backend_selector

__all__ = [
    "BACKEND",
    "ModelConfig",
    "PtychoDataContainer",
    "RawData",
    "TrainingConfig",
    "create_ptycho_data_container",
    "load_data",
    "load_inference_bundle",
    "load_inference_bundle_tensorflow",
    "loader",
    "model_manager",
    "params",
    "probe",
    "reassemble_cdi_image",
    "require_framework",
    "run_cdi_example",
    "save_outputs",
    "tf_helper",
    "train_cdi_model",
    "update_legacy_dict",
]

BACKEND = "tensorflow"

Data = RawData | PtychoDataContainer


def require_framework() -> None:
    """Import TensorFlow; ``RuntimeError`` saying what to install where that fails."""
    require_tensorflow()


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
    execution_config: Any = None,
) -> dict[str, Any]:
    """Train a model and return the ``results`` of ``docs/architecture.md``, section 4.

    The model becomes the one that ``model_manager.save`` saves, and its scales and probe go to
    ``params.cfg``. Where ``config.backend`` names another backend, that one trains, and
    ``model_manager.save`` saves its model; ``execution_config`` is for the PyTorch backend.

    Raises ``ValueError`` for a bad configuration or data that does not fit it, ``RuntimeError``
    without TensorFlow or if the loss becomes NaN or infinite.
    """
    if config.backend != BACKEND:
        results = backend_selector.train_cdi_model_with_backend(
            train_data, test_data, config, execution_config
        )
        model_manager.trained_by(backend_selector.get_backend(config.backend))
        return results
    validate_training_config(config)
    check_outputs(config)
    train, test = prepare(train_data, test_data, config)
    require_framework()
    from ptycho import training

    trained = training.train(train, config, execution_config=execution_config)
    model_manager.remember(trained)
    publish_scales(trained)
    return training_results(trained, model_manager.ObjectPredictor.of(trained), train, test)


def run_cdi_example(
    train_data: Data,
    test_data: Data | None,
    config: TrainingConfig,
    flip_x: bool = False,
    flip_y: bool = False,
    transpose: bool = False,
    M: int = 20,
    do_stitching: bool = False,
    execution_config: Any = None,
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
    path: str | Path, execution_config: Any = None
) -> tuple[Any, dict[str, Any]]:
    """Load a saved model of either backend; return (model, copy of ``params.cfg``).

    ``path`` is the directory holding ``wts.h5.zip``, the archive, or an unpacked one.
    ``model.predict([X * intensity_scale, local_offsets])`` gives object patches, complex64
    (B, N, N, 1). ``params.cfg`` takes the model's configuration, scales and probe from the
    bundle, but no paths. ``execution_config`` is for the PyTorch backend, if it answers.

    The backend that wrote the bundle answers; where its framework is missing the other one does,
    with a warning. :func:`load_inference_bundle_tensorflow` is TensorFlow's answer. Settings of the
    model in ``params.cfg`` that the bundle overrules are named in a warning.

    Raises ``FileNotFoundError`` where there is no bundle, ``ValueError`` (``ArchiveError``) for
    a file that is none, ``RuntimeError`` where no framework is usable.
    """
    settings = dict(params.cfg)
    backend = backend_selector.serving_backend(path)
    told = execution_config is not None and backend.BACKEND == "pytorch"
    given = {"execution_config": execution_config} if told else {}
    model, restored = backend_selector.bundle_reader(backend)(path, **given)
    warn_of_overruled(settings, restored)
    return model, restored


def load_inference_bundle_tensorflow(path: str | Path) -> tuple[Any, dict[str, Any]]:
    """Load a saved model of either backend with TensorFlow, as :func:`load_inference_bundle`.

    Raises ``RuntimeError`` without TensorFlow.
    """
    model, bundle = model_manager.load(path)
    return model, adopt_bundle(bundle)
