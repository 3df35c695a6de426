"""Trained models of the PyTorch backend: the one trained last, saving, loading, predicting."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.config.config import ModelConfig
from ptycho.core.archive import archive_file
from ptycho.core.bundle import Bundle, read_bundle, write_bundle
from ptycho.core.geometry import merge_canvas_side
from ptycho.core.resume import archived_training
from ptycho.core.training_plan import TrainedModel
from ptycho.core.weights import Weights
from ptycho.core.workflow import check_predict_inputs
from ptycho_torch.torch_import import require_torch

__all__ = ["ObjectPredictor", "TrainedModel", "convert", "last_trained", "load", "remember", "save"]


class _Holder:
    """Keeps the model trained last in this process; the one place that does."""

    model: TrainedModel | None = None


def remember(trained: TrainedModel) -> None:
    """Make ``trained`` the model that :func:`save` saves."""
    _Holder.model = trained


def last_trained() -> TrainedModel:
    """Return the model trained last in this process; ``RuntimeError`` if there is none."""
    if _Holder.model is None:
        raise RuntimeError(
            "no PyTorch model has been trained in this process: train one before saving"
        )
    return _Holder.model


def save(path: str | Path, trained: TrainedModel | None = None, *, compact: bool = False) -> Path:
    """Save a trained model, by default the one trained last, and return the archive's path.

    ``path`` is a directory, made if missing, that gets ``wts.h5.zip``, or a path ending in
    ``.zip``. Equal models give equal bytes. Of several processes that trained it together only the
    first writes. Raises ``RuntimeError`` if nothing was trained.
    """
    trained = trained or last_trained()
    if trained.process:
        return archive_file(path)
    require_torch()
    bundle = Bundle(
        backend="pytorch",
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
    require_torch()
    from ptycho_torch.model import PtychoPINN_Lightning, plain_fields, set_canonical_weights

    module = PtychoPINN_Lightning(
        model=plain_fields(bundle.config),
        training=plain_fields(archived_training(bundle)),
        modes=bundle.weights["probe"].shape[0],
        intensity_scale=bundle.intensity_scale,
    )
    set_canonical_weights(module.model, bundle.weights)
    return _write(path, dataclasses.replace(bundle, backend="pytorch"), module)


def _write(path: str | Path, bundle: Bundle, module: Any) -> Path:
    native = {
        f"{role}/model.ckpt": checkpoint_bytes(module, role)
        for role in ("autoencoder", "diffraction_to_obj")
    }
    return write_bundle(path, bundle, native)


def checkpoint_bytes(module: Any, role: str, extra: Mapping[str, Any] | None = None) -> bytes:
    """Return a ``PtychoPINN_Lightning`` as a Lightning checkpoint; equal models, equal bytes.

    ``PtychoPINN_Lightning.load_from_checkpoint`` reads it, and so does
    ``torch.load(weights_only=True)``. The role "diffraction_to_obj" leaves out the probe.
    ``extra`` are further entries, plain values.
    """
    import lightning.pytorch as pl
    import torch

    state = {
        # A fresh contiguous tensor: a view would bring its whole storage along.
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in sorted(module.state_dict().items())
        if role == "autoencoder" or name != "model.probe"
    }
    checkpoint = {
        "epoch": 0,
        "global_step": 0,
        "pytorch-lightning_version": pl.__version__,
        "state_dict": state,
        "hparams_name": "kwargs",
        # The canvas belongs to the data, not to the model.
        "hyper_parameters": {**module.hparams, "role": role, "canvas_side": 0},
        **(extra or {}),
    }
    # A buffer, not a file: the bytes would depend on the file's name.
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def load(path: str | Path) -> tuple[ObjectPredictor, Bundle]:
    """Load a saved model of either backend; return it ready to predict, and what was read.

    ``path`` as in :func:`ptycho.core.bundle.read_bundle`, whose errors it raises. The model is
    built from the canonical weights: no code from the file runs, and ``params.cfg`` is left
    alone.
    """
    require_torch()
    bundle = read_bundle(path, reader="pytorch")
    return ObjectPredictor.of(bundle), bundle


class ObjectPredictor:
    """A trained model that predicts object patches, on a GPU where there is one.

    ``config``, ``weights`` (canonical), ``intensity_scale``, ``normalisation`` and ``bad_pixels``
    are those of its training. ``accelerator`` is "auto", "cpu" or another one that torch knows by
    name.
    """

    def __init__(
        self,
        config: ModelConfig,
        weights: Weights,
        intensity_scale: float,
        normalisation: float,
        bad_pixels: NDArray[np.bool_] | None = None,
        accelerator: str = "auto",
        batch_size: int = 32,
    ) -> None:
        self.config = config
        self.weights = weights
        self.intensity_scale = intensity_scale
        self.normalisation = normalisation
        self.bad_pixels = bad_pixels
        self.accelerator = accelerator
        self.batch_size = batch_size

    @classmethod
    def of(cls, model: TrainedModel | Bundle, **settings: Any) -> ObjectPredictor:
        """Return the predictor of a model just trained or read."""
        scales = (model.intensity_scale, model.normalisation)
        return cls(model.config, model.weights, *scales, model.bad_pixels, **settings)

    @cached_property
    def _model(self) -> Any:
        torch = require_torch()
        from ptycho_torch.model import CnnDiffractionToObject, set_canonical_weights

        model = CnnDiffractionToObject(self.config)
        set_canonical_weights(model, self.weights)
        name = {"gpu": "cuda"}.get(self.accelerator, self.accelerator)
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        return model.eval().to(name)

    def predict(
        self, inputs: Sequence[Any], batch_size: int | None = None
    ) -> NDArray[np.complex64]:
        """Return object patches (B, N, N, 1) from ``[X * intensity_scale, local_offsets]``.

        X is (B, N, N, C) and the offsets (B, 1, 2, C), arrays or CPU tensors. ``batch_size``
        bounds the memory and does not change the result. Raises ``ValueError`` naming the
        model's N and gridsize for other shapes.
        """
        x, offsets = check_predict_inputs(inputs, self.config)
        batch_size = self.batch_size if batch_size is None else batch_size
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}; allowed: an integer >= 1")
        model, N = self._model, self.config.N
        import torch

        from ptycho_torch.model import to_batch

        device = model.log_scale.device
        side = merge_canvas_side(N, float(np.abs(offsets).max(initial=0)))
        patches = np.empty((len(x), N, N, 1), np.complex64)
        with torch.inference_mode():
            for start in range(0, len(x), batch_size):
                part = slice(start, start + batch_size)
                batch = to_batch(x[part], offsets[part])
                found = model(batch.x.to(device), batch.relative.to(device), side)
                patches[part, ..., 0] = found.cpu().numpy()
        return patches
