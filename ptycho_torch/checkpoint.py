"""The plugin's ``.ckpt``: a Lightning checkpoint with what a reconstruction needs besides.

Like a bundle it is read with distrust: its pickle is looked at before torch sees it, torch reads
tensors and plain values only, and sizes are checked before a network is built.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from ptycho.config import config as shared
from ptycho.core.archive import (
    ArchiveError,
    BadParams,
    BadWeights,
    NotAnArchive,
    UnsafePayload,
)
from ptycho.core.native_payload import inspect_payload
from ptycho.core.weights import weight_shapes
from ptycho_torch import config_params as plugin

__all__ = ["RECORD", "CheckpointRecord", "read_checkpoint", "read_safely"]

logger = logging.getLogger(__name__)

#: The entry of a checkpoint that holds the record.
RECORD = "ptychopinn"
_VERSION = "1.0"

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class CheckpointRecord:
    """What a checkpoint of the plugin holds besides weights and hyperparameters.

    The plugin's configurations of the training, its normalisation factor, and the ``bad_pixels``
    (N, N) bool of its data or None, which the network saw as 0.
    """

    data_config: plugin.DataConfig
    model_config: plugin.ModelConfig
    training_config: plugin.TrainingConfig
    inference_config: plugin.InferenceConfig
    normalisation: float
    bad_pixels: NDArray[np.bool_] | None = None

    #: The configurations, in the order in which the client takes them.
    CONFIGS: ClassVar[dict[str, type]] = {
        "data_config": plugin.DataConfig,
        "model_config": plugin.ModelConfig,
        "training_config": plugin.TrainingConfig,
        "inference_config": plugin.InferenceConfig,
    }

    @property
    def configs(self) -> tuple[Any, ...]:
        """The configurations of data, model, training and inference."""
        return tuple(getattr(self, name) for name in self.CONFIGS)

    def to_plain(self) -> dict[str, Any]:
        """Return the record as plain values, for :meth:`from_plain`."""
        mask = self.bad_pixels
        return {
            "version": _VERSION,
            "normalisation": float(self.normalisation),
            "bad_pixels": None if mask is None else [int(i) for i in np.flatnonzero(mask)],
            **{name: _plain(getattr(self, name)) for name in self.CONFIGS},
        }

    @classmethod
    def from_plain(cls, plain: Any) -> CheckpointRecord:
        """Return the record that plain values describe; ``BadParams`` where they do not."""
        if not isinstance(plain, dict) or plain.get("version") != _VERSION:
            raise BadParams(f"its entry {RECORD!r} is not of version {_VERSION}")
        configs = {name: _config(kind, plain.get(name)) for name, kind in cls.CONFIGS.items()}
        factor = plain.get("normalisation")
        if not isinstance(factor, float) or not (math.isfinite(factor) and factor > 0):
            raise BadParams(f"its normalisation factor is {factor!r}; it has to be positive")
        mask = _mask(plain.get("bad_pixels"), configs["data_config"].N)
        return cls(**configs, normalisation=factor, bad_pixels=mask)

    def warn_of_differences(self, given: Mapping[str, Any]) -> None:
        """Log a warning for each field of the ``given`` configurations that differs from these."""
        for name, config in given.items():
            if config is None:
                continue
            own = getattr(self, name)
            for field in dataclasses.fields(own):
                theirs, ours = getattr(config, field.name, None), getattr(own, field.name)
                if theirs != ours:
                    logger.warning(
                        "%s.%s is %r but the checkpoint was trained with %r, which is used",
                        type(own).__name__, field.name, theirs, ours,
                    )  # fmt: skip


def read_checkpoint(path: str | Path) -> CheckpointRecord:
    """Return the record of a checkpoint, after checking that the file can be loaded safely.

    Raises ``FileNotFoundError``, and ``ArchiveError`` (a ``ValueError``) naming the file where it
    is no checkpoint, is damaged, was not written by the plugin, carries code, or describes a
    network that its weights are not.
    """
    from ptycho_torch.torch_import import require_torch

    torch = require_torch()
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no such checkpoint: {path}")

    def read() -> CheckpointRecord:
        inspect_payload("model.ckpt", path.read_bytes(), str(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(content, dict) or RECORD not in content:
            raise BadParams("it was not written by the plugin: train with this version and save")
        record = CheckpointRecord.from_plain(content[RECORD])
        _check_network(content)
        return record

    return read_safely(path, read)


def read_safely(path: Any, read: Callable[[], Loaded]) -> Loaded:
    """Return what ``read`` returns; errors of a bad checkpoint become ``ArchiveError``."""
    try:
        return read()
    except (OSError, UnsafePayload):
        raise
    except ArchiveError as error:
        raise type(error)(f"{path}: {error}") from error
    except pickle.UnpicklingError as error:
        raise UnsafePayload(
            f"{path}: not a checkpoint of tensors and plain values; nothing in it was executed"
        ) from error
    except Exception as error:  # a damaged pickle may raise any
        raise NotAnArchive(f"{path} is no usable checkpoint: {error}") from error


def _plain(config: Any) -> dict[str, Any]:
    values = dataclasses.asdict(config)
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


def _config(kind: type, plain: Any) -> Any:
    if not isinstance(plain, dict):
        raise BadParams(f"it holds no {kind.__name__}")
    unknown = sorted(set(plain) - {f.name for f in dataclasses.fields(kind)})
    if unknown:
        raise BadParams(f"unknown fields of {kind.__name__}: {', '.join(map(str, unknown))[:200]}")
    return kind(**{name: tuple(v) if isinstance(v, list) else v for name, v in plain.items()})


def _mask(indices: Any, N: Any) -> NDArray[np.bool_] | None:
    if indices is None:
        return None
    sound = isinstance(N, int) and N in shared.SUPPORTED_N and isinstance(indices, list)
    if not sound or not all(type(i) is int and 0 <= i < N * N for i in indices):
        raise BadParams("its bad pixels are not pixels of a pattern")
    mask = np.zeros(N * N, bool)
    mask[indices] = True
    return mask.reshape(N, N)


def _check_network(content: Mapping[str, Any]) -> None:
    """Raise unless the weights are as many as the described network has, before it is built."""
    hyper, state = content.get("hyper_parameters"), content.get("state_dict")
    if not isinstance(hyper, dict) or not isinstance(state, dict):
        raise BadParams("it has no hyper-parameters or no weights")
    try:
        config = shared.ModelConfig(**hyper["model"])
        shared.validate_model_config(config)
        shared.TrainingConfig(model=config, **hyper["training"])
        modes = int(hyper["modes"])
        expected = sum(math.prod(shape) for shape in weight_shapes(config, modes).values())
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BadParams(f"its hyper-parameters describe no network: {error}") from error
    found = sum(int(tensor.numel()) for tensor in state.values())
    if found != expected:
        raise BadWeights(f"it has {found} weights; the network that it describes has {expected}")
