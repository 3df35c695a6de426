"""Differentiable physics between object patches and diffraction (formulas 2 to 6).

Complex images are carried as real tensors (..., rows, 2, columns) whose axis -2 is (real,
imaginary): a translation ``R_y . image . R_x^T`` is then two real matrix products without a
copy, since rows x (2 columns) and (rows 2) x columns are both views of it. Nothing here
scatters, so the backward pass is deterministic.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ptycho.core.geometry import centre_window
from ptycho.core.scaling import INTENSITY_FLOOR

__all__ = [
    "blur",
    "diffract",
    "central",
    "extract",
    "illuminate",
    "merge",
    "probe_disc",
    "shift_matrices",
    "to_complex",
    "window_row",
]

#: Merged object where the windows add up to less than this is divided by this instead.
_LEAST_COVERAGE = 1e-3


def shift_matrices(shifts: Tensor, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Return the banded matrices (R_y, R_x) that move content by ``shifts``.

    ``shifts`` is (..., 2) = [t_x, t_y] in pixels; each matrix is (..., outputs, inputs) with
    entries hat(u - i + t), hat(d) = max(0, 1 - |d|), where u and i count from the centres of an
    image of ``inputs`` and one of ``outputs`` pixels (formula 2).
    """
    # A matrix holds what depends on u - i alone: each such value is worked out once.
    apart = torch.arange(1 - outputs, inputs, device=shifts.device) - (inputs // 2 - outputs // 2)
    # Whole pixels are summed exactly, and a hairline weight is the rest of the shift itself: the
    # merge divides by weights down to 1e-3, where a rounded 1 - |d| has lost its digits.
    whole = shifts.round()[..., None]
    rest = shifts[..., None] - whole
    steps = apart.to(shifts.dtype) + whole
    beyond = torch.where(steps == 0, rest.abs(), steps.sign() * rest)
    hat = (1 - steps.abs() - beyond).clamp_min(0)
    hat = hat.unfold(-1, inputs, 1).flip(-2)  # the last window of values is the first row
    return hat[..., 1, :, :], hat[..., 0, :, :]


def merge(patches: Tensor, relative: Tensor, side: int, window: Tensor) -> Tensor:
    """Average the patches of each group on its canvas (formula 3).

    ``patches`` (B, C, N, 2, N); ``relative`` (B, 2, C) = [x, y] in pixels; ``window`` (N,) is
    one row of the square window with which patches are weighted (:func:`window_row`). Returns
    (B, side, 2, side), pixel ``side/2`` being the group centre.
    """
    B, C, N = patches.shape[:3]
    rows, columns = shift_matrices(-relative.mT, N, side)
    rows, columns = rows * window, columns * window
    placed = patches.reshape(B, C, 2 * N, N) @ columns.mT
    # One product over (member, row) shifts the rows and adds up the group.
    total = rows.permute(0, 2, 1, 3).reshape(B, side, C * N) @ placed.view(B, C * N, 2 * side)
    # A square window is a product, and so is each shifted one.
    coverage = rows.sum(dim=-1).mT @ columns.sum(dim=-1)
    return total.view(B, side, 2, side) / coverage.clamp_min(_LEAST_COVERAGE)[:, :, None, :]


def window_row(N: int, pad_object: bool, probe_big: bool) -> Tensor:
    """Return the middle row of ``geometry.centre_window``, (N,); the window is its square."""
    return torch.from_numpy(centre_window(N, pad_object, probe_big)[N // 2].copy())


def extract(canvas: Tensor, relative: Tensor, N: int) -> Tensor:
    """Cut from a canvas (B, P, 2, P) the patch at each member: (B, C, N, 2, N) (formula 4)."""
    B, side = canvas.shape[:2]
    rows, columns = shift_matrices(relative.mT, side, N)
    cut = rows.reshape(B, -1, side) @ canvas.reshape(B, side, 2 * side)
    return (cut.view(B, -1, 2 * N, side) @ columns.mT).view(B, -1, N, 2, N)


def central(canvas: Tensor, N: int) -> Tensor:
    """Return the central N x N of (..., P, 2, P)."""
    first = canvas.shape[-1] // 2 - N // 2
    return canvas[..., first : first + N, :, first : first + N]


def to_complex(image: Tensor) -> Tensor:
    """Return (..., rows, 2, columns) as complex (..., rows, columns)."""
    return torch.complex(image[..., 0, :], image[..., 1, :])


def probe_disc(N: int) -> Tensor:
    """Return the probe mask (N, N): 1 closer than N/4 to the centre of the patch, else 0."""
    centred = torch.arange(N) - (N - 1) / 2
    distance = torch.hypot(centred[:, None], centred[None, :])
    return (distance < N / 4).to(torch.float32)


def illuminate(
    patches: Tensor, probe: Tensor, sigma: float = 0.0, mask: Tensor | None = None
) -> Tensor:
    """Return the exit waves (B, C, M, N, N) of complex patches (B, C, N, N) (formula 5).

    ``probe`` (M, N, N) complex; ``sigma`` (pixels) above 0 blurs the wave with
    :func:`blur`; ``mask`` (N, N) multiplies it.
    """
    waves = probe * patches[:, :, None]
    if sigma > 0:
        waves = blur(waves, sigma)
    return waves if mask is None else waves * mask


def blur(waves: Tensor, sigma: float) -> Tensor:
    """Blur the last two axes with softmax(-k^2 / (2 sigma^2)), k = -1, 0, 1.

    Edges are mirrored without repeating the edge pixel.
    """
    ratio = math.exp(-0.5 / sigma / sigma)  # in this order, a sigma near 0 overflows to infinity
    middle, side = 1 / (1 + 2 * ratio), ratio / (1 + 2 * ratio)
    for axis in (-2, -1):
        n = waves.shape[axis]
        padded = torch.cat(
            [waves.narrow(axis, 1, 1), waves, waves.narrow(axis, n - 2, 1)], dim=axis
        )
        neighbours = padded.narrow(axis, 0, n) + padded.narrow(axis, 2, n)
        waves = middle * waves + side * neighbours
    return waves


def diffract(waves: Tensor) -> Tensor:
    """Return intensity (B, C, N, N) of exit waves (B, C, M, N, N), floor included (formula 6)."""
    spectrum = torch.view_as_real(torch.fft.fft2(waves, norm="ortho"))
    intensity = spectrum.square().sum(dim=(2, -1))
    # Shifting the real intensity moves half as much memory as shifting the complex spectrum.
    return torch.fft.fftshift(intensity, dim=(-2, -1)) + INTENSITY_FLOOR
