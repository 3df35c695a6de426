"""Scans as the client's plugin hands them over: a folder to train on, arrays to reconstruct."""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ptycho.raw_data import RawData
from ptycho_torch.config_params import DataConfig
from ptycho_torch.lightning_utils import new_run_dir

if TYPE_CHECKING:
    from ptycho_torch.api.base_api import ConfigManager

__all__ = ["DataloaderFormats", "PtychoDataLoader"]

logger = logging.getLogger(__name__)

#: The scan to train on where a folder holds several.
_TRAINING_FILE = "train_data.npz"


class DataloaderFormats(Enum):
    """How scans reach a training; there is one way."""

    LIGHTNING_ONLY_MODULE = "lightning_only_module"


class PtychoDataLoader:
    """A scan for a training (from a folder) or a reconstruction (:meth:`from_np`).

    A folder has one NPZ file, or several of which one is ``train_data.npz``. Of its scan the
    positions inside ``x_bounds`` and ``y_bounds`` of ``DataConfig`` are kept. ``output_dir``
    becomes the folder of this run, which is made when there is something to put into it.

    Raises ``FileNotFoundError`` where there is no scan, ``ValueError`` for several, for one that
    cannot be read, and for patterns of another side than ``DataConfig.N``.
    """

    def __init__(
        self,
        data_dir: str | Path,
        config_manager: ConfigManager,
        data_format: DataloaderFormats = DataloaderFormats.LIGHTNING_ONLY_MODULE,
        output_dir: str | Path = "training_outputs",
    ) -> None:
        DataloaderFormats(data_format)
        path = _scan_file(Path(data_dir))
        raw = RawData.from_file(path)
        _check_side(raw, config_manager.data_config.N, str(path))
        self.raw = _within_bounds(raw, config_manager.data_config)
        self.output_dir = new_run_dir(output_dir)
        self.config_manager = config_manager

    @classmethod
    def from_np(
        cls,
        diff_patterns: ArrayLike,
        probe: ArrayLike,
        positions: ArrayLike,
        config_manager: ConfigManager,
    ) -> PtychoDataLoader:
        """Return a scan to reconstruct.

        ``diff_patterns`` (n, N, N) are counts where the dtype is an integer, else amplitude;
        ``probe`` is (N, N) or (modes, N, N) complex; ``positions`` (n, 2) = [y, x] in object
        pixels. Raises ``ValueError`` where these make no scan for the model.
        """
        points = np.asarray(positions, np.float64)
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"positions have shape {points.shape}; expected (n, 2) = [y, x]")
        raw = RawData(points[:, 1], points[:, 0], None, None, diff_patterns, probe, None)
        _check_side(raw, config_manager.data_config.N, "the scan")
        loader = cls.__new__(cls)
        loader.raw, loader.config_manager = raw, config_manager
        return loader


def _scan_file(folder: Path) -> Path:
    """Return the scan to train on in a folder."""
    found = sorted(path for path in folder.glob("*.npz") if path.is_file())
    if not found:
        raise FileNotFoundError(f"no scan (*.npz) in {folder}: export training data there")
    if len(found) == 1:
        return found[0]
    named = [path for path in found if path.name == _TRAINING_FILE]
    if not named:
        names = ", ".join(path.name for path in found[:5])
        raise ValueError(
            f"{folder} holds {len(found)} scans ({names}) and a training takes one: leave one "
            f"there, or name it {_TRAINING_FILE}"
        )
    logger.info("training on %s alone of %d scans in %s", _TRAINING_FILE, len(found), folder)
    return named[0]


def _check_side(raw: RawData, N: int, where: str) -> None:
    if raw.diff3d is None or raw.diff3d.shape[-1] != N:
        side = "no" if raw.diff3d is None else f"{raw.diff3d.shape[-1]} x {raw.diff3d.shape[-1]}"
        raise ValueError(
            f"{where} has {side} patterns but DataConfig.N (model_size) is {N}: set it to the "
            "side of the patterns, or crop them"
        )


def _within_bounds(raw: RawData, config: DataConfig) -> RawData:
    """Return the part of a scan inside ``x_bounds`` and ``y_bounds``, fractions of its range."""
    kept = np.ones(len(raw), bool)
    for name, values in (("x_bounds", raw.xcoords), ("y_bounds", raw.ycoords)):
        bounds = tuple(getattr(config, name))
        if len(bounds) != 2 or not 0 <= bounds[0] < bounds[1] <= 1:
            raise ValueError(
                f"DataConfig.{name} is {bounds}; allowed: two fractions of the scan's range, "
                "0 <= first < second <= 1"
            )
        low, high = values.min(), values.max()
        if high > low:
            part = (values - low) / (high - low)
            kept &= (bounds[0] <= part) & (part <= bounds[1])
    if kept.all():
        return raw
    if not kept.any():
        raise ValueError(
            f"none of the {len(raw)} positions lies inside DataConfig.x_bounds {config.x_bounds} "
            f"and y_bounds {config.y_bounds}: widen them"
        )
    logger.info("training on the %d of %d positions inside the bounds", kept.sum(), len(raw))
    return RawData(
        raw.xcoords[kept],
        raw.ycoords[kept],
        raw.xcoords_start[kept],
        raw.ycoords_start[kept],
        None if raw.diff3d is None else raw.diff3d[kept],
        raw.probeGuess,
        raw.scan_index[kept],
        objectGuess=raw.objectGuess,
        Y=None if raw.Y is None else raw.Y[kept],
        metadata=raw.metadata,
        bad_pixels=raw.bad_pixels,
        measurement_domain=raw.measurement_domain,
    )
