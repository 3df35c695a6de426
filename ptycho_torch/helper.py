"""The stitching door of the PyTorch backend."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.stitching import reassemble

__all__ = ["reassemble_position"]


def reassemble_position(obj_tensor: Any, global_offsets: Any, M: int = 10) -> NDArray[np.complex64]:
    """Stitch object patches (K, N, N, 1) at ``global_offsets`` (K, 1, 2, 1) into one image.

    The central M x M of each patch is used; arrays or CPU tensors. Returns complex64 (S, S, 1);
    canvas and ``ValueError`` are those of :func:`ptycho.core.stitching.reassemble`. Imports no
    framework and reads no global state. Offsets that carry a ``middle``
    (:class:`ptycho.core.framed.FramedOffsets`) lay the canvas around it.
    """
    middle = getattr(global_offsets, "middle", None)
    image = reassemble(np.asarray(obj_tensor), np.asarray(global_offsets), M, middle)
    return image.astype(np.complex64, copy=False)[..., None]
