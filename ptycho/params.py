"""``params.cfg``: the flat legacy dictionary that the client reads and writes.

It is written only by ``ptycho.config.config.update_legacy_dict``, by training and loading (the
scales and the probe of the model), by ``ptycho.probe.set_probe_guess`` and by the functions below,
and read only at the public doors; everything behind them takes explicit arguments.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ptycho.config.config import ModelConfig, TrainingConfig, dataclass_to_legacy_dict

__all__ = ["cfg", "default_cfg", "get", "params", "restore_defaults", "set"]

_MISSING = object()


def default_cfg() -> dict[str, Any]:
    """Return the legacy dictionary of the default configuration, plus the archive's base name.

    ``intensity_scale`` is absent until a model is trained or loaded.
    """
    flat = dataclass_to_legacy_dict(TrainingConfig(model=ModelConfig(), output_dir=Path("outputs")))
    return {**{k: v for k, v in flat.items() if v is not None}, "h5_path": "wts.h5"}


#: The dictionary itself; mutated in place, never rebound.
cfg: dict[str, Any] = default_cfg()


def restore_defaults() -> None:
    """Reset :data:`cfg` in place to :func:`default_cfg`."""
    cfg.clear()
    cfg.update(default_cfg())


def get(key: str, default: Any = _MISSING) -> Any:
    """Return ``cfg[key]``; ``KeyError`` saying what to do where it is unset and has no default."""
    value = cfg.get(key, default)
    if value is _MISSING:
        raise KeyError(
            f"params.cfg has no {key!r}: configure with update_legacy_dict, train, or load a bundle"
        )
    return value


def set(key: str, value: Any) -> None:  # the legacy name
    """Set ``cfg[key]``."""
    cfg[key] = value


def params() -> dict[str, Any]:
    """Return a shallow copy of :data:`cfg`."""
    return dict(cfg)
