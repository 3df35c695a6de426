"""Configurations of a PyTorch run from a few values, with a record of who decided what.

A value is taken from the first of these that has it: explicit overrides, the execution
configuration, the defaults of a command, the data (N), the defaults of the dataclasses.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptycho.config.config import (
    InferenceConfig,
    ModelConfig,
    TrainingConfig,
)
from ptycho.config.execution import TRAINING_FIELDS, PyTorchExecutionConfig
from ptycho.core.bundle import read_model_config
from ptycho.core.workflow import configure
from ptycho.io.scan_file import read_geometry

__all__ = [
    "InferencePayload",
    "Override",
    "TrainingPayload",
    "create_inference_payload",
    "create_training_payload",
    "infer_probe_size",
    "populate_legacy_params",
]

logger = logging.getLogger(__name__)

#: Other names under which callers know a field.
_ALIASES = {"max_epochs": "nepochs", "epochs": "nepochs"}


@dataclass(frozen=True)
class Override:
    """A value that is not the dataclass's default: what it is, who gave it, what it displaced."""

    value: Any
    source: str
    displaced: Any


@dataclass(frozen=True)
class TrainingPayload:
    """What a training needs; give both to ``train_cdi_model`` or the dispatcher.

    ``overrides_applied`` has an entry for every field whose value somebody chose. A setting of the
    training that only the execution configuration names is there, and in ``execution_config``,
    but not in ``training_config``, which goes to ``params.cfg``.
    """

    training_config: TrainingConfig
    execution_config: PyTorchExecutionConfig
    overrides_applied: dict[str, Override] = field(default_factory=dict)


@dataclass(frozen=True)
class InferencePayload:
    """What a reconstruction needs; ``overrides_applied`` as in :class:`TrainingPayload`."""

    inference_config: InferenceConfig
    execution_config: PyTorchExecutionConfig
    overrides_applied: dict[str, Override] = field(default_factory=dict)


def create_training_payload(
    train_data_file: str | Path,
    output_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
    defaults: Mapping[str, Any] | None = None,
) -> TrainingPayload:
    """Return the configurations of a training on ``train_data_file``, checked and published.

    ``overrides`` and ``defaults`` (a command's own) map fields of ``ModelConfig`` and
    ``TrainingConfig`` to values; ``overrides`` win over ``execution_config``, which wins over
    ``defaults``. N is read from the file unless given. ``params.cfg`` is written before this
    returns (CONFIG-001); no pattern is read.

    Raises ``FileNotFoundError`` and what :func:`infer_probe_size` raises for the file,
    ``ValueError`` naming a field that does not exist, a value that is not allowed, or an N that
    is not the data's.
    """
    path = _file(train_data_file, "train_data_file")
    fixed: dict[str, Any] = {
        "train_data_file": path,
        "output_dir": Path(output_dir),
        "backend": "pytorch",
    }
    chosen = _Chosen((ModelConfig, TrainingConfig), fixed)
    chosen.add("default of the command", defaults)
    given = chosen.named(overrides)
    execution = execution_config or PyTorchExecutionConfig()
    # What an explicit value settles is no longer the execution configuration's to say.
    settled: dict[str, Any] = {name: None for name in TRAINING_FIELDS if name in given}
    execution = dataclasses.replace(execution, **settled)
    chosen.add("override", given)
    side = infer_probe_size(path)
    if chosen.values.get("N") not in (None, side):
        raise ValueError(
            f"N is {chosen.values['N']}, but the patterns in {path} are {side} x {side}"
        )
    if "N" not in chosen.values:
        chosen.add("data", {"N": side})
    model, run = chosen.parts()
    config = TrainingConfig(model=ModelConfig(**model), **run, **fixed)
    populate_legacy_params(config)
    for name in TRAINING_FIELDS:
        value = getattr(execution, name)
        if value is not None:
            chosen.applied[name] = Override(value, "execution config", getattr(config, name))
    chosen.log()
    return TrainingPayload(config, execution, chosen.applied)


def create_inference_payload(
    model_path: str | Path,
    test_data_file: str | Path,
    output_dir: str | Path,
    overrides: Mapping[str, Any] | None = None,
    execution_config: PyTorchExecutionConfig | None = None,
) -> InferencePayload:
    """Return the configurations of a reconstruction of ``test_data_file`` with a saved model.

    ``overrides`` are fields of ``InferenceConfig``; the model's own come from the bundle.
    ``params.cfg`` is written before this returns (CONFIG-001).

    Of the bundle, configuration and manifest are read; its weights are for who loads it. Raises
    ``FileNotFoundError`` for a missing file or bundle, ``ArchiveError`` for a bad one,
    ``ValueError`` naming a field that does not exist, a value that is not allowed, or the sides
    of model and data where they differ.
    """
    path = _file(test_data_file, "test_data_file")
    model = read_model_config(model_path)
    side = infer_probe_size(path)
    if side != model.N:
        raise ValueError(
            f"the model in {model_path} takes {model.N} x {model.N} patterns, but {path} has "
            f"{side} x {side}"
        )
    fixed: dict[str, Any] = {
        "model_path": Path(model_path),
        "test_data_file": path,
        "output_dir": Path(output_dir),
        "backend": "pytorch",
    }
    chosen = _Chosen((InferenceConfig,), fixed)
    chosen.add("override", chosen.named(overrides))
    (run,) = chosen.parts()
    config = InferenceConfig(model=model, **run, **fixed)
    populate_legacy_params(config)
    chosen.log()
    execution = execution_config or PyTorchExecutionConfig()
    return InferencePayload(config, execution, chosen.applied)


def infer_probe_size(path: str | Path) -> int:
    """Return the side of the probe in a scan file, in pixels, which is that of its patterns.

    Raises what :func:`ptycho.io.scan_file.read_geometry` does, and ``ValueError`` for a probe
    that is not square.
    """
    shape = read_geometry(path)["probeGuess"].shape
    if len(shape) < 2 or shape[-1] != shape[-2]:
        raise ValueError(f"{path}: probeGuess has shape {shape}; expected (N, N) or (modes, N, N)")
    return int(shape[-1])


def populate_legacy_params(config: TrainingConfig | InferenceConfig) -> None:
    """Check a configuration and write it into ``params.cfg``, before any data is touched.

    Raises ``TypeError`` for anything else (CONFIG-002), ``ValueError`` naming a bad field.
    """
    if not isinstance(config, (TrainingConfig, InferenceConfig)):
        raise TypeError(
            f"{type(config).__name__} is not written to params.cfg: give a TrainingConfig or an "
            "InferenceConfig"
        )
    configure(config)


def _file(path: str | Path, name: str) -> Path:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{name}: no such file: {path}")
    return path


class _Chosen:
    """Values by field, those added later displacing those before, and who gave them."""

    def __init__(self, kinds: tuple[type, ...], fixed: Iterable[str]) -> None:
        self._fields = [{f.name: f for f in dataclasses.fields(kind)} for kind in kinds]
        self._fixed = {"model", *fixed}
        self.values: dict[str, Any] = {}
        self.applied: dict[str, Override] = {}

    def named(self, given: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return ``given`` under the fields' own names; ``ValueError`` for one that is none."""
        known = {name for fields in self._fields for name in fields} - self._fixed
        found: dict[str, Any] = {}
        for key, value in (given or {}).items():
            name = _ALIASES.get(key, key)
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise ValueError(f"{key!r} is no field that can be overridden{hint}")
            if name in found:
                raise ValueError(f"{name!r} is given twice, once as {key!r}")
            found[name] = value
        return found

    def add(self, source: str, given: Mapping[str, Any] | None) -> None:
        for name, value in self.named(given).items():
            displaced = self.values.get(name, self._default(name))
            self.values[name] = value
            self.applied[name] = Override(value, source, displaced)

    def _default(self, name: str) -> Any:
        for fields in self._fields:
            if name in fields and fields[name].default is not dataclasses.MISSING:
                return fields[name].default
        return None

    def parts(self) -> list[dict[str, Any]]:
        """Return the values of each dataclass."""
        return [{n: v for n, v in self.values.items() if n in fields} for fields in self._fields]

    def log(self) -> None:
        """Tell, in one record, what was chosen by whom."""
        told = (f"{n}={o.value!r} ({o.source})" for n, o in sorted(self.applied.items()))
        logger.info("settings: %s", ", ".join(told) or "all at their defaults")
