"""What the workflow doors of both backends share: containers, results, stitched images.

The backends differ in how they train and predict; everything around it is here. ``params.cfg``
is written here in two places only: :func:`configure` and :func:`adopt_bundle`, plus the scales
of a finished training by :func:`publish_scales`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptycho import params
from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
    dataclass_to_legacy_dict,
    update_legacy_dict,
    validate_inference_config,
    validate_sampling,
    validate_training_config,
)
from ptycho.core.bundle import Bundle
from ptycho.core.container import PtychoDataContainer
from ptycho.core.patterns import BAD_PIXELS
from ptycho.core.stitching import reassemble
from ptycho.core.training_plan import TrainedModel, check_fits, probe_of
from ptycho.raw_data import RawData

__all__ = [
    "Predictor",
    "adopt_bundle",
    "check_predict_inputs",
    "configure",
    "create_container",
    "evaluate_test_data",
    "every_position",
    "prepare",
    "publish_scales",
    "reassemble_image",
    "training_results",
    "warn_of_overruled",
]

logger = logging.getLogger(__name__)

#: Groups gathered at a time when a whole scan is predicted.
_CHUNK = 256

Data = RawData | PtychoDataContainer


class Predictor(Protocol):
    """A loaded or freshly trained model: what stitching needs to know of it.

    ``intensity_scale`` and ``normalisation`` are those of its training, and so is ``bad_pixels``,
    (N, N) or None, which a model may have.
    """

    config: ModelConfig
    intensity_scale: float
    normalisation: float

    def predict(
        self, inputs: Sequence[Any], batch_size: int = 32
    ) -> NDArray[np.complex64]:  # (B, N, N, 1)
        """Return object patches (B, N, N, 1) from ``[X * intensity_scale, local_offsets]``."""
        ...


# --------------------------------------------------------------------------- before training


def configure(config: TrainingConfig | InferenceConfig) -> None:
    """Check ``config`` and write it into ``params.cfg``, before any data is touched."""
    if isinstance(config, InferenceConfig):
        validate_inference_config(config)
    else:
        validate_training_config(config)
    update_legacy_dict(params.cfg, config)


def create_container(
    data: Data, config: TrainingConfig, normalisation: float | None = None
) -> PtychoDataContainer:
    """Group ``data`` as ``config`` says; a container passes through.

    ``normalisation`` is the factor of the training data, given for any data that a trained model
    is to see; without it the factor is computed from ``data``.

    Raises ``TypeError`` for anything but ``RawData`` or a container, ``ValueError`` if the
    pattern side is not ``config.model.N``.
    """
    if isinstance(data, PtychoDataContainer):
        if normalisation is None or normalisation == data.normalisation:
            return data
        return _regrouped(data, data.groups, normalisation)
    _check_raw(data, config.model)
    return PtychoDataContainer.from_raw(
        _as_declared(data, config),
        N=config.model.N,
        gridsize=config.model.gridsize,
        n_groups=config.n_groups,
        seed=config.seed,
        neighbor_count=config.neighbor_count,
        sequential=config.sequential_sampling,
        oversample=config.enable_oversampling,
        pool_size=config.neighbor_pool_size,
        normalisation=normalisation,
    )


def every_position(
    data: Data, config: Any, model: ModelConfig, normalisation: float
) -> PtychoDataContainer:
    """Group ``data`` with one group per scan position, whatever was trained on.

    ``config`` gives ``seed``, ``neighbor_count`` and ``measurement_domain`` (a training or an
    inference configuration). An inference configuration with ``n_groups`` draws that many groups
    of a scan instead.
    """
    from ptycho.core.grouping import draw_groups
    from ptycho.core.sampling import grouping_generator

    if isinstance(data, PtychoDataContainer):
        check_fits(data, model, "data to be stitched")
        groups = draw_groups(
            data.positions,
            model.gridsize,
            len(data.positions),
            grouping_generator(config.seed),
            neighbor_count=config.neighbor_count,
            sequential=True,
        )
        return _regrouped(data, groups, normalisation)
    _check_raw(data, model)
    asked = config.n_groups if isinstance(config, InferenceConfig) else None
    return PtychoDataContainer.from_raw(
        _as_declared(data, config),
        N=model.N,
        gridsize=model.gridsize,
        n_groups=len(data) if asked is None else asked,
        seed=config.seed,
        neighbor_count=config.neighbor_count,
        sequential=asked is None,
        oversample=asked is not None and config.enable_oversampling,
        pool_size=None if asked is None else config.neighbor_pool_size,
        normalisation=normalisation,
    )


def prepare(
    train_data: Data, test_data: Data | None, config: TrainingConfig
) -> tuple[PtychoDataContainer, PtychoDataContainer | None]:
    """Configure, then return the containers of training and test data on one scale."""
    configure(config)
    train = create_container(train_data, config)
    check_fits(train, config.model, "training data")
    if test_data is None:
        return train, None
    test = create_container(test_data, config, train.normalisation)
    test = test.masked_as(train.bad_pixels)
    check_fits(test, config.model, "test data")
    return train, test


def _check_raw(data: Any, model: ModelConfig) -> None:
    if not isinstance(data, RawData):
        raise TypeError(f"data is {type(data).__name__}; expected RawData or PtychoDataContainer")
    if data.diff3d is None:
        raise ValueError("the data has no diffraction patterns (diff3d is None)")
    sides = data.diff3d.shape[1:]
    if sides != (model.N, model.N):
        raise ValueError(
            f"diffraction patterns are {' x '.join(map(str, sides))} pixels but config.model.N is "
            f"{model.N}: set ModelConfig.N={sides[-1]} or crop the patterns"
        )


def _as_declared(data: RawData, config: Any) -> RawData:
    """Return the scan with the measurement domain that ``config`` declares, if it does."""
    domain = config.measurement_domain
    return data if domain == "auto" else data.in_domain(domain)


def _regrouped(
    data: PtychoDataContainer, groups: NDArray[np.int64], normalisation: float
) -> PtychoDataContainer:
    same = groups is data.groups
    return PtychoDataContainer(
        data.patterns,
        groups,
        data.positions,
        data.probe,
        normalisation,
        labels=data.labels if same else None,
    )


# --------------------------------------------------------------------------- after training


def publish_scales(trained: TrainedModel) -> None:
    """Tell ``params.cfg`` the scales and the probe of the model trained last."""
    params.cfg.update(_model_state(trained))


def training_results(
    trained: TrainedModel,
    model: Predictor,
    train: PtychoDataContainer,
    test: PtychoDataContainer | None,
) -> dict[str, Any]:
    """Return the ``results`` of a training run; ``model`` goes in as ``model_instance``.

    ``process`` is the number of this process among those that trained together. With test data,
    ``reconstructed_obj`` has its object patches, complex64 (B, N, N, 1).
    """
    results: dict[str, Any] = {
        "history": trained.history,
        "step_losses": trained.step_losses,
        "model_instance": model,
        "train_container": train,
        "test_container": test,
        "intensity_scale": trained.intensity_scale,
        "seconds": trained.seconds,
        "process": trained.process,
    }
    if test is not None:
        results["reconstructed_obj"] = evaluate_test_data(model, test)
    return results


def evaluate_test_data(
    model: Predictor, container: PtychoDataContainer, side: int | None = None
) -> NDArray[np.complex64]:
    """Return the object patches (B, N, N, 1) of every group, gathering a few at a time.

    With ``side`` only their central squares of that side are kept, (B, side, side, 1).
    """
    side = container.N if side is None else side
    first = container.N // 2 - side // 2
    kept = slice(first, first + side)
    patches = np.empty((len(container), side, side, 1), np.complex64)
    for start in range(0, len(container), _CHUNK):
        indices = np.arange(start, min(start + _CHUNK, len(container)))
        scaled = container.batch_X(indices) * np.float32(model.intensity_scale)
        found = model.predict([scaled, container.batch_offsets(indices)])
        patches[indices] = found[:, kept, kept]
    return patches


def reassemble_image(
    test_data: Data,
    config: Any,
    model: Predictor,
    flip_x: bool = False,
    flip_y: bool = False,
    transpose: bool = False,
    M: int = 20,
    keep_patches: bool = True,
) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[str, Any]]:
    """Predict a patch at every scan position and stitch them.

    ``flip_x`` and ``flip_y`` negate that coordinate of the positions at which patches are put
    down, and ``transpose`` swaps rows and columns of each patch, for scans whose axes run
    against the detector's. ``M`` is the side of the central part of a patch that is used.
    ``config`` says how the scan is grouped; network and scales are the model's own, and so are
    bad pixels where the scan has none.

    Returns amplitude and phase (radians), each float32 (S, S), and a dictionary with
    ``obj_tensor_full`` (K, N, N, 1) complex64, ``global_offsets`` (K, 1, 2, 1), ``recon_amp``,
    ``recon_phase`` and ``stitched_container``. Without ``keep_patches``, ``obj_tensor_full`` has
    the central M x M of the patches only, (K, M, M, 1), which takes less memory.

    Raises ``ValueError`` for a bad field of ``config``, before data or model is touched.
    """
    validate_sampling(config)
    container = every_position(test_data, config, model.config, model.normalisation)
    container = container.masked_as(getattr(model, "bad_pixels", None))
    side = None if keep_patches or not 0 < M <= container.N else M
    patches = evaluate_test_data(model, container, side)
    if transpose:
        patches = patches.transpose(0, 2, 1, 3)
    signs = np.array([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0])
    offsets = container.global_offsets * signs[:, None]
    image = reassemble(patches, offsets, M)
    amplitude = np.abs(image).astype(np.float32)
    phase = np.angle(image).astype(np.float32)
    return (
        amplitude,
        phase,
        {
            "obj_tensor_full": patches,
            "global_offsets": offsets,
            "recon_amp": amplitude,
            "recon_phase": phase,
            "stitched_container": container,
        },
    )


# --------------------------------------------------------------------------- bundles


def adopt_bundle(bundle: Bundle) -> dict[str, Any]:
    """Make ``params.cfg`` describe a loaded model and return a copy of it.

    The bundle wins for what defines the model (every ``ModelConfig`` field, ``nphotons``) and
    its scales and probe. Paths, output places and how the run groups data stay as they are.
    """
    params.cfg.update(bundle.model_params())
    if "nphotons" in bundle.params:
        params.cfg["nphotons"] = bundle.params["nphotons"]
    params.cfg.update(_model_state(bundle))
    logger.info("loaded a %s model, N=%d", bundle.backend, bundle.config.N)
    return dict(params.cfg)


def warn_of_overruled(given: Mapping[str, Any], restored: Mapping[str, Any]) -> None:
    """Warn of the model settings in which ``params.cfg`` differed from a bundle now adopted."""
    keys = dataclass_to_legacy_dict(ModelConfig())
    other = [key for key in keys if key in given and given[key] != restored.get(key)]
    if other:
        what = ", ".join(f"{key} is {restored.get(key)!r}, not {given[key]!r}" for key in other)
        logger.warning("the loaded model decides: %s", what)


def _model_state(model: TrainedModel | Bundle) -> dict[str, Any]:
    probe = probe_of(model.weights)
    return {
        "intensity_scale": float(model.intensity_scale),
        "normalisation": float(model.normalisation),
        "probe": probe[0] if len(probe) == 1 else probe,
        BAD_PIXELS: model.bad_pixels,
    }


# --------------------------------------------------------------------------- prediction


def check_predict_inputs(
    inputs: Any, config: ModelConfig
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return scaled patterns (B, N, N, C) and offsets (B, 1, 2, C) as float32.

    Raises ``ValueError`` naming the model's N and gridsize if the inputs do not fit it.
    """
    model = f"this model (N={config.N}, gridsize={config.gridsize})"
    C = config.gridsize**2
    if not isinstance(inputs, (list, tuple)) or len(inputs) != 2:
        raise ValueError(f"{model} predicts from [X * intensity_scale, local_offsets]")
    x, offsets = (np.asarray(part, np.float32) for part in inputs)
    if x.ndim != 4 or x.shape[1:] != (config.N, config.N, C):
        raise ValueError(
            f"X has shape {x.shape}; {model} takes (B, {config.N}, {config.N}, {C}): group the "
            "data for this model"
        )
    if offsets.shape != (len(x), 1, 2, C):
        raise ValueError(
            f"local_offsets has shape {offsets.shape}; {model} and {len(x)} groups take "
            f"({len(x)}, 1, 2, {C})"
        )
    if not np.isfinite(offsets).all():
        raise ValueError(f"local_offsets has NaN or infinity; {model} takes pixels")
    return x, offsets
