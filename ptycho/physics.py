"""Differentiable physics between object patches and diffraction (formulas 2 to 6).

Pure functions on tensors, float32 and complex64, per group and independent of the batch size.
Images are (..., rows, columns); shifts and relative coordinates are [x, y] = [column, row] in
pixels. The formulas are those of ``docs/architecture.md``, section 3.
"""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

from ptycho.core.geometry import centre_window
from ptycho.core.scaling import INTENSITY_FLOOR

__all__ = [
    "blur",
    "canvas_side",
    "central",
    "diffract",
    "extract",
    "illuminate",
    "merge",
    "place_single",
    "probe_disc",
    "shift_matrices",
    "window_row",
]

#: Merged object where the windows add up to less than this is divided by this instead.
_LEAST_COVERAGE = 1e-3


def shift_matrices(
    shifts: tf.Tensor, inputs: int | tf.Tensor, outputs: int | tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the banded matrices (R_y, R_x) that move content by ``shifts``.

    ``shifts`` is (..., 2) = [t_x, t_y] in pixels; each matrix is (..., outputs, inputs) with
    entries hat(u - i + t), hat(d) = max(0, 1 - |d|), where u and i count from the centres of an
    image of ``inputs`` and one of ``outputs`` pixels (formula 2).
    """
    u = tf.range(inputs) - inputs // 2
    i = tf.range(outputs) - outputs // 2
    # Whole pixels are summed exactly, and a hairline weight is the rest of the shift itself: the
    # merge divides by weights down to 1e-3, where a rounded 1 - |d| has lost its digits.
    whole = tf.round(shifts)[..., None, None]
    rest = shifts[..., None, None] - whole
    steps = tf.cast(u[None, :] - i[:, None], tf.float32) + whole
    beyond = tf.where(steps == 0, tf.abs(rest), tf.sign(steps) * rest)
    hat = tf.nn.relu(1.0 - tf.abs(steps) - beyond)
    return hat[..., 1, :, :], hat[..., 0, :, :]


def _apply(
    matrices: tuple[tf.Tensor, tf.Tensor], image: tf.Tensor, adjoint: bool = False
) -> tf.Tensor:
    """Return ``R_y . image . R_x^T``, or with ``adjoint`` ``R_y^T . image . R_x``."""
    rows, columns = matrices

    def product(part: tf.Tensor) -> tf.Tensor:
        half = tf.matmul(rows, part, transpose_a=adjoint)
        return tf.matmul(half, columns, transpose_b=not adjoint)

    if not image.dtype.is_complex:
        return product(image)
    # Real matrices act on the two parts alike; a complex product would double the work.
    return tf.complex(product(tf.math.real(image)), product(tf.math.imag(image)))


def canvas_side(relative: tf.Tensor, N: int) -> tf.Tensor:
    """Return the side, a scalar int32, of a canvas that holds every group of the batch.

    ``ptycho.core.geometry.merge_canvas_side`` of the largest |relative coordinate|. A larger
    canvas only adds zeros, so what is merged does not depend on the rest of the batch.
    """
    largest = tf.reduce_max(tf.abs(relative))
    return N + 2 * (tf.cast(tf.math.ceil(largest), tf.int32) + 1)


def window_row(N: int, pad_object: bool, probe_big: bool) -> np.ndarray:
    """Return the middle row of ``geometry.centre_window``, (N,); the window is its square."""
    return centre_window(N, pad_object, probe_big)[N // 2]


def _placement(relative: tf.Tensor, N: int, side: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the (B, C, side, N) matrices that put patches at their positions on a canvas."""
    return shift_matrices(-tf.transpose(relative, (0, 2, 1)), N, side)


def merge(patches: tf.Tensor, relative: tf.Tensor, window: tf.Tensor) -> tf.Tensor:
    """Average the patches of each group on its canvas (formula 3).

    ``patches`` (B, C, N, N) complex64; ``relative`` (B, 2, C) = [x, y] in pixels; ``window``
    (N,) is one row of the square window with which patches are weighted (:func:`window_row`).
    Returns (B, P, P), pixel P/2 being the group centre. C = 1 is the identity, P = N.
    """
    if patches.shape[1] == 1:
        return patches[:, 0]
    N = int(patches.shape[-1])
    rows, columns = _placement(relative, N, canvas_side(relative, N))
    rows, columns = rows * window, columns * window
    total = tf.reduce_sum(_apply((rows, columns), patches), axis=1)
    # A square window is a product, and so is each shifted one.
    coverage = tf.einsum("bcp,bcq->bpq", tf.reduce_sum(rows, -1), tf.reduce_sum(columns, -1))
    return total / tf.cast(tf.maximum(coverage, _LEAST_COVERAGE), tf.complex64)


def place_single(patches: tf.Tensor, relative: tf.Tensor) -> tf.Tensor:
    """Put the one patch of each group, (B, 1, N, N), at the centre of a zero canvas (B, P, P)."""
    N = int(patches.shape[-1])
    margin = (canvas_side(relative, N) - N) // 2
    return tf.pad(patches[:, 0], [[0, 0], [margin, margin], [margin, margin]])


def central(image: tf.Tensor, N: int) -> tf.Tensor:
    """Return the central N x N of images (..., P, P); pixel P/2 becomes pixel N/2."""
    first = tf.shape(image)[-1] // 2 - N // 2
    return image[..., first : first + N, first : first + N]


def extract(canvas: tf.Tensor, relative: tf.Tensor, N: int) -> tf.Tensor:
    """Cut from a canvas (B, P, P) the patch at each member: (B, C, N, N) (formula 4).

    Cutting is the adjoint of placing. A single member is the centre itself.
    """
    if relative.shape[-1] == 1:
        return central(canvas, N)[:, None]
    matrices = _placement(relative, N, tf.shape(canvas)[-1])
    return _apply(matrices, canvas[:, None], adjoint=True)


def probe_disc(N: int) -> np.ndarray:
    """Return the probe mask (N, N): 1 closer than N/4 to the centre of the patch, else 0."""
    centred = np.arange(N) - (N - 1) / 2
    return (np.hypot(centred[:, None], centred) < N / 4).astype(np.float32)


def illuminate(
    patches: tf.Tensor, probe: tf.Tensor, sigma: float = 0.0, mask: np.ndarray | None = None
) -> tf.Tensor:
    """Return the exit waves (B, C, M, N, N) of complex patches (B, C, N, N) (formula 5).

    ``probe`` (M, N, N) complex; ``sigma`` (pixels) above 0 blurs the wave with
    :func:`blur`; ``mask`` (N, N) multiplies it.
    """
    waves = probe * patches[:, :, None]
    if sigma > 0:
        waves = blur(waves, sigma)
    return waves if mask is None else waves * tf.constant(mask, tf.complex64)


def blur(waves: tf.Tensor, sigma: float) -> tf.Tensor:
    """Blur the last two axes with softmax(-k^2 / (2 sigma^2)), k = -1, 0, 1.

    Edges are mirrored without repeating the edge pixel.
    """
    ratio = math.exp(-0.5 / sigma / sigma)
    middle = tf.constant(1 / (1 + 2 * ratio), tf.complex64)
    side = tf.constant(ratio / (1 + 2 * ratio), tf.complex64)
    for _ in range(2):
        before = tf.concat([waves[..., 1:2, :], waves[..., :-1, :]], axis=-2)
        after = tf.concat([waves[..., 1:, :], waves[..., -2:-1, :]], axis=-2)
        waves = tf.linalg.matrix_transpose(middle * waves + side * (before + after))
    return waves


def diffract(waves: tf.Tensor) -> tf.Tensor:
    """Return intensity (B, C, N, N) of exit waves (B, C, M, N, N), floor included (formula 6)."""
    N = int(waves.shape[-1])
    # A change of sign of every other pixel moves zero frequency to N/2, exactly.
    parity = np.arange(N) % 2
    signs = np.where(parity[:, None] == parity, 1 / N, -1 / N)
    spectrum = tf.signal.fft2d(waves * tf.constant(signs, tf.complex64))
    power = tf.math.real(spectrum) ** 2 + tf.math.imag(spectrum) ** 2
    return tf.reduce_sum(power, axis=2) + INTENSITY_FLOOR
