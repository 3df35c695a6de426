"""Diffraction patterns as stored, read as amplitude: rooted, masked and gathered on demand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptycho.core.scaling import Domain, to_amplitude

__all__ = ["BAD_PIXELS", "Patterns", "bad_pixels_of", "mask_to_text", "pixel_weights"]

#: Key of the mask in a bundle's snapshot, as text, and in ``params.cfg``, as an array.
BAD_PIXELS = "bad_pixels"


@dataclass(frozen=True)
class Patterns:
    """The patterns of a scan, held once, in the dtype in which they came.

    ``stored`` is (n, N, N), counts or amplitude as ``domain`` says, an array or something indexed
    like one that is still in its file; ``bad_pixels`` (N, N) bool,
    True where the detector measured nothing, or None. The amplitude of a bad pixel is 0, whatever
    is stored there.
    """

    stored: NDArray[Any]
    domain: Domain = "amplitude"
    bad_pixels: NDArray[np.bool_] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stored patterns, (n, N, N)."""
        return self.stored.shape

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, part: slice) -> NDArray[np.float32]:
        """Return the amplitude of a slice of the patterns, (k, N, N) float32.

        It is a view of what is stored where that is float32 amplitude without bad pixels.
        """
        if self.bad_pixels is None:
            return to_amplitude(self.stored[part], self.domain)
        return self.gather(np.arange(len(self))[part])

    def gather(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the amplitude of these patterns, a new array (*indices.shape, N, N) float32."""
        chosen = self.stored[indices]
        if self.bad_pixels is not None:
            chosen[..., self.bad_pixels] = 0
        return to_amplitude(chosen, self.domain)

    def masked_as(self, bad_pixels: NDArray[np.bool_] | None) -> Patterns:
        """Return the patterns with these bad pixels, the stored array shared, if they have none."""
        if bad_pixels is None or self.bad_pixels is not None:
            return self
        if bad_pixels.shape != self.shape[1:]:
            return self
        return replace(self, bad_pixels=bad_pixels)

    def amplitude(self) -> NDArray[np.float32]:
        """Return the amplitude of all patterns, (n, N, N) float32 in C order.

        It is the stored array itself where that is float32 amplitude without bad pixels.
        """
        if self.bad_pixels is not None:
            return self.gather(np.arange(len(self)))
        return np.ascontiguousarray(to_amplitude(np.asarray(self.stored), self.domain))


def pixel_weights(bad_pixels: NDArray[np.bool_] | None) -> NDArray[np.float32] | None:
    """Return weights (N, N) with which a mean over all pixels is one over the good pixels.

    They are N^2 / (number of good pixels) there and 0 elsewhere; None where nothing is masked.
    """
    if bad_pixels is None:
        return None
    good = ~bad_pixels
    return (good * (good.size / np.count_nonzero(good))).astype(np.float32)


def mask_to_text(bad_pixels: NDArray[np.bool_]) -> str:
    """Return a mask (N, N) as text: its bits, row by row, in hexadecimal digits."""
    return np.packbits(bad_pixels).tobytes().hex()


def bad_pixels_of(snapshot: Mapping[str, Any], N: int) -> NDArray[np.bool_] | None:
    """Return the mask (N, N) bool that a bundle's snapshot has, or None.

    Raises ``ValueError`` for anything that :func:`mask_to_text` did not write.
    """
    text = snapshot.get(BAD_PIXELS)
    if text is None:
        return None
    digits = 2 * -(-N * N // 8)
    if not isinstance(text, str) or not re.fullmatch(f"[0-9a-f]{{{digits}}}", text):
        raise ValueError(f"{BAD_PIXELS} is no mask of {N} x {N} pixels in hexadecimal digits")
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))
    mask = bits[: N * N].reshape(N, N).astype(bool)
    if mask.all():
        raise ValueError(f"{BAD_PIXELS} marks every pixel")
    return mask
