"""``training.h5``: where a training stands, so that another run can go on from there.

The optimiser's moments as float32 datasets ``first/<canonical name>`` and
``second/<canonical name>``, the history as float64 datasets ``history/<number>_<name>`` in the
order in which it is shown, everything else as root attributes. The names are canonical,
so either backend goes on with what the other reached.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from ptycho.config.config import ModelConfig
from ptycho.core.archive import BadTrainingState
from ptycho.core.container import PtychoDataContainer
from ptycho.core.safe_hdf5 import READ_ERRORS, attribute, error_text, plain_datasets
from ptycho.core.schedule import PlateauState
from ptycho.core.weights import PHYSICAL, Weights, weight_shapes
from ptycho.core.weights_file import FORMAT_VERSION, LIBVER

__all__ = ["TrainingState", "dump_state", "groups_digest", "load_state"]

_MAX_COUNT = 2**31 - 1
_MOST_NAMES = 100
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NUMBERED = re.compile(r"(\d\d)_(.*)", re.DOTALL)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_ATTRIBUTES: dict[str, type] = {
    "batch": int,
    "epoch": int,
    "format_version": str,
    "groups": str,
    "plateau_bad_epochs": int,
    "plateau_best": float,
    "plateau_rate": float,
    "step": int,
}


@dataclass(frozen=True, eq=False)
class TrainingState:
    """Where a training stands.

    ``epoch`` epochs are complete and ``batch`` batches of the next one done; ``step`` counts the
    optimiser's steps. Its moments ``first`` and ``second`` have an entry for every weight that
    trains: those of Adam, or the momentum of gradient descent and zeros. ``history`` has
    ``epoch`` entries per name. ``groups`` is the :func:`groups_digest` of the data.
    """

    epoch: int
    batch: int
    step: int
    first: Weights
    second: Weights
    plateau: PlateauState
    history: dict[str, list[float]]
    groups: str


def groups_digest(container: PtychoDataContainer) -> str:
    """Return the SHA-256 of which groups are trained on and where their members lie."""
    digest = hashlib.sha256()
    for array, dtype in ((container.groups, "<i8"), (container.positions, "<f8")):
        plain = np.ascontiguousarray(array, dtype)
        digest.update(repr(plain.shape).encode())
        digest.update(plain.tobytes())
    return digest.hexdigest()


# --------------------------------------------------------------------------- writing


def dump_state(state: TrainingState, config: ModelConfig) -> bytes:
    """Return the bytes of a ``training.h5``; equal states give equal bytes.

    Raises ``ValueError`` naming what does not fit the network of ``config``.
    """
    _check(state, config)
    values: dict[str, Any] = {
        **{name: getattr(state, name) for name in ("batch", "epoch", "groups", "step")},
        **{f"plateau_{name}": value for name, value in state.plateau._asdict().items()},
        "format_version": FORMAT_VERSION,
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=LIBVER) as file:
        for name, kind in _ATTRIBUTES.items():
            # bytes: text of fixed length, which needs no heap in the file.
            value = values[name]
            file.attrs[name] = np.bytes_(value) if kind is str else _number(value, kind)
        for part in ("first", "second"):
            for name, array in sorted(getattr(state, part).items()):
                file.create_dataset(f"{part}/{name}", data=array, dtype="<f4", track_times=False)
        for i, (name, series) in enumerate(state.history.items()):
            if series:
                data = np.asarray(series, "<f8")
                file.create_dataset(f"history/{i:02d}_{name}", data=data, track_times=False)
    return buffer.getvalue()


def _number(value: float, kind: type) -> np.number:
    return np.int64(value) if kind is int else np.float64(value)


def _check(state: TrainingState, config: ModelConfig) -> None:
    for name in ("epoch", "batch", "step"):
        if not 0 <= getattr(state, name) <= _MAX_COUNT:
            raise ValueError(f"{name} is {getattr(state, name)}; allowed: 0 to {_MAX_COUNT}")
    plateau = state.plateau
    if not (0 < plateau.rate < math.inf and 0 <= plateau.bad_epochs <= _MAX_COUNT):
        raise ValueError(f"the learning rate schedule is at {tuple(plateau)}")
    if math.isnan(plateau.best):
        raise ValueError("the learning rate schedule's best loss is NaN")
    if not _DIGEST.fullmatch(state.groups):
        raise ValueError(f"groups is {state.groups[:80]!r}; expected a SHA-256")
    if len(state.history) > _MOST_NAMES:
        raise ValueError(f"history has {len(state.history)} names; the limit is {_MOST_NAMES}")
    for name, series in state.history.items():
        if not _NAME.fullmatch(name) or len(series) != state.epoch:
            raise ValueError(f"history {name!r} has {len(series)} entries for {state.epoch} epochs")
    _check_moments(state, config)


def _check_moments(state: TrainingState, config: ModelConfig) -> None:
    probe = state.first.get("probe")
    modes = probe.shape[0] if probe is not None and probe.ndim == 4 else 1
    shapes = weight_shapes(config, modes)
    for part in ("first", "second"):
        moments: Weights = getattr(state, part)
        # The physics trains only where the configuration says so.
        odd = sorted(set(moments) ^ set(shapes) - (PHYSICAL - set(state.first)))
        if odd:
            raise ValueError(f"moments {part}/: missing or unknown: {', '.join(odd[:5])}")
        for name, value in moments.items():
            if value.shape != shapes[name] or value.dtype != np.float32:
                raise ValueError(
                    f"moment {part}/{name} is {value.dtype} {value.shape}; expected float32 "
                    f"{shapes[name]}"
                )
            if not np.isfinite(value).all() or (part == "second" and (value < 0).any()):
                raise ValueError(f"moment {part}/{name} holds values that no training gives")


# --------------------------------------------------------------------------- reading


def load_state(data: bytes, config: ModelConfig, where: str) -> TrainingState:
    """Return the state in a ``training.h5`` of the network of ``config``.

    Raises ``BadTrainingState`` naming ``where``, what is wrong and what to do.
    """
    try:
        with h5py.File(io.BytesIO(data), "r") as file:
            datasets = plain_datasets(file, len(data), ("float32", "float64"))
            values = {name: attribute(file, name, kind) for name, kind in _ATTRIBUTES.items()}
            parts: dict[str, dict[str, Any]] = {"first": {}, "second": {}, "history": {}}
            for name, dataset in datasets.items():
                part, _, rest = name.partition("/")
                if part not in parts or (part == "history" and len(dataset.shape) != 1):
                    raise ValueError(f"{name!r} is no part of a training's state")
                parts[part][rest] = np.asarray(dataset[()])
        version = values["format_version"]
        if version != FORMAT_VERSION:
            raise ValueError(f"format_version is {version!r}; expected {FORMAT_VERSION!r}")
        state = TrainingState(
            epoch=values["epoch"],
            batch=values["batch"],
            step=values["step"],
            first=parts["first"],
            second=parts["second"],
            plateau=PlateauState(
                values["plateau_rate"], values["plateau_best"], values["plateau_bad_epochs"]
            ),
            history=_history(parts["history"]),
            groups=values["groups"],
        )
        _check(state, config)
    except READ_ERRORS as error:
        raise BadTrainingState(f"{where}: {error_text(error)}; save the model again") from error
    return state


def _history(series: dict[str, Any]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for numbered in sorted(series):
        match = _NUMBERED.fullmatch(numbered)
        if match is None or match.group(2) in found:
            raise ValueError(f"history {numbered!r} has no number, or a name that is there already")
        found[match.group(2)] = series[numbered].tolist()
    return found
