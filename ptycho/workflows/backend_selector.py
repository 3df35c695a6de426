"""One door for every backend: ``config.backend`` decides who trains and who reconstructs.

Backends are modules found through the entry-point group ``ptychopinn.backends``; each offers the
functions of ``docs/architecture.md``, section 4, a name ``BACKEND`` and ``require_framework()``.
Another distribution joins by declaring an entry point in that group.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho import params
from ptycho.config.config import (
    InferenceConfig,
    PyTorchExecutionConfig,
    TrainingConfig,
    update_legacy_dict,
    validate_sampling,
    validate_training_config,
)
from ptycho.config.environment import BACKEND_VARIABLE
from ptycho.core.bundle import written_by
from ptycho.core.manifest import BACKENDS

__all__ = [
    "available_backends",
    "bundle_reader",
    "get_backend",
    "load_inference_bundle_with_backend",
    "run_cdi_example_with_backend",
    "serving_backend",
    "train_cdi_model_with_backend",
]

logger = logging.getLogger(__name__)

ENTRY_POINT_GROUP = "ptychopinn.backends"

FloatImage = NDArray[np.floating[Any]]


def _entry_points() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        other = found.setdefault(point.name, point)
        if other.value != point.value:
            raise RuntimeError(
                f"backend {point.name!r} is declared twice in the entry-point group "
                f"{ENTRY_POINT_GROUP}: {other.value} and {point.value}; uninstall one of them"
            )
    return found


def available_backends() -> tuple[str, ...]:
    """Return the names of the installed backends, sorted; none of them is imported."""
    return tuple(sorted(_entry_points()))


def get_backend(name: str) -> ModuleType:
    """Return the module of backend ``name``; its framework is not imported yet.

    Raises ``ValueError`` naming the available backends where there is no such one, and
    ``RuntimeError`` where the module cannot be imported.
    """
    points = _entry_points()
    if name not in points:
        known = ", ".join(sorted(points)) or "none (is ptychopinn installed? pip install -e .)"
        named = os.environ.get(BACKEND_VARIABLE) == name
        origin = f" (named by the environment variable {BACKEND_VARIABLE})" if named else ""
        raise ValueError(f"unknown backend {name!r}{origin}; available: {known}")
    try:
        module: ModuleType = points[name].load()
    except ImportError as error:
        raise RuntimeError(
            f"backend {name!r} ({points[name].value}) cannot be imported: {error}"
        ) from error
    return module


def _ready_backend(name: str) -> ModuleType:
    """Return the backend after it has checked that its framework can be imported."""
    module = get_backend(name)
    try:
        module.require_framework()
    except ImportError as error:
        raise RuntimeError(f"backend {name!r} lacks its framework: {error}") from error
    return module


def bundle_reader(backend: ModuleType) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """Return the function by which ``backend`` itself loads a bundle, whoever wrote it.

    That is its ``load_inference_bundle``, but for TensorFlow, where the client's door of that
    name lets the backend answer that wrote the bundle.
    """
    own = getattr(backend, "load_inference_bundle_tensorflow", None)
    reader: Callable[..., tuple[Any, dict[str, Any]]]
    reader = own or backend.load_inference_bundle
    return reader


def serving_backend(path: str | Path) -> ModuleType:
    """Return the backend that answers for a bundle: the one that wrote it.

    Where its framework cannot be imported, another backend that reads bundles answers, and a
    warning says so. Raises ``RuntimeError`` saying what to install where none is usable, and the
    errors of :func:`ptycho.core.bundle.read_bundle` for a bundle without a sound manifest.
    """
    writer = written_by(path)
    try:
        return _ready_backend(writer)
    except RuntimeError as missing:
        for other in (name for name in BACKENDS if name != writer):
            try:
                backend = _ready_backend(other)
            except RuntimeError:
                continue
            logger.warning(
                "%s was written by %s, but %s reads it: %s", path, writer, other, missing
            )
            return backend
        raise


def _prepare_training(config: TrainingConfig) -> ModuleType:
    """Publish the configuration, resolve the backend, check both, in this order."""
    # CONFIG-001: params.cfg holds this run's configuration before any data or model is touched.
    update_legacy_dict(params.cfg, config)
    get_backend(config.backend)
    # The backend was resolved among those installed, whoever brought it; the closed list of the
    # configuration module must not refuse a newcomer.
    validate_training_config(dataclasses.replace(config, backend="tensorflow"))
    return _ready_backend(config.backend)


def _execution_keyword(
    config: TrainingConfig | InferenceConfig, execution: PyTorchExecutionConfig | None
) -> dict[str, PyTorchExecutionConfig]:
    if config.backend == "pytorch":
        return {"execution_config": execution or PyTorchExecutionConfig()}
    if execution is not None:
        logger.warning("backend %s does not use torch_execution_config", config.backend)
    return {}


def run_cdi_example_with_backend(
    train_data: Any,
    test_data: Any,
    config: TrainingConfig,
    flip_x: bool = False,
    flip_y: bool = False,
    transpose: bool = False,
    M: int = 20,
    do_stitching: bool = False,
    torch_execution_config: PyTorchExecutionConfig | None = None,
) -> tuple[FloatImage | None, FloatImage | None, dict[str, Any]]:
    """Train with ``config.backend`` and, if asked, stitch the reconstruction of ``test_data``.

    ``train_data`` and ``test_data`` are ``RawData`` or containers. ``M`` is the side of the
    central square of each patch that is stitched, in pixels. ``torch_execution_config`` reaches
    the PyTorch backend only.

    Returns (amplitude, phase, results): float images (S, S), the phase in radians, both None
    without stitching; ``results`` as in ``docs/architecture.md`` plus ``backend``.

    Raises ``ValueError`` for a bad configuration or an unknown backend, ``RuntimeError`` where
    the backend's framework is missing.
    """
    backend = _prepare_training(config)
    amplitude, phase, results = backend.run_cdi_example(
        train_data,
        test_data,
        config,
        flip_x=flip_x,
        flip_y=flip_y,
        transpose=transpose,
        M=M,
        do_stitching=do_stitching,
        **_execution_keyword(config, torch_execution_config),
    )
    return amplitude, phase, {**results, "backend": config.backend}


def train_cdi_model_with_backend(
    train_data: Any,
    test_data: Any,
    config: TrainingConfig,
    torch_execution_config: PyTorchExecutionConfig | None = None,
) -> dict[str, Any]:
    """Train with ``config.backend``; arguments and errors as in the function above.

    Returns the backend's ``results`` with ``backend`` added.
    """
    backend = _prepare_training(config)
    results = backend.train_cdi_model(
        train_data, test_data, config, **_execution_keyword(config, torch_execution_config)
    )
    return {**results, "backend": config.backend}


def load_inference_bundle_with_backend(
    bundle_dir: str | Path,
    config: InferenceConfig | TrainingConfig,
    model_name: str = "diffraction_to_obj",
    torch_execution_config: PyTorchExecutionConfig | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Load a bundle, written by whichever backend, into ``config.backend``.

    ``bundle_dir`` is the directory holding ``wts.h5.zip``, the file itself, or an unpacked
    bundle. The configuration in the bundle wins over ``config`` and is restored to
    ``params.cfg``. ``torch_execution_config`` tells the PyTorch backend what to predict on.

    Returns (model, parameters): ``model.predict([X * intensity_scale, local_offsets])`` gives
    object patches, complex64 (B, N, N, 1); the parameters are the legacy dictionary.

    Raises ``ValueError`` for an unknown backend or a bad field of ``config``, ``KeyError`` for
    another ``model_name`` than ``diffraction_to_obj``, ``FileNotFoundError`` where there is no
    bundle.
    """
    update_legacy_dict(params.cfg, config)  # CONFIG-001, before the backend is looked at
    backend = get_backend(config.backend)
    if model_name != "diffraction_to_obj":
        raise KeyError(
            f"model_name is {model_name!r}: a bundle is loaded for inference as "
            "'diffraction_to_obj'"
        )
    validate_sampling(config)
    _ready_backend(config.backend)
    given: dict[str, Any] = {}
    if torch_execution_config is not None:
        given = _execution_keyword(config, torch_execution_config)
    model, restored = bundle_reader(backend)(bundle_dir, **given)
    return model, restored
