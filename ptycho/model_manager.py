"""Trained models of the TensorFlow backend: the one trained last, saving, loading, predicting."""

from __future__ import annotations

import dataclasses
import io
import json
import tempfile
import zipfile
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import ModelConfig
from ptycho.core.bundle import Bundle, read_bundle, write_bundle
from ptycho.core.resume import archived_training
from ptycho.core.training_plan import TrainedModel
from ptycho.core.weights import Weights
from ptycho.core.workflow import check_predict_inputs
from ptycho.tensorflow_import import require_tensorflow

__all__ = ["ObjectPredictor", "TrainedModel", "convert", "last_trained", "load", "remember", "save"]


class _Holder:
    """Keeps the model trained last in this process; the one place that does.

    ``backend`` is the one that trained it, None where that is TensorFlow.
    """

    model: TrainedModel | None = None
    backend: Any = None


def remember(trained: TrainedModel) -> None:
    """Make ``trained`` the model that :func:`save` saves."""
    _Holder.model, _Holder.backend = trained, None


def trained_by(backend: Any) -> None:
    """Let :func:`save` save the model that another backend has trained last."""
    _Holder.model, _Holder.backend = None, backend


def last_trained() -> TrainedModel:
    """Return the model trained last in this process; ``RuntimeError`` if there is none."""
    if _Holder.model is None:
        raise RuntimeError(
            "no TensorFlow model has been trained in this process: train one before saving"
        )
    return _Holder.model


def save(path: str | Path, trained: TrainedModel | None = None, *, compact: bool = False) -> Path:
    """Save a trained model, by default the one trained last, and return the archive's path.

    ``path`` is a directory, made if missing, that gets ``wts.h5.zip``, or a path ending in
    ``.zip``. Equal models give equal bytes. What another backend has trained at the doors of
    ``ptycho.workflows.components`` is saved by that one. ``compact`` leaves out what predicting
    does not need: this backend's own files and the state from which a training goes on, and writes
    the weights once. Raises ``RuntimeError`` if nothing was trained.
    """
    if trained is None and _Holder.backend is not None:
        saved: Path = _Holder.backend.model_manager.save(path, compact=compact)
        return saved
    trained = trained or last_trained()
    require_tensorflow()
    bundle = Bundle(
        backend="tensorflow",
        config=trained.config,
        weights=trained.weights,
        intensity_scale=trained.intensity_scale,
        normalisation=trained.normalisation,
        params=trained.params,
        state=trained.state,
    )
    if compact:
        return write_bundle(path, bundle, {}, compact=True)
    return _write(path, bundle, trained.native)


def convert(path: str | Path, bundle: Bundle) -> Path:
    """Save a model that was read, of either backend, with this backend's own files.

    ``path`` is that of :func:`save`. Weights, scales, configuration and the state of the training
    stay as they are.
    """
    require_tensorflow()
    from ptycho.model import build_models

    trained_as = archived_training(bundle)
    models = build_models(
        bundle.config,
        bundle.weights,
        probe_trainable=trained_as.probe_trainable,
        intensity_scale_trainable=trained_as.intensity_scale_trainable,
    )
    return _write(path, dataclasses.replace(bundle, backend="tensorflow"), models)


def _write(path: str | Path, bundle: Bundle, models: Any) -> Path:
    native = {
        "autoencoder/model.keras": keras_bytes(models.autoencoder),
        "diffraction_to_obj/model.keras": keras_bytes(models.diffraction_to_obj),
    }
    return write_bundle(path, bundle, native, custom_objects=_registered(models.autoencoder))


def _registered(model: Any) -> list[str]:
    """Return the registered names of the package's own layers in a Keras model."""
    import keras

    names = {keras.saving.get_registered_name(type(layer)) for layer in model.layers}
    return sorted(name for name in names if name.startswith("ptycho>"))


def keras_bytes(model: Any) -> bytes:
    """Return a Keras model in the ``.keras`` format; equal models give equal bytes.

    Dates are set to 1980 and the members sorted. After ``import ptycho.layers`` Keras loads it
    with ``safe_mode=True``.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.keras"
        model.save(path)
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(members["metadata.json"])
    metadata["date_saved"] = "1980-01-01@00:00:00"
    members["metadata.json"] = json.dumps(metadata, sort_keys=True).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            # Without a date of its own a ZipInfo has the earliest, 1980-01-01.
            archive.writestr(zipfile.ZipInfo(name), members[name])
    return buffer.getvalue()


def load(path: str | Path) -> tuple[ObjectPredictor, Bundle]:
    """Load a saved model of either backend; return it ready to predict, and what was read.

    ``path`` as in :func:`ptycho.core.bundle.read_bundle`, whose errors it raises. The model is
    built from the canonical weights: no code from the file runs, and ``params.cfg`` is left
    alone.
    """
    require_tensorflow()
    bundle = read_bundle(path, reader="tensorflow")
    return ObjectPredictor.of(bundle), bundle


class ObjectPredictor:
    """A trained model that predicts object patches.

    ``config``, ``weights`` (canonical), ``intensity_scale``, ``normalisation`` and ``bad_pixels``
    are those of its training.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        intensity_scale: float,
        normalisation: float,
        bad_pixels: NDArray[np.bool_] | None = None,
    ) -> None:
        self.config = config
        self.weights = weights
        self.intensity_scale = intensity_scale
        self.normalisation = normalisation
        self.bad_pixels = bad_pixels

    @classmethod
    def of(cls, model: TrainedModel | Bundle) -> ObjectPredictor:
        """Return the predictor of a model just trained or read."""
        scales = (model.intensity_scale, model.normalisation)
        return cls(model.config, model.weights, *scales, model.bad_pixels)

    @cached_property
    def _model(self) -> Any:
        require_tensorflow()
        from ptycho.model import build_models

        return build_models(self.config, self.weights).diffraction_to_obj

    @cached_property
    def _function(self) -> Any:
        tf = require_tensorflow()
        from ptycho.model import call_with, compiled

        model, variables = self._model, self._model.variables
        values = [variable.value for variable in variables]
        signature = [tf.TensorSpec(each.shape, tf.float32) for each in model.inputs]

        def predict(inputs: Any, values: Any) -> Any:
            return call_with(model, variables, values, inputs, training=False)

        key = ("predict", *dataclasses.astuple(self.config))
        function = compiled(key, predict, signature, values)
        return lambda inputs: function(inputs, values)

    def predict(self, inputs: Sequence[Any], batch_size: int = 32) -> NDArray[np.complex64]:
        """Return object patches (B, N, N, 1) from ``[X * intensity_scale, local_offsets]``.

        X is (B, N, N, C) and the offsets (B, 1, 2, C), arrays or tensors. ``batch_size`` bounds
        the memory and does not change the result. Raises ``ValueError`` naming the model's N
        and gridsize for other shapes.
        """
        x, offsets = check_predict_inputs(inputs, self.config)
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; allowed: an integer >= 1")
        tf = require_tensorflow()
        patches = np.empty((len(x), self.config.N, self.config.N, 1), np.complex64)
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            batch = [tf.constant(x[part]), tf.constant(offsets[part])]
            patches[part] = self._function(batch).numpy()
        return patches
