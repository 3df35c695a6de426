"""The loading door: grouped data in, container out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Literal

from numpy.typing import NDArray

from ptycho import params
from ptycho.core.container import ObjectLabels, PtychoDataContainer
from ptycho.core.framed import FramedOffsets, object_middle
from ptycho.core.grouped import GroupedData
from ptycho.core.patterns import BAD_PIXELS
from ptycho.core.scaling import normalisation_factor
from ptycho.raw_data import RawData

__all__ = ["PtychoDataContainer", "RawData", "load"]

_LOG = logging.getLogger(__name__)


def load(
    cb: Callable[[], Any],
    probeGuess: NDArray[Any] | None,
    which: Literal["train", "test"] | None = None,
    create_split: bool = False,
) -> PtychoDataContainer:
    """Return the container of the ``RawData.generate_grouped_data`` that ``cb()`` gives.

    With ``create_split``, ``cb()`` gives (grouped data, fraction), and the container has the
    first ``int(B * fraction)`` groups for ``which='train'``, the others for ``'test'``.
    Where a bundle has been loaded, its normalisation factor (``params.cfg['normalisation']``)
    is used, else that of the whole scan; pixels that were bad in its training are bad in a scan
    without ``bad_pixels``; and groups of another gridsize than the model's are
    drawn again, with a warning. Where the scan has ``objectGuess``, the container's
    ``global_offsets`` carry its middle, so that ``reassemble_position`` lays its canvas there:
    positions are taken as ptychodus counts them, see :func:`ptycho.core.framed.object_middle`.

    Raises ``ValueError`` for any other ``which`` or an empty part, ``TypeError`` where ``cb``
    gives something else.
    """
    given = cb()
    grouped, fraction = given if create_split else (given, None)
    if not isinstance(grouped, GroupedData):
        raise TypeError(
            f"cb() gave {type(grouped).__name__}; expected what RawData.generate_grouped_data "
            "returns" + (", and a fraction" if create_split else "")
        )
    patterns = grouped.raw.patterns
    stored = params.cfg.get("normalisation")
    if stored is not None:
        grouped = _for_the_model(grouped)
        patterns = patterns.masked_as(params.cfg.get(BAD_PIXELS))
    container = PtychoDataContainer(
        patterns,
        grouped.groups,
        grouped.raw.positions,
        probeGuess,
        normalisation_factor(patterns) if stored is None else float(stored),
        ObjectLabels.from_raw(grouped.raw),
    )
    if fraction is not None:
        container = container.subset(_part(len(container), fraction, which))
    if grouped.raw.objectGuess is not None:
        container.global_offsets = FramedOffsets(
            container.global_offsets, object_middle(grouped.raw.objectGuess.shape)
        )
    return container


def _for_the_model(grouped: GroupedData) -> GroupedData:
    """Return the groups, drawn again if they are not what the current model takes."""
    gridsize = int(params.get("gridsize"))
    if grouped.groups.shape[1] == gridsize**2:
        return grouped
    _LOG.warning(
        "groups of %d patterns were asked for, but the model was trained with gridsize %d: "
        "grouping again for the model",
        grouped.groups.shape[1],
        gridsize,
    )
    return grouped.drawn_again(gridsize)


def _part(n: int, fraction: float, which: str | None) -> slice:
    if which not in ("train", "test"):
        raise ValueError(f"which is {which!r}; with create_split it must be 'train' or 'test'")
    if not 0 <= fraction <= 1:
        raise ValueError(f"the training fraction is {fraction}; it must be between 0 and 1")
    border = int(n * fraction)
    part = slice(0, border) if which == "train" else slice(border, n)
    if part.start == part.stop:
        raise ValueError(f"the {which} part of {n} groups at fraction {fraction} is empty")
    return part
